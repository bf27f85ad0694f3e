"""The examples as their reader would run them, on any free port. test_examples.py and test_example_*.py ask them."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import web

EXAMPLES = Path(__file__).parents[1] / "examples"

# Runs a script as __main__ with port 0 in place of the one that it names. SIGINT is made to interrupt, because a
# process that was started in the background may have it ignored.
RUN = """
import runpy, signal, sys, web
signal.signal(signal.SIGINT, signal.default_int_handler)
listen = web.Server.listen
web.Server.listen = lambda self, host, port=0, *rest, **options: listen(self, host, 0, *rest, **options)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@contextmanager
def running(name: str, folder: Path, *arguments: str, **variables: str) -> Iterator[str]:
    """The URL of an example that runs in a folder. It ends cleanly on SIGINT, and says nothing but where it serves."""
    example = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", RUN, str(EXAMPLES / name), *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path(web.__file__).parents[1])} | variables,
    )  # fmt: skip
    assert example.stdout is not None
    try:
        first = example.stdout.readline()
        assert first.startswith("Serving on "), first + example.stdout.read()
        yield first.split()[2]
        example.send_signal(signal.SIGINT)
        status = example.wait(60)  # what it says until then has room in the pipe
        assert (status, example.stdout.read()) == (0, "")
    finally:
        example.kill()
        example.wait()
        example.stdout.close()


def fetch(
    url: str, context: ssl.SSLContext | None = None, *, method: str = "GET", **headers: str
) -> tuple[int, str, dict[str, str]]:
    """(status, text, headers)."""
    request = Request(url, method=method, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urlopen(request, timeout=60, context=context) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)
