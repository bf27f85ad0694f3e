"""What a release is checked by: OpenSSL's news, compared offline; the tag against version and changelog."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tools import check_release, openssl_news
from tools.openssl_news import compare, report, version_of
from tools.openssl_pin import Pin, wheel_pin

SECURITY = "OpenSSL 3.5.10 is a security\npatch release. The most severe CVE fixed in this release is Moderate."
FIXES = "OpenSSL 3.5.10 is a bug fix release."


def release(tag: str, body: str | None = FIXES, **more: Any) -> dict[str, Any]:
    return {"tag_name": tag, "body": body, "draft": False, "prerelease": False, **more}


PINNED = release("openssl-3.5.9", SECURITY)


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("openssl-3.5.9", (3, 5, 9)),
        ("openssl-3.5.10", (3, 5, 10)),
        ("openssl-4.0.0-alpha1", None),
        ("OpenSSL_1_1_1w", None),
        ("openssl-3.5", None),
        ("xopenssl-3.5.9", None),
        ("", None),
    ],
)
def test_versions_of_tags(tag: str, version: tuple[int, int, int] | None) -> None:
    assert version_of(tag) == version


@pytest.mark.parametrize(
    ("releases", "security", "others"),
    [
        ([], [], []),
        ([release("openssl-3.5.10", SECURITY)], ["3.5.10"], []),
        ([release("openssl-3.5.10", "Fixed CVE-2026-12345")], ["3.5.10"], []),
        ([release("openssl-3.5.10", "Security fix for something")], ["3.5.10"], []),
        ([release("openssl-3.5.10", "")], ["3.5.10"], []),
        ([release("openssl-3.5.10", None)], ["3.5.10"], []),
        ([release("openssl-3.5.10", FIXES)], [], ["3.5.10"]),
        ([release("openssl-3.5.11", SECURITY), release("openssl-3.5.10", FIXES)], ["3.5.11"], ["3.5.10"]),
        ([release("openssl-3.5.11", FIXES), release("openssl-3.5.10", SECURITY)], ["3.5.10"], ["3.5.11"]),
        ([release("openssl-3.5.11", SECURITY), release("openssl-3.5.10", SECURITY)], ["3.5.10", "3.5.11"], []),
        ([release("openssl-3.5.8", SECURITY), release("openssl-3.5.1", SECURITY)], [], []),
        ([release("openssl-3.6.12", SECURITY), release("openssl-4.0.4", SECURITY)], [], []),
        ([release("openssl-3.5.10", SECURITY, draft=True)], [], []),
        ([release("openssl-3.5.10", SECURITY, prerelease=True)], [], []),
        ([release("openssl-3.5.10-beta1", SECURITY), {"tag_name": None}, {}], [], []),
    ],
)
def test_what_the_pin_lacks(releases: list[dict[str, Any]], security: list[str], others: list[str]) -> None:
    """Numbers, not texts, are compared: 3.5.10 comes after 3.5.9."""
    assert compare("3.5.9", [*releases, PINNED]) == (security, others)


def test_what_is_lacking_is_told_in_order() -> None:
    releases = [release(f"openssl-3.5.{patch}", SECURITY) for patch in (10, 9, 8, 11)]
    assert compare("3.5.8", releases).security == ["3.5.9", "3.5.10", "3.5.11"]


def test_silence_is_no_peace(capsys: pytest.CaptureFixture[str]) -> None:
    """A list without the series, and a pin that is no version, are errors: 2, and no false 0."""
    for releases in ([], [release("openssl-3.6.1")], [{"message": "rate limit"}]):
        assert report(Pin("3.5.9", ""), releases) == 2
    assert report(Pin("3.5", ""), [PINNED]) == 2
    assert "none of the 1 releases listed is of OpenSSL 3.5" in capsys.readouterr().err


def test_the_exit_status_and_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    pin = Pin("3.5.9", "")
    assert report(pin, [PINNED]) == 0
    assert report(pin, [PINNED, release("openssl-3.5.10", FIXES)]) == 0
    assert "without security fixes: 3.5.10" in capsys.readouterr().out
    assert report(pin, [PINNED, release("openssl-3.5.10", SECURITY), release("openssl-3.5.11", FIXES)]) == 1
    told = capsys.readouterr().err
    assert "security releases: 3.5.10." in told
    page = Path(__file__).parent.parent / "docs/how-to/releasing.md"
    assert page.exists()
    assert "docs/how-to/releasing.md" in told


def test_github_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[urllib.request.Request] = []
    told: Any = [release(f"openssl-{wheel_pin().version}")]

    def answer(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        asked.append(request)
        return io.BytesIO(json.dumps(told).encode())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    assert openssl_news.main() == 0
    assert asked[0].full_url == "https://api.github.com/repos/openssl/openssl/releases?per_page=100"
    assert asked[0].get_header("Authorization") == "Bearer secret"
    monkeypatch.delenv("GITHUB_TOKEN")
    told = {"message": "API rate limit exceeded"}
    assert openssl_news.main() == 2
    assert asked[1].get_header("Authorization") is None

    def refuse(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert openssl_news.main() == 2
    assert "no network" in capsys.readouterr().err


PROJECT = '[project]\nversion = "1.2.3"\n'
READY = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-26\n\n### Added\n\n- All.\n"


@pytest.mark.parametrize(
    ("tag", "changelog", "said"),
    [
        ("v1.2.3", READY, []),
        ("v1.2.4", READY, ["the tag is v1.2.4"]),
        ("1.2.3", READY, ["the tag is 1.2.3"]),
        ("v1.2.3", READY.replace("1.2.3", "1.2.30"), ["CHANGELOG.md has no"]),
        ("v1.2.3", READY.replace(" - 2026-11-26", ""), ["CHANGELOG.md has no"]),
        ("v1.2.3", READY.replace("2026-11-26", "soon"), ["CHANGELOG.md has no"]),
        ("v1.2.3", READY.replace("[Unreleased]\n", "[Unreleased]\n\n- More.\n"), ["has entries under Unreleased"]),
        ("v1.2.4", "", ["the tag is v1.2.4", "CHANGELOG.md has no"]),
    ],
)
def test_a_release_is_ready(tag: str, changelog: str, said: list[str]) -> None:
    found = check_release.faults(tag, PROJECT, changelog)
    assert len(found) == len(said)
    assert all(one in other for one, other in zip(said, found, strict=True))
