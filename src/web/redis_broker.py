"""``RedisBroker``: topics that processes and machines share, through Redis or Valkey (PUBLISH and PSUBSCRIBE).

A started broker has one Link: a thread with two connections, which belong to it alone. States of a Link:

    DOWN    no connection: what is published is given to this process's subscribers at once, and to no others
    UP      what is published waits in ``queue`` for the thread, which sends it and moves it to ``sent`` (in order);
            there it stays until Redis has sent it back: then this process's subscribers get it, like what others sent

DOWN -> UP when the subscription is confirmed. UP -> DOWN at any error: what is in ``sent`` or ``queue`` is given to
this process's subscribers, for it will not come back. A message carries the id of the connection that sent it, a new
one each time that the Link comes up; what comes back with an older one has been given out already, and is dropped. So
each message reaches the subscribers in its own process exactly once, and all others at most once.

Bounds: ``queue`` holds _QUEUE messages and _QUEUE_BYTES; past that the oldest is dropped and counted. ``sent`` holds
_SENT. publish() never waits: it takes a lock that is only held to move messages. A fork has no thread: there, until
it is started anew, publish() does nothing.

On the wire: "t" (text as UTF-8) or "b" (bytes), the id (_ID bytes), then the message; the channel is prefix + topic.
"""

from __future__ import annotations

import os
import random
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib import import_module
from typing import Any

from web.brokers import Deliver
from web.errors import WebError
from web.log import log as _log

__all__ = ["RedisBroker"]

_QUEUE, _QUEUE_BYTES = 10_000, 64 << 20
_SENT = 1_000
_BATCH_BYTES = 1 << 20  # of messages that go out at once
_ID = 8
_FIRST_WAIT = 2.0  # seconds that start() waits for the first connection
_LAST_WAIT = 2.0  # seconds that stop() waits for what is still to be sent
_CONNECT_WITHIN, _ANSWER_WITHIN = 2.0, 5.0  # seconds
_PING_AFTER = 15.0  # seconds of silence; after as many more the connection is given up
_BACK_OFF, _BACK_OFF_MOST = 0.1, 5.0  # seconds before it is tried again
_STEADY = 10.0  # seconds of being UP after which the back-off begins anew

_Entry = tuple[str, str | bytes]


class RedisBroker:
    """``App(broker=RedisBroker("redis://localhost:6379/0"))``. Needs the library redis: extra ``weblatch[redis]``.

    ``url``: redis://, rediss:// (TLS) or unix://, as the library takes it, with user and password. ``prefix``: of the
    channels; those who share it share their topics. WebError: the library is missing; ValueError: what cannot be a URL.
    """

    def __init__(self, url: str, *, prefix: str = "weblatch:") -> None:
        if type(prefix) is not str or not prefix:
            raise ValueError(f"RedisBroker(prefix={prefix!r}): text is needed that begins the names of its channels")
        try:
            redis: Any = import_module("redis")
        except ImportError:
            raise WebError("RedisBroker needs the library redis: pip install weblatch[redis]") from None
        try:
            self._pool = redis.ConnectionPool.from_url(
                url,
                protocol=2,
                socket_connect_timeout=_CONNECT_WITHIN,
                socket_timeout=_ANSWER_WITHIN,
                retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),  # a Link does that itself
            )
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"RedisBroker(url): {error}; write redis://host:6379/0") from None
        options = self._pool.connection_kwargs
        if options["protocol"] not in (2, "2") or options.get("decode_responses"):
            raise ValueError("RedisBroker(url): protocol=3 and decode_responses are not for it; leave them out")
        if "path" not in options:
            options["socket_keepalive"] = True
        self._where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self.prefix = prefix
        self._link: _Link | None = None
        self._dropped = 0  # by earlier Links

    @property
    def is_connected(self) -> bool:
        """Whether messages go to other processes, and come from them, at this moment."""
        link = self._own_link()
        return link is not None and link.up

    @property
    def dropped(self) -> int:
        """Messages that were thrown away, because more were published than Redis took."""
        return self._dropped + (0 if self._link is None else self._link.dropped)

    def publish(self, topic: str, message: str | bytes) -> None:
        if (link := self._own_link()) is not None:
            link.publish(topic, message)

    def start(self, deliver: Deliver) -> None:
        """Waits for the first connection for up to 2 seconds, and goes on without."""
        if self._own_link() is not None:
            raise RuntimeError(f"{self!r} is started already: a broker is for one App")
        self._link = _Link(self._pool.make_connection, self.prefix, repr(self), deliver)
        self._link.start()

    def stop(self) -> None:
        """What was published before is sent, if that takes no more than 2 seconds."""
        if (link := self._own_link()) is not None:
            link.stop()
            self._dropped += link.dropped
            self._link = None

    def _own_link(self) -> _Link | None:
        link = self._link
        return link if link is not None and link.pid == os.getpid() else None

    def __repr__(self) -> str:
        return f"<RedisBroker {self._where} {self.prefix}>"  # without the password


