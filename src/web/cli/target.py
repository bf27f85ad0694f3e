"""The server that ``module:name`` or ``path/file.py:name`` stands for.

The module is imported with the working folder first on the path; a file is run as a module of its name, or of its
package's where it lies in one. While that happens, and while ``name()`` is called, ``Server.run()`` serves nothing: a
program that ends in ``server.run()`` shows which server it means, and its import ends there. Else the name says it;
without a name ``server``, then ``app``, then the only Server or App there is.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import CoroutineType, ModuleType

import web.server
from web.app import App
from web.cli.errors import CommandError
from web.problems import in_one_line
from web.server import Server

__all__ = ["Target", "find", "place_of"]

_USUAL_NAMES = ("server", "app")
_OWN_PACKAGES = ("web", "weblatch")
_TAKEN = frozenset(_OWN_PACKAGES) | sys.stdlib_module_names


@dataclass(frozen=True, slots=True)
class Target:
    """What was found: ``made`` is a Server, or an App that has none yet. ``label``: how messages call it."""

    label: str
    made: Server | App

    @property
    def app(self) -> App:
        return self.made.app if isinstance(self.made, Server) else self.made


class _RunCalled(BaseException):
    """The program has come to ``server.run()``."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server


def _stop_import(server: Server) -> None:
    raise _RunCalled(server)


@contextmanager
def _run_serves_nothing() -> Iterator[None]:
    web.server._instead_of_run.append(_stop_import)
    try:
        yield
    finally:
        web.server._instead_of_run.pop()


def find(text: str) -> Target:
    """CommandError: there is no such module, file or name, or it cannot be imported."""
    place, _, name = text.partition(":")
    if not place:
        raise CommandError(f"{text!r}: write module:name or path/file.py:name, like app:server")
    module, run = _import(place)
    made = _made(module, place, name, run)
    if isinstance(made, Server):
        web.server._never_run.pop(made, None)  # it is known of
    return Target(f"{place}:{name}" if name else place, made)


def place_of(text: str) -> Path:
    """The folder at which imports of a target begin. CommandError: there is no such file."""
    place = text.partition(":")[0]
    return _package_of(_existing(Path(place)))[0] if _is_file(place) else _here()


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise CommandError("the working folder does not exist any more: cd to one that does") from None


# -- the module -------------------------------------------------------------------------------------------------------


def _import(place: str) -> tuple[ModuleType, Server | None]:
    """The module, and the server that it ran."""
    module = ModuleType(place)
    try:
        with _run_serves_nothing():
            module = _of_file(Path(place)) if _is_file(place) else _of_word(place)
            _run_module(module, place)
    except _RunCalled as called:  # the module's, or a package's around it
        return module, called.server
    return module, None


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise CommandError(f"{path} is a folder: name the file in it, like {path / 'app.py'}")
    if not path.exists():
        near = _near(path.name, [one.name for one in path.parent.glob("*.py")])
        raise CommandError(f"there is no file {path}{near}")
    return path.resolve()  # as Python itself: what lies beside the file, and not beside a link to it, can be imported


def _package_of(path: Path) -> tuple[Path, list[str]]:
    """The folder at which imports begin, and the module's name in parts: those of packages around it, and its own."""
    folder, parts = path.parent, [path.stem]
    while folder.name.isidentifier() and folder.name not in _TAKEN and (folder / "__init__.py").exists():
        folder, parts = folder.parent, [folder.name, *parts]
    return folder, parts


def _of_file(path: Path) -> ModuleType:
    """Not run yet; the packages around it were."""
    real = _existing(path)
    folder, parts = _package_of(real)
    sys.path.insert(0, str(folder))
    if len(parts) > 1 and real.suffix == ".py" and real.stem.isidentifier():
        sys.path.append(str(real.parent))  # for programs that take a package for a folder, too
        return _of_name(".".join(parts[:-1] if real.stem == "__init__" else parts))
    name = real.stem
    if name in _TAKEN:
        whose = "weblatch" if name in _OWN_PACKAGES else "Python's library"
        raise CommandError(f"{path} has the name of a module of {whose}, and would hide it: rename the file")
    spec = importlib.util.spec_from_file_location(name, real)
    if spec is None:
        raise CommandError(f"{path} is no Python file: its name does not end in .py")
    return importlib.util.module_from_spec(spec)


