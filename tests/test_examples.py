"""Every example of one file is run as its reader would run it, fetched from, and ended by Ctrl-C. Only its port is any
free one. The folders have a test each, and what holds for all of them stands here."""

from __future__ import annotations

import json
import re
import ssl
from pathlib import Path

import pytest

from tests.examples import EXAMPLES, fetch, running


def test_https(tmp_path: Path) -> None:
    with running("https.py", tmp_path) as url:
        trust = ssl.create_default_context(cafile=tmp_path / ".dev/dev-cert.pem")
        status, text, _ = fetch(url + "/", trust)
        assert status == 200
        assert text.startswith("TLSv1.3 with TLS_")


def test_params_and_hooks(tmp_path: Path) -> None:
    with running("params_and_hooks.py", tmp_path) as url:
        status, text, headers = fetch(url + "/users/7", X_Token="secret")
        assert (status, text) == (200, '{"id":7,"name":"Ada"}')
        assert headers["Cache-Control"] == "no-store"
        assert fetch(url + "/users/9", X_Token="secret")[:2] == (404, "there is no user 9")
        assert fetch(url + "/users/ada", X_Token="secret")[0] == 404
        status, text, headers = fetch(url + "/users/7")
        assert (status, text) == (401, "Send X-Token: secret\n")
        assert headers["Cache-Control"] == "no-store"


def test_workers(tmp_path: Path) -> None:
    with running("workers.py", tmp_path) as url:
        answers = [json.loads(fetch(url + "/")[1]) for _ in range(100)]
        assert len({answer["master"] for answer in answers}) == 1
        last = {answer["worker"]: answer["answers"] for answer in answers}
        assert len(last) == 2
        assert sum(last.values()) == 100


def test_embed_asyncio(tmp_path: Path) -> None:
    with running("embed_asyncio.py", tmp_path) as url:
        for _ in range(3):  # a connection each: the listener stays watched
            status, text, _ = fetch(url + "/")
            assert status == 200
            assert text.endswith(" seconds\n")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_each_is_short_and_tested(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 40
    assert f'running("{example.name}"' in Path(__file__).read_text()


def test_the_list_names_each() -> None:
    """examples/README.md has a line for every program and every folder, and leads to nothing else."""
    there = {path.name for path in EXAMPLES.glob("*.py")} | {
        f"{path.parent.name}/" for path in EXAMPLES.glob("*/app.py")
    }
    text = (EXAMPLES / "README.md").read_text()
    assert sorted(re.findall(r"^\| \[[^]]+\]\(([\w./]+)\) \|", text, re.MULTILINE)) == sorted(
        f"{name}README.md" if name.endswith("/") else name for name in there
    )


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in EXAMPLES.glob("*/app.py")), ids=lambda path: path.name
)
def test_each_folder_has_words_and_a_test(folder: Path) -> None:
    words = (folder / "README.md").read_text()
    assert re.search(rf"^python (examples/{folder.name}/)?app\.py", words, re.MULTILINE)
    assert "](app.py)" in words
    assert 15 <= len(words.splitlines()) <= 60
    assert len((folder / "app.py").read_text().splitlines()) < 140
    assert f'"{folder.name}/app.py"' in (Path(__file__).parent / f"test_example_{folder.name}.py").read_text()


def name_of(page: Path) -> str:
    return str(page.relative_to(EXAMPLES))


@pytest.mark.parametrize("page", sorted(EXAMPLES.glob("*/**/*.html")), ids=name_of)
def test_no_page_needs_inline_code(page: Path) -> None:
    """So that a Content-Security-Policy without 'unsafe-inline' can stand before it; nothing comes from elsewhere."""
    text = page.read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|https?://", text)
