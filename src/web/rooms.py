"""``Rooms``: an App's topics in this process: its broker, and the loops whose WebSockets may have subscribed.

A loop joins before the start hooks of its server, and leaves when the server is closed. The first that joins starts the
broker, the last that leaves stops it. Loops are held weakly: one that was forgotten hears nothing, and keeps nobody.
A forked child has none of them: its parent's loops and its parent's broker go on in the parent alone.

``deliver`` and ``publish`` are for every thread and take no lock: the tuple of loops is replaced, never changed.
"""

from __future__ import annotations

import os
import threading
import weakref

from web._core import Loop
from web.brokers import Broker, LocalBroker

__all__ = ["Rooms"]


class Rooms:
    """``broker``: None: a LocalBroker. TypeError: it cannot be one."""

    def __init__(self, broker: Broker | None) -> None:
        for name in ("publish", "start", "stop"):
            if broker is not None and not callable(getattr(broker, name, None)):
                raise TypeError(f"App(broker={broker!r}): it has no {name}(); give a web.RedisBroker(url), or None")
        self.broker: Broker = LocalBroker() if broker is None else broker
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loops: tuple[weakref.ref[Loop], ...] = ()
        self._started = False

    def publish(self, topic: str, message: object) -> None:
        """TypeError, UnicodeEncodeError: what is no topic or no message."""
        if not isinstance(topic, str):
            raise TypeError(f"publish(topic, message): the topic is text, not {type(topic).__name__}")
        self.broker.publish(topic, as_message(message))

    def deliver(self, topic: str, message: str | bytes) -> None:
        """Gives a message to the subscribers in this process."""
        for one in self._loops:
            if (loop := one()) is not None:
                loop.publish(topic, message)

    def join(self, loop: Loop) -> None:
        """Twice is allowed."""
        if self._pid != os.getpid():  # what is copied from the parent may even be locked
            self._forget()
        with self._lock:
            others = tuple(one for one in self._loops if one() not in (None, loop))
            self._loops = (*others, weakref.ref(loop))
            if not self._started:
                self.broker.start(self.deliver)
                self._started = True

    def leave(self, loop: Loop) -> None:
        """Of one that did not join, and in a forked child, nothing."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._loops = tuple(one for one in self._loops if one() not in (None, loop))
            if self._started and not self._loops:
                self._started = False
                self.broker.stop()


def as_message(message: object) -> str | bytes:
    """Text, or what is bytes-like as bytes; TypeError."""
    if isinstance(message, str):
        message.encode()  # half a surrogate is told to whoever publishes it
        return message
    try:
        return message if type(message) is bytes else bytes(memoryview(message))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"publish(topic, message): a message is str or bytes-like, not {type(message).__name__}"
        ) from None
