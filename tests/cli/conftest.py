"""A folder in which commands are given, and what they say there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import web.server
from web.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder. Modules that a command imports from it are forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield tmp_path
    assert web.server._instead_of_run == []  # run() serves again
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path is None or path.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def command(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Gives a command in that folder."""

    def give(*arguments: str) -> Said:
        try:
            code = main(list(arguments))
        except SystemExit as end:
            assert isinstance(end.code, int)
            code = end.code
        return Said(code, *capsys.readouterr())

    return give
