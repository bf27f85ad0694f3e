"""The module ``weblatch``: it is ``web`` where that is ours, and says what to do where it is another's.

Wheels are made here of what is imported, and of a stand-in for web.py with files of its names; pip installs, overwrites
and removes them as it would the real ones.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import web
import weblatch
from tests.serving import foreign_environment

SOURCE = Path(web.__file__).parents[1]
WEB_PY = ("__init__.py", "application.py", "webapi.py", "wsgi.py")
ENVIRONMENT = {
    name: value for name, value in foreign_environment().items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")
}
RUN_FOREIGN = "raise SystemExit('foreign code was run')\n"


def make_wheel(folder: Path, name: str, files: dict[str, bytes], scripts: str = "") -> Path:
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": scripts.encode(),
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(path, content)
    return wheel


class Place:
    """An environment of its own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "env")
        self.bin = folder / "env/bin"
        self.here = folder / "here"
        self.here.mkdir()
        ours = {
            str(path.relative_to(SOURCE)): path.read_bytes()
            for package in ("web", "weblatch", "weblatch.libs")  # the last is auditwheel's, beside the packages
            for path in (SOURCE / package).rglob("*")
            if (path.suffix in (".py", ".so") and "__pycache__" not in path.parts) or package == "weblatch.libs"
        }
        scripts = "[console_scripts]\nweb = weblatch:main\nweblatch = weblatch:main\n"
        self._wheels = {
            "weblatch": make_wheel(folder, "weblatch", ours, scripts),
            "web.py": make_wheel(folder, "web.py", {f"web/{name}": RUN_FOREIGN.encode() for name in WEB_PY}),
        }
        self.install("weblatch")

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--quiet", "--python", str(self.bin / "python"), *arguments]
        subprocess.run(command, check=True, env=ENVIRONMENT, capture_output=True)

    def install(self, name: str) -> None:
        self.pip("install", "--no-index", "--no-deps", "--force-reinstall", str(self._wheels[name]))

    def uninstall(self, name: str) -> None:
        self.pip("uninstall", "--yes", name)

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code, and all that was said."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.here,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def says(self, *words: str) -> None:
        """That each way to begin fails with these words: in one line where it is a command."""
        for command in (["web", "--version"], ["weblatch", "--version"], ["python", "-m", "weblatch", "--version"]):
            code, said = self.run(*command)
            assert (code, said.count("\n")) == (3, 1), said
            assert all(word in said for word in words), said
        code, said = self.run("python", "-c", "import weblatch")
        assert code == 1
        assert "weblatch.names.NameConflict: " in said
        assert all(word in said for word in words), said

    def works(self) -> None:
        for command in (["web", "--version"], ["weblatch", "--version"], ["python", "-m", "weblatch", "--version"]):
            assert self.run(*command)[1].startswith("weblatch 1.0, Python")
        assert self.run("python", "-c", "import weblatch; print(weblatch.defserver.__module__)") == (
            0,
            "web.factories\n",
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


pytestmark = pytest.mark.no_asan  # its programs are run by interpreters that load no sanitizer


def test_it_is_web() -> None:
    assert set(weblatch.__all__) == {*web.__all__, "NameConflict", "main"}
    assert all(getattr(weblatch, name) is getattr(web, name) for name in web.__all__)
    assert "NameConflict" not in web.__all__


def test_web_py_after_us(place: Place) -> None:
    place.works()
    place.install("web.py")
    place.says("web.py was installed over weblatch's package", "pip uninstall -y web.py; ", "--force-reinstall")
    place.uninstall("web.py")
    place.says("is not complete", "web/__init__.py is missing", "pip install --force-reinstall --no-deps weblatch")
    place.install("weblatch")
    place.works()


def test_web_py_before_us(place: Place) -> None:
    """Ours is the one that works: until web.py is uninstalled, which takes a file of ours with it."""
    place.uninstall("weblatch")
    place.install("web.py")
    place.install("weblatch")
    place.works()
    (place.here / "app.py").write_text("import web\napp = web.App()\n")
    code, said = place.run("web", "check", "app")
    assert code == 1
    assert "fail  web.py is installed in the same environment" in said
    place.uninstall("web.py")
    place.says("is not complete", "--force-reinstall --no-deps weblatch")


def test_a_file_and_a_folder_of_ones_own(place: Place) -> None:
    """Commands do not look at the working folder, programs in it do."""
    own = place.here / "web.py"
    own.write_text(RUN_FOREIGN)
    code, said = place.run("python", "-c", "import weblatch")
    assert code == 1
    assert f"`import web` gives {own}, a file of your own that hides weblatch's package `web`: rename it" in said
    assert place.run("python", "-m", "weblatch", "--version")[0] == 3
    assert place.run("web", "--version")[1].startswith("weblatch 1.0")
    assert "web.py has the name of weblatch's own package" in place.run("web", "run", "web:app")[1]
    own.unlink()
    (place.here / "web").mkdir()
    place.works()  # a folder that is no package comes after one that is
    (place.here / "web/__init__.py").write_text(RUN_FOREIGN)
    _, said = place.run("python", "-c", "import weblatch")
    assert f"`import web` gives {place.here / 'web'}, a folder of your own" in said


def test_a_program_that_is_named_web(place: Place) -> None:
    (place.here / "web.py").write_text("import weblatch\n")
    _, said = place.run("python", "web.py")
    assert "a file of your own that hides" in said


def test_what_is_imported_already_counts(place: Place) -> None:
    (place.here / "web.py").write_text("__spec__ = None\n")
    _, said = place.run("python", "-c", "import web, weblatch")
    assert "a file of your own that hides" in said
