"""What every test gets: state machines that abort on an illegal step, and a check that no test leaves an fd behind."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import settings

import web
from tests.browser import HOW_TO_GET, Browser, Page, find_program
from web import _core

_core.abort_on_illegal_steps(True)
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:  # in the background, or by nohup: programs would inherit it
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
settings.register_profile("suite", deadline=None)  # no test judges a time: the machine may be busy
settings.load_profile("suite")


def open_fds() -> dict[int, str]:
    """The process's file descriptors and what they lead to, without the one that this listing takes."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    found = {}
    for name in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue  # the listing's own
        if not target.endswith("/fd"):
            found[int(name)] = target
    return found


@pytest.fixture(autouse=True)
def no_fd_is_left() -> Iterator[None]:
    """Fails the test that leaves a socket, pipe, poller or file open, or that closes one which it did not open."""
    before = open_fds()
    yield
    if open_fds().keys() - before.keys():
        gc.collect()
    after = open_fds()
    left = {fd: target for fd, target in after.items() if fd not in before}
    assert not left, f"file descriptors left open: {left}"
    gone = {fd: target for fd, target in before.items() if fd not in after}
    assert not gone, f"file descriptors closed that were somebody else's: {gone}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser. Where there is none the test is skipped, but in CI (where it is installed) it fails."""
    program = find_program()
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW_TO_GET)
    running = Browser(program, tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab with cookies of its own; ``browser.open_page(beside=page)`` opens one more."""
    opened = browser.open_page()
    yield opened
    opened.close()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name, and servers that take any port and do not block."""
    cert, key = web.dev_certificate(tmp_path)
    (tmp_path / "cert.pem").write_bytes(Path(cert).read_bytes())
    (tmp_path / "key.pem").write_bytes(Path(key).read_bytes())
    private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    (tmp_path / "encrypted.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    (tmp_path / "public").mkdir()
    (tmp_path / "public/index.html").write_text("<h1>hello</h1>")
    (tmp_path / "page.md").write_text("a file, no folder")
    monkeypatch.chdir(tmp_path)
    listen = web.Server.listen

    def listen_anywhere(self: web.Server, host: str, port: int = 0, *rest: Any, **options: Any) -> None:
        listen(self, host, 0, *rest, **options)

    def run(self: web.Server) -> None:
        with self.running():
            pass

    monkeypatch.setattr(web.Server, "listen", listen_anywhere)
    monkeypatch.setattr(web.Server, "run", run)
    return tmp_path