class _Link:
    """From start() to stop(). ``make_connection()``: a connection of the library redis."""

    def __init__(self, make_connection: Any, prefix: str, name: str, deliver: Deliver) -> None:
        self.pid = os.getpid()
        self.up = False
        self.dropped = 0
        self._make_connection = make_connection
        self._prefix = prefix.encode()
        self._pattern = re.sub(rb"([*?\[\]\\^])", rb"\\\1", self._prefix) + b"*"
        self._name = name
        self._deliver = deliver
        self._lock = threading.RLock()  # a signal's handler may publish, too
        self._queue: deque[_Entry] = deque()
        self._queue_bytes = 0
        self._sent: deque[_Entry] = deque()
        self._id = b""
        self._former_ids: deque[bytes] = deque(maxlen=64)
        self._stopping = False
        self._first_try = threading.Event()
        self._woken = False
        self._wake_reading, self._wake_writing = socket.socketpair()
        self._wake_reading.setblocking(False)
        self._wake_writing.setblocking(False)
        self._down_since = 0.0  # 0: no outage was logged
        self._told_drops = self._told_foreign = False
        self._thread = threading.Thread(target=self._run, name="web broker", daemon=True)

    # -- from any thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()
        self._first_try.wait(_FIRST_WAIT)

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            self._wake()
        self._thread.join(_LAST_WAIT)
        if self._thread.is_alive():  # it ends with the next answer, or time-out
            _log.warning("%s: it does not answer; what was published last may be lost", self._name)

    def publish(self, topic: str, message: str | bytes) -> None:
        with self._lock:
            if self.up and not self._stopping:
                self._queue.append((topic, message))
                self._queue_bytes += len(message)
                self._bound_queue()
                self._wake()
                return
        self._deliver(topic, message)

    def _bound_queue(self) -> None:
        while len(self._queue) > _QUEUE or (self._queue_bytes > _QUEUE_BYTES and len(self._queue) > 1):
            self._queue_bytes -= len(self._queue.popleft()[1])
            self.dropped += 1
            if not self._told_drops:
                self._told_drops = True
                _log.warning("%s: more is published than it takes; the oldest messages are dropped", self._name)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            with suppress(OSError):  # the thread has ended
                self._wake_writing.send(b"\0")

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _BACK_OFF
        try:
            while not self._stopping:
                began = time.monotonic()
                try:
                    with closing(_Session(self._make_connection, self._pattern)) as session:
                        self._go_up()
                        self._serve(session)
                except Exception as error:  # noqa: BLE001 - of the library, of the system, or a defect: all are an outage
                    if time.monotonic() - began > _STEADY:
                        pause = _BACK_OFF
                    self._go_down(error)
                self._first_try.set()
                if not self._stopping:
                    self._wait([], pause * random.uniform(0.5, 1.0))  # noqa: S311 - only that not all come at once
                pause = min(2 * pause, _BACK_OFF_MOST)
        finally:
            self._wake_reading.close()
            self._wake_writing.close()

    def _go_up(self) -> None:
        with self._lock:
            self._id = os.urandom(_ID)
            self.up = True
        if self._down_since:
            _log.warning("%s: it is back after %.1f s", self._name, time.monotonic() - self._down_since)
            self._down_since = 0.0
        self._first_try.set()

    def _go_down(self, error: Exception) -> None:
        with self._lock:  # until all is given out: what is published meanwhile comes behind it
            self.up = False
            self._former_ids.append(self._id)
            left = [*self._sent, *self._queue]
            self._sent.clear()
            self._queue.clear()
            self._queue_bytes = 0
            for topic, message in left:
                self._deliver(topic, message)
        if not self._down_since and not self._stopping:
            self._down_since = time.monotonic()
            _log.error("%s: %s; until it is back messages reach the subscribers in their own process only",
                       self._name, str(error) or type(error).__name__)  # fmt: skip

    def _serve(self, session: _Session) -> None:
        """Until stop() was called, and all is sent. Raises what ends the connection."""
        asked = False
        while True:
            heard = 0
            for channel, content in session.hear():
                heard += 1
                if channel is not None:
                    self._take(channel, content)
            asked = asked and heard == 0
            stopping = self._stopping  # before the queue: nothing is put into it after that
            batch = self._next_batch()
            if batch:
                session.publish([(self._prefix + topic.encode(), self._pack(message)) for topic, message in batch])
            elif stopping and not self._queue:
                return
            elif heard == 0 and not self._wait([session.fileno()], _PING_AFTER):
                if asked or self._sent:
                    raise TimeoutError("it does not answer, or does not send back what is published")
                session.ask()
                asked = True

    def _wait(self, fds: list[int], seconds: float) -> bool:
        """Until there is something to read, or to publish, or stop() was called: whether it did not take too long."""
        with self._lock:
            if self._stopping and not fds:
                return True
        wake = self._wake_reading.fileno()
        ready = select.select([wake, *fds], [], [], seconds)[0]
        if wake in ready:
            with self._lock:
                self._woken = False
                self._wake_reading.recv(64)
        return bool(ready)

    def _next_batch(self) -> list[_Entry]:
        """What is sent now: it stands in ``sent`` from here on."""
        batch: list[_Entry] = []
        size = 0
        with self._lock:
            while self._queue and len(self._sent) < _SENT and size < _BATCH_BYTES:
                entry = self._queue.popleft()
                self._queue_bytes -= len(entry[1])
                size += len(entry[1])
                batch.append(entry)
                self._sent.append(entry)
        return batch

    def _pack(self, message: str | bytes) -> bytes:
        return (b"t" + self._id + message.encode()) if isinstance(message, str) else (b"b" + self._id + message)

    def _take(self, channel: bytes, content: bytes) -> None:
        """A message that Redis sent."""
        sender = content[1 : 1 + _ID]
        if sender == self._id:
            with self._lock:
                topic, message = self._sent.popleft()
            self._deliver(topic, message)
            return
        if sender in self._former_ids:
            return
        try:
            kind, text = content[:1], content[1 + _ID :]
            if len(sender) != _ID or kind not in (b"t", b"b"):
                raise ValueError
            self._deliver(channel[len(self._prefix) :].decode(), text.decode() if kind == b"t" else text)
        except ValueError:  # UnicodeDecodeError is one
            if not self._told_foreign:
                self._told_foreign = True
                _log.warning("%s: somebody else publishes to %r; what is no message of weblatch is dropped",
                             self._name, channel)  # fmt: skip


