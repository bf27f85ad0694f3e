"""The tutorial as its reader goes through it: files are saved, servers started, commands typed, chapter after chapter.

A chapter is read as three kinds of blocks, in the order in which they stand:

- a *file*: a fence below a line that begins with its name in bold. ``**app.py**`` is all of it, ``**app.py**, at the
  end`` is added to it, ``**app.py**, in place of `home` `` takes the place of what is called so at its top level.
- a *console*: a fence ``console`` of ``$ command`` lines, each with its output below, where ``...`` is anything.
- a *log*: a fence below **In the terminal of the server**: what it has said by then, with ``...`` as above. A traceback
  that is not on a page is an error.
- all else is to be looked at: ``sh`` for what is not run here (installation, other machines), ``python no-run``,
  ``text``, ``ini``.

``Walk`` owns the reader's folder, which goes through all chapters, and at most one server, which is started when a
command asks for it and started anew when files have changed since, as ``web dev`` does. Its ports are any free ones: in
what is run and in what is said, those of the page are exchanged for them.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import web
from tests.transcripts import Command, commands_in, pattern_of
from tests.wire.clients import eventually

FOLDER = Path(__file__).parents[1] / "docs/tutorial"
PATIENCE = 60.0  # seconds; ends a hang, and is never what a test measures

PORTS = {"http": "8000", "https": "8443"}  # of the pages, by the scheme that is spoken there

_FENCE = re.compile(
    r"(?:^\*\*(?P<name>[\w./ -]+)\*\*(?P<how>[^\n]*)\n\n?)?^```(?P<language>\w*)(?P<mark> no-run)?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LOG = "In the terminal of the server"
_HOW = re.compile(r"|, at the end|, in place of `(?P<what>\w+)`")

# Runs a program as __main__, with its ports exchanged: those in the argument, a JSON object, else any free one. What
# started in the background may have SIGINT ignored.
_RUN = """
import json, runpy, signal, sys
import web
signal.signal(signal.SIGINT, signal.default_int_handler)
ports = json.loads(sys.argv.pop(1))
listen = web.Server.listen
def exchanged(self, host, port=0, *rest, **options):
    listen(self, host, ports.get(str(port), 0), *rest, **options)
web.Server.listen = exchanged
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class TutorialError(AssertionError):
    """A chapter cannot be followed, or says what is not so."""


@dataclass(frozen=True)
class Save:
    """A file, or a change of one."""

    name: str
    how: str
    text: str

    def apply(self, folder: Path) -> None:
        path = folder / self.name
        if self.how == "":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text)
            return
        before = path.read_text()
        found = _HOW.fullmatch(self.how)
        assert found is not None, self
        path.write_text(f"{before}\n\n{self.text}" if found["what"] is None else self._replaced(before, found["what"]))

    def _replaced(self, before: str, what: str) -> str:
        places = [node for node in ast.parse(before).body if what in _names(node)]
        if len(places) != 1 or what not in {name for node in ast.parse(self.text).body for name in _names(node)}:
            raise TutorialError(f"{self.name}: {what!r} stands there {len(places)} times, and in the block?")
        lines = before.splitlines(keepends=True)
        first = min(node.lineno for node in (places[0], *getattr(places[0], "decorator_list", ())))
        return "".join([*lines[: first - 1], self.text, *lines[places[0].end_lineno :]])


@dataclass(frozen=True)
class Log:
    """What the server has said in its own terminal."""

    text: str


@dataclass(frozen=True)
class Shown:
    """A block that is only read."""

    language: str
    text: str


@dataclass(frozen=True)
class Chapter:
    name: str
    steps: list[Save | Command | Log | Shown] = field(default_factory=list)


def _names(node: ast.stmt) -> set[str]:
    """What a statement at the top level of a file defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def read_chapter(path: Path) -> Chapter:
    """A page's steps; TutorialError for a block of which it is not clear what it is."""
    chapter = Chapter(path.stem)
    text = path.read_text()
    found = list(_FENCE.finditer(text))
    if 2 * len(found) != len(re.findall("^```", text, re.MULTILINE)):
        raise TutorialError(f"{path.name}: a fence without an end, or with words behind its language")
    for one in found:
        if one["name"] == _LOG:
            chapter.steps.append(Log(one["text"].rstrip("\n")))
        elif one["name"] is not None:
            if not _HOW.fullmatch(one["how"]):
                raise TutorialError(f"{path.name}: {one['name']}{one['how']}: not clear where it goes")
            chapter.steps.append(Save(one["name"], one["how"], one["text"]))
        elif one["language"] == "console":
            chapter.steps.extend(commands_in(one["text"]))
        elif one["language"] in ("sh", "text", "ini") or one["mark"] is not None:
            chapter.steps.append(Shown(one["language"], one["text"]))
        else:
            raise TutorialError(f"{path.name}: a {one['language']} block without a file's name: {one['text']}")
    return chapter


