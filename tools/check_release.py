"""Whether a tag is one of a release that is ready: it is v and pyproject.toml's version, and CHANGELOG.md has that
version with a date, and nothing left under Unreleased.

usage: python -m tools.check_release TAG
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def faults(tag: str, project: str, changelog: str) -> list[str]:
    """What is wrong, in words; project and changelog are the texts of the two files."""
    version = tomllib.loads(project)["project"]["version"]
    wrong = [] if tag == f"v{version}" else [f"the tag is {tag}, the version in pyproject.toml {version}"]
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    if not any(re.match(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n", one) for one in sections):
        wrong.append(f"CHANGELOG.md has no '## [{version}] - YYYY-MM-DD'")
    if any(one.partition("\n")[2].strip() for one in sections if one.startswith("[Unreleased]")):
        wrong.append("CHANGELOG.md has entries under Unreleased")
    return wrong


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m tools.check_release TAG", file=sys.stderr)
        return 2
    project, changelog = ((ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CHANGELOG.md"))
    wrong = faults(sys.argv[1], project, changelog)
    for one in wrong:
        print(one, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
