"""What is published: the source archive holds all that a build needs, a wheel's faults are seen, the pin is one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import foreign_environment
from tools import check_wheel, complete_wheel, openssl_pin, wheel_identifiers
from tools.check_wheel import Wheel
from tools.openssl_pin import Pin, read_pins, wheel_pin
from web import _core

ROOT = Path(__file__).resolve().parent.parent
PIN = Pin("3.5.9", "ab" * 32)

needs_build_tools = pytest.mark.skipif(
    any(shutil.which(one) is None for one in ("tar", "sh")), reason="tar or sh is not there"
)


# -- the source archive ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive of a copy of this tree, unpacked."""
    pytest.importorskip("setuptools")
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("sdist")
    tree = folder / "tree"
    ignored = shutil.ignore_patterns("*.so", "_core.c", "*.egg-info", "__pycache__", ".*cache", "build", ".hypothesis")
    tree.mkdir()
    for path in sorted(ROOT.iterdir()):
        if path.name in {"src", "tests", "bench", "tools", "docs", "examples"}:
            shutil.copytree(path, tree / path.name, ignore=ignored)
        elif path.is_file() and not path.name.startswith("."):
            shutil.copy(path, tree)
    made = backend(tree, "build_sdist", folder / "made")
    with tarfile.open(folder / "made" / made) as archive:
        archive.extractall(folder, filter="data")
    return folder / made.removesuffix(".tar.gz")


def backend(tree: Path, hook: str, target: Path) -> str:
    """Calls the build backend as pip does with --no-build-isolation; what it made."""
    target.mkdir(exist_ok=True)
    code = f"import sys; from setuptools import build_meta; print(build_meta.{hook}(sys.argv[1]))"
    environment = foreign_environment() | {"PYTHONPATH": "", "PYTHONWARNINGS": "ignore", "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=tree, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_archive_has_all_sources(unpacked: Path) -> None:
    kinds = {".pyx", ".pxi", ".h"}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if path.suffix in kinds}
    here = sources | check_wheel.files_of_packages(ROOT)
    there = {str(path.relative_to(unpacked / "src")) for path in (unpacked / "src").rglob("*")}
    assert len(sources) > 50
    assert len(here) > 100
    assert here - there == set()
    included = set()
    for path in (unpacked / "src/web").glob("_core*.p*"):
        included |= set(
            re.findall(r'^(?:include|cdef extern from) "(\w[\w.]*\.(?:pxi|h))"', path.read_text(), re.MULTILINE)
        )
    assert len(included) > 40
    assert [name for name in included if name.endswith(".pxi") and not (unpacked / "src/web" / name).exists()] == []
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md", "tools/exports.map", "tools/openssl.pin"):
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_archive_has_nothing_that_was_built(unpacked: Path) -> None:
    """No libraries, no caches, and of what Cython writes nothing."""
    found = [
        path for path in unpacked.rglob("*") if path.suffix in {".so", ".o", ".pyc", ".a"} or path.name == "_core.c"
    ]
    assert found == []


def test_the_archive_has_the_tests_and_what_they_read(unpacked: Path) -> None:
    for folder, kind in (("tests", "*.py"), ("docs", "*.md"), ("examples", "*.py"), ("tools", "*"), (".", "*.md")):
        here = {path.relative_to(ROOT / folder) for path in (ROOT / folder).glob(kind) if path.is_file()}
        assert here
        assert {path for path in here if not (unpacked / folder / path).exists()} == set()


def test_a_build_of_the_archive_starts_without_an_index(unpacked: Path, tmp_path: Path) -> None:
    """Its metadata is made; the extension's build comes to where it asks for a compiler, here one that is not there."""
    made = backend(unpacked, "prepare_metadata_for_build_wheel", tmp_path / "metadata")
    metadata = (tmp_path / "metadata" / made / "METADATA").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*?)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    for line in ("Name: weblatch", f"Version: {version[1]}", "License-Expression: MIT", "License-File: LICENSE"):
        assert f"\n{line}\n" in metadata
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", str(tmp_path)],
        cwd=unpacked,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "CC": "no-such-compiler", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "weblatch cannot be built here: no C compiler (no-such-compiler" in done.stderr


# -- a wheel, completed and looked at ----------------------------------------------------------------------------------

MODULE = "web/_core.cpython-311-x86_64-linux-gnu.so"
STATIC = b'...OpenSSL 3.5.9 1 Nov 2026\0...OPENSSLDIR: "/etc/ssl"\0'


