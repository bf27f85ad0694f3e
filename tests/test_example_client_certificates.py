"""examples/client_certificates as its reader would run it: the script makes the certificates, curl shows them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples import EXAMPLES, running
from tests.serving import environment, foreign_environment

SCRIPT = EXAMPLES / "client_certificates/make_certificates.sh"


def make(folder: Path) -> None:
    done = subprocess.run(
        [str(SCRIPT)], cwd=folder, env=foreign_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@dataclass
class Server:
    url: str
    folder: Path

    def curl(self, path: str, name: str | None, folder: Path | None = None) -> tuple[int, str]:
        """(status, body); status 0: there was no answer. The certificate is of a folder, by default the server's."""
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(self.folder / "certificates/authority.pem")]
        if name is not None:
            own = (folder or self.folder) / "certificates"
            command += ["--cert", str(own / f"{name}.pem"), "--key", str(own / f"{name}.key")]
        command += ["-w", "\n%{http_code}", self.url.replace("127.0.0.1", "localhost") + path]
        done = subprocess.run(
            command, env=foreign_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make(folder)
    return folder


@pytest.fixture
def server(made: Path) -> Iterator[Server]:
    with running("client_certificates/app.py", made) as url:
        yield Server(url, made)


def test_who_somebody_is(server: Server) -> None:
    for name in ("ann", "bob"):
        status, text = server.curl("/", name)
        told = json.loads(text)
        assert (status, told["subject"], told["issuer"]) == (200, f"CN={name}", "CN=our authority")
        assert len(told["fingerprint"]) == 64


def test_one_route_is_for_one_of_them(server: Server) -> None:
    assert server.curl("/vault", "ann") == (200, "gold\n")
    assert server.curl("/vault", "bob") == (403, "403 Forbidden: this is not for CN=bob")


def test_strangers_get_no_answer(server: Server, tmp_path: Path) -> None:
    """Nobody, somebody of another authority who has the same name, and the server's own certificate."""
    make(tmp_path)
    assert server.curl("/", None)[0] == 0
    assert server.curl("/vault", "ann", tmp_path)[0] == 0
    assert server.curl("/", "localhost")[0] == 0


def test_keys_are_for_their_owner_alone(made: Path) -> None:
    made_files = {path.name for path in (made / "certificates").iterdir()}
    pairs = {f"{name}.{kind}" for name in ("authority", "localhost", "ann", "bob") for kind in ("pem", "key")}
    assert {name for name in made_files if not name.endswith(".srl")} == pairs
    for path in [made / "certificates", *(made / "certificates").glob("*.key")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_without_certificates_the_start_says_so(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "client_certificates/app.py")]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert f"certificates{os.sep}localhost.pem" in ended.stderr
