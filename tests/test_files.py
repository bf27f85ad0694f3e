"""web._core.FileCache: a folder that keeps small files in memory answers byte for byte like one that keeps nothing.

Files get old modification times by os.utime; nobody can set the time of the last change (ctime), so the cache under
test takes files of any age (`young=0.0`), and what changes nothing but ctime is repeated until the clock of the file
system has ticked.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import re
import resource
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import web
from tests.serving import PATIENCE, body, read_answer
from web import Request, Response, static
from web._core import FileCache
from web.static import Static

NEVER = 3600.0  # seconds that no file of a test is old
LARGEST = 16384  # bytes
ENTRIES = 512

moments = count(10**18, 10**9)  # ns; no two files of this process have the same modification time


def keeping(folder: Path, young: float = 0.0, old: float = 10.0, at: str = "/") -> Static:
    form = static(folder, at)
    object.__setattr__(form, "files", FileCache(os.path.join(form.below.root, ""), young, old))
    return form


def write(path: Path, content: bytes) -> None:
    """Into the file that is there, or a new one."""
    path.write_bytes(content)
    at = next(moments)
    os.utime(path, ns=(at, at))


def until_ctime_ticks(path: Path, change: Callable[[], None]) -> None:
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        change()


class Site:
    """A server that this thread turns, and one client."""

    def __init__(self, stack: ExitStack, *forms: web.app.Form) -> None:
        self.server = web.Server(web.App(*forms), "127.0.0.1", 0)
        stack.callback(self.server.close)
        ours, self.client = socket.socketpair()
        stack.callback(self.client.close)
        self.client.settimeout(PATIENCE)
        self.server.adopt(ours)

    def ask(self, target: str, method: str = "GET") -> bytes:
        """The answer, but the date."""
        self.client.sendall(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        done = self.server.stats()["requests"] + 1
        while self.server.stats()["requests"] < done:
            self.server.run_once(PATIENCE)
        if method == "HEAD":
            data = self.client.recv(65536)
            assert data.endswith(b"\r\n\r\n")
        else:
            data = read_answer(self.client)
        return re.sub(rb"\r\nDate: [^\r]+", b"", data)


@contextmanager
def site(*forms: web.app.Form) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, *forms)


class Twins:
    """The same folder twice: one that keeps files, one that never does. Their answers are the same."""

    def __init__(self, stack: ExitStack, folder: Path, at: str = "/") -> None:
        self.form = keeping(folder, at=at)
        self.site = Site(stack, self.form)
        self.plain = Site(stack, keeping(folder, young=NEVER, at=at))

    @property
    def kept(self) -> int:
        return len(self.form.files)

    def ask(self, target: str, method: str = "GET") -> bytes:
        answer = self.site.ask(target, method)
        assert answer == self.plain.ask(target, method)
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    public = tmp_path / "public"
    (public / "sub/deep").mkdir(parents=True)
    for name in ("a.txt", "index.html", "sub/index.html", "sub/b.css", "sub/deep/c.js", "A b.txt"):
        write(public / name, name.encode() * 10)
    write(public / "empty.txt", b"")
    write(public / "largest.bin", b"l" * LARGEST)
    write(public / "larger.bin", b"l" * (LARGEST + 1))
    write(tmp_path / "secret.txt", b"secret" * 10)
    return public


@pytest.fixture
def twins(folder: Path) -> Iterator[Twins]:
    with ExitStack() as stack:
        yield Twins(stack, folder)


# ---- what is kept, and that nobody can tell ----


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/a.txt", "a.txt"),
        ("/a.txt?v=1", "a.txt"),
        ("/", "index.html"),
        ("/sub/", "sub/index.html"),
        ("/sub/b.css", "sub/b.css"),
        ("/sub/deep/c.js", "sub/deep/c.js"),
        ("/empty.txt", "empty.txt"),
        ("/largest.bin", "largest.bin"),
    ],
)
def test_a_small_file_is_kept(twins: Twins, folder: Path, target: str, name: str) -> None:
    first = twins.ask(target)
    assert (twins.kept, twins.plain.ask(target)) == (1, first)
    kept = twins.form.files.find(target.partition("?")[0])
    assert kept is not None
    assert twins.ask(target) == first
    assert twins.form.files.find(target.partition("?")[0]) is kept
    assert body(first) == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/larger.bin", 200), ("/A%20b.txt", 200), ("/%61.txt", 200), ("/%73ub/", 200), ("/sub", 308),
        ("/missing", 404), ("/sub/deep/", 404), ("/a.txt/", 404), ("//a.txt", 404), ("/sub/../a.txt", 404),
    ],
)  # fmt: skip
def test_nothing_else_is(twins: Twins, target: str, status: int) -> None:
    for _ in range(2):
        assert twins.ask(target).startswith(b"HTTP/1.1 %d " % status)
    assert twins.kept == 0


def test_a_path_through_a_link_is_served_and_not_kept(twins: Twins, folder: Path) -> None:
    for link, target in (("l.txt", "a.txt"), ("l.css", "sub/b.css"), ("way", "sub"), ("lost", "../secret.txt")):
        (folder / link).symlink_to(target)
    assert body(twins.ask("/l.txt")) == b"a.txt" * 10
    assert b"text/css" in twins.ask("/l.css")
    assert body(twins.ask("/way/deep/c.js")) == b"sub/deep/c.js" * 10
    assert body(twins.ask("/way/")) == b"sub/index.html" * 10
    assert twins.ask("/lost").startswith(b"HTTP/1.1 404 ")
    assert twins.kept == 0
    (folder / "l.txt").unlink()
    (folder / "l.txt").symlink_to("index.html")
    assert body(twins.ask("/l.txt")) == b"index.html" * 10


def test_head(twins: Twins) -> None:
    asked = twins.ask("/a.txt", "HEAD")
    assert b"\r\nContent-Length: 50\r\n" in asked
    assert twins.kept == 1
    assert twins.ask("/a.txt", "HEAD") == asked
    assert twins.ask("/a.txt").startswith(asked)
    assert twins.ask("/empty.txt", "HEAD") == twins.ask("/empty.txt", "HEAD") == twins.ask("/empty.txt")


def test_other_methods(twins: Twins) -> None:
    twins.ask("/a.txt")
    for method, status in (("POST", 405), ("OPTIONS", 204), ("BREW", 501)):
        assert twins.ask("/a.txt", method).startswith(b"HTTP/1.1 %d " % status)


def test_below_a_path(folder: Path) -> None:
    with ExitStack() as stack:
        twins = Twins(stack, folder, at="/files/here")
        for target in ("/files/here/a.txt", "/files/here/", "/files/here/sub/", "/files/here/sub/deep/c.js"):
            assert twins.ask(target) == twins.ask(target)
        assert twins.kept == 4
        for target in ("/a.txt", "/files/a.txt", "/files/here"):
            twins.ask(target)
        assert twins.kept == 4


def test_the_root_folder(folder: Path) -> None:
    form = keeping(Path("/"))
    target = f"{folder.resolve()}/a.txt"
    sent = Response.file(target, headers={"Cache-Control": "no-cache"})
    assert form(Request(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())) == sent
    assert form.files.find(target) == sent


def test_a_kept_response_looks_like_any_file(folder: Path) -> None:
    seen: list[Response] = []

    def look(req: web.Request, params: object, resp: Response) -> Response:
        seen.append(resp)
        return resp.with_header("X-After", "yes")

    with site(keeping(folder), web.after(look)) as one:
        assert one.ask("/a.txt") == one.ask("/a.txt")
    kept, file = seen[1], Response.file(folder.resolve() / "a.txt", headers={"Cache-Control": "no-cache"})
    assert seen[0] is kept
    assert (kept, hash(kept), repr(kept)) == (file, hash(file), repr(file))
    assert (kept.status, kept.body, kept.path, kept.headers) == (200, b"", file.path, file.headers)
    assert kept != Response.file(folder / "sub/b.css", "text/plain; charset=utf-8")


def test_a_kept_response_can_be_changed(folder: Path) -> None:
    def change(req: web.Request, params: object, resp: Response) -> Response:
        return resp.with_status(int(req.query["status"])).add_header("X-A", "1")

    with site(keeping(folder), web.after(change)) as one, site(keeping(folder, NEVER), web.after(change)) as plain:
        for status in (404, 204, 205):
            assert one.ask(f"/a.txt?status={status}") == plain.ask(f"/a.txt?status={status}")


def test_the_validators_of_a_hook_stand_alone(folder: Path) -> None:
    def change(req: web.Request, params: object, resp: Response) -> Response:
        return resp.with_header("etag", '"own"').add_header("Last-Modified", "Sun, 13 Sep 2020 12:26:40 GMT")

    with site(keeping(folder), web.after(change)) as one, site(keeping(folder, NEVER), web.after(change)) as plain:
        for _ in range(2):
            answer = one.ask("/a.txt")
            assert answer == plain.ask("/a.txt")
            assert (answer.lower().count(b"etag: "), answer.count(b"Last-Modified: ")) == (1, 1)


# ---- changes ----


def replace(path: Path) -> None:
    write(path.with_name("new"), b"N" * path.stat().st_size)
    path.with_name("new").replace(path)


def rewrite_with_the_same_date(path: Path) -> None:
    """Whoever owns a file can set its modification time back, and not the time of its last change."""
    about, content = path.stat(), b"r" * path.stat().st_size

    def change() -> None:
        path.write_bytes(content)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

    until_ctime_ticks(path, change)
    assert path.stat().st_mtime_ns == about.st_mtime_ns


def become(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def become_folder(path: Path) -> None:
    path.mkdir()
    write(path / "index.html", b"inside")


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "rewritten": (lambda path: write(path, b"w" * path.stat().st_size), 200),
    "rewritten with the same date": (rewrite_with_the_same_date, 200),
    "replaced": (replace, 200),
    "grown": (lambda path: write(path, path.read_bytes() + b"more"), 200),
    "beyond the largest": (lambda path: write(path, b"w" * (LARGEST + 1)), 200),
    "truncated": (lambda path: write(path, path.read_bytes()[:3]), 200),
    "emptied": (lambda path: write(path, b""), 200),
    "touched": (lambda path: os.utime(path, ns=(0, 0)), 200),
    "deleted": (Path.unlink, 404),
    "a link to itself": (become(lambda path: path.symlink_to(path.name)), 404),
    "a link out": (become(lambda path: path.symlink_to(path.parents[1] / "secret.txt")), 404),
    "moved out, with a link to it": (
        lambda path: path.symlink_to(shutil.move(path, path.parents[1] / "elsewhere.txt")),
        404,
    ),
    "a link within": (become(lambda path: path.symlink_to("sub/b.css")), 200),
    "a folder": (become(become_folder), 308),
    "a pipe": (become(os.mkfifo), 404),
    "a hard link to another": (become(lambda path: path.hardlink_to(path.parent / "sub/b.css")), 200),
    "without permissions": (lambda path: until_ctime_ticks(path, lambda: path.chmod(0)), 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_once(twins: Twins, folder: Path, change: str) -> None:
    path, (make, status) = folder / "a.txt", CHANGES[change]
    before = twins.ask("/a.txt")
    assert twins.form.files.find("/a.txt") is not None
    make(path)
    assert twins.form.files.find("/a.txt") is None
    assert twins.kept == 0
    after = twins.ask("/a.txt")
    assert after == twins.ask("/a.txt")
    assert status in (0, int(after.split()[1]))
    assert b"secret" not in after
    if status == 200 and change != "touched":
        assert after != before
        assert body(after) == path.read_bytes()


def test_a_file_that_comes_back_is_kept_again(twins: Twins, folder: Path) -> None:
    before = twins.ask("/a.txt")
    (folder / "a.txt").rename(folder / "away")
    assert twins.ask("/a.txt").startswith(b"HTTP/1.1 404 ")
    (folder / "away").rename(folder / "a.txt")
    assert body(twins.ask("/a.txt")) == body(before)
    assert twins.kept == 1


FOLDER_CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "moved out, with a link to it": (lambda sub: sub.symlink_to(shutil.move(sub, sub.parents[1] / "elsewhere")), 404),
    "moved within, with a link to it": (lambda sub: sub.symlink_to(shutil.move(sub, sub.parent / "other")), 200),
    "renamed": (lambda sub: sub.rename(sub.parent / "other"), 404),
    "replaced by a file": (lambda sub: (sub.rename(sub.parent / "other"), sub.write_bytes(b"file")), 404),
}


@pytest.mark.parametrize("change", FOLDER_CHANGES)
@pytest.mark.parametrize("target", ["/sub/b.css", "/sub/", "/sub/deep/c.js"])
def test_a_folder_on_the_way_that_changes_is_seen_at_once(twins: Twins, folder: Path, target: str, change: str) -> None:
    """The files are the same all the while, mark for mark: only the way to them is another."""
    make, status = FOLDER_CHANGES[change]
    before = twins.ask(target)
    assert twins.kept == 1
    make(folder / "sub")
    after = twins.ask(target)
    assert int(after.split()[1]) == status
    assert status != 200 or after == before
    assert twins.kept == 0


def test_a_link_in_a_folder_on_the_way_is_seen_at_once(twins: Twins, folder: Path, tmp_path: Path) -> None:
    twins.ask("/sub/deep/c.js")
    assert twins.kept == 1
    (folder / "sub/deep").symlink_to(shutil.move(folder / "sub/deep", tmp_path / "deep"))
    assert twins.ask("/sub/deep/c.js").startswith(b"HTTP/1.1 404 ")


def test_two_files_with_the_same_dates_are_two(twins: Twins, folder: Path) -> None:
    """Their folders change places, which leaves no trace in the files: only the inode tells them apart."""
    (folder / "other").mkdir()
    files = {folder / "sub/f": b"one", folder / "other/f": b"two"}
    for _ in range(1000):
        for path, content in files.items():
            path.unlink(missing_ok=True)
            # without open(): it looks at the file, and some kernels date what was looked at by a finer clock
            file = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.write(file, content)
            os.close(file)
            os.utime(path, ns=(0, 0))
        if len({path.stat().st_ctime_ns for path in files}) == 1:
            break
    else:
        pytest.skip("the clock of this file system is too fine")
    assert body(twins.ask("/sub/f")) == b"one"
    assert twins.kept == 1
    for old, new in (("sub", "away"), ("other", "sub"), ("away", "other")):
        (folder / old).rename(folder / new)
    assert body(twins.ask("/sub/f")) == b"two"


# ---- age ----


def test_defaults(folder: Path) -> None:
    form = static(folder)
    assert form.files.__reduce__() == (FileCache, (f"{folder.resolve()}/", 2.0, 10.0))
    assert form.files.largest == LARGEST


def test_a_young_file_is_served_and_not_kept(folder: Path) -> None:
    """Its modification time is long ago; it is the last change, ctime, that counts then."""
    form = keeping(folder, young=NEVER)
    with site(form) as one:
        assert body(one.ask("/a.txt")) == body(one.ask("/a.txt")) == b"a.txt" * 10
    assert len(form.files) == 0


def test_a_file_from_the_future_is_not_kept(twins: Twins, folder: Path) -> None:
    """Whether it will change again within a tick of its clock cannot be known."""
    os.utime(folder / "a.txt", (2**32, 2**32))
    assert body(twins.ask("/a.txt")) == b"a.txt" * 10
    assert twins.kept == 0


def test_an_old_entry_is_read_again(folder: Path) -> None:
    form = keeping(folder, old=0.0)
    with site(form) as one:
        for _ in range(3):
            assert body(one.ask("/a.txt")) == b"a.txt" * 10
            assert len(form.files) == 1
    assert form.files.find("/a.txt") is None
    assert len(form.files) == 0


@pytest.mark.parametrize(("young", "old"), [(-1.0, 10.0), (float("nan"), 1.0), (2.0, -0.1), (2.0, float("inf"))])
def test_ages_that_make_no_sense(young: float, old: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        FileCache("/", young, old)


# ---- bounds ----


def test_the_entry_that_was_read_first_makes_room(folder: Path) -> None:
    form = keeping(folder)
    for number in range(ENTRIES + 2):
        write(folder / f"{number}.txt", b"%d" % number)
    with site(form) as one:
        for number in range(ENTRIES):
            one.ask(f"/{number}.txt")
        assert len(form.files) == ENTRIES
        assert all(form.files.find(f"/{number}.txt") for number in range(ENTRIES))
        for extra, gone in ((ENTRIES, 0), (ENTRIES + 1, 1)):
            assert body(one.ask(f"/{extra}.txt")) == b"%d" % extra
            assert len(form.files) == ENTRIES
            assert form.files.find(f"/{gone}.txt") is None
        assert all(form.files.find(f"/{number}.txt") for number in range(2, ENTRIES + 2))
        assert body(one.ask("/0.txt")) == b"0"
        assert len(form.files) == ENTRIES


def test_a_full_cache_reads_an_entry_again_without_making_room(folder: Path) -> None:
    files = FileCache(f"{folder}/", 0.0)
    response = Response.file(folder / "a.txt")
    for number in range(ENTRIES):
        files.keep(str(number), response)
    files.keep(str(ENTRIES - 1), response)
    assert len(files) == ENTRIES
    assert files.find("0") is not None


def test_paths_of_any_length_are_looked_at_within_bounds(folder: Path) -> None:
    """Around the room for a path, and one that is shorter than the root; a sanitizer would tell."""
    files = FileCache(f"{folder}/", 0.0)
    room = min(4096, os.pathconf("/", "PC_PATH_MAX"))
    for length, kept in ((1, False), (room - 2, True), (room - 1, True), (room, False), (5000, False)):
        response = Response.file(f"{folder}/a.txt".rjust(length, "/")[:length])
        assert (files.keep(str(length), response) is not response) == kept
    assert len(files) == 2


@pytest.mark.parametrize("what", ["missing", "sub", "pipe", "link", "sub/b.css/x", "larger.bin"])
def test_keep_leaves_alone_what_is_no_small_file(folder: Path, what: str) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("a.txt")
    files = FileCache(f"{folder}/", 0.0)
    for response in (Response.file(folder / what), Response.text("no file"), Response.file("a.txt")):
        assert files.keep("/x", response) is response
    assert len(files) == 0


def test_without_descriptors_what_is_kept_is_served_and_nothing_else_is(folder: Path) -> None:
    form = keeping(folder)
    with site(form) as one:
        kept = one.ask("/a.txt")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))  # 0 is taken
        try:
            assert one.ask("/a.txt") == kept
            assert one.ask("/sub/b.css").startswith(b"HTTP/1.1 503 ")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert body(one.ask("/sub/b.css")) == b"sub/b.css" * 10
        assert len(form.files) == 2


# ---- one Static, several owners ----


def test_two_folders_have_nothing_in_common(folder: Path) -> None:
    write(folder / "sub/a.txt", b"other")
    outer, inner = keeping(folder), keeping(folder / "sub")
    with site(outer) as one, site(inner) as two:
        for _ in range(2):
            assert body(one.ask("/a.txt")) == b"a.txt" * 10
            assert body(two.ask("/a.txt")) == b"other"
        assert two.ask("/sub/b.css").startswith(b"HTTP/1.1 404 ")
    assert (len(outer.files), len(inner.files)) == (1, 1)


def test_the_form_is_still_a_value(folder: Path) -> None:
    form = keeping(folder)
    form(Request(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert len(form.files) == 1
    fresh = static(folder)
    assert (form, hash(form), repr(form)) == (fresh, hash(fresh), repr(fresh))
    assert form != static(folder, at="/x")
    for again in (pickle.loads(pickle.dumps(form)), copy.deepcopy(form), dataclasses.replace(form)):
        assert again == form
        assert again.files is not form.files
        assert len(again.files) == 0
        assert again.files.find("/a.txt") is None


def test_threads_never_see_an_older_file_than_there_was_when_they_asked(folder: Path) -> None:
    """Two servers, each in its thread, share a folder whose file is replaced all the while."""
    versions, readers = 300, 2
    form, path = keeping(folder), folder / "v.txt"
    latest, failures = [0], list[str]()

    def put(version: int) -> None:
        write(folder / "new", b"%06d\n" % version * (1 + version % 7))
        (folder / "new").replace(path)
        latest[0] = version

    def look() -> None:
        try:
            with site(form) as one:
                while (before := latest[0]) < versions and not failures:
                    lines = body(one.ask("/v.txt")).splitlines()
                    version = int(lines[0])
                    if lines != [b"%06d" % version] * (1 + version % 7) or version < before:
                        failures.append(f"{lines} after {before}")
        except BaseException as error:
            failures.append(repr(error))
            raise

    put(1)
    threads = [threading.Thread(target=look) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for version in range(2, versions + 1):
        put(version)
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(form.files) <= 1


# ---- anything, in any order ----

NAMES = ("a", "d", "d/a", "d/index.html", "d/e", "d/e/b", "index.html")
TARGETS = ("/", "/a", "/d", "/d/", "/d/a", "/d/index.html", "/d/e", "/d/e/b", "/out/a", "/%61", "/d/%61")

names = st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("write"), names, st.sampled_from([0, 1, 100, LARGEST, LARGEST + 1])),
    st.tuples(st.just("delete"), names, st.just("")),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("folder"), names, st.just("")),
    st.tuples(st.just("link"), names, st.sampled_from([*NAMES, "../out", "../out/a", ".."])),
    st.tuples(st.just("away"), names, st.just("")),
    *[st.tuples(st.just("ask"), st.sampled_from(TARGETS), st.sampled_from(["GET", "HEAD"]))] * 3,
)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def change(public: Path, what: str, name: str, value: object) -> None:
    path = public / name
    match what, value:
        case "write", int(size):
            write(path, next(moments).to_bytes(8, "big")[-1:] * size)
        case "delete", _:
            remove(path)
        case "rename", str(to):
            path.rename(public / to)
        case "folder", _:
            path.mkdir(parents=True)
        case "link", str(to):
            remove(path)
            path.symlink_to(public / to)
        case "away", _:
            elsewhere = public.parent / f"away-{next(moments)}"
            path.rename(elsewhere)
            path.symlink_to(elsewhere)


def expected(public: Path, target: str) -> tuple[int, bytes]:
    """(status, content) by what pathlib finds: nothing outside, a regular file, or the index of a folder."""
    name = target.replace("%61", "a").strip("/")
    slash = target.endswith("/")
    try:
        path = public
        for part in Path(name).parts:  # one by one: a link that leaves the folder leads nowhere, not even back
            path = (path / part).resolve(strict=True)
            if not path.is_relative_to(public):
                return 404, b""
        if path.is_dir():
            index = (path / "index.html").resolve(strict=True)
            if not index.is_relative_to(public) or not index.is_file():
                return 404, b""
            return (200, index.read_bytes()) if slash else (308, b"")
    except (OSError, RuntimeError):  # missing, or a loop of links
        return 404, b""
    return (200, path.read_bytes()) if path.is_file() and not slash else (404, b"")


@settings(deadline=None)
@given(st.lists(steps, min_size=5, max_size=40))
def test_any_sequence_of_changes_and_requests(sequence: list[tuple[str, str, str | int]]) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        public = Path(name).resolve() / "public"
        (public / "d/e").mkdir(parents=True)
        (public.parent / "out").mkdir()
        for path in (public / "a", public / "d/e/b", public / "d/index.html", public.parent / "out/a"):
            write(path, path.name.encode())
        twins = Twins(stack, public)
        for what, where, value in sequence:
            if what != "ask":
                with suppress(OSError):  # what cannot be done is not done
                    change(public, what, where, value)
                continue
            answer = twins.ask(where, str(value))
            status, content = expected(public, where)
            assert int(answer.split()[1]) == status
            if status == 200:
                assert b"\r\nContent-Length: %d\r\n" % len(content) in answer
                assert body(answer) == (content if value == "GET" else b"")
