"""What stands beside the code and no other test holds: the changelog's form, the version, the templates, the map in
CONTRIBUTING.md. Without a parser of YAML: what is looked at are lines."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PROJECT["project"]["version"]
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]  # in the order of Keep a Changelog 1.1.0


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ---- the changelog (https://keepachangelog.com/en/1.1.0/) ----


def changelog_problems(text: str, version: str) -> list[str]:
    """What is wrong with a changelog of a project that has this version."""
    problems = []
    before, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    if not before.startswith("# Changelog\n") or "https://keepachangelog.com/en/1.1.0/" not in before:
        problems.append("it does not say what it is")
    if "https://semver.org/" not in before:
        problems.append("it does not say what versions mean")
    if not sections or not sections[0].startswith("[Unreleased]\n"):
        problems.append("the first section is not [Unreleased]")
    released = []
    for section in sections:
        heading, _, body = section.partition("\n")
        if heading != "[Unreleased]":
            found = re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)( \[YANKED\])?", heading)
            if found is None:
                problems.append(f"{heading!r} is no version with a date")
                continue
            released.append((tuple(int(number) for number in found.groups()[:3]), found[4]))
        problems += [f"{heading}: {problem}" for problem in section_problems(body, empty=heading == "[Unreleased]")]
    if released != sorted(released, reverse=True) or len({number for number, _ in released}) < len(released):
        problems.append("versions do not go from the newest to the oldest")
    coming = re.findall(r"^This will be ([\d.]+\d)\b", sections[0] if sections else "", re.MULTILINE)
    if version not in coming and not (released and ".".join(map(str, released[0][0])) == version):
        problems.append(f"{version} is neither the newest version nor the one that will be")
    return problems


def section_problems(body: str, *, empty: bool) -> list[str]:
    """``empty``: whether it may be."""
    problems = []
    parts = re.split(r"^### ", body, flags=re.MULTILINE)[1:]
    kinds = [part.partition("\n")[0] for part in parts]
    if not set(kinds) <= set(KINDS):
        problems.append(f"other headings than {KINDS}: {kinds}")
    elif kinds != sorted(set(kinds), key=KINDS.index):
        problems.append(f"headings twice, or out of order: {kinds}")
    if not kinds and not empty:
        problems.append("nothing is said")
    for part in parts:
        lines = [line for line in part.splitlines()[1:] if line]
        if not lines or not lines[0].startswith("- ") or not all(line.startswith(("- ", "  ")) for line in lines):
            problems.append(f"{part.partition(chr(10))[0]} is no list")
    return problems


def test_the_changelog_has_its_form() -> None:
    assert changelog_problems(read("CHANGELOG.md"), VERSION) == []


HEAD = "# Changelog\n\n[Keep a Changelog](https://keepachangelog.com/en/1.1.0/), <https://semver.org/>.\n\n"
GOOD = (
    f"{HEAD}## [Unreleased]\n\n"
    "## [0.2.0] - 2027-02-01\n\n### Added\n\n- a\n  b\n\n### Fixed\n\n- c\n\n"
    "## [0.1.0] - 2027-01-01\n\n### Added\n\n- d\n"
)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("# Changelog", "# Changes", "it does not say what it is"),
        ("https://semver.org/", "", "it does not say what versions mean"),
        ("## [Unreleased]\n\n", "", "the first section is not [Unreleased]"),
        ("## [0.2.0] - 2027-02-01", "## 0.2.0", "'0.2.0' is no version with a date"),
        ("2027-02-01", "1 February", "'[0.2.0] - 1 February' is no version with a date"),
        ("0.1.0", "0.3.0", "versions do not go from the newest to the oldest"),
        ("0.1.0", "0.2.0", "versions do not go from the newest to the oldest"),
        ("2027-01-01", "2027-03-01", None),  # a fix of an older version may come later
        ("### Fixed", "### Repaired", "other headings than"),
        ("### Fixed", "### Added", "headings twice, or out of order"),
        ("### Added\n\n- a\n  b", "### Security\n\n- a", "headings twice, or out of order"),
        ("### Added\n\n- d\n", "", "nothing is said"),
        ("- c", "c", "Fixed is no list"),
        ("- c", "", "Fixed is no list"),
        ("0.2.0", "0.2.1", "0.2.0 is neither the newest version nor the one that will be"),
        ("## [Unreleased]\n", "## [Unreleased]\n\nThis will be 0.3.0.\n", None),
    ],
)
def test_what_has_another_form_is_seen(old: str, new: str, problem: str | None) -> None:
    assert changelog_problems(GOOD, "0.2.0") == []
    assert old in GOOD
    found = changelog_problems(GOOD.replace(old, new), "0.2.0")
    assert problem is None if not found else problem is not None and any(problem in one for one in found)


# ---- the version ----


def test_the_version_stands_in_one_place() -> None:
    """Beside pyproject.toml the changelog names it, and SECURITY.md the series that gets fixes: held to it. What a
    program has written, as pages show it, is no statement."""
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob(".github/**/*.*"),
    ]
    texts = {
        str(page.relative_to(ROOT)): re.sub(
            r"^```text\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        for page in pages
    }
    written = re.compile(rf"(?<![\w.]){re.escape(VERSION)}(?![\w.]*\d)")
    assert {name for name, text in texts.items() if written.search(text)} == {"CHANGELOG.md"}
    series = ".".join(VERSION.split(".")[:2])
    assert re.findall(r"^\| (\d[\d.]*)[^|]*\| yes \|$", read("SECURITY.md"), re.MULTILINE) == [series]


# ---- what GitHub and pre-commit read ----


def test_pre_commit_has_no_versions_of_its_own() -> None:
    """Local hooks alone, by the tools of `make lint`'s environment, which pyproject.toml pins."""
    text = read(".pre-commit-config.yaml")
    assert re.findall(r"^ *- repo: (.*)$", text, re.MULTILINE) == ["local"]
    assert not re.search(r"^ *(rev|additional_dependencies):", text, re.MULTILINE)
    assert re.findall(r"^ +language: (.*)$", text, re.MULTILINE) == ["system"] * text.count("- id: ")
    entries = re.findall(r"^ +entry: (.*)$", text, re.MULTILINE)
    assert all(".venv/bin" in entry for entry in entries)
    lint = read("Makefile").partition("\nlint: ")[2].partition("\n\n")[0]
    pinned = {re.split(r"==", one)[0] for one in PROJECT["dependency-groups"]["lint"] if "==" in str(one)}
    assert pinned == {"ruff", "cython-lint", "mypy", "zizmor"}
    for tool in pinned:
        assert any(tool in entry for entry in entries)
        assert tool in lint


