"""Clients of raw sockets, plain and under TLS: they send what they are told, and hide nothing of what comes back.

A Peer blocks, with a time-out that only ends a hang. One that was given ``turn`` belongs to a server in the same thread
(``adopt``): its socket does not block, and ``turn()`` lets the server work whenever the peer has to wait.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

HANG = 20.0  # seconds after which a test that waits is wrong


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    head: bytes = field(repr=False, default=b"")

    def __getitem__(self, name: str) -> str | None:
        """The value of a header that comes at most once."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, self.headers
        return values[0] if values else None


class Peer:
    """A client on a connected socket, which it owns."""

    def __init__(self, sock: socket.socket, turn: Callable[[], None] | None = None) -> None:
        self.sock = sock
        self.turn = turn
        self.buffer = b""
        self.clean_end: bool | None = None  # how the server ended; None: it did not
        if turn is None:
            sock.settimeout(HANG)
        else:
            sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- bytes -------------------------------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        """To the socket, past TLS."""
        left = memoryview(data)
        while left:
            try:
                left = left[self.sock.send(left) :]
            except BlockingIOError:
                self.wait()

    def receive_raw(self, n: int = 65536) -> bytes:
        while True:
            try:
                return self.sock.recv(n)
            except BlockingIOError:
                self.wait()

    def wait(self) -> None:
        assert self.turn is not None
        self.turn()

    def send(self, data: bytes) -> None:
        self.send_raw(data)

    def receive(self, n: int = 65536) -> bytes:
        """What has come, at most n bytes; b"" at the end."""
        data = self.receive_raw(n)
        if not data:
            self.clean_end = True
        return data

    def half_close(self) -> None:
        """Says that nothing more will be sent; what the server sends is still read."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Ends with RST: the server's next read or write fails."""
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # -- HTTP --------------------------------------------------------------------------------------------------------

    def head(self) -> bytes:
        """One head, with its empty line."""
        while b"\r\n\r\n" not in self.buffer:
            data = self.receive()
            assert data, f"the server ended after {self.buffer[-200:]!r}"
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def exactly(self, count: int) -> bytes:
        pieces = [self.buffer[:count]]
        self.buffer = self.buffer[count:]
        count -= len(pieces[0])
        while count > 0:
            data = self.receive(min(count, 65536))
            assert data, f"the server ended {count} bytes early"
            pieces.append(data)
            count -= len(data)
        return b"".join(pieces)

    def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer, exactly as long as it says."""
        head = self.head()
        lines = head[:-4].decode("latin-1").split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(": ")
            assert colon, line
            assert "\n" not in line, line
            headers.append((name, value))
        found = Answer(int(status), headers, b"", head)
        length = found["Content-Length"]
        if not to_head and found.status not in (204, 304) and found.status >= 200:
            assert length is not None
            found.body = self.exactly(int(length))
        return found

    def ask(self, target: str = "/", method: str = "GET", fields: str = "", body: bytes = b"") -> Answer:
        self.send(request(target, method, fields, body))
        return self.answer(to_head=method == "HEAD")

    def rest(self) -> bytes:
        """All that comes until the server ends."""
        pieces = [self.buffer]
        self.buffer = b""
        while data := self.receive():
            pieces.append(data)
        return b"".join(pieces)


class TlsPeer(Peer):
    """The same under TLS. One send is one record (or several, for more than 16 KiB) and one write to the socket."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        turn: Callable[[], None] | None = None,
        *,
        handshake: bool = True,
    ) -> None:
        super().__init__(sock, turn)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        if handshake:
            self.handshake()

    def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()
            else:
                self.flush()
                return

    def first_flight(self) -> bytes:
        """The ClientHello, not sent yet."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self.outgoing.read()
        raise AssertionError("a handshake without a server")

    def flush(self) -> None:
        self.send_raw(self.outgoing.read())

    def feed(self) -> None:
        data = self.receive_raw()
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def sealed(self, data: bytes) -> bytes:
        """data as one record, or several: not sent yet."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), 1 << 18):
            self.send_raw(self.sealed(data[at : at + (1 << 18)]))

    def receive(self, n: int = 65536) -> bytes:
        while True:
            try:
                data = self.tls.read(n)
            except ssl.SSLWantReadError:
                self.feed()
            except ssl.SSLZeroReturnError:
                self.clean_end = True
                return b""
            except ssl.SSLEOFError:
                self.clean_end = False
                return b""
            else:
                if not data:
                    self.clean_end = True
                return data

    def close_notify(self) -> None:
        """Sends the alert; what comes is still read (RFC 8446, 6.1)."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            self.flush()
        else:
            raise AssertionError("the server had ended already")

    def half_close(self) -> None:
        self.close_notify()


def request(target: str = "/", method: str = "GET", fields: str = "", body: bytes = b"") -> bytes:
    """A request of HTTP/1.1; fields: whole lines, each with its CRLF."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}{fields}\r\n".encode("latin-1") + body


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"


def eventually(holds: Callable[[], object], what: str = "it") -> None:
    """Waits for something that a server's thread does after its client saw all that it will see."""
    until = time.monotonic() + HANG
    while not holds():
        assert time.monotonic() < until, f"{what} did not come true"
        time.sleep(0.001)
