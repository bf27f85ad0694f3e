"""A request's body that lies in a file without a name, as a binary file of its own position."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from web._core import Spool

__all__ = ["open_spool"]


class _SpoolFile(io.RawIOBase):
    """Reads by os.preadv: the fd is the Spool's, and shared by all that read it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = os.preadv(self._spool.fileno(), [buffer], self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._spool.size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek({offset}): before the beginning of the body")
        self._at = base + offset
        return self._at


def open_spool(spool: Spool) -> io.BufferedReader:
    """The file, from its beginning."""
    return io.BufferedReader(_SpoolFile(spool))
