"""``web new DIR``: a small application with its tests, to go on from: the files of the folder ``skeleton``."""

from __future__ import annotations

import argparse
import shlex
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from web.cli.banner import colour
from web.cli.errors import DONE, CommandError

__all__ = ["new"]

_DOTTED = {"gitignore": ".gitignore"}  # a file that begins with a dot is easily lost on the way into a package


def new(options: argparse.Namespace) -> int:
    """``web new``."""
    folder: Path = options.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} exists already and is not empty: nothing was written; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in _copy(files("web.cli") / "skeleton", folder):
        print(f"  {path}")
    command = colour("bold", "web dev app.py", sys.stdout)
    print(f"Next:\n  cd {shlex.quote(str(folder))}\n  {command}\n  python -m pytest")
    return DONE


def _copy(source: Traversable, to: Path) -> list[Path]:
    written = []
    for one in sorted(source.iterdir(), key=lambda entry: entry.name):
        path = to / _DOTTED.get(one.name, one.name)
        if one.is_dir():
            if one.name != "__pycache__":
                path.mkdir()
                written += _copy(one, path)
        else:
            path.write_bytes(one.read_bytes())
            written.append(path)
    return written
