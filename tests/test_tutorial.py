"""The tutorial works: whoever follows it, from its pages alone, sees what they say."""

from __future__ import annotations

import pytest

from tests.tutorial import FOLDER, Chapter, Walk, chapters

CHAPTERS = chapters()


class Journey:
    """One walk for all tests: a chapter is followed after those before it, once."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.done = 0

    def reach(self, chapter: Chapter) -> None:
        while self.done <= CHAPTERS.index(chapter):
            self.done += 1
            self.walk.follow(CHAPTERS[self.done - 1])


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return Journey(Walk(tmp_path_factory.mktemp("tutorial")))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda one: one.name)
def test_a_chapter_can_be_followed(chapter: Chapter, journey: Journey) -> None:
    journey.reach(chapter)
