"""The tutorial works: whoever follows it, from its pages alone, sees what they say. And what is wrong would be seen."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from tests.browser import Page
from tests.transcripts import Command
from tests.tutorial import FOLDER, Chapter, TutorialError, Walk, chapters, read_chapter

CHAPTERS = chapters()


class Journey:
    """One walk for all tests: a chapter is followed after those before it, once."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.done = 0

    def reach(self, chapter: Chapter) -> Walk:
        while self.done <= CHAPTERS.index(chapter):
            self.done += 1
            self.walk.follow(CHAPTERS[self.done - 1])
        return self.walk


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return Journey(Walk(tmp_path_factory.mktemp("tutorial")))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda one: one.name)
def test_a_chapter_can_be_followed(chapter: Chapter, journey: Journey) -> None:
    journey.reach(chapter)


def test_each_chapter_leads_to_the_next() -> None:
    pages = [FOLDER / f"{one.name}.md" for one in CHAPTERS]
    assert [page.name for page in pages[1:]] == re.findall(
        r"^\d\. \[.*?\]\((.*?)\)", pages[0].read_text(), re.MULTILINE
    )
    for page, after in pairwise(pages[1:]):
        assert re.search(rf"^Next: \[.*\]\({after.name}\)\.$", page.read_text(), re.MULTILINE), page.name


# ---- the application at its end ----


def test_the_service_finds_what_its_unit_gives(journey: Journey) -> None:
    """app.py as systemd starts it, with the credentials and variables of the unit in chapter 8."""
    walk = journey.reach(CHAPTERS[-1])
    unit = (FOLDER / "8-deployment.md").read_text()
    given = re.findall(r"^LoadCredential=([\w.]+):", unit, re.MULTILINE)
    host = re.findall(r"^Environment=(\w+)=", unit, re.MULTILINE)
    assert "StateDirectory=" in unit
    sources = {"cert.pem": ".dev/dev-cert.pem", "key.pem": ".dev/dev-key.pem", "secret.key": "secret.key"}
    secrets, state = walk.folder / "credentials", walk.folder / "state"
    secrets.mkdir()
    state.mkdir()
    with closing(sqlite3.connect(state / "shelf.db")) as database:  # not by two workers at once
        database.execute("PRAGMA journal_mode = WAL")
    for name in given:
        shutil.copy(walk.folder / sources[name], secrets / name)
    try:
        walk.start(CREDENTIALS_DIRECTORY=str(secrets), STATE_DIRECTORY=str(state), **dict.fromkeys(host, "localhost"))
        said = walk.run(Command("curl -i --cacert .dev/dev-cert.pem https://localhost:8443/login", ""))
        assert said.startswith("HTTP/1.1 200 OK")
        assert "Strict-Transport-Security: max-age=300" in said
        assert "\nLocation: https://localhost/\n" in walk.run(Command("curl -i http://localhost:8000/", ""))
        with closing(sqlite3.connect(state / "shelf.db")) as database:
            assert database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    finally:
        walk.stop()


def log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/login")
    page.type_text("[name=name]", "ada")
    page.type_text("[name=password]", "correct horse")
    page.press_enter()
    page.wait_for("document.querySelector('#books')")


def add(page: Page, title: str) -> None:
    before = len(page.texts("#books li"))
    page.type_text("[name=title]", title)
    page.type_text("[name=author]", "Somebody")
    page.click("form button")
    page.wait_for(f"document.querySelectorAll('#books li').length === {before + 1}")


def test_a_book_appears_on_every_open_page(journey: Journey, page: Page) -> None:
    """By a real browser: the login, the form, the events, and no script out of a title."""
    walk = journey.reach(CHAPTERS[-1])
    walk.start()
    url = f"https://127.0.0.1:{walk.ports['8443']}"
    try:
        log_in(page, url)
        other = page.browser.open_page(beside=page)
        other.goto(url)
        title = "<img src=x onerror=alert(1)>"
        add(page, title)
        other.wait_for(f"[...document.querySelectorAll('#books b')].at(-1).textContent === {title!r}")
        assert page.texts("#books li") == other.texts("#books li")
        assert other.evaluate("document.querySelectorAll('img').length") == 0
        assert page.evaluate("getComputedStyle(document.querySelector('label')).display") == "block"  # the style sheet
        page.click("form[action='/logout'] button")
        page.wait_for("document.querySelector('[name=password]')")
        assert (page.errors, other.errors) == ([], [])
        other.close()
    finally:
        walk.stop()


# ---- what would be seen ----


def read(folder: Path, text: str) -> Chapter:
    path = folder / "1-chapter.md"
    path.write_text(text)
    return read_chapter(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```python\nx = 1\n```\n", "without a file's name"),
        ("**a.py**, somewhere\n\n```python\nx = 1\n```\n", "not clear where it goes"),
        ("```console\nwhat\n```\n", "output without a command"),
        ("```python no-run\nx = 1\n``` \n", "a fence without an end"),
    ],
)
def test_a_block_that_is_not_clear_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        read(tmp_path, text)


def test_files_are_saved_changed_and_added_to(tmp_path: Path) -> None:
    first = "**a.py**\n\n```python\n@staticmethod\ndef one():\n    pass\n\n\ntwo = 2\n```\n"
    then = "**a.py**, in place of `one`\n\n```python\ndef one():\n    return 1\n```\n"
    last = "**a.py**, at the end\n\n```python\nthree = 3\n```\n"
    walk = Walk(tmp_path)
    walk.follow(read(tmp_path, first + then + last))
    assert (walk.folder / "a.py").read_text() == "def one():\n    return 1\n\n\ntwo = 2\n\n\nthree = 3\n"
    for wrong in (then.replace("`one`", "`four`"), then.replace("def one", "def four")):
        with pytest.raises(TutorialError, match="stands there"):
            walk.follow(read(tmp_path, wrong))


@pytest.mark.parametrize(
    ("said", "fits"),
    [("one\ntwo", True), ("one\n...", True), ("...\ntwo", True), ("one\n...\ntwo", True), ("o...e\ntwo", True),
     ("one", False), ("two", False), ("o...o", False), ("one\ntwo\nthree", False), ("...\none", False)],
)  # fmt: skip
def test_output_is_compared(tmp_path: Path, said: str, fits: bool) -> None:
    chapter = read(tmp_path, f"```console\n$ printf 'one\\ntwo\\n'\n{said}\n```\n")
    walk = Walk(tmp_path)
    if fits:
        walk.follow(chapter)
    else:
        with pytest.raises(TutorialError, match="the page says"):
            walk.follow(chapter)


APP = """**app.py**

```python
import web

web.App(web.GET("/", lambda req: {}["key"])).serve("127.0.0.1", 8000)
```

```console
$ curl http://127.0.0.1:8000/
Internal Server Error
```
"""
LOG = "**In the terminal of the server**\n\n```text\nhandling GET / ...\nTraceback ...\n...\nKeyError: 'key'\n```\n"


def test_a_traceback_that_is_not_on_the_page_is_an_error(tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    walk.follow(read(tmp_path, APP + LOG))
    with pytest.raises(TutorialError, match="KeyError"):
        walk.follow(read(tmp_path, APP))
    assert walk.server is None


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(TutorialError, match=r"app.py does not start: [\s\S]*RouteError"):
        Walk(tmp_path).follow(read(tmp_path, APP.replace('"/"', '"nothing"')))