def chapters() -> list[Chapter]:
    """All of them, in order, and the first page before them."""
    return [read_chapter(path) for path in (FOLDER / "index.md", *sorted(FOLDER.glob("[0-9]*.md")))]


class Walk:
    """Somebody who follows the tutorial in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "readinglist"
        self.folder.mkdir()
        self.server: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"  # what the server that runs has said
        self.ports: dict[str, int] = {}  # of the page to the server's
        self.changed = False  # since the server started
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, arguments in (("python", ""), ("web", " -m web"), ("pytest", " -m pytest -p no:cacheprovider")):
            path = self._programs / name
            path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{arguments} "$@"\n')
            path.chmod(0o755)
        (self._programs / ".curlrc").write_text("no-progress-meter\n")  # as on a terminal, where curl shows none

    # ---- one chapter ----

    def follow(self, chapter: Chapter) -> None:
        """Does what a chapter says. The server does not outlive it."""
        try:
            for step in chapter.steps:
                match step:
                    case Save():
                        step.apply(self.folder)
                        self.changed = True
                    case Command():
                        self._compare(step, self.run(step))
                    case Log():
                        eventually(partial(self._says, step.text), f"the server says: {step.text}")
                    case Shown():
                        pass
        finally:
            self.stop()

    def _compare(self, command: Command, said: str) -> None:
        if not pattern_of(command.output).fullmatch(f"{said}\n" if said else ""):
            raise TutorialError(f"$ {command.line}\nthe page says:\n{command.output}\nit says:\n{said}")

    def _says(self, text: str) -> bool:
        """Whether the server has said this. What is on the page counts no more as an accident."""
        said = self.log.read_text()
        found = pattern_of(text).search(said)
        if found is not None:
            self.log.write_text(said[: found.start()] + said[found.end() :])
        return found is not None

    # ---- commands ----

    def run(self, command: Command) -> str:
        """What a command says, errors included, with the ports of the page."""
        if command.line == "python app.py" and (self.server is None or self.changed):
            self.start()
            return self._as_on_the_page(self.log.read_text().strip("\n"))
        if command.line == "python app.py":
            return self._output([sys.executable, "-c", _RUN, json.dumps(self.ports), "app.py"])
        if "curl " in command.line and (self.server is None or self.changed):
            self.start()
        return self._output(["bash", "-c", self._with_ports(command.line)])

    def _output(self, arguments: list[str]) -> str:
        done = subprocess.run(
            arguments, cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, start_new_session=True,
        )  # fmt: skip
        return self._as_on_the_page("\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n"))

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "CURL_HOME": str(self._programs),
            "PYTHONPATH": str(Path(web.__file__).parents[1]),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error",
            "COLUMNS": "80",
        }

    # ---- the server ----

    def start(self, **environment: str) -> None:
        """Runs app.py, anew if it runs."""
        self.stop()
        self.log.write_bytes(b"")
        environment = self._environment() | environment
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-c", _RUN, "{}", "app.py"],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        eventually(self._has_begun, "app.py serves, or has ended")
        if self.server.poll() is not None:
            self.server = None
            raise TutorialError(f"app.py does not start: {self.log.read_text()}")
        served = re.findall(r"(https?)://[\w.]+:(\d+)", self.log.read_text())
        self.ports = {PORTS[scheme]: int(port) for scheme, port in served}
        self.changed = False

    def _has_begun(self) -> bool:
        assert self.server is not None
        return "Serving on " in self.log.read_text() or self.server.poll() is not None

    def stop(self) -> None:
        """Ends the server as Ctrl-C does. A traceback that is not on the page is an error."""
        server, self.server, self.ports = self.server, None, {}
        if server is None:
            return
        try:
            server.send_signal(signal.SIGINT)
            status = server.wait(PATIENCE)
        finally:
            server.kill()
            server.wait()
        said = self.log.read_text()
        if status != 0 or "Traceback" in said:
            raise TutorialError(f"app.py ended with {status}, and had said: {said}")

    def _with_ports(self, line: str) -> str:
        for ours, theirs in self.ports.items():
            line = re.sub(rf"(?<=:){ours}\b", str(theirs), line)
        return line

    def _as_on_the_page(self, text: str) -> str:
        for ours, theirs in self.ports.items():
            text = re.sub(rf"(?<=:){theirs}\b", ours, text)
        return text
