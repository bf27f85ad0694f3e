"""Puts into a built wheel what the build backend does not: OpenSSL's licence and a list of what is inside (SBOM).

A wheel is built with OpenSSL linked statically (WEB_OPENSSL_DIR), or auditwheel, delocate put the system's OpenSSL
beside the module: its code is inside in either case, so its licence (Apache-2.0, 4) is, too. The SBOM is CycloneDX JSON
in the folder that PEP 770 gives it. It names the static OpenSSL; copied libraries are named by auditwheel's own SBOM
beside ours. zlib stays outside: every platform's policy has it on the system.

The wheel is replaced by one with the same name and the same bytes for the same input: no times, no random numbers.

usage: python -m tools.complete_wheel WHEEL [--openssl WEB_OPENSSL_DIR]
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import zipfile
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from pathlib import Path
from typing import Any

from tools.openssl_pin import Pin, wheel_pin

LICENCE = Path(__file__).with_name("licenses") / "openssl.txt"
LICENCE_NAME = "openssl/LICENSE.txt"  # below .dist-info/licenses (PEP 639)
SBOM_NAME = "weblatch.cdx.json"  # below .dist-info/sboms (PEP 770)
STAMP = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say


def openssl_version(folder: Path) -> str:
    """The version in the header files of a built OpenSSL."""
    header = (folder / "include/openssl/opensslv.h").read_text(encoding="utf-8")
    found = re.search(r'^# *define OPENSSL_VERSION_STR "([\d.]+)', header, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{folder}/include/openssl/opensslv.h does not say its version: is it OpenSSL 3 or newer?")
    return found[1]


def openssl_component(folder: Path, pin: Pin) -> dict[str, Any]:
    """The static OpenSSL; where it comes from is said only if the build took the pinned archive."""
    version = openssl_version(folder)
    component: dict[str, Any] = {
        "bom-ref": "openssl",
        "type": "library",
        "name": "openssl",
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "cpe": f"cpe:2.3:a:openssl:openssl:{version}:*:*:*:*:*:*:*",
        "purl": f"pkg:generic/openssl@{version}",
    }
    archive = folder / "archive.sha256"
    if archive.exists() and (version, archive.read_text(encoding="utf-8").strip()) == pin:
        component["purl"] += f"?checksum=sha256:{pin.sha256}&download_url={pin.url}"
        component["externalReferences"] = [
            {"type": "distribution", "url": pin.url, "hashes": [{"alg": "SHA-256", "content": pin.sha256}]}
        ]
    return component


def sbom(metadata: Message, openssl: dict[str, Any] | None) -> dict[str, Any]:
    """The list of what is inside, of the wheel's METADATA."""
    name, version = metadata["Name"], metadata["Version"]
    component = {
        "bom-ref": name,
        "type": "library",
        "name": name,
        "version": version,
        "licenses": [{"license": {"id": metadata["License-Expression"]}}],
        "purl": f"pkg:pypi/{name}@{version}",
    }
    inside = [] if openssl is None else [openssl]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component},
        "components": inside,
        "dependencies": [{"ref": name, "dependsOn": [one["bom-ref"] for one in inside]}]
        + [{"ref": one["bom-ref"]} for one in inside],
    }


def record_line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def with_licence_file(metadata: bytes) -> bytes:
    """METADATA with one more License-File, behind the last one that its head has; the rest of it is the README."""
    head, _, text = metadata.partition(b"\n\n")
    lines = head.split(b"\n")
    named = [at for at, line in enumerate(lines) if line.startswith(b"License-File: ")]
    if not named:
        raise SystemExit("the wheel's METADATA names no License-File: what is its own licence?")
    lines.insert(named[-1] + 1, b"License-File: " + LICENCE_NAME.encode())
    return b"\n".join(lines) + b"\n\n" + text


def complete(wheel: Path, openssl: Path | None, pin: Pin) -> None:
    """Rewrites the wheel; nothing is changed when something is wrong."""
    with zipfile.ZipFile(wheel) as archive:
        files = {info: archive.read(info) for info in archive.infolist()}
    records = [info for info in files if re.fullmatch(r"[^/]+\.dist-info/RECORD", info.filename)]
    if len(records) != 1:
        raise SystemExit(f"{wheel} is not a wheel: it has {len(records)} RECORDs")
    info_folder = records[0].filename.rpartition("/")[0]
    licence_path, sbom_path = f"{info_folder}/licenses/{LICENCE_NAME}", f"{info_folder}/sboms/{SBOM_NAME}"
    names = {info.filename: info for info in files}
    if licence_path in names or sbom_path in names:
        raise SystemExit(f"{wheel} was completed before")

    metadata_info = names[f"{info_folder}/METADATA"]
    files[metadata_info] = with_licence_file(files[metadata_info])
    told = sbom(
        message_from_bytes(files[metadata_info], policy=compat32),
        None if openssl is None else openssl_component(openssl, pin),
    )
    record = files.pop(records[0]).decode()
    for path, data in (
        (licence_path, LICENCE.read_bytes()),
        (sbom_path, json.dumps(told, indent=2).encode() + b"\n"),
    ):
        added = zipfile.ZipInfo(path, STAMP)
        added.external_attr = 0o100644 << 16
        files[added] = data
    kept = [
        line
        for line in record.splitlines(keepends=True)
        if not line.startswith((f"{info_folder}/METADATA,", f"{info_folder}/RECORD,"))
    ]
    fresh_paths = (metadata_info.filename, licence_path, sbom_path)
    changed = [record_line(info.filename, data) for info, data in files.items() if info.filename in fresh_paths]
    files[records[0]] = "".join([*kept, *changed, f"{info_folder}/RECORD,,\n"]).encode()

    fresh = wheel.with_suffix(".new")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in files.items():
            archive.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED)
    fresh.replace(wheel)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put OpenSSL's licence and an SBOM into a wheel.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--openssl", type=Path, help="what was WEB_OPENSSL_DIR when it was built")
    arguments = parser.parse_args()
    complete(arguments.wheel, arguments.openssl, wheel_pin())


if __name__ == "__main__":
    main()
