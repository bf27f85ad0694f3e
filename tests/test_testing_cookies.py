"""web.testing.cookies: what a browser would keep, and where it would send it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.testing.cookies import Cookies, cookie_date, default_path, domain_matches, path_matches

NOW = 1_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def jar_of(*lines: str, scheme: str = "http", host: str = "www.example.org", path: str = "/") -> Cookies:
    jar = Cookies("www.example.org", Clock())
    jar.take(list(lines), scheme, host, path)
    return jar


def sent(jar: Cookies, url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return "; ".join(f"{name}={value}" for name, value in jar.pairs_for(scheme, host, slash + path or "/"))


def test_a_cookie_goes_back_to_its_host_alone() -> None:
    jar = jar_of("a=1; HttpOnly; SameSite=Lax")
    assert sent(jar, "http://www.example.org/x") == "a=1"
    assert sent(jar, "http://example.org/") == sent(jar, "http://a.www.example.org/") == ""
    cookie = jar.find("a")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site, cookie.secure, cookie.host_only) == (True, "Lax", False, True)


@pytest.mark.parametrize("domain", ["example.org", ".example.org", "EXAMPLE.org"])
def test_a_domain(domain: str) -> None:
    jar = jar_of(f"a=1; Domain={domain}")
    assert sent(jar, "http://www.example.org/") == sent(jar, "http://example.org/") == "a=1"
    assert sent(jar, "http://anexample.org/") == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a=1; Domain=org", "no domain of one owner"),
        ("a=1; Domain=other.org", "does not hold"),
        ("a=1; Domain=a.www.example.org", "does not hold"),
        ("a", "no name="),
        ("=1", "no name="),
        ("a=\x01", "control"),
        ("a=" + "x" * 4096, "longer than"),
        ("a=1; Secure", "is no https"),
        ("__Secure-a=1", "must be Secure"),
        ("__Host-a=1; Path=/", "must be Secure"),
        ("a=1; SameSite=None", "needs Secure"),
    ],
)
def test_what_is_refused_is_told(line: str, why: str) -> None:
    jar = jar_of(line)
    assert len(jar) == 0
    assert why in jar.refused[0]


@pytest.mark.parametrize("line", ["__Host-a=1; Secure", "__Host-a=1; Secure; Path=/; Domain=www.example.org"])
def test_host_prefix(line: str) -> None:
    assert "Path=/ and no Domain" in jar_of(line, scheme="https").refused[0]
    assert dict(jar_of("__Host-a=1; Secure; Path=/", scheme="https")) == {"__Host-a": "1"}


def test_hosts_without_dots_and_addresses_keep_their_own() -> None:
    assert sent(jar_of("a=1; Domain=localhost", host="localhost"), "http://localhost/") == "a=1"
    jar = jar_of("a=1; Domain=127.0.0.1", host="127.0.0.1")
    assert sent(jar, "http://127.0.0.1/") == "a=1"
    assert "does not hold" in jar_of("a=1; Domain=0.0.1", host="127.0.0.1").refused[0]


def test_secure_goes_over_https_alone() -> None:
    jar = jar_of("a=1; secure; SameSite=None", scheme="https")
    assert (sent(jar, "https://www.example.org/"), sent(jar, "http://www.example.org/")) == ("a=1", "")


def test_paths() -> None:
    jar = jar_of("a=1; Path=/x", "b=2", "c=3; Path=nonsense", "d=4; Path=/", path="/x/y")
    assert sent(jar, "http://www.example.org/x/y") == "a=1; b=2; c=3; d=4"
    assert sent(jar, "http://www.example.org/xy") == "d=4"
    assert [default_path(path) for path in ("/", "/a", "/a/", "/a/b", "*")] == ["/", "/", "/a", "/a", "/"]
    assert path_matches("/a/b", "/a/")
    assert not path_matches("/ab", "/a")


def test_longer_paths_go_first() -> None:
    assert sent(jar_of("a=1; Path=/", "a=2; Path=/x", "b=3; Path=/"), "http://www.example.org/x") == "a=2; a=1; b=3"


def test_the_end_of_a_cookie() -> None:
    clock = Clock()
    jar = Cookies("h.org", clock)
    later = "Mon, 12 Jan 1970 13:46:41 GMT"  # NOW + 1
    jar.take(
        ["a=1; Max-Age=1", f"b=2; Expires={later}", "c=3", f"d=4; Max-Age=9; Expires={later}"], "http", "h.org", "/"
    )
    assert dict(jar) == {"a": "1", "b": "2", "c": "3", "d": "4"}
    clock.now += 1
    assert dict(jar) == {"c": "3", "d": "4"}
    assert jar.take(["c=; Max-Age=0", "d=; Max-Age=-5", "e=1; Max-Age=x"], "http", "h.org", "/") == {"e": "1"}
    assert dict(jar) == {"e": "1"}
    jar.take(["e=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "http", "h.org", "/")
    assert len(jar) == 0


def test_a_mapping() -> None:
    jar = Cookies("h.org")
    jar["a"] = "1"
    jar.set("a", "2", path="/x")
    jar.set("b", "3", domain="org.")
    assert (jar["a"], list(jar), len(jar)) == ("2", ["a", "b"], 2)
    assert repr(jar) == "Cookies({'a': '2', 'b': '3'})"
    del jar["a"]
    assert "a" not in jar
    with pytest.raises(KeyError):
        del jar["a"]
    with pytest.raises(KeyError):
        jar["a"]
    for name, value in (("a b", "1"), ("", "1"), ("a", "1;2"), ("a", "é"), ("a", "\r\n")):
        with pytest.raises(ValueError, match="encode it"):
            jar[name] = value
    jar.clear()
    assert not jar


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        ("Sun Nov  6 08:49:37 1994", (1994, 11, 6, 8, 49, 37)),
        ("6 november 69 8:9:7", (2069, 11, 6, 8, 9, 7)),
        ("1 jan 1601 0:0:0", (1601, 1, 1, 0, 0, 0)),
    ],
)
def test_dates(text: str, moment: tuple[int, int, int, int, int, int]) -> None:
    assert cookie_date(text) == datetime(*moment, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "31 feb 2000 0:0:0", "1 jan 1600 0:0:0", "1 jan 2000 24:00:00", "1 jan 2000"]
)
def test_no_dates(text: str) -> None:
    assert cookie_date(text) is None


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["a=1", "; ", "Expires=", "Max-Age=", "9" * 30, "Domain=", "1 jan 2000 1:1:1", "."])
    ).map("".join)
)
def test_any_text_is_kept_or_refused(line: str) -> None:
    jar = jar_of(line)
    assert len(jar.refused) + len(jar) <= 1 or line.count("\n")
    for cookie in jar.jar:
        assert domain_matches("www.example.org", cookie.domain)
        assert cookie.path.startswith("/")
