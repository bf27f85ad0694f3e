"""What a wheel must be before it is published: looked at as a file, without installing it.

Each check takes the opened wheel and returns what is wrong, in words; the command prints all of it and exits with 1.
``--published`` asks for more: OpenSSL linked statically, of the pinned archive, and a platform that PyPI takes.

usage: python -m tools.check_wheel [--published] WHEEL...
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from functools import cached_property
from pathlib import Path
from typing import Any

from tools.complete_wheel import LICENCE, LICENCE_NAME, SBOM_NAME
from tools.openssl_pin import Pin, wheel_pin

ROOT = Path(__file__).resolve().parent.parent
PLATFORMS = re.compile(r"(manylinux_2_\d+|musllinux_1_\d+)_(x86_64|aarch64)|macosx_\d+_\d+_(x86_64|arm64)")
SOURCES = {".c", ".h", ".map", ".pxd", ".pxi", ".pyx"}
OPENSSL_FOLDER = b'OPENSSLDIR: "/etc/ssl"'  # where tools/build_openssl.sh says that the configuration is
STATIC = re.compile(rb"OpenSSL (\d+\.\d+\.\d+)\S* \d+ \w{3} \d{4}\0")  # OPENSSL_VERSION_TEXT, in libcrypto alone


@dataclass
class Wheel:
    """A wheel's name, and its files by their paths."""

    name: str
    files: dict[str, bytes]
    tag: str = field(init=False)
    info: str = field(init=False)

    def __post_init__(self) -> None:
        found = re.fullmatch(r"(weblatch-[^-]+)-([^-]+-[^-]+-[^-]+)\.whl", self.name)
        if found is None:
            raise SystemExit(f"{self.name} is not the name of a wheel of weblatch")
        self.info, self.tag = f"{found[1]}.dist-info", found[2]

    @classmethod
    def read(cls, path: Path) -> Wheel:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) != len(set(names)):
                raise SystemExit(f"{path} has several files of one name")
            return cls(path.name, {name: archive.read(name) for name in names if not name.endswith("/")})

    @cached_property
    def modules(self) -> list[str]:
        return [name for name in self.files if re.fullmatch(r"web/_core\.[\w.-]+\.so", name)]

    @cached_property
    def metadata(self) -> Message:
        return message_from_bytes(self.files.get(f"{self.info}/METADATA", b""), policy=compat32)

    @cached_property
    def openssl(self) -> str | None:
        """The version of the OpenSSL that is linked statically."""
        found = [one for name in self.modules for one in STATIC.findall(self.files[name])]
        return found[0].decode() if found else None


def files_of_packages(root: Path) -> set[str]:
    """What the wheel has of src: all but the sources of the extension, and what was built there."""
    found = (path.relative_to(root / "src") for path in (root / "src").rglob("*") if path.is_file())
    built = {"__pycache__", "weblatch.egg-info"}
    return {str(path) for path in found if path.suffix not in {*SOURCES, ".so"} and not built & {*path.parts}}


def wrong_files(wheel: Wheel, root: Path = ROOT) -> list[str]:
    """One extension, all files of the packages, none of its sources and none that nobody knows."""
    wrong = [f"it lacks {name}" for name in sorted(files_of_packages(root) - wheel.files.keys())]
    if len(wheel.modules) != 1:
        wrong.append(f"it has {len(wheel.modules)} extensions web._core")
    known = {*files_of_packages(root), *wheel.modules}
    for name in sorted(wheel.files.keys() - known):
        copied_library = re.fullmatch(r"(weblatch\.libs|web/\.dylibs)/lib(ssl|crypto)[\w.-]+", name)
        if not name.startswith(f"{wheel.info}/") and not copied_library:
            wrong.append(f"nobody expects {name}" + (", a source" if Path(name).suffix in SOURCES else ""))
    return wrong


def wrong_records(wheel: Wheel) -> list[str]:
    """RECORD has every file with its digest and its size."""
    lines = wheel.files.get(f"{wheel.info}/RECORD", b"").decode().splitlines()
    listed = {name: (digest, size) for name, digest, size in (line.rsplit(",", 2) for line in lines)}
    wrong = [] if len(listed) == len(lines) else ["RECORD has a file twice"]
    wrong += [f"RECORD names {name}, which is not there" for name in sorted(listed.keys() - wheel.files.keys())]
    for name, data in wheel.files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        expected = ("", "") if name == f"{wheel.info}/RECORD" else (f"sha256={digest}", str(len(data)))
        if listed.get(name) != expected:
            wrong.append(f"RECORD says {listed.get(name)} of {name}, but it is {expected}")
    return wrong


