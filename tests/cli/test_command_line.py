"""The page of the command line names every command, option and exit code."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.pages import codes, rows, section
from web.cli import errors
from web.cli.parser import make_parser

PAGE = Path(__file__).parents[2] / "docs/reference/command-line.md"


def commands() -> dict[str, argparse.ArgumentParser]:
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    raise AssertionError


def test_commands_and_options() -> None:
    told = {
        codes(row[0])[0].split()[1]: set(codes(row[2]))
        for row in rows(section(PAGE, "# The command line"))
        if row[0].startswith("`web ")
    }
    known = {
        name: {
            flag
            for action in parser._actions
            if action.help != argparse.SUPPRESS
            for flag in action.option_strings
            if flag.startswith("--") and flag != "--help"
        }
        for name, parser in commands().items()
    }
    assert told == known


def test_exit_codes() -> None:
    told = {row[0] for row in rows(section(PAGE, "## Exit codes")) if row[0].isdecimal()}
    assert told == {str(code) for code in (errors.DONE, errors.FAILED, errors.USAGE, errors.CANNOT_START)}
