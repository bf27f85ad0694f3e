"""Which server a word on the command line stands for, and what is said where it stands for none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import web
from web.cli.errors import CommandError
from web.cli.target import find, place_of

APP = "import web\nserver = web.defserver('127.0.0.1', 0, web.GET('/', lambda req: __name__))\n"


def refused(text: str) -> str:
    with pytest.raises(CommandError) as caught:
        find(text)
    return str(caught.value)


@pytest.mark.parametrize("text", ["app", "app:server", "app.py", "app.py:server", "./app.py", "app:make()"])
def test_ways_to_name_it(here: Path, text: str) -> None:
    (here / "app.py").write_text(f"{APP}def make():\n    return server\n")
    target = find(text)
    assert target.label == text
    assert isinstance(target.made, web.Server)
    assert target.app is target.made.app
    assert sys.modules["app"].server is target.made


def test_in_packages_and_in_other_folders(here: Path) -> None:
    (here / "shop/api").mkdir(parents=True)
    (here / "shop/__init__.py").touch()
    (here / "shop/api/__init__.py").write_text("from .other import app\n")
    (here / "shop/api/other.py").write_text("import web\napp = web.App()\n")
    assert isinstance(find("shop.api").made, web.App)
    assert isinstance(find("shop.api.other:app").made, web.App)
    (here / "elsewhere").mkdir()
    (here / "elsewhere/main.py").write_text("from beside import app\n")
    (here / "elsewhere/beside.py").write_text("import web\napp = web.App()\n")
    assert isinstance(find("elsewhere/main.py").made, web.App)


@pytest.mark.parametrize("text", ["src/shop/api/main.py", "src/shop/api/__init__.py:app"])
def test_a_file_in_a_package_is_its_module(here: Path, text: str) -> None:
    """Relative imports work, and those of the package by its name; so do those that take it for a folder."""
    (here / "src/shop/api").mkdir(parents=True)
    (here / "src/shop/__init__.py").touch()
    (here / "src/shop/api/__init__.py").write_text("from .main import app\n")
    (here / "src/shop/api/main.py").write_text(
        "from .. import base\nfrom shop.base import app\nimport beside, colorsys\n"
    )
    (here / "src/shop/base.py").write_text("import web\napp = web.App()\n")
    (here / "src/shop/api/beside.py").touch()
    (here / "src/shop/api/colorsys.py").write_text("raise RuntimeError('Python has one of this name')\n")
    assert isinstance(find(text).made, web.App)
    assert sys.modules["shop.api.main"].app is sys.modules["shop.base"].app
    assert place_of(text) == here / "src"


def test_a_folder_that_is_named_like_a_module_of_python(here: Path) -> None:
    (here / "code").mkdir()
    (here / "code/__init__.py").touch()
    (here / "code/main.py").write_text("import web\napp = web.App()\n")
    assert isinstance(find("code/main.py").made, web.App)
    assert place_of("code/main.py") == here / "code"


def test_a_file_by_a_link(here: Path) -> None:
    """As with Python: what lies beside the file itself can be imported."""
    (here / "real").mkdir()
    (here / "real/main.py").write_text("from beside import app\n")
    (here / "real/beside.py").write_text("import web\napp = web.App()\n")
    (here / "link.py").symlink_to("real/main.py")
    assert isinstance(find("link.py").made, web.App)
    assert place_of("link.py") == here / "real"


@pytest.mark.parametrize("text", ["app.py:other", "app:other"])
def test_another_than_the_one_that_is_run(here: Path, text: str) -> None:
    (here / "app.py").write_text(f"{APP}other = web.App()\nserver.run()\n")
    assert isinstance(find(text).made, web.App)


def test_a_function_that_runs_its_server_shows_it(here: Path) -> None:
    (here / "app.py").write_text(f"import web\ndef main():\n    {APP.splitlines()[1]}\n    server.run()\n")
    made = find("app:main()").made
    assert isinstance(made, web.Server)
    assert made._loop is None


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("server, app = web.defserver('', 1), web.App()", "server"),
        ("app, other = web.App(), web.App()", "app"),
        ("alone = web.App()", "alone"),
        ("alone = same = web.App()", "alone"),
    ],
)
def test_which_without_a_name(here: Path, code: str, found: str) -> None:
    (here / "app.py").write_text(f"import web\n{code}\n")
    assert find("app").made is getattr(sys.modules["app"], found)


@pytest.mark.parametrize("text", ["app.py", "app", "app:server", "app:later"])
@pytest.mark.parametrize("run", ["server.run()", "server.app.serve('127.0.0.1', 0)"])
def test_a_program_that_runs_its_server_shows_it(here: Path, text: str, run: str) -> None:
    """Nothing is served, and what comes after is not done."""
    (here / "app.py").write_text(f"{APP}{run}\nraise RuntimeError('past its end')\n")
    made = find(text).made
    assert isinstance(made, web.Server)
    assert made._loop is None
    with made.running():  # it would, now
        pass


def test_a_package_that_runs_its_server_shows_it(here: Path) -> None:
    (here / "shop").mkdir()
    (here / "shop/__init__.py").write_text(f"{APP}server.run()\n")
    (here / "shop/app.py").touch()
    assert isinstance(find("shop.app").made, web.Server)


def test_what_is_imported_already_is_used(here: Path) -> None:
    (here / "app.py").write_text(APP)
    assert find("app").made is find("app").made


# -- what is not there -------------------------------------------------------------------------------------------------


def test_no_such_place(here: Path) -> None:
    (here / "application.py").write_text(APP)
    (here / "folder").mkdir()
    assert refused("aplication.py") == "there is no file aplication.py; did you mean application.py?"
    assert refused("zzz.py") == "there is no file zzz.py"
    assert refused("aplication") == (
        f"there is no module aplication in {here}, nor is one installed; did you mean application?"
    )
    assert refused("no.such.module:app") == f"there is no module no.such.module in {here}, nor is one installed"
    assert refused("folder/") == "folder is a folder: name the file in it, like folder/app.py"
    assert refused(":app") == "':app': write module:name or path/file.py:name, like app:server"
    assert "is no module's name" in refused("my-app:server")
    (here / "app.txt").touch()
    assert refused("./app.txt") == "app.txt is no Python file: its name does not end in .py"


def test_no_such_name(here: Path) -> None:
    (here / "app.py").write_text(f"{APP}number = 3\ndef make_app():\n    return web.App()\n")
    assert refused("app:sever") == "app has no sever; did you mean server?"
    assert refused("app:zzz") == "app has no zzz, but server"
    assert refused("app:make_ap()") == "app has no make_ap; did you mean make_app?"
    assert refused("app:make_app") == "app:make_app is a function: where it makes the server, write make_app()"
    assert refused("app:number") == "app:number is of the type builtins.int: a web.Server or web.App is needed"
    assert refused("app:number()") == "app:number is of the type int, which cannot be called: write app:number"


def test_none_and_several(here: Path) -> None:
    (here / "none.py").write_text("import web\n")
    assert refused("none").startswith("none has no Server and no App: make one, like server = web.defserver(")
    (here / "two.py").write_text("import web\none = web.App()\nother = web.App()\n")
    assert refused("two") == "two has several: write two:one or two:other"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = (", "cannot be imported: SyntaxError: '(' was never closed"),
        ("import nothing_of_the_kind", "pip install what brings 'nothing_of_the_kind'"),
        ("import web\nweb.GET('users', print)", "cannot be imported: RouteError: pattern 'users' does not begin with"),
        ("import web\nweb.get('/')", "AttributeError: module 'web' has no attribute 'get'"),
        ("raise SystemExit(4)", "ends the program while it is imported (exit code 4)"),
        ("raise ValueError", "cannot be imported: ValueError"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E", "cannot be imported: E"),
    ],
)
@pytest.mark.parametrize("text", ["app", "app.py"])
def test_what_cannot_be_imported(here: Path, text: str, code: str, words: str) -> None:
    (here / "app.py").write_text(code)
    with pytest.raises(CommandError) as caught:
        find(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    if "SystemExit" not in code:
        assert 'app.py", line ' in caught.value.before
        assert "web/cli" not in caught.value.before
        assert "importlib" not in caught.value.before


def test_a_package_that_lacks_something_is_no_missing_module(here: Path) -> None:
    (here / "shop").mkdir()
    (here / "shop/__init__.py").write_text("import nothing_of_the_kind\n")
    assert "shop.app cannot be imported: ModuleNotFoundError" in refused("shop.app")


def test_a_function_that_fails(here: Path) -> None:
    (here / "app.py").write_text("def make():\n    raise OSError('no database')\n")
    with pytest.raises(CommandError, match=r"app:make\(\) cannot be imported: OSError: no database") as caught:
        find("app:make()")
    assert "line 2, in make" in caught.value.before


@pytest.mark.parametrize("name", ["web", "weblatch", "json", "signal"])
def test_names_that_hide_others(here: Path, name: str) -> None:
    (here / f"{name}.py").write_text(APP)
    assert f"{name}.py has the name of " in refused(f"{name}.py")
    if name.startswith("web"):
        assert f"{name}.py has the name of " in refused(f"{name}:server")


def test_functions_that_give_nothing_to_serve(here: Path) -> None:
    (here / "app.py").write_text("import sys\nasync def make():\n    pass\ndef leave():\n    sys.exit('no key')\n")
    assert refused("app:make()").startswith("app:make() is async, and nothing runs yet")
    assert refused("app:leave()") == "app:leave() ends the program (exit code 'no key')"


def test_a_working_folder_that_is_removed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "gone").mkdir()
    monkeypatch.chdir(here / "gone")
    (here / "gone").rmdir()
    try:
        assert refused("app").startswith("the working folder does not exist any more")
    finally:
        monkeypatch.chdir(here)
