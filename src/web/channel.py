"""Messages between a master and a worker: a socket pair; each message a kind of one byte, its length, its content.

A Channel owns its end. It blocks for a few seconds at most: an end that does not read for so long is as good as gone.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping

__all__ = ["CERTIFICATES", "LEAVE", "READY", "RELOAD", "RETIRE", "STOP", "Channel", "join_files", "split_files"]

READY = b"R"  # worker: it answers requests
RETIRE = b"M"  # worker: it wants to be replaced; the content says why
RELOAD = b"C"  # worker: certificates are to be read anew, everywhere
STOP = b"S"  # either: the server is to stop: the grace and, before it, the delay, in seconds (text)
LEAVE = b"L"  # master: somebody else accepts from now on; finish, and end
CERTIFICATES = b"P"  # master: the files of all certificates and keys, as join_files() puts them together

_HEAD = 5
_PATIENCE = 5.0


class Channel:
    """One end. Errors of the socket are OSError; the end of the other side is EOFError."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE)
        self._sock = sock
        self._sending = threading.Lock()
        self._received = bytearray()

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, kind: bytes, content: bytes | bytearray = b"") -> None:
        """All of it, or an OSError; after one the channel is of no use any more. From any thread."""
        with self._sending:
            self._sock.sendall(kind + len(content).to_bytes(4, "big"))
            if content:  # else the other side may have acted, and gone, by now
                self._sock.sendall(content)  # apart: to put the two together would make a copy of keys

    def receive(self) -> list[tuple[bytes, bytearray]]:
        """The messages that are whole; to be called when the channel is readable."""
        data = self._sock.recv(1 << 16)
        if not data:
            raise EOFError
        self._received += data
        found = []
        while len(self._received) >= _HEAD:
            end = _HEAD + int.from_bytes(self._received[1:_HEAD], "big")
            if len(self._received) < end:
                break
            found.append((bytes(self._received[:1]), self._received[_HEAD:end]))
            del self._received[:end]
        return found

    def close(self) -> None:
        self._sock.close()


def join_files(files: Mapping[str, bytearray]) -> bytearray:
    """{path: text} as one content."""
    content = bytearray()
    for path, text in files.items():
        name = os.fsencode(path)
        content += len(name).to_bytes(4, "big") + name + len(text).to_bytes(4, "big") + text
    return content


def split_files(content: bytearray) -> dict[str, bytearray]:
    """The files that join_files() put together."""
    parts = []
    while content:
        end = 4 + int.from_bytes(content[:4], "big")
        parts.append(content[4:end])
        del content[:end]
    return {os.fsdecode(bytes(name)): text for name, text in zip(parts[::2], parts[1::2], strict=True)}
