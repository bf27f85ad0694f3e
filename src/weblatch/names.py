"""Whose ``web`` Python would import: ours, web.py's, a file of the user's own, or what is left of ours.

Ours lies beside this package and has MARKER in its ``__init__.py``, which is read and not run: nothing of a foreign
package is executed to find out. What another distribution has put into our folder meanwhile is found by its files.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["NameConflict", "conflict", "is_command", "strangers"]

HOME = Path(__file__).resolve().parent.parent
MARKER = '__distribution__ = "weblatch"'
REPAIR = "python -m pip uninstall -y web.py; python -m pip install --force-reinstall --no-deps weblatch"
_FILES_OF_WEB_PY = ("application.py", "webapi.py", "wsgi.py")


class NameConflict(ImportError):  # noqa: N818 - it says what is
    """``import web`` does not give weblatch's package. The message says what it gives, and what to do."""


def conflict() -> str | None:
    """What stands in the way of ``import web``, in one line; None: nothing does."""
    origin = _origin()
    ours = HOME / "web" / "__init__.py"
    if origin == ours:
        return None if _is_ours(ours) else f"{_overwritten(ours)}: {REPAIR}"
    if origin is None:
        return (
            f"the package `web` of weblatch is not complete: {ours} is missing, as after web.py was uninstalled, which "
            "has a file of that name. Install it again: python -m pip install --force-reinstall --no-deps weblatch"
        )
    if origin.name == "__init__.py" and _has_files_of_web_py(origin.parent):
        return (
            f"`import web` gives web.py ({origin.parent}), not weblatch, and both cannot share an environment: {REPAIR}"
        )
    kind = "folder" if origin.name == "__init__.py" else "file"
    path = origin.parent if kind == "folder" else origin
    return f"`import web` gives {path}, a {kind} of your own that hides weblatch's package `web`: rename it"


def strangers() -> str | None:
    """What another distribution has put into our package, though ours can be imported; None: nothing."""
    if not _has_files_of_web_py(HOME / "web"):
        return None
    return (
        f"web.py is installed in the same environment, and both write {HOME / 'web'}: it cannot work, and weblatch "
        f"stops working when it is uninstalled: {REPAIR}"
    )


def is_command() -> bool:
    """Whether the process is one of the commands, and no program that imports us."""
    return Path(sys.argv[0]).name in ("web", "weblatch", "-m")  # "-m": while Python looks for what it is to run


def _origin() -> Path | None:
    """The file that ``import web`` runs, or has run."""
    try:
        found = find_spec("web")
        path = None if found is None else found.origin
    except ValueError:  # imported already, by somebody who gave it no spec
        path = getattr(sys.modules["web"], "__file__", None)
    return None if path is None else Path(path).resolve()


def _is_ours(path: Path) -> bool:
    return MARKER in path.read_text(encoding="utf-8", errors="replace")


def _overwritten(path: Path) -> str:
    who = "web.py" if _has_files_of_web_py(path.parent) else "another distribution"
    return f"{who} was installed over weblatch's package `web` ({path.parent}), and both cannot share an environment"


def _has_files_of_web_py(folder: Path) -> bool:
    return all((folder / name).exists() for name in _FILES_OF_WEB_PY)