def bare_wheel(folder: Path, module: bytes) -> Path:
    """A wheel as the backend makes it, with a module of our choice."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*?)"', project, re.MULTILINE)
    assert version is not None
    info = f"weblatch-{version[1]}.dist-info"
    files = {name: (ROOT / "src" / name).read_bytes() for name in check_wheel.files_of_packages(ROOT)}
    files[MODULE] = module
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.4\nName: weblatch\nVersion: {version[1]}\n"
        "License-Expression: MIT\nLicense-File: LICENSE\n"
        "Provides-Extra: forms\nRequires-Dist: multipart>=1.2; extra == 'forms'\n\n"
        "License-File: of the text\n\nThe end.\n"
    ).encode()
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\n"
    record = "".join(complete_wheel.record_line(name, data) for name, data in files.items()) + f"{info}/RECORD,,\n"
    path = folder / f"weblatch-{version[1]}-cp311-cp311-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(name, data)
    return path


def test_what_a_wheel_has_of_the_sources(tmp_path: Path) -> None:
    files = [
        "web/a.py",
        "web/py.typed",
        "web/cli/public/a.css",
        "web/a.pxi",
        "web/a.pyx",
        "web/a.h",
        "web/a.c",
        "web/a.so",
    ]
    for name in [*files, "web/__pycache__/a.pyc", "weblatch.egg-info/PKG-INFO"]:
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert check_wheel.files_of_packages(tmp_path) == set(files[:3])


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """What tools/build_openssl.sh leaves, as far as it is read."""
    folder = tmp_path / "openssl"
    (folder / "include/openssl").mkdir(parents=True)
    (folder / "include/openssl/opensslv.h").write_text('# define OPENSSL_VERSION_STR "3.5.9"\n', encoding="utf-8")
    (folder / "archive.sha256").write_text(PIN.sha256 + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def one_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_wheel, "exported", lambda module, *, macos: ["PyInit__core"])
    monkeypatch.setattr(check_wheel, "wheel_pin", lambda: PIN)


@pytest.fixture
def wheel(tmp_path: Path, prefix: Path, one_symbol: None) -> Wheel:
    path = bare_wheel(tmp_path, STATIC)
    complete_wheel.complete(path, prefix, PIN)
    return Wheel.read(path)


def test_a_completed_wheel_may_be_published(wheel: Wheel) -> None:
    assert check_wheel.faults(wheel, published=True) == []
    told = json.loads(wheel.files[f"{wheel.info}/sboms/{complete_wheel.SBOM_NAME}"])
    assert [(one["name"], one["version"]) for one in told["components"]] == [("openssl", "3.5.9")]
    assert PIN.sha256 in told["components"][0]["purl"]
    assert told["components"][0]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {one["ref"] for one in told["dependencies"]} == {"weblatch", "openssl"}
    assert b"\n\nLicense-File: of the text\n" in wheel.files[f"{wheel.info}/METADATA"]


def test_completing_gives_the_same_bytes_again(tmp_path: Path, prefix: Path) -> None:
    first = bare_wheel(tmp_path, STATIC)
    raw = first.read_bytes()
    complete_wheel.complete(first, prefix, PIN)
    made = first.read_bytes()
    first.write_bytes(raw)
    complete_wheel.complete(first, prefix, PIN)
    assert first.read_bytes() == made
    with pytest.raises(SystemExit, match="was completed before"):
        complete_wheel.complete(first, prefix, PIN)
    assert first.read_bytes() == made


def test_a_wheel_with_the_systems_openssl_is_not_published(tmp_path: Path, one_symbol: None) -> None:
    path = bare_wheel(tmp_path, b"nothing inside")
    complete_wheel.complete(path, None, PIN)
    wheel = Wheel.read(path)
    assert check_wheel.faults(wheel, published=False) == []
    told = json.loads(wheel.files[f"{wheel.info}/sboms/{complete_wheel.SBOM_NAME}"])
    assert told["components"] == []
    assert "its static OpenSSL is None" in check_wheel.faults(wheel, published=True)[0]


def test_another_archive_is_not_said_to_be_the_pinned_one(tmp_path: Path, prefix: Path, one_symbol: None) -> None:
    def told() -> str:
        path = bare_wheel(tmp_path, STATIC)
        complete_wheel.complete(path, prefix, PIN)
        assert check_wheel.faults(Wheel.read(path), published=False) == []
        return "".join(check_wheel.faults(Wheel.read(path), published=True))

    (prefix / "archive.sha256").write_text("cd" * 32, encoding="utf-8")
    assert "not built of the pinned archive" in told()
    (prefix / "archive.sha256").unlink()
    assert "not built of the pinned archive" in told()


def test_the_pinned_digest_beside_another_version_is_not_believed(prefix: Path) -> None:
    assert "checksum" in complete_wheel.openssl_component(prefix, PIN)["purl"]
    assert "checksum" not in complete_wheel.openssl_component(prefix, Pin("3.5.10", PIN.sha256))["purl"]
    (prefix / "include/openssl/opensslv.h").write_text("/* nothing */", encoding="utf-8")
    with pytest.raises(SystemExit, match="does not say its version"):
        complete_wheel.openssl_component(prefix, PIN)


def change(name: str, of: Callable[[bytes], bytes | None]) -> Callable[[Wheel], None]:
    """A fault: a file (its name may begin with INFO) with other bytes, or away."""

    def apply(wheel: Wheel) -> None:
        path = name.replace("INFO", wheel.info)
        changed = of(wheel.files.get(path, b""))
        if changed is None:
            del wheel.files[path]
        else:
            wheel.files[path] = changed

    return apply


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (change("web/py.typed", lambda _: None), "it lacks web/py.typed"),
        (change("web/app.py", lambda _: None), "it lacks web/app.py"),
        (change("web/_core.c", lambda _: b"int"), "nobody expects web/_core.c, a source"),
        (change("tests/test_x.py", lambda _: b""), "nobody expects tests/test_x.py"),
        (change("web/_core.cpython-312-x86_64-linux-gnu.so", lambda _: STATIC), "it has 2 extensions"),
        (change("web/app.py", lambda data: data + b"#"), "RECORD says"),
        (change("INFO/RECORD", lambda data: data + b"web/gone.py,sha256=a,1\n"), "RECORD names web/gone.py"),
        (change("INFO/RECORD", lambda data: data + data.splitlines(keepends=True)[0]), "RECORD has a file twice"),
        (change("INFO/METADATA", lambda data: data.replace(b"Version: 0", b"Version: 9")), "its Version is"),
        (change("INFO/METADATA", lambda data: b"Requires-Dist: six\n" + data), "it needs six"),
        (change("INFO/METADATA", lambda data: data.replace(b"openssl/LICENSE.txt", b"x")), "no License-File: openssl"),
        (change("INFO/licenses/openssl/LICENSE.txt", lambda _: None), "licenses/openssl/LICENSE.txt is not"),
        (change("INFO/licenses/LICENSE", lambda data: data[1:]), "licenses/LICENSE is not"),
        (change("INFO/sboms/weblatch.cdx.json", lambda _: None), "is not there"),
        (change("INFO/sboms/weblatch.cdx.json", lambda data: data[1:]), "not what it should be"),
        (change("INFO/sboms/weblatch.cdx.json", lambda data: data.replace(b'"1.6"', b'"1.4"')), "of the kind"),
        (change("INFO/sboms/weblatch.cdx.json", lambda data: data.replace(b"3.5.9", b"3.5.8")), "SBOM says OpenSSL"),
        (change(MODULE, lambda data: data.replace(b"3.5.9", b"3.5.8")), "the module has 3.5.8 inside"),
        (change(MODULE, lambda data: data.replace(b"/etc/ssl", b"/tmp/x")), "was not configured by"),
        (change("weblatch.libs/libcrypto-1a.so.3", lambda _: b""), "OpenSSL is inside twice"),
    ],
)
def test_each_fault_of_a_wheel_is_said(wheel: Wheel, fault: Callable[[Wheel], None], said: str) -> None:
    fault(wheel)
    again = Wheel(wheel.name, wheel.files)  # what was worked out before is forgotten
    assert any(said in one for one in check_wheel.faults(again, published=False))


def test_what_must_not_be_published_is_said(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    for platform in ("linux_x86_64", "manylinux_2_34_x86_64.linux_x86_64", "win_amd64"):
        other = Wheel(wheel.name.replace("manylinux_2_28_x86_64", platform), wheel.files)
        assert check_wheel.faults(other, published=True) == [f"its platform is {platform}"]
    for platform in ("musllinux_1_2_aarch64", "manylinux_2_17_x86_64.manylinux_2_28_x86_64", "macosx_11_0_arm64"):
        other = Wheel(wheel.name.replace("manylinux_2_28_x86_64", platform), wheel.files)
        assert check_wheel.faults(other, published=True) == []
    monkeypatch.setattr(check_wheel, "wheel_pin", lambda: Pin("3.5.10", PIN.sha256))
    assert check_wheel.faults(wheel, published=True) == ["its static OpenSSL is 3.5.9, not 3.5.10, which is pinned"]


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed")
def test_exported_symbols_are_read_of_the_module() -> None:
    assert check_wheel.exported(Path(_core.__file__).read_bytes(), macos=sys.platform == "darwin") == ["PyInit__core"]


def test_more_symbols_are_a_fault(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_wheel, "exported", lambda module, *, macos: ["PyInit__core", "SSL_read"])
    assert [one for one in check_wheel.faults(wheel, published=False) if "SSL_read" in one]


# -- the pin, and OpenSSL of that pin ----------------------------------------------------------------------------------


def test_the_pin_is_read() -> None:
    pins = read_pins(openssl_pin.PIN.read_text(encoding="utf-8"))
    assert set(pins) == {"wheel", "newest"}
    assert wheel_pin() == pins["wheel"]
    assert wheel_pin().version.startswith("3.5."), "another series is a decision: docs/how-to/releasing.md, SECURITY.md"
    for text in ("wheel 3.5.9\n", "wheel 3.5 " + "a" * 64, "a 3.5.9 " + "A" * 64, f"a 1.2.3 {'b' * 64}\n" * 2):
        with pytest.raises(ValueError, match="is not 'use version sha256'"):
            read_pins(text)


def test_the_pin_is_written_once() -> None:
    hashes = {pin.sha256 for pin in read_pins(openssl_pin.PIN.read_text(encoding="utf-8")).values()}
    tracked = [*ROOT.glob("tools/*"), *ROOT.glob(".github/workflows/*"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    holders = {
        path.name
        for path in tracked
        if path.is_file() and any(one in path.read_text(encoding="utf-8") for one in hashes)
    }
    assert holders == {"openssl.pin"}


def fetch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """tools/fetch_openssl.sh of a copy, beside a pin of ours."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    shutil.copy(ROOT / "tools/fetch_openssl.sh", tools)
    return subprocess.run(
        ["sh", str(tools / "fetch_openssl.sh"), *arguments], capture_output=True, text=True, env=foreign_environment()
    )


