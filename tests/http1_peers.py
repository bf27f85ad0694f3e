"""One request through three parsers: ours, httptools (llhttp) and h11. What each makes of it."""

from dataclasses import dataclass

import h11
import httptools

from web.hotpath import ChunkedDecoder, ProtocolError, RequestParser


@dataclass(frozen=True)
class Message:
    """A request that was accepted: what decides where it ends and what it asks for."""

    method: bytes
    target: bytes
    body: bytes


Verdict = Message | str  # a message, "waits", or the status of the refusal


def ours(data: bytes) -> Verdict:
    parser = RequestParser()
    try:
        head = parser.feed(data)
        if head is None:
            return "waits"
        if head.chunked:
            decoder = ChunkedDecoder()
            body = decoder.feed(parser.unused)
            if not decoder.finished:
                return "waits"
        else:
            length = head.content_length or 0
            body = parser.unused[:length]
            if len(body) < length:
                return "waits"
    except ProtocolError as error:
        return str(error.status)
    return Message(head.method.encode(), head.target, body)


class _Collector:
    def __init__(self) -> None:
        self.target = b""
        self.body = b""
        self.done: Message | None = None
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.done is None:
            self.done = Message(self.parser.get_method(), self.target, self.body)


def by_httptools(data: bytes) -> Verdict:
    collector = _Collector()
    refused = False
    try:
        collector.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        refused = True
    if collector.done is not None:
        return collector.done
    return "400" if refused else "waits"  # it names no status


def by_h11(data: bytes) -> Verdict:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    method = target = body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return str(error.error_status_hint)
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return "waits"
        if isinstance(event, h11.Request):
            method, target = event.method, event.target
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Message(method, target, bytes(body))
