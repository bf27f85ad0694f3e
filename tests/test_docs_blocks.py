"""Every block of every page is checked by its language: parsed, or run. Python is run by tests/test_docs.py.

A block says its language; one that cannot be run has a mark behind it (``python no-run``), and is counted here, so that
each is a choice. What a check needs and a machine has not (node, systemd-analyze) is passed over there.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path

import pytest

from tests.pages import PAGES, ROOT, Block, all_blocks, codes, name_of, prose
from web.cli.parser import make_parser

# Blocks that are compiled, or looked at, and not run: how many, and why.
NOT_RUN = {
    ("docs/deployment/proxies.md", "python"): 1,  # needs a port below 1024, and a peer that writes PROXY headers
    ("docs/deployment/systemd.md", "python"): 2,  # files and descriptors that systemd passes
    ("docs/deployment/direct.md", "python"): 1,  # files of certbot
    ("docs/how-to/https.md", "python"): 1,  # a file with ticket keys
    ("docs/how-to/json.md", "python"): 1,  # shows mistakes
    ("docs/how-to/processes.md", "python"): 1,  # needs root
    ("docs/tutorial/5-live.md", "python"): 1,  # another way, which the application does not go
    ("docs/migration/aiohttp.md", "python"): 15,  # theirs
    ("docs/migration/fastapi.md", "python"): 16,  # theirs
    ("docs/migration/flask.md", "python"): 13,  # theirs
    ("docs/migration/carpentry.md", "clojure"): 3,  # theirs
}
BLOCKS = [block for page in PAGES for block in all_blocks(page)]


def lines_of(block: Block) -> list[str]:
    """The commands of a shell block, with lines that go on put together, without comments."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    if block.language == "console":
        joined = "\n".join(line[2:] for line in joined.splitlines() if line.startswith("$ "))
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


# ---- one check for each language ----


def check_python(block: Block) -> None:
    compile(block.text, str(block), "exec", ast.PyCF_ONLY_AST, dont_inherit=True)


