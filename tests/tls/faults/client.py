"""A TLS client that keeps every byte that the server sent and takes a step at a time.

It leaves in one of these ways once it has everything: "close_notify", "cut" (FIN without it), or "stay" (the server is
to end). What it was given must be the beginning of what is expected, whatever the server went through.
"""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass

MARKER = b"plaintext-marker"  # stands in every request and every answer
TORN = ("BAD_RECORD_MAC", "WRONG_VERSION_NUMBER", "RECORD_TYPE", "UNEXPECTED_MESSAGE", "LENGTH", "DECODE_ERROR")
DATED = re.compile(rb"(?m)^(Date|ETag|Last-Modified):[^\r\n]*(\r\n|\Z)")


@dataclass(frozen=True)
class Script:
    """Requests, one after another; how the client leaves; how many bytes it takes at a time (0: all)."""

    requests: tuple[bytes, ...]
    leave: str = "close_notify"
    sip: int = 0


class Client:
    """One connection. ``over``: nothing more comes from the server."""

    def __init__(self, port: int, context: ssl.SSLContext, script: Script, session: ssl.SSLSession | None) -> None:
        self.script = script
        self.waiting = list(script.requests)
        self.sock = socket.socket()
        if script.sip:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost", session=session)
        self.raw, self.got, self.unsent = bytearray(), bytearray(), b""
        self.answers = 0
        self.shaken = self.over = self.clean_end = self.left = False
        self.failure = ""

    def step(self) -> None:
        """Takes what lies in the socket, does what can be done, sends what there is."""
        self._fetch()
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
            self._converse()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.clean_end = True
        except ssl.SSLError as error:
            self.failure = self.failure or f"{error.reason or error}"
        self._flush()

    @property
    def complete(self) -> bool:
        """Every answer is here."""
        return self.answers == len(self.script.requests)

    def _fetch(self) -> None:
        with suppress(BlockingIOError):
            while not self.over:
                try:
                    data = self.sock.recv(self.script.sip or 1 << 18)
                except ConnectionError:
                    data = b""
                if not data:
                    self.over = True
                    self.incoming.write_eof()
                    return
                self.raw += data
                self.incoming.write(data)
                if self.script.sip:
                    return

    def _converse(self) -> None:
        while not self.complete:
            if self.waiting and len(self.script.requests) - len(self.waiting) == self.answers:
                self.tls.write(self.waiting.pop(0))
            data = self.tls.read(1 << 18)
            if not data:
                self.clean_end = True
                return
            self.got += data
            self.answers = answers_in(self.got)
        if self.script.leave == "close_notify" and not self.left:
            self.left = True
            self.tls.unwrap()
        elif self.script.leave == "cut" and not self.left:
            self.left = True
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        else:
            while self.tls.read(1 << 18):
                pass
            self.clean_end = True

    def _flush(self) -> None:
        self.unsent += self.outgoing.read()
        with suppress(BlockingIOError, OSError):
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]

    def problems(self, expected: bytes) -> list[str]:
        """What the server sent that it never may."""
        found = []
        if MARKER in self.raw:
            found.append("plaintext on the wire")
        if fault := not_records(self.raw):
            found.append(f"no TLS on the wire: {fault}")
        if not expected.startswith(stable(self.got)):
            found.append(f"the client was given other bytes than the answer: {bytes(self.got[:80])!r}")
        if any(word in self.failure for word in TORN) and "ALERT" not in self.failure:
            found.append(f"records that cannot be right: {self.failure}")
        return found


def answers_in(got: bytes | bytearray) -> int:
    """How many whole answers with Content-Length there are."""
    at = number = 0
    while (end := got.find(b"\r\n\r\n", at)) >= 0:
        length = re.search(rb"(?i)content-length: (\d+)", got[at:end])
        at = end + 4 + (int(length.group(1)) if length else 0)
        if at > len(got):
            break
        number += 1
    return number


def stable(got: bytes | bytearray) -> bytes:
    """Without dates and what is made of them: they differ from run to run."""
    return DATED.sub(b"", bytes(got))


def not_records(raw: bytes | bytearray) -> str:
    """What in these bytes is no record of TLS; "": all are, but that the last one may be cut off."""
    at = 0
    while at < len(raw):
        head = raw[at : at + 5]
        kind = head[0]
        if not 20 <= kind <= 23 or (len(head) > 1 and head[1] != 3):
            return f"byte {at}: {bytes(head).hex(' ')}"
        if len(head) < 5:
            return ""
        length = head[3] << 8 | head[4]
        if length > 16384 + 2048:
            return f"byte {at}: a record of {length} bytes"
        at += 5 + length
    return ""