def _of_word(name: str) -> ModuleType:
    """As _of_name(), with the working folder first on the path."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise CommandError(f"{name!r} is no module's name: write module:name, like app:server, or a file, like app.py")
    if name in _OWN_PACKAGES and Path(f"{name}.py").exists():
        raise CommandError(f"{name}.py has the name of weblatch's own package, and would hide it: rename the file")
    sys.path.insert(0, str(_here()))
    return _of_name(name)


def _of_name(name: str) -> ModuleType:
    """Not run yet, where it was not imported before; its parent packages were."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):  # what a package around it needs
            raise _cannot_import(name, error) from error
        spec = None
    except Exception as error:
        raise _cannot_import(name, error) from error
    if spec is None or spec.loader is None:
        near = _near(name, _modules_here())
        raise CommandError(f"there is no module {name} in {_here()}, nor is one installed{near}")
    return sys.modules.get(name) or importlib.util.module_from_spec(spec)


def _run_module(module: ModuleType, place: str) -> None:
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None
    if sys.modules.get(spec.name) is module:
        return
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _cannot_import(place, error) from error
    except SystemExit as error:
        raise CommandError(f"{place} ends the program while it is imported (exit code {error.code!r})") from error


def _cannot_import(place: str, error: Exception) -> CommandError:
    """With the traceback, from the user's own code on."""
    told = traceback.TracebackException.from_exception(error)
    own = (str(Path(__file__).parent), "<frozen importlib", str(Path(importlib.__file__).parent))
    while told.stack and told.stack[0].filename.startswith(own):
        told.stack.pop(0)
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f"; pip install what brings {error.name!r}, or see whether this is the right environment"
    return CommandError(f"{place} cannot be imported: {in_one_line(error)}{hint}", before="".join(told.format()))


def _modules_here() -> list[str]:
    here = _here()
    files = [one.stem for one in here.glob("*.py")]
    return files + [one.parent.name for one in here.glob("*/__init__.py")]


# -- the name ---------------------------------------------------------------------------------------------------------


def _made(module: ModuleType, place: str, name: str, run: Server | None) -> Server | App:
    there = {key: value for key, value in vars(module).items() if isinstance(value, (Server, App))}
    if not name:
        return run or _only_one(place, there)
    call = name.endswith("()")
    name = name.removesuffix("()")
    if not hasattr(module, name):
        if run is not None:  # its import ended at run(): what comes after is not there
            return run
        functions = [key for key, value in vars(module).items() if callable(value)] if call else []
        raise CommandError(f"{place} has no {name}{_near(name, functions or there, such=True)}")
    value = getattr(module, name)
    if call:
        value = _called(value, f"{place}:{name}")
    if isinstance(value, (Server, App)):
        return value
    if not call and callable(value):
        raise CommandError(f"{place}:{name} is a {type(value).__name__}: where it makes the server, write {name}()")
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise CommandError(f"{place}:{name} is of the type {kind}: a web.Server or web.App is needed")


def _called(value: object, label: str) -> object:
    if not callable(value):
        raise CommandError(f"{label} is of the type {type(value).__name__}, which cannot be called: write {label}")
    try:
        with _run_serves_nothing():
            made = value()
    except _RunCalled as called:
        return called.server
    except Exception as error:
        raise _cannot_import(f"{label}()", error) from error
    except SystemExit as error:
        raise CommandError(f"{label}() ends the program (exit code {error.code!r})") from error
    if isinstance(made, CoroutineType):
        made.close()
        raise CommandError(f"{label}() is async, and nothing runs yet that could await it: make it a plain function")
    return made


def _only_one(place: str, there: dict[str, Server | App]) -> Server | App:
    for usual in _USUAL_NAMES:
        if usual in there:
            return there[usual]
    if len({id(value) for value in there.values()}) == 1:
        return next(iter(there.values()))
    if there:
        raise CommandError(f"{place} has several: write {' or '.join(f'{place}:{name}' for name in there)}")
    raise CommandError(f"{place} has no Server and no App: make one, like server = web.defserver('', 8000, ...)")


def _near(name: str, known: Iterable[str], *, such: bool = False) -> str:
    """What might have been meant."""
    known = sorted(known)
    if close := get_close_matches(name, known, 1, 0.5):
        return f"; did you mean {close[0]}?"
    if such and known:
        return f", but {', '.join(known)}"
    return ""
