"""Forms as clients send them: curl, and bodies that lie in a file."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import web
from tests.serving import foreign_environment
from tests.wire.sites import Serve

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def described(req: web.Request) -> dict[str, object]:
    return {
        one.name: [one.filename, one.content_type, one.size, hashlib.sha256(one.read()).hexdigest()]
        for one in req.multipart().parts
    }


async def described_async(req: web.Request) -> dict[str, object]:
    return described(req)


@needs_curl
@pytest.mark.parametrize("size", [10, 900_000])
def test_curl_uploads_a_file(serve: Serve, size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "up.bin").write_bytes(content)
    site = serve(
        web.POST("/loop", described),
        web.POST("/thread", described, blocking=True),
        web.POST("/task", described_async),
        web.POST("/fields", lambda req: dict(req.form())),
    )
    trust = [] if site.certificate is None else ["--cacert", site.certificate.cert]
    url = site.server.url.replace("127.0.0.1", "localhost")

    def curl(path: str, *arguments: str) -> str:
        command = ["curl", "-sS", "-4", *trust, *arguments, f"{url}{path}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=foreign_environment(), cwd=tmp_path
        )
        return done.stdout

    digest = hashlib.sha256(content).hexdigest()
    for path in ("/loop", "/thread", "/task"):
        answer = curl(path, "-F", "title=hello", "-F", "file=@up.bin")
        assert f'"file":["up.bin","application/octet-stream",{size},"{digest}"]' in answer
        assert '"title":[null,"text/plain",5,' in answer
    assert curl("/fields", "-F", "title=hello", "-F", "file=@up.bin") == '{"title":"hello"}'
    assert curl("/fields", "--data-urlencode", "title=a&b ü") == '{"title":"a&b ü"}'


def test_a_bad_form_is_a_400_that_says_why(serve: Serve) -> None:
    peer = serve(web.POST("/", lambda req: dict(req.form()))).connect()
    answer = peer.ask("/", "POST", "Content-Type: multipart/form-data; boundary=B\r\n", b"--C\r\n")
    assert answer.status == 400
    assert b"the form is not multipart/form-data" in answer.body
