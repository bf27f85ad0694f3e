"""``web completion SHELL``: a script that completes commands, options and files, made from the parser itself."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from web.cli.errors import DONE
from web.cli.parser import make_parser

__all__ = ["completion"]

_BASH = """# web and weblatch: source <(web completion bash)
_weblatch() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}}
    local words
    if ((COMP_CWORD == 1)); then
        words="{commands} --version --help"
    else
        case $command in
{cases}
        esac
    fi
    local IFS=$'\n'  # in names of files is any blank
    COMPREPLY=($(compgen -W "${{words// /$'\n'}}" -- "$word"))
    if ((COMP_CWORD > 1)) && [[ $word != -* ]]; then
        COMPREPLY+=($(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _weblatch web weblatch
"""

_ZSH = """#compdef web weblatch
# web and weblatch: source <(web completion zsh), or as _web in a folder of $fpath
_weblatch() {{
    local -a commands
    commands=(
{commands}
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    case $words[2] in
{cases}
    esac
}}
compdef _weblatch web weblatch
"""


def completion(options: argparse.Namespace) -> int:
    """``web completion``."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    print(write(), end="")
    return DONE


class _Option:
    """What shells are told of an option or argument."""

    def __init__(self, action: argparse.Action) -> None:
        self.flags = [flag for flag in action.option_strings if flag.startswith("--")]
        self.takes_value = action.nargs != 0
        self.choices = [str(one) for one in action.choices or ()]
        # "% (default)s" and its like are of no use here; quotes and brackets mean something to shells
        self.help = re.sub(r"[\[\]'\":`\\]", "", re.sub(r"\(default: .*?\)s?\)?", "", action.help or "")).strip()


def _commands() -> Iterator[tuple[str, str, list[_Option]]]:
    """(name, what it does, options) of each."""
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, parser in action.choices.items():
                shown = [_Option(one) for one in parser._actions if one.help != argparse.SUPPRESS]
                yield name, helps[name], shown


def _bash() -> str:
    cases, names = [], []
    for name, _, options in _commands():
        names.append(name)
        words = [word for one in options for word in (*one.flags, *one.choices)]
        cases.append(f'        {name}) words="{" ".join(words)}" ;;')
    return _BASH.format(commands=" ".join(names), cases="\n".join(cases))


def _zsh() -> str:
    cases, names = [], []
    for name, what, options in _commands():
        names.append(f"        '{name}:{what}'")
        specs = [f"'{flag}[{one.help}]{':value:_files' * one.takes_value}'" for one in options for flag in one.flags]
        rest = [one for one in options if not one.flags]
        choices = [word for one in rest for word in one.choices]
        specs.append(f"'*:file:({' '.join(choices)})'" if choices else "'*:file:_files'")
        cases.append(f"    {name}) _arguments -s {' '.join(specs)} ;;")
    return _ZSH.format(commands="\n".join(names), cases="\n".join(cases))


def _fish() -> str:
    lines = ["# web and weblatch: web completion fish | source"]
    for program in ("web", "weblatch"):
        for name, what, options in _commands():
            lines.append(f"complete -c {program} -n __fish_use_subcommand -f -a {name} -d '{what}'")
            seen = f"-n '__fish_seen_subcommand_from {name}'"
            for one in options:
                value = " -r" if one.takes_value else ""
                lines += [f"complete -c {program} {seen} -l {flag[2:]}{value} -d '{one.help}'" for flag in one.flags]
                lines += [f"complete -c {program} {seen} -f -a '{' '.join(one.choices)}'"] * bool(one.choices)
    return "\n".join(lines) + "\n"
