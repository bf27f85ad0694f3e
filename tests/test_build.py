"""The build keeps its promises: one exported symbol, one version, one message when something is missing."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import web
import web._core as core

ROOT = Path(__file__).resolve().parent.parent


needs_cython = pytest.mark.skipif(
    importlib.util.find_spec("Cython") is None, reason="the tools of the build are not installed, as where a wheel is"
)


def setup_py(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the extension's build with nothing on PATH, its results kept out of the source tree."""
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", f"--build-lib={folder}", f"--build-temp={folder}"],
        cwd=ROOT,
        env={"PATH": str(folder), "HOME": str(folder), "PYTHONWARNINGS": "ignore", **environment},
        capture_output=True,
        text=True,
    )


def test_setup_py_is_short() -> None:
    assert len((ROOT / "setup.py").read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed")
def test_the_module_exports_one_symbol() -> None:
    command = ["nm", "-gU"] if sys.platform == "darwin" else ["nm", "-D", "--defined-only"]
    listing = subprocess.run([*command, core.__file__], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1].removeprefix("_") for line in listing.splitlines()] == ["PyInit__core"]


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    assert web.__version__ == version
    assert importlib.metadata.version("weblatch") == version
    sources = [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".pyi", ".pyx", ".pxi", ".h"}]
    assert sources
    written = re.compile(r"""["']""" + re.escape(version) + r"""["']""")
    assert [str(path) for path in sources if written.search(path.read_text(encoding="utf-8"))] == []


def test_no_run_time_dependencies() -> None:
    required = importlib.metadata.requires("weblatch") or []
    assert [one for one in required if "extra ==" not in one] == []


def test_the_linked_openssl_is_new_enough() -> None:
    match = re.match(r"OpenSSL (\d+)\.", web.openssl_version())
    assert match is not None
    assert int(match[1]) >= 3


@needs_cython
@pytest.mark.parametrize(
    ("compiler", "what"),
    [
        ("no-such-compiler", "no C compiler (no-such-compiler"),
        ("stand-in Python.h", "no header files of Python"),
        ("stand-in openssl/ssl.h", "no header files of OpenSSL 3.0 or newer"),
        ("stand-in zlib.h", "no header files of zlib"),
    ],
)
def test_what_is_missing_is_named_with_the_packages(tmp_path: Path, compiler: str, what: str) -> None:
    """The stand-in is a preprocessor that knows all headers but one. Without pkg-config on PATH it is asked for all."""
    stand_in = tmp_path / "stand-in"
    stand_in.write_text(
        f"#!{sys.executable} -I\nimport sys\nsys.exit(f'#include <{{sys.argv[1]}}>' in sys.stdin.read())\n",
        encoding="utf-8",
    )
    stand_in.chmod(0o755)
    answer = setup_py(tmp_path, CC=compiler)
    assert answer.returncode != 0
    assert f"weblatch cannot be built here: {what}" in answer.stderr
    for system, package in {
        "Debian": "libssl-dev zlib1g-dev python3-dev",
        "Fedora": "openssl-devel zlib-devel python3-devel",
        "Alpine": "openssl-dev zlib-dev python3-dev",
        "macOS": "brew install openssl@3",
    }.items():
        assert re.search(rf"^ +{system}.*{re.escape(package)}", answer.stderr, re.MULTILINE)
    assert "Traceback" not in answer.stderr


@needs_cython
def test_a_wrong_openssl_folder_is_named(tmp_path: Path) -> None:
    answer = setup_py(tmp_path, WEB_OPENSSL_DIR=str(tmp_path / "nothing"))
    assert answer.returncode != 0
    assert f"WEB_OPENSSL_DIR={tmp_path}/nothing lacks" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_python_finder_takes_the_first_that_is_new_enough(tmp_path: Path) -> None:
    old, new = tmp_path / "python3", tmp_path / "python3.13"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    new.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    for path in (old, new):
        path.chmod(0o755)
    finder = ["/bin/sh", str(ROOT / "tools/python.sh")]
    environment = {"PATH": str(tmp_path)}
    found = subprocess.run(finder, env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "python3.13\n")
    refused = subprocess.run([*finder, "python3"], env=environment, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "3.11 or newer" in refused.stderr


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    explained = makefile.split("\n\n", 1)[0]
    assert [target for target in phony[1].split() if f"make {target} " not in explained] == []


def test_environment_of_the_tests_is_what_they_are_to_test() -> None:
    """A stale copy would make every other test a lie; and so would the built tree, where a wheel is tested."""
    folder = Path(core.__file__).resolve().parent.parent
    assert Path(web.__file__).resolve().parent.parent == folder
    if os.environ.get("WEB_INSTALLED") == "1":  # tools/test_wheel.sh
        assert folder == Path(sysconfig.get_path("platlib")).resolve()
        assert str(ROOT / "src") not in sys.path
        return
    expected = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    assert folder in [*expected, ROOT / "src"]
