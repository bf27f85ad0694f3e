"""The listening sockets of a server and their certificates: opened by one process, used by it or by its workers.

A Place is one address. It owns its sockets from open() until give() hands them to a Loop (a process that serves by
itself, or a worker with its own copies) or close(). With workers it has, on Linux, a socket for each slot
(SO_REUSEPORT: the kernel spreads connections over them); a slot is what one worker and its replacements stand in. The
master keeps all of them open as long as it lives: connections that wait in the socket of a slot whose worker has died
wait for the next one, whereas to close one of several sockets resets those that wait in it. Addresses whose socket
cannot be had twice (unix:, fd:, systems where SO_REUSEPORT does not spread) have one, which all workers accept from.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from web._core import Loop, Networks, TlsContext
from web.privileges import Identity
from web.sockets import Address, bind_again, remove_unix_file, url_of
from web.upgrade import Predecessor

__all__ = ["Files", "Listeners"]

Files = dict[str, bytearray]  # path -> text; keys are among them, so whoever has it overwrites it


def cleanse(texts: Iterable[bytearray]) -> None:
    for text in texts:
        text[:] = bytes(len(text))


@dataclass
class Place:
    """An address with its certificate and, while it is open, its sockets."""

    address: Address
    context: TlsContext | None
    proxies: Networks | None = None  # who may connect, by the PROXY protocol; None: all, without it
    sockets: list[socket.socket] = field(default_factory=list)
    url: str = ""  # empty while it is closed
    port: int = 0
    unix_file: tuple[str, int] | None = None  # path and inode, where it is ours to remove
    balanced: bool = False

    def open(self, balanced: bool, owner: Identity | None, handed: list[socket.socket]) -> None:
        self.sockets = handed
        if self.context is not None:
            self.context.load()
        self.balanced = balanced and self.address.can_balance
        if not self.sockets:
            self.sockets.append(self.address.bind(balanced=self.balanced))
            self._own_file(owner)
        first = self.sockets[0]
        self.port = 0 if first.family == socket.AF_UNIX else first.getsockname()[1]
        self.url = url_of(first, tls=self.context is not None)

    def _own_file(self, owner: Identity | None) -> None:
        path = self.address.unix_path
        if path is None:
            return
        self.unix_file = (path, os.lstat(path).st_ino)
        if owner is not None and os.geteuid() == 0:
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)

    def inherit_file(self) -> None:
        """The file of a Unix socket that a predecessor bound is ours from now on."""
        path = self.address.unix_path
        if path is not None and self.unix_file is None:
            with suppress(FileNotFoundError):  # somebody removed it
                self.unix_file = (path, os.lstat(path).st_ino)

    def of_slot(self, slot: int, slots: int) -> list[socket.socket]:
        return self.sockets[slot::slots] if self.balanced else self.sockets

    def close(self, *, remove: bool) -> None:
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()
        if remove and self.unix_file is not None:
            remove_unix_file(*self.unix_file)
        self.unix_file = None
        self.url = ""


class Listeners:
    """All places of one server."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.is_open = False

    def add(self, address: Address, context: TlsContext | None, proxies: Networks | None = None) -> None:
        self.places.append(Place(address, context, proxies))

    def open(
        self, *, balanced: bool = False, owner: Identity | None = None, predecessor: Predecessor | None = None
    ) -> None:
        """Loads certificates and binds. ``balanced``: so that spread() can make more sockets of each. ``owner``:
        whose the files of Unix sockets become."""
        self.is_open = True
        written: Counter[tuple[str, int]] = Counter()
        for place in self.places:
            address = place.address
            handed = predecessor.take(address, written[address.host, address.port]) if predecessor is not None else []
            written[address.host, address.port] += 1
            place.open(balanced, owner, handed)

    def spread(self, slots: int) -> None:
        """A socket for each slot, where an address can have several."""
        for place in self.places:
            while place.balanced and len(place.sockets) < slots:
                place.sockets.append(bind_again(place.sockets[0]))

    def give(self, loop: Loop, slot: int = 0, slots: int = 1) -> None:
        """Hands the sockets of a slot to a Loop, and closes this process's copies of the others."""
        for place in self.places:
            for sock in place.of_slot(slot, slots):
                loop.listen(sock, place.context, place.proxies)
        self.release()

    def release(self) -> None:
        """Closes this process's sockets. Files of Unix sockets stay until close()."""
        for place in self.places:
            for sock in place.sockets:
                sock.close()
            place.sockets.clear()

    def close(self, *, remove: bool = True) -> None:
        """Closes the sockets and removes the files of Unix sockets, where ``remove`` says that they are ours."""
        for place in self.places:
            place.close(remove=remove)
        self.is_open = False

    def inherit_files(self) -> None:
        """The predecessor is relieved: the files of the Unix sockets that it handed over are this process's to
        remove."""
        for place in self.places:
            place.inherit_file()

    def disown_files(self) -> None:
        """A successor uses the Unix sockets: their files are no longer this process's to remove."""
        for place in self.places:
            place.unix_file = None

    def forget_old_tickets(self) -> None:
        """Where this process has no handshakes, which would do it."""
        for context in self.contexts:
            context.tickets._advance()

    # -- certificates -----------------------------------------------------------------------------------------------

    @property
    def contexts(self) -> list[TlsContext]:
        """Every context once."""
        return list({id(place.context): place.context for place in self.places if place.context is not None}.values())

    def read_certificates(self) -> Files:
        """The texts of all files of all contexts as they are now."""
        files: Files = {}
        try:
            for context in self.contexts:
                for path, text in context._read().items():
                    cleanse([files.pop(path, bytearray())])
                    files[path] = text
        except BaseException:
            cleanse(files.values())
            raise
        return files

    def renew(self, files: Files) -> list[tuple[TlsContext, TlsContext]]:
        """Makes new contexts of the texts, which are overwritten: all or, with an exception, none. (old, new) of
        each."""
        try:
            pairs = [(old, old._renewed(files)) for old in self.contexts]
            for old, _ in pairs:  # all of it can be used: now tickets may change
                old._renew_tickets(files)
        finally:
            cleanse(files.values())
        fresh = {id(old): new for old, new in pairs}
        for place in self.places:
            if place.context is not None:
                place.context = fresh[id(place.context)]
        return pairs