def wrong_metadata(wheel: Wheel, root: Path = ROOT) -> list[str]:
    """Name, version and licence are the project's; nothing is needed at run time."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wrong = [
        f"its {field} is {wheel.metadata[field]!r}, not {expected!r}"
        for field, expected in (
            ("Name", project["name"]),
            ("Version", project["version"]),
            ("License-Expression", project["license"]),
        )
        if wheel.metadata[field] != expected
    ]
    needed = [one for one in wheel.metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    return wrong + [f"it needs {one}" for one in needed]


def wrong_licences(wheel: Wheel, root: Path = ROOT) -> list[str]:
    """The texts of our licence and of OpenSSL's, and METADATA names both (PEP 639)."""
    wrong = []
    for name, source in (("LICENSE", root / "LICENSE"), (LICENCE_NAME, LICENCE)):
        if wheel.files.get(f"{wheel.info}/licenses/{name}") != source.read_bytes():
            wrong.append(f"licenses/{name} is not {source.name} as it is here")
        if name not in wheel.metadata.get_all("License-File", []):
            wrong.append(f"METADATA has no License-File: {name}")
    return wrong


def wrong_sbom(wheel: Wheel) -> list[str]:
    """The SBOM (PEP 770) names this version of ours, and the static OpenSSL as the module has it."""
    try:
        told: dict[str, Any] = json.loads(wheel.files[f"{wheel.info}/sboms/{SBOM_NAME}"])
        ours = told["metadata"]["component"]
        openssl = {one["version"] for one in told["components"] if one["name"] == "openssl"}
        kind, version = (told["bomFormat"], told["specVersion"]), (ours["name"], ours["version"])
    except (KeyError, TypeError, ValueError) as error:
        return [f"sboms/{SBOM_NAME} is not there, or not what it should be: {error!r}"]
    wrong = []
    if kind != ("CycloneDX", "1.6"):
        wrong.append(f"the SBOM is of the kind {kind}")
    if version != (wheel.metadata["Name"], wheel.metadata["Version"]):
        wrong.append(f"the SBOM is one of {version}")
    if openssl != ({wheel.openssl} if wheel.openssl else set()):
        wrong.append(f"the SBOM says OpenSSL {sorted(openssl)}, the module has {wheel.openssl} inside")
    return wrong


def exported(module: bytes, *, macos: bool) -> list[str]:
    """The names of the symbols that a shared library offers to others."""
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(module)
        file.flush()
        command = ["nm", "-gU"] if macos else ["nm", "-D", "--defined-only"]
        listing = subprocess.run([*command, file.name], capture_output=True, text=True, check=True).stdout
    return [line.split()[-1].removeprefix("_") for line in listing.splitlines() if line.strip()]


def wrong_module(wheel: Wheel) -> list[str]:
    """It exports its own start alone, so that a static OpenSSL cannot be mixed up with that of Python's ssl; and that
    OpenSSL looks for its configuration where only an administrator writes."""
    wrong = []
    for name in wheel.modules:
        data = wheel.files[name]
        if (symbols := exported(data, macos="macosx" in wheel.tag)) != ["PyInit__core"]:
            wrong.append(f"{name} must export PyInit__core and nothing else: {symbols}")
        if wheel.openssl and OPENSSL_FOLDER not in data:
            wrong.append(f"{name} has an OpenSSL that was not configured by tools/build_openssl.sh (--openssldir)")
    if wheel.openssl and (copied := [name for name in wheel.files if re.search(r"/lib(ssl|crypto)[^/]*$", name)]):
        wrong.append(f"OpenSSL is inside twice: {copied}")
    return wrong


def not_to_be_published(wheel: Wheel, pin: Pin) -> list[str]:
    """What is good enough here and not for everybody: another OpenSSL than the pinned one, an unknown platform."""
    wrong = []
    platform = wheel.tag.rpartition("-")[2]
    if not all(PLATFORMS.fullmatch(one) for one in platform.split(".")):
        wrong.append(f"its platform is {platform}")
    if wheel.openssl != pin.version:
        wrong.append(f"its static OpenSSL is {wheel.openssl}, not {pin.version}, which is pinned")
    if pin.sha256.encode() not in wheel.files.get(f"{wheel.info}/sboms/{SBOM_NAME}", b""):
        wrong.append("its OpenSSL was not built of the pinned archive: the SBOM does not say its SHA-256")
    return wrong


def faults(wheel: Wheel, *, published: bool) -> list[str]:
    """All that is wrong with it."""
    found = [
        *wrong_files(wheel),
        *wrong_records(wheel),
        *wrong_metadata(wheel),
        *wrong_licences(wheel),
        *wrong_sbom(wheel),
        *wrong_module(wheel),
    ]
    return found + (not_to_be_published(wheel, wheel_pin()) if published else [])


def main() -> int:
    parser = argparse.ArgumentParser(description="Look into wheels before they are published.")
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--published", action="store_true", help="these are to be published")
    arguments = parser.parse_args()
    failed = False
    for path in arguments.wheels:
        wheel = Wheel.read(path)
        wrong = faults(wheel, published=arguments.published)
        inside = f"OpenSSL {wheel.openssl} inside" if wheel.openssl else "the system's OpenSSL"
        print(f"{path.name}: {len(wheel.files)} files, {path.stat().st_size:,} bytes, {inside}")
        for one in wrong:
            print(f"{path.name}: {one}", file=sys.stderr)
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
