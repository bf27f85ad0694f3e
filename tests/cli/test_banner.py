"""The banner: colours on terminals alone, and ends of certificates that catch the eye."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import web
from tests.tls.authorities import Authority
from web.cli.banner import banner, colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert colour("red", "x", Terminal()) == "\033[31mx\033[0m"
    assert colour("red", "x", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "")  # set, and yet it says nothing
    assert colour("red", "x", Terminal()) != "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert colour("red", "x", Terminal()) == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert colour("red", "x", Terminal()) == "x"


@pytest.mark.parametrize(
    ("begins", "days", "code"), [(-30, 60, None), (-1, 20, None), (-60, 20, 33), (-60, 5, 31), (-3, 5, None)]
)
def test_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: int, days: int, code: int | None
) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    pair = Authority(tmp_path).issue("server", "localhost", begins=begins, days=days)
    tls = web.TlsContext(pair.chain, pair.key, policy="modern")
    server = web.Server(web.App(), "127.0.0.1", tls=tls)
    server.open()
    try:
        lines = banner(server, 3).split("\n")
    finally:
        server.close()
    assert "with 3 workers (Ctrl-C stops)" in lines[0]
    assert lines[1].startswith("  TLS 1.3, certificate for localhost, ")
    assert f"({days - 1} days)" in lines[1]
    assert (f"\033[{code}m" in lines[1]) if code else "\033" not in lines[1]
    assert lines[2].startswith("  weblatch ")


def test_a_context_of_another_name_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pairs = [authority.issue(name, f"{name}.example") for name in ("a", "b")]
    inner = web.TlsContext(pairs[1].chain, pairs[1].key)
    tls = web.TlsContext(pairs[0].chain, pairs[0].key, names={"b.example": inner})
    server = web.Server(web.App(), "127.0.0.1", tls=tls)
    server.open()
    try:
        lines = banner(server, 0).split("\n")
    finally:
        server.close()
    assert [line.split(" for ")[1].split(",")[0] for line in lines[1:-1]] == ["a.example", "b.example"]
