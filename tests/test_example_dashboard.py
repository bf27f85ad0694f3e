"""examples/dashboard as its reader would run it: its events by http.client, its page by a real browser."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser import Page
from tests.event_stream import Stream, Told
from tests.examples import EXAMPLES, fetch, running

PUBLIC = EXAMPLES / "dashboard/public"
NAMES = ["number", "requests", "rate", "connections", "sent", "load", "viewers"]


@dataclass
class Viewer:
    """One who reads the events."""

    answer: http.client.HTTPResponse
    stream: Stream

    def next(self) -> Told:
        """The next event."""
        while not self.stream.told:
            line = self.answer.readline()
            assert line, "the stream has ended"
            self.stream.feed(line.decode())
            assert len(self.stream.comments) < 3, "nothing comes but comments"
        return self.stream.told.pop(0)

    def sample(self) -> dict[str, Any]:
        told = self.next()
        assert told.type == "sample"
        found: dict[str, Any] = json.loads(told.data)
        assert list(found) == NAMES
        assert told.last_event_id.endswith(f"-{found['number']}")
        return found


@dataclass
class Dashboard:
    url: str
    stack: ExitStack

    def view(self, **headers: str) -> Viewer:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        self.stack.callback(connection.close)
        connection.request("GET", "/events", headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        self.stack.callback(answer.close)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
        return Viewer(answer, Stream())


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Dashboard]:
    with running("dashboard/app.py", tmp_path) as url, ExitStack() as stack:
        yield Dashboard(url, stack)


def test_all_viewers_see_the_same_samples(dashboard: Dashboard) -> None:
    one, two = dashboard.view(), dashboard.view()
    first = [one.sample(), one.sample()]
    assert [two.sample(), two.sample()] == first
    assert [sample["number"] for sample in first] == [1, 2]
    assert first[1]["viewers"] == 2
    assert first[1]["connections"] == 2
    late = dashboard.view()
    assert [late.sample(), late.sample()] == first  # what is kept comes at once


def test_the_numbers_are_the_servers(dashboard: Dashboard) -> None:
    viewer = dashboard.view()
    before = viewer.sample()
    for _ in range(20):
        assert fetch(dashboard.url + "/style.css")[0] == 200
    later = [viewer.sample() for _ in range(2)]
    assert later[-1]["requests"] == before["requests"] + 20
    assert max(sample["rate"] for sample in later) > 0
    assert max(sample["sent"] for sample in later) > 0
    assert later[-1]["load"] >= 0


def test_who_connects_anew_gets_what_was_missed_and_no_more(dashboard: Dashboard) -> None:
    viewer = dashboard.view()
    told = [viewer.next() for _ in range(3)]
    viewer.answer.close()
    again = dashboard.view(Last_Event_ID=told[0].last_event_id)
    assert [again.next(), again.next()] == told[1:]
    assert again.sample()["number"] == 4


@pytest.mark.parametrize("came", ["another-1", "1", "-1", "another-x"])
def test_what_was_seen_in_another_run_does_not_count(dashboard: Dashboard, came: str) -> None:
    assert dashboard.view().sample()["number"] == 1
    assert dashboard.view(Last_Event_ID=came).sample()["number"] == 1


def test_a_viewer_that_left_is_not_counted(dashboard: Dashboard) -> None:
    stays, leaves = dashboard.view(), dashboard.view()
    assert any(stays.sample()["viewers"] == 2 for _ in range(10))
    leaves.answer.close()
    dashboard.stack.close()
    stays = dashboard.view()
    assert any(stays.sample()["viewers"] == 1 for _ in range(10))


def test_streams_end_whole_when_the_server_stops(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with running("dashboard/app.py", tmp_path) as url:
            viewer = Dashboard(url, stack).view()
            viewer.sample()
        viewer.answer.read()  # IncompleteRead: it was cut off


# ---- the page ----

SHOWN = """Object.fromEntries([...document.querySelectorAll("[data-name]")].map(
    field => [field.dataset.name, Number(field.textContent.replace(/,/g, ""))]))"""


def test_the_page_shows_what_comes(dashboard: Dashboard, page: Page) -> None:
    page.goto(dashboard.url)
    page.wait_for("document.querySelector('#state').textContent === 'live'")
    page.wait_for("document.querySelector('#line').points.length >= 2")
    before = page.evaluate(SHOWN)
    for _ in range(10):
        fetch(dashboard.url + "/style.css")
    page.wait_for(f"({SHOWN}).requests >= {before['requests'] + 10}")
    shown = page.evaluate(SHOWN)
    assert set(shown) == set(NAMES) - {"number"}
    assert shown["viewers"] == 1
    assert page.errors == []


def test_two_pages_and_one_is_closed(dashboard: Dashboard, page: Page) -> None:
    other = page.browser.open_page(beside=page)
    for tab in (page, other):
        tab.goto(dashboard.url)
    page.wait_for(f"({SHOWN}).viewers === 2")
    other.close()
    page.wait_for(f"({SHOWN}).viewers === 1")
    assert page.errors == []


def test_files_and_policy(dashboard: Dashboard) -> None:
    for name in ("index.html", "app.js", "style.css", "icon.svg"):
        status, text, headers = fetch(f"{dashboard.url}/{name}")
        assert (status, text) == (200, (PUBLIC / name).read_text())
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert fetch(dashboard.url + "/app.py")[0] == 404