def check_shell(block: Block) -> None:
    commands = "\n".join(lines_of(block))
    done = subprocess.run([shutil.which("bash") or "sh", "-n"], input=commands, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def check_toml(block: Block) -> None:
    tomllib.loads(block.text)


def check_json(block: Block) -> None:
    json.loads(block.text)


def check_yaml(block: Block) -> None:
    yaml = pytest.importorskip("yaml")
    assert list(yaml.safe_load_all(block.text))


def check_javascript(block: Block) -> None:
    assert_balanced(block.text)
    if node := shutil.which("node"):
        done = subprocess.run([node, "--check", "-"], input=block.text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def check_html(block: Block) -> None:
    reader = Balanced()
    reader.feed(block.text)
    reader.close()
    assert reader.open == []


class Balanced(HTMLParser):
    """Each element is ended, in order; those that HTML lets open are void or not used in pages."""

    VOID = frozenset(["meta", "link", "input", "br", "hr", "img"])

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_balanced(text: str) -> None:
    """Brackets outside of strings and comments are closed in order."""
    text = re.sub(r'\\.|"(?:\\.|[^"\\])*"|;.*|//.*', "", text)
    pairs, waiting = {")": "(", "]": "[", "}": "{"}, list[str]()
    for one in re.findall(r"[()\[\]{}]", text):
        if one in pairs:
            assert waiting, f"a {one} too many"
            assert waiting.pop() == pairs[one]
        else:
            waiting.append(one)
    assert waiting == []


def check_brackets(block: Block) -> None:
    assert_balanced(block.text)


# Options of units that pages use: systemd passes over what it does not know, so a slip would be silent.
UNIT_OPTIONS = {
    "Unit": "Description After Wants Requires",
    "Service": "Type ExecStart ExecReload WatchdogSec DynamicUser User Group AmbientCapabilities CapabilityBoundingSet "
    "LoadCredential LimitNOFILE NoNewPrivileges ProtectSystem ProtectHome ProtectClock ProtectHostname ProtectProc "
    "ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups PrivateTmp PrivateDevices "
    "PrivateMounts RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID SystemCallFilter "
    "SystemCallArchitectures MemoryMax TimeoutStopSec Restart RestartSec RuntimeDirectory StateDirectory UMask "
    "LockPersonality MemoryDenyWriteExecute WorkingDirectory Environment EnvironmentFile KillMode",
    "Socket": "ListenStream FileDescriptorName NoDelay Backlog ReusePort SocketUser SocketGroup SocketMode",
    "Install": "WantedBy",
}


def check_unit(block: Block) -> None:
    """Known sections and options; systemd-analyze has the last word where it is."""
    section = ""
    for line in block.text.splitlines():
        if not line or line.startswith("#"):
            continue
        if found := re.fullmatch(r"\[(\w+)\]", line):
            section = found[1]
            assert section in UNIT_OPTIONS
            continue
        option, equals, _ = line.partition("=")
        assert equals, line
        assert option in UNIT_OPTIONS[section].split(), f"[{section}] {line}"


INSTRUCTIONS = {"FROM", "ARG", "RUN", "COPY", "WORKDIR", "USER", "ENV", "EXPOSE", "CMD", "ENTRYPOINT", "HEALTHCHECK"}


def check_dockerfile(block: Block) -> None:
    commands = [line for line in re.sub(r"\\\n\s*", " ", block.text).splitlines() if line and line[0] != "#"]
    words = [line.split(maxsplit=1)[0] for line in commands]
    assert words[0] in ("FROM", "ARG")
    assert set(words) <= INSTRUCTIONS
    last = len(words) - 1 - words[::-1].index("FROM")  # what the last stage says is what runs
    assert "USER" in words[last:], "it would run as root"
    for line in commands:
        word, _, rest = line.partition(" ")
        if word in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(rest), list), "a shell would be process 1, and keep signals for itself"


def check_directive(block: Block) -> None:
    """Those of Sphinx: tests/test_docs_site.py, and `make docs`."""


def check_front(block: Block) -> None:
    """Configurations of proxies: tests/test_deployment.py runs them."""
    shown = (ROOT / "tests/fronts.py").read_text()
    number = [one.text for one in all_blocks(block.page) if one.language == block.language].index(block.text)
    assert f'shown("{block.language}", {number})' in shown


def check_nothing(block: Block) -> None:
    """Output, and what is no language."""


CHECKS: dict[str, Callable[[Block], None]] = {
    "python": check_python, "sh": check_shell, "console": check_shell, "toml": check_toml, "json": check_json,
    "yaml": check_yaml, "js": check_javascript, "css": check_brackets, "html": check_html, "ini": check_unit,
    "dockerfile": check_dockerfile,
    "nginx": check_front, "caddyfile": check_front, "haproxy": check_front, "clojure": check_brackets,
    "text": check_nothing, "{toctree}": check_directive, "{eval-rst}": check_directive,
}  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_each_block_is_what_it_says(block: Block) -> None:
    assert block.language, "a block without a language: output is `text`"
    assert block.language in CHECKS, f"no check for {block.language!r}: add one"
    CHECKS[block.language](block)


def test_what_is_not_run_is_a_choice() -> None:
    marks = {block.mark for block in BLOCKS} - {None}
    assert marks <= {"no-run"}
    found = Counter((name_of(block.page), block.language) for block in BLOCKS if block.mark)
    assert dict(found) == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_block_hides(page: Path) -> None:
    """By four spaces, or by a fence within a list: the checks above do not see those."""
    before, last, hidden = "", "", []
    for number, line in enumerate(prose(page).splitlines(), 1):
        if re.match(r"\s+```|~~~", line) or (
            re.match(r"    \S", line) and not before and last[:1] not in "-*0123456789 "
        ):
            hidden.append((number, line))
        before, last = line.strip(), line if line.strip() else last
    assert hidden == []


# ---- what commands name ----


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where, words) of each command: in shell blocks, in images, and in code of the prose."""
    for block in BLOCKS:
        if block.language in ("sh", "console"):
            for line in lines_of(block):
                yield str(block), shlex.split(line, comments=True)
        if block.language == "dockerfile":
            for words in re.findall(r"(?:CMD|ENTRYPOINT) (\[.*\])$", block.text, re.MULTILINE):
                yield str(block), json.loads(words)
    for page in PAGES:
        for code in codes(prose(page)):
            if found := re.search(r"(?:CMD|ENTRYPOINT) (\[.*\])$", code):
                yield name_of(page), json.loads(found[1])
            elif re.match(r"(?:web|weblatch|python -m web) [a-z-]", code):
                yield name_of(page), shlex.split(code)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_extras_exist(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"weblatch\[([\w,-]+)\]", page.read_text())
    assert {extra for group in named for extra in group.split(",")} <= set(extras)


def web_arguments(words: list[str]) -> list[str] | None:
    """What a command gives to the command line of weblatch; None: it is another command."""
    words = [*takewhile(lambda word: not re.match(r"\d?[<>]|[|&]", word), words)]
    if words[:1] in (["web"], ["weblatch"]):
        return words[1:]
    if len(words) > 2 and Path(words[0]).name.startswith("python") and words[1:3] == ["-m", "web"]:
        return words[3:]
    return None


def test_commands_of_the_command_line_parse(capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser()
    seen = 0
    for where, words in commands():
        arguments = web_arguments(words)
        if arguments is None:
            continue
        seen += 1
        arguments = ["bash" if one == "SHELL" else one for one in arguments]
        if len(arguments) == 1 and ":" not in where and arguments[0].isalpha():
            arguments = [*arguments, "--help"]  # named in prose, without what it takes
        try:
            parser.parse_args(arguments)
        except SystemExit as end:
            assert end.code in (0, None), f"{where}: {shlex.join(words)}: {capsys.readouterr().err}"
    assert seen > 5
