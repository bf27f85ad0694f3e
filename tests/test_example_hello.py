"""examples/hello as its reader would run it, and the test that its README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.examples import EXAMPLES, fetch, running
from tests.serving import environment


def test_hello(tmp_path: Path) -> None:
    with running("hello/app.py", tmp_path) as url:
        assert url == f"http://127.0.0.1:{url.rpartition(':')[2]}"
        status, text, headers = fetch(url + "/")
        assert (status, text) == (200, "Hello, World!\n")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert fetch(url + "/nothing")[0] == 404
        status, _, headers = fetch(url + "/", method="POST")
        assert (status, headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_the_test_in_its_words() -> None:
    """It imports ``app``, as beside it in the folder."""
    [text] = re.findall(r"^```python\n(.*?)^```$", (EXAMPLES / "hello/README.md").read_text(), re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-W", "error", "-c", text]
    subprocess.run(command, check=True, cwd=EXAMPLES / "hello", env=environment(), timeout=60)
