"""Folder: names from a client, followed below a root, and never out of it.

Nothing else leads to a file:

- a name holds no slash, backslash or NUL and is not empty: an encoded slash (%2F) is refused, it is no separator;
- names that begin with a dot are not served (``.``, ``..``, ``.git``, ``.env``), but ``.well-known`` directly in the
  folder is (RFC 8615);
- a symbolic link is followed when it leads to something in the folder, and not out of it;
- only regular files: no devices, pipes, sockets.

The folder is the operator's: who can write into it while it is served (uploads by others, say) can swap a file for a
link between the check and the opening. Files by strangers belong into a folder that they cannot make links in.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

__all__ = ["FOLDER", "NAMES_MOST", "Folder", "joined"]

FOLDER = -1  # where a file has its size
NAMES_MOST = 10_000  # that are read of a folder: one without end must not hold the loop, whatever is served of it
_SHOWN_DOT_NAMES = (".well-known",)


@dataclass(frozen=True, slots=True)
class Folder:
    """``root``: an absolute path that holds no link."""

    root: str

    def find(self, names: list[bytes]) -> tuple[str, int] | None:
        """(path, size or FOLDER) of what the names lead to; None when that is nothing to serve."""
        path, size = self.root, FOLDER
        for depth, name in enumerate(names):
            if not _is_served(name, depth):
                return None
            found = self.step(path, os.fsdecode(name))
            if found is None:
                return None
            path, size = found
        return path, size

    def step(self, folder: str, name: str) -> tuple[str, int] | None:
        """One name further from a path that holds no link. The path that comes back holds none either."""
        path = joined(folder, name)
        try:
            about = os.lstat(path)
            if stat.S_ISLNK(about.st_mode):
                path = os.path.realpath(path, strict=True)
                if os.path.commonpath((self.root, path)) != self.root:
                    return None
                about = os.lstat(path)
        except OSError:  # not there, not permitted, too long, a loop of links
            return None
        if stat.S_ISDIR(about.st_mode):
            return path, FOLDER
        return (path, about.st_size) if stat.S_ISREG(about.st_mode) else None

    def entries(self, folder: str) -> Iterator[tuple[str, int]]:
        """(name, size or FOLDER) of what is served of a folder to which ``find`` led, in no order; of the first
        NAMES_MOST names in it."""
        depth = 0 if folder == self.root else 1
        with os.scandir(folder) as found:
            for entry in islice(found, NAMES_MOST):
                if _is_served(os.fsencode(entry.name), depth):
                    there = self.step(folder, entry.name)
                    if there is not None:
                        yield entry.name, there[1]


def joined(folder: str, name: str) -> str:
    return folder + name if folder.endswith("/") else f"{folder}/{name}"


def _is_served(name: bytes, depth: int) -> bool:
    if not name or b"/" in name or b"\\" in name or b"\0" in name:
        return False
    return name[:1] != b"." or (depth == 0 and os.fsdecode(name) in _SHOWN_DOT_NAMES)
