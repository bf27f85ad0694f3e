"""web.compress: which answers are coded, for whom, and what they say."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import web
from tests.asking import ask
from tests.test_content_codings import Decoder
from web.compress import TYPES

TEXT = "all work and no play makes a dull body\n" * 100
GZIP = "Accept-Encoding: gzip"


def site(handler: Any = lambda req: TEXT, *forms: web.app.Form, **options: Any) -> web.App:
    return web.App(web.compress(**options), *forms, web.GET("/", handler))


def answering(*arguments: Any, **options: Any) -> web.App:
    resp = web.Response(*arguments, **options)
    return site(lambda req: resp)


def decoded(answer: web.Response) -> bytes:
    name = answer.headers.get("content-encoding")
    if name is None:
        return answer.body
    decoder = Decoder(name)
    body = decoder.decode(answer.body)
    assert decoder.ended
    return body


def is_coded(answer: web.Response) -> bool:
    return "content-encoding" in answer.headers


# -- what is coded -----------------------------------------------------------------------------------------------------


def test_a_body_is_coded() -> None:
    answer = ask(site(), fields=GZIP)
    assert list(answer.headers.items()) == [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Vary", "Accept-Encoding"),
        ("Content-Encoding", "gzip"),
    ]
    assert zlib.decompress(answer.body, 31) == TEXT.encode()
    assert len(answer.body) < 200


@pytest.mark.parametrize("fields", ["", "Accept-Encoding:", "Accept-Encoding: br", "Accept-Encoding: gzip;q=0"])
def test_others_get_it_as_it_is(fields: str) -> None:
    answer = ask(site(), fields=fields)
    assert (answer.body, is_coded(answer), answer.headers["Vary"]) == (TEXT.encode(), False, "Accept-Encoding")


def test_several_fields_are_one() -> None:
    assert is_coded(ask(site(), fields="Accept-Encoding: br\nAccept-Encoding: gzip;q=0.1"))
    assert not is_coded(ask(site(), fields="Accept-Encoding: gzip\nAccept-Encoding: gzip;q=0"))


@pytest.mark.parametrize(
    ("accepts", "chosen"),
    [
        ("gzip, deflate, br, zstd", "br"), ("gzip, zstd", "zstd"), ("gzip;q=1, br;q=0.9", "gzip"), ("*", "br"),
        ("x-gzip", "gzip"), ("br;q=0, zstd;q=0.5, identity;q=0.1", "zstd"), ("gzip;q=0.1, identity;q=0.2", None),
    ],
)  # fmt: skip
def test_which_coding(accepts: str, chosen: str | None) -> None:
    answer = ask(site(codings=["br", "zstd", "gzip"]), fields=f"Accept-Encoding: {accepts}")
    assert answer.headers.get("content-encoding") == chosen
    assert decoded(answer) == TEXT.encode()


@pytest.mark.parametrize(
    "media",
    [
        "text/html", "TEXT/CSS; charset=utf-8", "application/json", "application/problem+json", "image/svg+xml",
        "application/atom+xml ; x=y", "application/javascript", "application/wasm", "application/xml",
    ],
)  # fmt: skip
def test_types_that_are_coded(media: str) -> None:
    answer = ask(answering(TEXT, content_type=media), fields=GZIP)
    assert (is_coded(answer), answer.headers["Content-Type"]) == (True, media)


@pytest.mark.parametrize(
    "media",
    [
        "image/png", "application/octet-stream", "application/zip", "text/event-stream", "video/mp4", "text", "json",
        "Text/Event-Stream; charset=utf-8", "application/json-not", "font/woff2", "+json", "application/x+zip",
    ],
)  # fmt: skip
def test_types_that_are_not(media: str) -> None:
    answer = ask(answering(TEXT, content_type=media), fields=GZIP)
    assert (answer.body, [*answer.headers.items()]) == (TEXT.encode(), [("Content-Type", media)])


def test_types_of_ones_own() -> None:
    def coded(media: str, *types: str) -> bool:
        resp = web.Response(TEXT, content_type=media)
        return is_coded(ask(site(lambda req: resp, types=types), fields=GZIP))

    assert coded("text/event-stream", *TYPES, "text/event-stream")
    assert coded("font/ttf", "font/*")
    assert coded("application/own+cbor", "+cbor")
    assert not coded("text/html", "text/css")
    assert not coded("application/cbor", "+cbor")
    assert not coded("text/html")


def test_an_answer_without_a_type_is_not() -> None:
    resp = web.Response.empty(status=200)._with_body(TEXT.encode())
    assert not is_coded(ask(site(lambda req: resp), fields=GZIP))


def test_short_ones_are_not() -> None:
    for size, coded in ((1023, False), (1024, True)):
        answer = ask(site(lambda req, size=size: "x" * size), fields=GZIP)
        assert (is_coded(answer), "Vary" in answer.headers) == (coded, coded)
    assert is_coded(ask(site(lambda req: "x" * 100, minimum=100), fields=GZIP))
    assert ask(site(lambda req: "", minimum=0), fields=GZIP).body == b""


def test_what_would_not_be_smaller_is_not() -> None:
    body = random.Random(1).randbytes(2000)
    answer = ask(answering(body, content_type="text/plain", headers={"ETag": '"x"'}), fields=GZIP)
    assert (answer.body, is_coded(answer)) == (body, False)
    assert (answer.headers["Vary"], answer.headers["ETag"]) == ("Accept-Encoding", '"x"')


@pytest.mark.parametrize(
    "field",
    [
        ("Content-Encoding", "br"),
        ("Content-Encoding", "identity"),
        ("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
        ("Digest", "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
        ("Content-Digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        ("Repr-Digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        ("Cache-Control", "no-transform"),
        ("Cache-Control", "private, No-Transform , max-age=5"),
    ],
)
def test_answers_that_are_left_alone(field: tuple[str, str]) -> None:
    resp = web.Response.text(TEXT, headers=[field])
    assert ask(site(lambda req: resp), fields=GZIP) == resp


def test_no_transform_in_a_second_line() -> None:
    resp = web.Response.text(TEXT, headers=[("Cache-Control", "private"), ("Cache-Control", "no-transform")])
    assert ask(site(lambda req: resp), fields=GZIP) == resp
    other = resp.with_header("Cache-Control", "no-transformation, x-no-transform")
    assert is_coded(ask(site(lambda req: other), fields=GZIP))


def test_statuses() -> None:
    for status in (200, 201, 203, 404, 418, 500):
        assert is_coded(ask(answering(TEXT, status), fields=GZIP)), status
    part = web.Response(TEXT, 206, {"Content-Range": "bytes 0-3899/5000"})
    assert ask(site(lambda req: part), fields=GZIP) == part
    for status in (204, 205):
        empty = web.Response.empty(status=status, headers={"Content-Type": "text/plain"})
        assert ask(site(lambda req, empty=empty: empty, minimum=0), fields=GZIP) == empty


def test_errors_are_coded_too() -> None:
    def fails(req: web.Request) -> str:
        raise web.HTTPError(503, TEXT)

    answer = ask(site(fails), fields=GZIP)
    assert (answer.status, answer.headers["Vary"]) == (503, "Accept, Accept-Encoding")
    assert decoded(answer).startswith(TEXT.encode())


def test_requests_for_a_range_get_it_as_it_is() -> None:
    answer = ask(site(), fields=GZIP + "\nRange: bytes=0-9")
    assert (answer.body, is_coded(answer), answer.headers["Vary"]) == (TEXT.encode(), False, "Accept-Encoding")


def test_files_are_left_to_static(tmp_path: Any) -> None:
    (tmp_path / "small.txt").write_text(TEXT)
    app = site(lambda req: web.Response.file(tmp_path / "small.txt"), web.static(tmp_path, at="/files"), minimum=0)
    for target in ("/", "/files/small.txt", "/files/small.txt"):  # the second time from memory
        answer = ask(app, target, fields=GZIP)
        assert answer.path == str(tmp_path / "small.txt")
        assert not {"content-encoding", "vary"} & {name.lower() for name in answer.headers}


# -- what a coded answer says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "then"),
    [
        (["Origin"], ["Origin, Accept-Encoding"]), (["Cookie", "Accept"], ["Cookie, Accept, Accept-Encoding"]),
        (["*"], ["*"]), (["accept-encoding"], ["accept-encoding"]),
        (["Accept-Encoding, Origin"], ["Accept-Encoding, Origin"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fields", ["", GZIP])
def test_vary(there: list[str], then: list[str], fields: str) -> None:
    resp = web.Response.text(TEXT, headers=[("Vary", one) for one in there])
    assert ask(site(lambda req: resp), fields=fields).headers.get_all("vary") == then


@pytest.mark.parametrize(("tag", "coded"), [('"x"', 'W/"x"'), ('W/"x"', 'W/"x"'), ('""', 'W/""')])
def test_an_etag_becomes_weak(tag: str, coded: str) -> None:
    app = answering(TEXT, headers={"ETag": tag})
    assert ask(app, fields=GZIP).headers.get_all("etag") == [coded]
    assert ask(app).headers.get_all("etag") == [tag]


@pytest.mark.parametrize(
    ("tag", "known", "then"),
    [
        ('"x"', 'W/"x"', 'W/"x"'),
        ('"x"', '"y", W/"x"', 'W/"x"'),
        ('"x"', '"x"', '"x"'),
        ('"x"', '"x", W/"x"', '"x"'),
        ('"x"', 'W/"x y"', '"x"'),
        ('"x"', "*", '"x"'),
        ('W/"x"', 'W/"x"', 'W/"x"'),
    ],
)
def test_a_304_says_the_etag_that_the_client_has(tag: str, known: str, then: str) -> None:
    resp = web.Response.empty(status=304, headers={"ETag": tag})
    answer = ask(site(lambda req: resp), fields=f"{GZIP}\nIf-None-Match: {known}")
    assert (answer.status, answer.headers.get_all("etag")) == (304, [then])
    assert ("Vary" in answer.headers) == (tag != then)


def test_a_304_without_an_etag() -> None:
    resp = web.Response.empty(status=304, headers={"Content-Type": "text/plain"})
    assert ask(site(lambda req: resp, minimum=0), fields=f'{GZIP}\nIf-None-Match: W/"x"') == resp


def test_ranges_are_not_offered() -> None:
    app = answering(TEXT, headers={"accept-ranges": "bytes"})
    assert "Accept-Ranges" not in ask(app, fields=GZIP).headers
    assert ask(app).headers["Accept-Ranges"] == "bytes"


def test_other_fields_and_the_status_stay() -> None:
    fields = [("Set-Cookie", "a=b"), ("Set-Cookie", "c=\xe4"), ("X-Own", "1")]
    answer = ask(answering(TEXT, 201, fields), fields=GZIP)
    assert [pair for pair in answer.headers.items() if pair in fields] == fields
    assert answer.status == 201


def test_head_says_what_get_says() -> None:
    got, headed = (
        ask(answering(TEXT, headers={"ETag": '"x"'}), method=method, fields=GZIP) for method in ("GET", "HEAD")
    )
    assert (got.headers, len(got.body)) == (headed.headers, len(headed.body))


def test_levels() -> None:
    text = " ".join(str(number * number % 977) for number in range(4000))
    sizes = [len(ask(site(lambda req: text, level={"gzip": level}), fields=GZIP).body) for level in (1, 9)]
    assert sizes[1] < sizes[0]


def test_it_is_outer_and_not_applied_twice() -> None:
    def shout(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return web.Response.text(resp.body.decode().upper())

    assert decoded(ask(site(lambda req: TEXT, web.after(shout)), fields=GZIP)) == TEXT.upper().encode()
    twice = ask(site(lambda req: TEXT, web.compress()), fields=GZIP)
    assert (decoded(twice), twice.headers.get_all("content-encoding")) == (TEXT.encode(), ["gzip"])
    assert twice.headers.get_all("vary") == ["Accept-Encoding"]


def test_a_group_has_it_alone() -> None:
    app = web.App(web.group("/in", web.compress(), web.GET("", lambda req: TEXT)), web.GET("/out", lambda req: TEXT))
    assert is_coded(ask(app, "/in", fields=GZIP))
    out = ask(app, "/out", fields=GZIP)
    assert (is_coded(out), "Vary" in out.headers) == (False, False)


@settings(deadline=None, database=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=300))
def test_no_header_breaks_it(value: str) -> None:
    answer = ask(site(codings=["zstd", "br", "gzip"]), fields=f"Accept-Encoding: {value}")
    assert (answer.status, decoded(answer)) == (200, TEXT.encode())


# -- streams, as values ------------------------------------------------------------------------------------------------


def streamed(**options: Any) -> web.Response:
    return web.Response.stream(iter(["a", "b"]), "text/plain", **options)


def test_a_stream_is_coded_whatever_its_length() -> None:
    answer = ask(site(lambda req: streamed(headers={"ETag": '"x"'})), fields=GZIP)
    assert (answer.is_streamed, answer.headers["Content-Encoding"], answer.headers["ETag"]) == (True, "gzip", 'W/"x"')
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert not is_coded(ask(site(lambda req: streamed())))


def test_a_stream_of_another_type_is_not() -> None:
    assert not is_coded(ask(site(lambda req: iter([b"bytes"])), fields=GZIP))
    assert is_coded(ask(site(lambda req: iter(["text"])), fields=GZIP))


def test_a_stream_goes_over_to_its_coded_copy() -> None:
    encoder = import_module("web.content_codings").make_coding("x", "gzip", 5).stream()
    resp = streamed()
    coded = resp._encode_stream(encoder)
    assert (coded.is_streamed, coded.headers) == (True, resp.headers)
    for again in (resp, coded):
        with pytest.raises(RuntimeError, match="encoded once"):
            again._encode_stream(encoder)
    with pytest.raises(ValueError, match="is not streamed"):
        web.Response.text("x")._encode_stream(encoder)


def test_only_a_body_in_memory_is_replaced() -> None:
    for resp in (streamed(), web.Response.file("x"), web.Response.empty()):
        with pytest.raises(ValueError, match="no body in memory"):
            resp._with_body(b"x")


def test_a_generator_is_closed_with_its_coded_copy() -> None:
    ended = []

    def items() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            ended.append(True)

    answer = ask(site(lambda req: items()), fields=GZIP)
    assert (is_coded(answer), ended) == (True, [])
    answer.with_status(204)
    assert ended == [True]


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codings": "deflate"}, "codings='deflate': give some of 'zstd', 'br', 'gzip'"),
        ({"codings": ["gzip", "GZIP"]}, "codings='GZIP'"),
        ({"codings": [["gzip"]]}, r"codings=\['gzip'\]"),
        ({"codings": [5]}, "codings=5"),
        ({"codings": []}, "at least one"),
        ({"codings": ["gzip", "gzip"]}, "each once"),
        ({"minimum": -1}, "minimum=-1: give a whole number from 0"),
        ({"minimum": 1.5}, "minimum=1.5"),
        ({"types": "text"}, "types='text': write it like"),
        ({"types": ["Text/*"]}, "types='Text/"),
        ({"types": ["text/html; charset=utf-8"]}, "types='text/html; "),
        ({"types": ["*/*"]}, r"types='\*/\*'"),
        ({"types": [5]}, "types=5"),
        ({"level": {"gzip": 0}}, r"level\['gzip'\]=0: give a whole number from 1 to 9"),
        ({"level": {"br": 5}}, "level={'br': 5}: give levels of gzip, like {'gzip': 3}"),
        ({"level": 5}, "level=5: give levels of gzip"),
        ({"codings": "zstd", "level": {"zstd": 20}}, "from 1 to 19"),
        ({"codings": "br", "level": {"br": True}}, "from 0 to 11"),
    ],
)
def test_start_up_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        web.compress(**options)
