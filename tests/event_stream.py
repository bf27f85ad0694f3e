"""The algorithm by which browsers read an event stream (WHATWG HTML 9.2.6), word by word: what tests read by it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Told:
    """One event as a page is told of it."""

    type: str
    data: str
    last_event_id: str


@dataclass
class Stream:
    """Fed with text; ``told`` are the events so far, ``comments`` the lines that were passed over."""

    told: list[Told] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    retry: int | None = None
    last_event_id: str = ""
    _data: str = ""
    _type: str = ""
    _id: str = ""
    _left: str = ""  # of a line that did not end

    def feed(self, text: str) -> Stream:
        """Whole text at once, or pieces that end with a line."""
        text = self._left + text
        while text:
            ends = [at for at in (text.find("\r"), text.find("\n")) if at >= 0]
            if not ends:
                break
            end = min(ends)
            self._line(text[:end])
            text = text[end + (2 if text[end : end + 2] == "\r\n" else 1) :]
        self._left = text
        return self

    def _line(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif line.startswith(":"):
            self.comments.append(line[1:])
        else:
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._type = value
            case "data":
                self._data += value + "\n"
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value and all("0" <= digit <= "9" for digit in value):
                self.retry = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data == "":
            self._type = ""
            return
        self.told.append(Told(self._type or "message", self._data.removesuffix("\n"), self.last_event_id))
        self._data = self._type = ""


def read(data: bytes) -> Stream:
    """A whole stream."""
    return Stream().feed(data.decode("utf-8").removeprefix("\ufeff"))
