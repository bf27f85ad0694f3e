"""The same requests through our parser, httptools (llhttp) and h11.

Every difference on the known inputs is in the table of docs/reference/http1-parsing.md, which is the only place where
the peers' verdicts stand: the test reads it, and fails when a difference is not in it or is told wrongly there. On
inputs made by chance the rule is: two parsers may disagree about whether a request is acceptable, never about what it
is.
"""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import test_http1_chunked as chunked
from tests import test_http1_head as head
from tests.http1_peers import Message, Verdict, by_h11, by_httptools, ours

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reference" / "http1-parsing.md"
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

ACCEPTED = {
    "smallest request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0 without Host": b"GET / HTTP/1.0\r\n\r\n",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "unknown method": b"FROBNICATE / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method in lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "characters that browsers send raw": b"GET /[]^`{|}?[]^`{|}\\ HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute-form": b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS * with an empty Host": b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "value beyond ASCII": b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9\r\n\r\n",
    "white space around a value": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\t0 \t\r\n\r\n",
    "Content-Length with leading zeros": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello",
    "Upgrade: h2c": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "100-continue": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx",
}

INPUTS = {
    **ACCEPTED,
    **{name: data for name, (_, data) in head.REFUSED.items()},
    **{f"body: {name}": CHUNKED_HEAD + data for name, (data, _, _) in chunked.DECODED.items()},
    **{f"body: {name}": CHUNKED_HEAD + data for name, (_, data) in chunked.REFUSED.items()},
}


def documented() -> dict[str, tuple[str, str, str]]:
    """What the document's table says: input -> verdicts of ours, httptools and h11."""
    rows = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or cells[0] in ("Inputs", "---"):
            continue
        for name in cells[0].split("; "):
            assert name not in rows, f"{name!r} is in the table twice"
            rows[name] = (cells[1], cells[2], cells[3])
            assert cells[4], f"{name!r} is not explained"
    return rows


def in_a_word(verdict: Verdict) -> str:
    return "accept" if isinstance(verdict, Message) else verdict


DOCUMENTED = documented()


@pytest.mark.parametrize("name", INPUTS)
def test_known_inputs(name: str) -> None:
    data = INPUTS[name]
    verdicts = ours(data), by_httptools(data), by_h11(data)
    words = (in_a_word(verdicts[0]), in_a_word(verdicts[1]), in_a_word(verdicts[2]))
    if len(set(words)) == 1:
        assert name not in DOCUMENTED, f"no difference any more; all say {words[0]}"
    else:
        assert words == DOCUMENTED.get(name)
    assert len({verdict for verdict in verdicts if isinstance(verdict, Message)}) <= 1


def test_the_table_names_known_inputs_only() -> None:
    assert DOCUMENTED.keys() <= INPUTS.keys()


# ---- inputs made by chance ----

words = st.text(string.ascii_letters + string.digits + "-_.~", min_size=1, max_size=12).map(str.encode)
names = words.map(lambda word: b"X-" + word)
field_values = st.text(string.ascii_letters + string.digits + " !\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", max_size=30).map(
    lambda value: value.strip().encode()
)


@settings(deadline=None, database=None)
@given(
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"PROPFIND"]),
    st.lists(words, max_size=4).map(lambda segments: b"/" + b"/".join(segments)),
    st.lists(words, max_size=3).map(lambda pairs: b"?" + b"&".join(pairs) if pairs else b""),
    st.lists(st.tuples(names, field_values), max_size=6),
    st.binary(max_size=60),
    st.sampled_from(["none", "length", "chunked"]),
)
def test_the_three_agree_on_ordinary_requests(
    method: bytes, path: bytes, query: bytes, fields: list[tuple[bytes, bytes]], payload: bytes, framing: str
) -> None:
    data = method + b" " + path + query + b" HTTP/1.1\r\nHost: example.org:8080\r\n"
    data += b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    if framing == "length":
        data += b"Content-Length: %d\r\n\r\n" % len(payload) + payload
    elif framing == "chunked":
        chunk = b"%x\r\n%s\r\n" % (len(payload), payload) if payload else b""
        data += b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
    else:
        data, payload = data + b"\r\n", b""
    expected = Message(method, path + query, payload)
    assert (ours(data), by_httptools(data), by_h11(data)) == (expected, expected, expected)


NASTY = [
    b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b";", b"0", b"1", b"a", b"\x00", b"\x7f", b"\xff", b"%", b"?",
    b"/", b"#", b"_", b"-", b"+", b'"', b"\\", b"chunked", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
]  # fmt: skip
changes = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 2, 5]), st.sampled_from(NASTY)), max_size=3)


@settings(deadline=None, database=None, max_examples=2000)
@given(st.sampled_from(sorted(INPUTS)), changes)
def test_nobody_takes_a_request_for_another(name: str, edits: list[tuple[float, int, bytes]]) -> None:
    data = INPUTS[name]
    for place, removed, added in edits:
        at = int(place * len(data))
        data = data[:at] + added + data[at + removed :]
    verdict = ours(data)
    if not isinstance(verdict, Message):
        return
    for peer in (by_httptools(data), by_h11(data)):
        assert peer == verdict or isinstance(peer, str)
