"""web.hook_checks: what is right passes as it is, what is wrong a RouteError that names the hook."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import hook_checks

RIGHT = [
    "https://a", "http://a.example:8080", "https://xn--bcher-kva.example", "http://[::1]:3000", "http://127.0.0.1",
    "chrome-extension://abcdefghijklmnop", "moz-extension://6a3f-7", "http://a:443", "https://a:80", "http://a_b.example",
]  # fmt: skip
WRONG = [
    "", "null", "*", "a", "https://", "https://A", "https://a/", "https://a/b", "https://a?b", "https://u@a", "//a",
    "https://a:", "https://a:0", "https://a:080", "https://a:123456", "https://a:99999",
    "https://[::1]:65536", "https://a b", "https://ü.example", "https:a",
    "https://a:443", "http://a:80", "https://a\n", "https://a:443\n", 5, None, b"https://a",
]  # fmt: skip


@pytest.mark.parametrize("origin", RIGHT)
def test_origins(origin: str) -> None:
    assert hook_checks.check_origin("x(...)", origin) == origin


@pytest.mark.parametrize("origin", WRONG)
def test_what_is_no_origin(origin: Any) -> None:
    with pytest.raises(web.RouteError, match=r"^x\(...\): "):
        hook_checks.check_origin("x(...)", origin)


@pytest.mark.parametrize("host", ["a", "A.example", "192.0.2.1", "[2001:DB8::1]", "a-b.c_d", "xn--bcher-kva"])
def test_hosts(host: str) -> None:
    assert hook_checks.check_host("x(...)", host) == host.lower()


@pytest.mark.parametrize("host", ["", "a:1", "a/b", "a.", ".a", "-a", "a b", "*.a", "::1", "[::1]:1", "ü", "a\n", None])
def test_what_is_no_host(host: Any) -> None:
    with pytest.raises(web.RouteError, match=r"^x\(...\): .* is no host"):
        hook_checks.check_host("x(...)", host)


@given(
    st.text() | st.sampled_from(["https://", "http://[", ":443", ":", "]"]).flatmap(lambda a: st.text().map(a.__add__))
)
def test_any_text_is_right_or_a_route_error(text: str) -> None:
    for check in (
        lambda: hook_checks.check_origin("x", text),
        lambda: hook_checks.check_host("x", text),
        lambda: hook_checks.check_field("x", "X-Name", text),
        lambda: hook_checks.check_field("x", text, "value"),
        lambda: hook_checks.check_names("x", "names", [text]),
    ):
        try:
            check()
        except web.RouteError as error:
            assert str(error).startswith("x: ")


def test_one_or_several() -> None:
    assert hook_checks.listed("abc") == ("abc",)
    assert hook_checks.listed(iter(["a", "b"])) == ("a", "b")


def test_a_function_gives_a_bool() -> None:
    assert hook_checks.ask("x", bool, 1) is True
    with pytest.raises(TypeError, match="True or False is needed"):
        hook_checks.ask("x", int, 1)
