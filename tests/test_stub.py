"""The stub of the extension says what the compiled module has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import environment
from web import _core

STUB = Path(__file__).parent.parent / "src" / "web" / "_core.pyi"


@pytest.mark.no_asan  # mypy reads the module's names; nothing of the module runs
def test_the_stub_agrees_with_the_module(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    settings = tmp_path / "mypy.ini"
    settings.write_text(f"[mypy]\ncache_dir = {tmp_path / 'cache'}\n")
    command = [sys.executable, "-m", "mypy.stubtest", "web._core", "--mypy-config-file", str(settings)]
    source = str(STUB.parent.parent)
    done = subprocess.run(
        command, capture_output=True, text=True, env={**environment(), "MYPYPATH": source}, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_that_the_package_takes_is_in_the_stub() -> None:
    text = STUB.read_text()
    for name, value in vars(_core).items():
        if getattr(value, "__module__", None) == "web._core" and not name.startswith("_"):
            assert f"class {name}" in text or f"def {name}(" in text, name