@needs_build_tools
def test_an_archive_is_unpacked_only_if_it_is_the_pinned_one(tmp_path: Path) -> None:
    archive = tmp_path / "openssl.tar.gz"
    source = tmp_path / "openssl-3.5.9"
    source.mkdir()
    (source / "LICENSE.txt").write_text("text", encoding="utf-8")
    with tarfile.open(archive, "w:gz") as made:
        made.add(source, arcname="openssl-3.5.9")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (tmp_path / "tools").mkdir()
    pin = tmp_path / "tools/openssl.pin"

    pin.write_text(f"wheel 3.5.9 {digest}\n", encoding="utf-8")
    done = fetch(tmp_path, "wheel", str(tmp_path / "good"), str(archive))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{tmp_path}/good/openssl-3.5.9"
    assert (tmp_path / "good/openssl-3.5.9/LICENSE.txt").exists()
    assert (tmp_path / "good/openssl-3.5.9/archive.sha256").read_text(encoding="utf-8") == digest + "\n"

    pin.write_text(f"wheel 3.5.9 {'0' * 64}\n", encoding="utf-8")
    done = fetch(tmp_path, "wheel", str(tmp_path / "bad"), str(archive))
    assert done.returncode == 1
    assert digest in done.stderr
    assert list((tmp_path / "bad").iterdir()) == []

    done = fetch(tmp_path, "other", str(tmp_path / "bad"), str(archive))
    assert (done.returncode, "has no line for other" in done.stderr) == (1, True)


def test_another_licence_stops_the_build_of_openssl(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.txt").write_text("all rights reserved", encoding="utf-8")
    done = subprocess.run(
        ["sh", str(ROOT / "tools/build_openssl.sh"), str(tmp_path), str(tmp_path / "prefix")],
        capture_output=True,
        text=True,
        env=foreign_environment(),
    )
    assert done.returncode == 1
    assert "is not the one in" in done.stderr
    assert not (tmp_path / "prefix").exists()


# -- what is built -----------------------------------------------------------------------------------------------------


def test_cibuildwheel_builds_what_a_release_has() -> None:
    pytest.importorskip("cibuildwheel")
    assert wheel_identifiers.selected() == wheel_identifiers.expected()
    assert len(wheel_identifiers.expected()) == 30


def test_the_workflow_has_a_job_for_each_target() -> None:
    workflow = (ROOT / ".github/workflows/wheels.yml").read_text(encoding="utf-8")
    assert re.findall(r"^ +(?:- )?target: (\w+)$", workflow, re.MULTILINE) == wheel_identifiers.TARGETS
