"""``web new``: what it writes works, is typed, passes its own tests, and overwrites nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.serving import environment


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_tests_pass(command: Command, here: Path) -> None:
    said = command("new", "a/site")
    assert said.code == 0
    written = {str(path.relative_to(here / "a/site")) for path in (here / "a/site").rglob("*") if path.is_file()}
    assert written == {
        ".gitignore", "README.md", "app.py", "test_app.py", "public/index.html", "public/notes.js", "public/style.css"
    }  # fmt: skip
    assert all(f"  a/site/{name}\n" in said.out for name in written)
    assert "cd a/site\n" in said.out
    assert "3 passed" in run(here / "a/site", "-m", "pytest", "-p", "no:cacheprovider")
    assert command("check", "a/site/app.py").code == 0


def test_it_is_typed(command: Command, here: Path) -> None:
    pytest.importorskip("mypy")
    command("new", "site")
    run(here / "site", "-W", "default", "-m", "mypy", "--strict", "app.py", "test_app.py")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_is_left_alone(command: Command, here: Path, kind: str) -> None:
    if kind == "file":
        (here / "site").write_text("mine")
    else:
        (here / "site").mkdir()
        (here / "site/app.py").write_text("mine")
    said = command("new", "site")
    assert said.code == 3
    assert said.err == "web: site exists already and is not empty: nothing was written; name another folder\n"
    assert (here / "site" / ("" if kind == "file" else "app.py")).read_text() == "mine"


def test_an_empty_folder_is_filled(command: Command, here: Path) -> None:
    assert command("new", ".").code == 0
    assert (here / "app.py").exists()


def test_its_next_commands_can_be_typed(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are on stdout: that stderr is a terminal colours nothing."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert command("new", "my site").out.endswith("Next:\n  cd 'my site'\n  web dev app.py\n  python -m pytest\n")