class _Session:
    """Two connections: one publishes, one has subscribed. What any of these raises ends it."""

    def __init__(self, make_connection: Any, pattern: bytes) -> None:
        self._connections = [make_connection(), make_connection()]
        self._out, self._in = self._connections
        try:
            self._out.connect()
            self._in.connect()
            self._in.send_command("PSUBSCRIBE", pattern, check_health=False)
            self._in.read_response()
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Of the one that has subscribed. The library has no public way to wait for it and something else."""
        number: int = self._in._sock.fileno()
        return number

    def publish(self, messages: list[tuple[bytes, bytes]]) -> None:
        self._out.send_packed_command(
            self._out.pack_commands([("PUBLISH", *one) for one in messages]), check_health=False
        )
        for _ in messages:
            self._out.read_response()

    def ask(self) -> None:
        """hear() gives the answer."""
        self._in.send_command("PING", check_health=False)

    def hear(self) -> Iterator[tuple[bytes | None, bytes]]:
        """(channel, content) of what has come, up to _SENT; channel None: an answer to ask()."""
        for _ in range(_SENT):
            if not self._in.can_read(timeout=0):
                return
            kind, *rest = self._in.read_response()
            yield (rest[1], rest[2]) if kind == b"pmessage" else (None, b"")

    def close(self) -> None:
        for connection in self._connections:
            with suppress(Exception):  # it is closed all the same
                connection.disconnect()