def test_the_templates_lead_to_what_is_there() -> None:
    folder = ROOT / ".github/ISSUE_TEMPLATE"
    assert {path.name for path in folder.iterdir()} == {"bug.yml", "feature.yml", "config.yml"}
    for name in ("bug.yml", "feature.yml"):
        text = (folder / name).read_text(encoding="utf-8")
        assert re.search(r"^name: \S.*\ndescription: \S.*\nlabels: \[\w+\]\nbody:\n  - type: ", text)
        ids = re.findall(r"^    id: (\w+)$", text, re.MULTILINE)
        assert len(ids) == len(set(ids)) == text.count("type: textarea")
        assert text.count("      label: ") == len(ids)
    config = (folder / "config.yml").read_text(encoding="utf-8")
    assert re.search(r"^    url: https://\S+$", config, re.MULTILINE)
    for text in (config, (folder / "bug.yml").read_text(encoding="utf-8")):
        assert "SECURITY.md" in text
    request = read(".github/pull_request_template.md")
    named = re.findall(r"`make ([a-z]+)`", request)
    assert named
    assert all(re.search(rf"^\.PHONY:.* {name}\b", read("Makefile"), re.MULTILINE) for name in named)
    assert all((ROOT / path).exists() for path in re.findall(r"`([\w./]+\.md|docs/)`", request))


# ---- CONTRIBUTING.md ----


def test_the_map_leads_to_what_is_there() -> None:
    """Every path that CONTRIBUTING.md names, patterns too, is one of a file or folder."""
    text = read("CONTRIBUTING.md")
    paths = re.findall(r"`((?:tests|bench|src|docs|tools|examples|\.ci|\.github)/[^`\s]*)`", text)
    assert len(paths) > 40
    assert [path for path in paths if "<" not in path and not any(ROOT.glob(path.rstrip("/")))] == []


def test_one_command_sets_up() -> None:
    text = read("CONTRIBUTING.md")
    first = re.search(r"^## Set up\n\n```sh\n(.*?)```$", text, re.MULTILINE | re.DOTALL)
    assert first is not None
    assert first[1] == "make test\n"


def test_the_readme_is_a_home_page() -> None:
    text = read("README.md")
    assert len(text.partition("\n## Documents")[0].splitlines()) <= 110
    tour = re.search(r"^## A tour\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert tour is not None
    assert sum(bool(line.strip()) for line in tour[1].splitlines()) <= 20
