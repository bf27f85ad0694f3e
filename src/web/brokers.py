"""``Broker``: how what is published in one process comes to the others; and the one that knows no others.

An App has one broker in each process. It is started when the first server of the App begins there, before on_start
hooks, and stopped when the last one has ended, after on_stop hooks; then it may be started again. In workers that is
after the fork. ``App.publish`` gives it every message; whatever it hears, its own messages included, it gives to
``deliver``, once each.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

__all__ = ["Broker", "Deliver", "LocalBroker"]

Deliver: TypeAlias = Callable[[str, str | bytes], None]


class Broker(Protocol):
    """What ``App(broker=...)`` takes."""

    def publish(self, topic: str, message: str | bytes) -> None:
        """Takes a message, from any thread, also while it is not started. It must not wait: that would hold the event
        loop."""

    def start(self, deliver: Deliver) -> None:
        """``deliver(topic, message)`` gives a message to this process's subscribers; it may be called from any thread
        until stop() returns."""

    def stop(self) -> None:
        """Ends what start() began, and waits for it."""


class LocalBroker:
    """The default: a message reaches the subscribers in its own process, within the call."""

    def __init__(self) -> None:
        self._deliver: Deliver | None = None

    def publish(self, topic: str, message: str | bytes) -> None:
        if (deliver := self._deliver) is not None:
            deliver(topic, message)

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def stop(self) -> None:
        self._deliver = None

    def __repr__(self) -> str:
        return "LocalBroker()"
