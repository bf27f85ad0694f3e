"""A real browser for tests: Chromium without a window, driven by the Chrome DevTools Protocol over two pipes.

Chromium reads commands from its fd 3 and writes answers and events to its fd 4, each a JSON text that ends with NUL, so
no WebSocket and no port are needed (https://chromedevtools.github.io/devtools-protocol/).

A ``Browser`` owns the process and both pipes. A ``Page`` is a tab; it belongs to one Browser, has a session of its own
and, unless it is opened beside another, its own cookies. Nothing runs in the background: what the browser says is read
while somebody waits for an answer, and events are given to their page in their order.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.serving import foreign_environment
from tests.wire.clients import eventually

HOW_TO_GET = "there is no Chromium; get it by: apt-get install chromium (apk add chromium, brew install chromium)"
PATIENCE = 60.0  # seconds; ends a hang, and is never what a test measures

_PROGRAMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip
_FLAGS = (
    "--remote-debugging-pipe", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
    "--disable-dev-shm-usage", "--no-proxy-server", "--ignore-certificate-errors",
)  # fmt: skip


def find_program() -> str | None:
    """The path of a Chromium or Chrome; None: there is none."""
    return next((path for name in _PROGRAMS if (path := shutil.which(name)) is not None), None)


class BrowserError(AssertionError):
    """What the browser refused, or what a script in a page raised."""


class Browser:
    """``Browser(program, folder)`` starts one with an empty profile in that folder; ``close()`` ends it."""

    def __init__(self, program: str, folder: Path) -> None:
        self._log = folder / "chromium.log"
        self._buffer = b""
        self._last_id = 0
        self._pages: dict[str, Page] = {}  # by session
        self._pid: int | None = None
        commands, self._write = _pipe()
        self._read, answers = _pipe()
        try:
            self._pid = os.posix_spawn(
                program,
                [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
                foreign_environment(),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.fspath(self._log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    (os.POSIX_SPAWN_DUP2, commands, 3),
                    (os.POSIX_SPAWN_DUP2, answers, 4),
                ],
                setpgroup=0,
            )
        finally:
            os.close(commands)
            os.close(answers)
        self.command("Browser.getVersion")  # it is there

    def open_page(self, beside: Page | None = None) -> Page:
        """A new tab with cookies of its own, or with those of the page beside it."""
        context = (
            beside.context if beside is not None else self.command("Target.createBrowserContext")["browserContextId"]
        )
        target = self.command("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        session = self.command("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._pages[session] = page = Page(self, session, target, context)
        page.prepare()
        return page

    def command(self, method: str, params: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        """The result of a command; BrowserError where it is refused."""
        number = self.post(method, params, session)
        until = time.monotonic() + PATIENCE
        while True:
            message = self._receive(until)
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self._hand_out(message)

    def post(self, method: str, params: dict[str, Any] | None = None, session: str | None = None) -> int:
        """Sends a command without waiting for its result; its number."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params or {}}
        left = json.dumps(message if session is None else message | {"sessionId": session}).encode() + b"\0"
        while left:
            left = left[os.write(self._write, left) :]
        return self._last_id

    def next_event(self) -> None:
        """Waits for one message and gives it to its page."""
        self._hand_out(self._receive(time.monotonic() + PATIENCE))

    def _hand_out(self, message: dict[str, Any]) -> None:
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.take_event(message["method"], message["params"])

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise BrowserError(f"the browser says nothing for {PATIENCE} seconds; its log: {self._said()}")
            data = os.read(self._read, 1 << 16)
            if not data:
                raise BrowserError(f"the browser has ended; its log: {self._said()}")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""

    def forget(self, page: Page) -> None:
        """The page is closed."""
        del self._pages[page.session]

    def close(self) -> None:
        """Ends the browser and all its processes, and gives the pipes back."""
        pid, self._pid = self._pid, None
        if pid is None:
            return
        with suppress(OSError, BrowserError):
            self.command("Browser.close")
            while True:  # to the end of the pipe: then it has written its profile
                self.next_event()
        os.close(self._write)
        os.close(self._read)
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only zombies are left
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class Page:
    """A tab. Selectors are those of CSS and name the first element that they match."""

    def __init__(self, browser: Browser, session: str, target: str, context: str) -> None:
        self.browser = browser
        self.session = session
        self.target = target
        self.context = context
        self.errors: list[str] = []  # of the console, of scripts, of the network and of policies; dialogs, too
        self._frame = ""  # the main one
        self._loader = ""  # of the document that is shown
        self._loaded: set[str] = set()  # loaders whose document is whole

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.command(method, params, self.session)

    def prepare(self) -> None:
        """Asks for the events that it lives by."""
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")
        frame = self.command("Page.getFrameTree")["frameTree"]["frame"]
        self._frame, self._loader = frame["id"], frame["loaderId"]
        self.command("Page.setLifecycleEventsEnabled", enabled=True)

    def take_event(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.lifecycleEvent" if params["frameId"] == self._frame and params["name"] == "load":
                self._loaded.add(params["loaderId"])
            case "Runtime.exceptionThrown":
                self.errors.append(_thrown(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                words = [str(one.get("value", one.get("description"))) for one in params["args"]]
                self.errors.append(f"console.{params['type']}: {' '.join(words)}")
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{params['entry']['text']} ({params['entry'].get('url', '')})")
            case "Page.javascriptDialogOpening":
                self.errors.append(f"a dialog: {params['message']}")
                self.browser.post("Page.handleJavaScriptDialog", {"accept": True}, self.session)

    # ---- what somebody does who sits before it ----

    def goto(self, url: str) -> None:
        """Opens a URL and waits until all of it is loaded."""
        answer = self.command("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        self._await_load(answer["loaderId"])

    def reload(self) -> None:
        """Loads the page again, as its button does, and waits until all of it is there."""
        before = self._loaded.copy()
        self.command("Page.reload")
        self._await_another(before)

    def follow(self, selector: str) -> None:
        """A click that leads to another page; waits until all of it is there."""
        before = self._loaded.copy()
        self.click(selector)
        self._await_another(before)

    def _await_another(self, before: set[str]) -> None:
        while not (new := self._loaded - before):
            self.browser.next_event()
        self._await_load(new.pop())

    def _await_load(self, loader: str) -> None:
        while loader not in self._loaded:
            self.browser.next_event()
        self._loader = loader

    def click(self, selector: str) -> None:
        """A click with the left button into the middle of an element, which is scrolled into view."""
        x, y = self.evaluate(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                if (!element) throw new Error("there is no " + {json.dumps(selector)});
                element.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type_text(self, selector: str, text: str) -> None:
        """Clicks into a field and types."""
        self.click(selector)
        self.command("Input.insertText", text=text)

    def press_enter(self) -> None:
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.command("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self.command("Input.dispatchKeyEvent", type="keyUp", **key)

    # ---- what it shows ----

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript, if JSON has it; promises are awaited. BrowserError: it throws."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(_thrown(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The text of each element that matches."""
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(element => element.innerText)"
        )
        return found

    def wait_for(self, expression: str) -> None:
        """Waits until an expression is true."""
        eventually(lambda: self.evaluate(f"!!({expression})"), expression)

    def close(self) -> None:
        self.browser.command("Target.closeTarget", {"targetId": self.target})
        self.browser.forget(self)


def _thrown(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description", details["text"]))


def _pipe() -> tuple[int, int]:
    """(reading, writing) end, both past the numbers 0 to 4, which a child gets others for."""
    ends = os.pipe()
    try:
        return fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, 10), fcntl.fcntl(ends[1], fcntl.F_DUPFD_CLOEXEC, 10)
    finally:
        os.close(ends[0])
        os.close(ends[1])
