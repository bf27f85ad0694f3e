"""The places in the binary that call OpenSSL, as objdump shows them, to tell those that no scenario reaches. x86-64."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

SLOT = re.compile(r"([0-9a-f]+)\s+\S+\s+R_X86_64_(?:JUMP_SLOT|GLOB_DAT)\S*\s+\S+\s+(\w+)")
HEAD = re.compile(r"[0-9a-f]+ <(.+)>:")
CALL = re.compile(r"\s*[0-9a-f]+:\s+(?:bnd )?call\s+.*(?:<(\w+)@plt|# ([0-9a-f]+) )")
PLACE = re.compile(r"\s*([0-9a-f]+):\s")


def can_list() -> bool:
    """Whether this machine has the tools, and the processor whose calls are known."""
    return platform.machine() == "x86_64" and None not in (shutil.which("objdump"), shutil.which("readelf"))


def tool(*command: str | Path) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def calls(extension: Path, functions: Collection[str]) -> Iterator[tuple[int, str, str]]:
    """(where a call returns to, the function that calls, what it calls) for each call of these functions."""
    slots = {int(m[1], 16): m[2] for line in tool("readelf", "-rW", extension) if (m := SLOT.match(line))}
    caller, called = "", ""
    for line in tool("objdump", "-d", "--no-show-raw-insn", extension):
        if called and (place := PLACE.match(line)):
            yield int(place[1], 16), caller, called
            called = ""
        if head := HEAD.match(line):
            caller = head[1]
        elif call := CALL.match(line):
            name = call[1] or slots.get(int(call[2], 16), "")
            called = name if name in functions and "@plt" not in caller else ""
