"""web.redirect_to_https: always to https and the same place, never to a host that is not ours; ACME's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from tests.asking import ask, made

OURS = ["example.org", "www.Example.org", "[2001:db8::1]", "192.0.2.7"]


def site(*args: Any, **options: Any) -> web.App:
    return web.App(web.redirect_to_https(*args, **options), web.GET("*", lambda req: "the application"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "BREW", "OPTIONS"])
@pytest.mark.parametrize(
    ("host", "target", "location"),
    [
        ("example.org", "/", "https://example.org/"),
        ("example.org:80", "/a/b?c=d&e", "https://example.org/a/b?c=d&e"),
        ("EXAMPLE.org.", "/a", "https://example.org/a"),
        ("www.example.org:8080", "/%41%2Fb%0d%0a?x=%20", "https://www.example.org/%41%2Fb%0d%0a?x=%20"),
        ("[2001:DB8::1]:80", "/", "https://[2001:db8::1]/"),
        ("192.0.2.7", "//evil.example/x", "https://192.0.2.7//evil.example/x"),
        ("evil.example", "http://example.org/x", "https://example.org/x"),
        ("evil.example", "http://example.org", "https://example.org/"),
        ("example.org:", "/.well-known/acme-challenge/x", "https://example.org/.well-known/acme-challenge/x"),
    ],
)
def test_to_the_same_place(method: str, host: str, target: str, location: str) -> None:
    answer = ask(site(hosts=OURS), target, method, host=host)
    assert (answer.status, answer.headers["Location"], answer.body) == (308, location, b"")
    assert ask(site(), target, method, host=host).headers["Location"] == location


def test_another_port() -> None:
    assert (
        ask(site(8443, hosts=OURS), "/a", host="example.org:8080").headers["Location"] == "https://example.org:8443/a"
    )


@pytest.mark.parametrize(
    "host",
    ["evil.example", "example.org.evil.example", "evil-example.org", "xn--example", "[2001:db8::2]", "localhost"],
)
def test_hosts_that_are_not_ours(host: str) -> None:
    answer = ask(site(hosts=OURS), "/", host=host)
    assert (answer.status, "Location" in answer.headers) == (421, False)
    assert ask(site(hosts=OURS), f"http://{host}/", host="example.org").status == 421


def test_no_host() -> None:
    for app in (site(), site(hosts=OURS)):
        answer = app._compile().respond(made("/", host="", version="1.0"))
        assert (answer.status, "Location" in answer.headers) == (400, False)


@pytest.mark.parametrize("host", ["a!b", "(a)", ".", "-a", "a..", "~"])
def test_what_is_no_name_is_400(host: str) -> None:
    assert ask(site(), "/", host=host).status == 400


PLACES = [
    "/",
    "//",
    "http://",
    "https://",
    "example.org",
    "evil.example",
    "@",
    ":",
    "?",
    "#",
    "\\",
    "%2F",
    "a",
    "[::1]",
]


@given(
    st.sampled_from([*OURS, "evil.example"]) | st.lists(st.sampled_from(PLACES), min_size=1).map("".join),
    st.lists(st.sampled_from(PLACES)).map(lambda places: "".join(["/", *places]) if places else "/")
    | st.lists(st.sampled_from(PLACES)).map(lambda places: "".join(["http://", *places])),
)
def test_a_location_never_leaves_our_hosts(host: str, target: str) -> None:
    try:
        req = made(target, host=host)
    except ValueError:
        return
    answer = site(hosts=OURS)._compile().respond(req)
    assert answer.status in (308, 400, 421)
    if answer.status == 308:
        parts = urlsplit(answer.headers["Location"])
        assert (parts.scheme, parts.netloc in [host.lower() for host in OURS]) == ("https", True)


def test_options_of_the_server_as_a_whole_passes() -> None:
    assert ask(site(hosts=OURS), "*", "OPTIONS", host="evil.example").status == 204


# ---- ACME ----


@pytest.fixture
def webroot(tmp_path: Path) -> Path:
    """What ``certbot certonly --webroot -w webroot`` leaves there while the CA asks."""
    challenges = tmp_path / "webroot/.well-known/acme-challenge"
    challenges.mkdir(parents=True)
    (challenges / "tok_EN-1").write_text("tok_EN-1.thumbprint")
    (challenges / "folder").mkdir()
    (challenges / "a.txt").write_text("secret")
    (tmp_path / "webroot/secret").write_text("secret")
    return tmp_path / "webroot"


CHALLENGE = "/.well-known/acme-challenge/"


@pytest.mark.parametrize("host", ["example.org", "not-yet-ours.example"])
def test_a_challenge_is_served(webroot: Path, host: str) -> None:
    answer = ask(site(acme_folder=webroot, hosts=OURS), f"{CHALLENGE}tok_EN-1", host=host)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert answer.path == f"{os.path.realpath(webroot)}{CHALLENGE}tok_EN-1"


@pytest.mark.parametrize(
    "token",
    [
        "", "nothing", "folder", "a.txt", "..", "../../secret", "..%2f..%2fsecret", "%2e%2e/%2e%2e/secret", "tok_EN-1/",
        "./tok_EN-1", "%74ok_EN-1", "folder/../tok_EN-1", "/etc/passwd", "tok_EN-1%00", "x" * 300,
    ],
)  # fmt: skip
def test_nothing_else_is(webroot: Path, token: str) -> None:
    if "%00" in token:
        with pytest.raises(ValueError, match="400"):
            made(CHALLENGE + token)
        return
    answer = ask(site(acme_folder=webroot), CHALLENGE + token, host="example.org")
    assert (answer.status, answer.body) == (404, b"404 Not Found: no such challenge")


def test_other_paths_and_methods_are_redirected(webroot: Path) -> None:
    app = site(acme_folder=webroot, hosts=OURS)
    for target, method in ((CHALLENGE[:-1], "GET"), (f"{CHALLENGE}tok_EN-1", "POST"), ("/secret", "GET")):
        assert ask(app, target, method, host="example.org").status == 308


def test_the_folder_may_be_filled_later(tmp_path: Path) -> None:
    app = site(acme_folder=tmp_path)
    assert ask(app, f"{CHALLENGE}later").status == 404
    (tmp_path / ".well-known/acme-challenge").mkdir(parents=True)
    (tmp_path / ".well-known/acme-challenge/later").write_text("x")
    assert ask(app, f"{CHALLENGE}later").status == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, "whole number from 1 to 65535"),
        ({"port": "443"}, "whole number"),
        ({"acme_folder": "/nowhere/at/all"}, "/nowhere/at/all is no folder"),
        ({"hosts": []}, "hosts is empty"),
        ({"hosts": "https://example.org"}, "is no host"),
        ({"hosts": ["example.org:443"]}, "is no host"),
        ({"hosts": ["example.org/"]}, "is no host"),
        ({"hosts": ["*.example.org"]}, "is no host"),
        ({"hosts": ["2001:db8::1"]}, "is no host"),
        ({"hosts": [""]}, "is no host"),
        ({"hosts": [7]}, "7 is no host"),
    ],
)
def test_start_up_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        web.redirect_to_https(**options)
