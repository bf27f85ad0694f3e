"""Fails when OpenSSL has a security release that the wheels do not have: GitHub's releases against tools/openssl.pin.

Only the pinned series (3.5 of 3.5.9) counts: another one is changed to by a decision. A release is one of security when
its text names a CVE or says so itself, and when it has no text: then it is better to look once too often.

Exit status: 0, the pin has all that is known (newer releases without security fixes are told); 1, it lacks a security
release; 2, GitHub's answer cannot be read, or says nothing of the series, which would be a silence that looks like
peace.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from typing import Any, NamedTuple

from tools.openssl_pin import Pin, wheel_pin

URL = "https://api.github.com/repos/openssl/openssl/releases?per_page=100"
PATIENCE = 60  # seconds
_SECURITY = re.compile(r"CVE-\d{4}-\d{4,}|security\s+(?:patch|fix)", re.IGNORECASE)

Version = tuple[int, int, int]


class News(NamedTuple):
    """What the pin lacks, the oldest first."""

    security: list[str]
    others: list[str]


def version_of(tag: str) -> Version | None:
    """(3, 5, 9) of openssl-3.5.9; None for pre-releases and for the names of old."""
    found = re.fullmatch(r"openssl-(\d+)\.(\d+)\.(\d+)", tag)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def compare(pinned: str, releases: list[dict[str, Any]]) -> News:
    """What is newer than the pinned version in its series; ValueError when nothing of the series is listed."""
    have = version_of(f"openssl-{pinned}")
    if have is None:
        raise ValueError(f"{pinned!r} is not a version of OpenSSL")
    series: dict[Version, str] = {}
    for release in releases:
        version = version_of(str(release.get("tag_name", "")))
        if version is None or version[:2] != have[:2] or release.get("draft") or release.get("prerelease"):
            continue
        series[version] = str(release.get("body") or "")
    if not series:
        raise ValueError(f"none of the {len(releases)} releases listed is of OpenSSL {have[0]}.{have[1]}")
    news = News([], [])
    for version, text in sorted(series.items()):
        if version > have:
            kind = news.security if not text.strip() or _SECURITY.search(text) else news.others
            kind.append(".".join(map(str, version)))
    return news


def fetch() -> list[dict[str, Any]]:
    """The newest hundred releases, as GitHub tells them; with GITHUB_TOKEN more calls an hour are allowed."""
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "weblatch-release"}
    if token := os.environ.get("GITHUB_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    with urllib.request.urlopen(urllib.request.Request(URL, headers=headers), timeout=PATIENCE) as answer:
        told = json.load(answer)
    if not isinstance(told, list):
        raise ValueError(f"{URL} does not answer with a list")
    return told


def report(pin: Pin, releases: list[dict[str, Any]]) -> int:
    """Prints what is new; the exit status."""
    try:
        news = compare(pin.version, releases)
    except ValueError as error:
        print(f"OpenSSL's releases cannot be judged: {error}", file=sys.stderr)
        return 2
    if news.others:
        print(f"OpenSSL {pin.version} is pinned; newer, without security fixes: {', '.join(news.others)}")
    if news.security:
        print(
            f"OpenSSL {pin.version} is pinned, but there are security releases: {', '.join(news.security)}. Put the "
            "newest release of the series into tools/openssl.pin and publish new wheels (docs/how-to/releasing.md).",
            file=sys.stderr,
        )
        return 1
    print(f"OpenSSL {pin.version}: no newer security release")
    return 0


def main() -> int:
    try:
        releases = fetch()
    except (OSError, ValueError) as error:
        print(f"GitHub does not tell OpenSSL's releases: {error}", file=sys.stderr)
        return 2
    return report(wheel_pin(), releases)


if __name__ == "__main__":
    sys.exit(main())
