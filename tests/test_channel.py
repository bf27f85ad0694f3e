"""Messages between a master and a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from web.channel import CERTIFICATES, LEAVE, STOP, Channel, join_files, split_files


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def send_all(channel: Channel, messages: list[tuple[bytes, bytes]]) -> None:
    for kind, content in messages:
        channel.send(kind, content)


def receive(channel: Channel, count: int) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    while len(found) < count:
        found += [(kind, bytes(content)) for kind, content in channel.receive()]
    return found


def test_messages_come_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    sent = [(LEAVE, b""), (STOP, b"2.5"), (CERTIFICATES, b"x" * 150_000), (LEAVE, b"")]
    thread = threading.Thread(target=send_all, args=(ends[0], sent))
    thread.start()
    assert receive(ends[1], len(sent)) == sent
    thread.join()


def test_messages_of_several_threads_do_not_mix(ends: tuple[Channel, Channel]) -> None:
    each, kinds = 300, [b"A", b"B", b"C", b"D"]
    threads = [threading.Thread(target=send_all, args=(ends[0], [(kind, kind * 3000)] * each)) for kind in kinds]
    for thread in threads:
        thread.start()
    found = receive(ends[1], each * len(kinds))
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted((kind, kind * 3000) for kind in kinds for _ in range(each))


def test_the_end_of_the_other_side(ends: tuple[Channel, Channel]) -> None:
    ends[0].send(LEAVE)
    ends[0].close()
    assert receive(ends[1], 1) == [(LEAVE, b"")]
    with pytest.raises(EOFError):
        ends[1].receive()
    with pytest.raises(OSError, match="pipe"):
        ends[1].send(LEAVE)


@pytest.mark.parametrize("files", [{}, {"a": b""}, {"cert": b"one", "": b"", "k\udc80y \xe9": b"x" * 70_000}])
def test_join_and_split(files: dict[str, bytes]) -> None:
    assert split_files(join_files({path: bytearray(text) for path, text in files.items()})) == files
