"""``web completion``: shells complete what the parser knows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.serving import foreign_environment
from web.cli.parser import _DONE_BY


def shell(name: str, script: str, here: Path) -> list[str]:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [path, *(["--norc"] if name == "bash" else ["-f"] if name == "zsh" else ["--no-config"]), "-c", script],
        cwd=here,
        env=foreign_environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], {*_DONE_BY, "--version", "--help"}),
        (["ro"], {"routes"}),
        (["run", "ap"], {"app.py"}),
        (["run", "my"], {"my app.py"}),
        (["run", "--wo"], {"--workers"}),
        (["dev", "app.py", "--"], {"--host", "--port", "--allow-host", "--tls", "--no-reload", "--also", "--help"}),
        (["completion", "f"], {"fish"}),
    ],
)
def test_bash(command: Command, here: Path, words: list[str], expected: set[str]) -> None:
    script = command("completion", "bash").out
    (here / "app.py").touch()
    (here / "my app.py").touch()
    line = " ".join(f"'{word}'" for word in ["web", *words])
    asked = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _weblatch; printf "%s\\n" "${{COMPREPLY[@]}}"'
    assert set(shell("bash", f"{script}\n{asked}", here)) == expected


def test_zsh_reads_it(command: Command, here: Path) -> None:
    script = command("completion", "zsh").out
    assert shell("zsh", f"autoload -Uz compinit; compinit -u -D\n{script}\nprint $_comps[web]", here) == ["_weblatch"]


def test_fish_completes(command: Command, here: Path) -> None:
    script = command("completion", "fish").out
    assert any(line.split()[0] == "routes" for line in shell("fish", f"{script}\ncomplete -C 'web ro'", here))


def test_every_command_and_option_is_in_each(command: Command) -> None:
    for name in ("bash", "zsh", "fish"):
        script = command("completion", name).out
        for word in (*_DONE_BY, "workers", "no-reload"):
            assert word in script
        assert "--fd" not in script
