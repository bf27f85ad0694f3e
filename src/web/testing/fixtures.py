"""The pytest fixture ``web_client``. It is the only part that needs pytest, and is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol, Unpack

import pytest

from web.app import App
from web.server import Server
from web.testing.client import Client, ClientOptions

__all__ = ["MakeClient", "web_client"]


class MakeClient(Protocol):
    """What the fixture gives."""

    def __call__(self, app: App | Server, **options: Unpack[ClientOptions]) -> Client: ...


@pytest.fixture
def web_client() -> Iterator[MakeClient]:
    """``web_client(app, **options)``: a Client, started (start hooks have run); closed when the test ends."""
    with ExitStack() as stack:

        def make(app: App | Server, **options: Unpack[ClientOptions]) -> Client:
            return stack.enter_context(Client(app, **options))

        yield make
