"""Transcripts in the pages: what is typed after ``$``, and what is shown under it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """What is typed, and what is said then, without its last line end."""

    line: str
    output: str


def commands_in(text: str) -> list[Command]:
    """Those of a ``console`` block. A line that ends in a backslash goes on in the next one."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"output without a command: {parts[0]}"
    commands = []
    for part in parts[1:]:
        lines = part.splitlines(keepends=True)
        end = next(number for number, line in enumerate(lines, 1) if not line.endswith("\\\n"))
        commands.append(Command("".join(lines[:end]).strip(), "".join(lines[end:]).rstrip("\n")))
    return commands


def pattern_of(text: str) -> re.Pattern[str]:
    """Of what is said, where ``...`` is anything in a line, and as a line of its own any number of lines."""
    lines = [
        "(?:.*\n)*?" if line == "..." else ".*".join(re.escape(part) for part in line.split("...")) + "\n"
        for line in text.splitlines()
    ]
    return re.compile("".join(lines))
