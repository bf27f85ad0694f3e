"""``static("public", at="/")``: files of one folder, for GET and HEAD, tried after all routes.

A file is served when every segment of the path below ``at``, percent-decoded, is the name of something in the folder.
Nothing else leads to a file; all other paths are left to the next folder and then answered with 404:

- a name holds no slash, backslash or NUL and is not empty: an encoded slash (%2F) is refused, it is no separator;
- names that begin with a dot are not served (``.``, ``..``, ``.git``, ``.env``), but ``.well-known`` directly in the
  folder is (RFC 8615);
- a symbolic link is followed when it leads to something in the folder, and not out of it;
- only regular files: no devices, pipes, sockets; ``/file.txt/`` is not ``/file.txt``.

A folder is answered with its ``index.html``; without the final slash with a redirect (308), so that relative links
work. A folder without index.html is a 404: its listing is never shown.

Files of up to 16 KiB are kept in memory once they were asked for, and looked at again, name by name, before each use
(``FileCache``): the answers are those of a folder that keeps nothing. A Response that is stored by whoever called the
folder, or by an after hook, holds what the file was when it was asked for.

The folder is the operator's: who can write into it while it is served (uploads by others, say) can swap a file for a
link between the check and the opening. Files by strangers belong into a folder that they cannot make links in.
"""

import os
import stat
from dataclasses import dataclass, field, replace
from os import PathLike
from urllib.parse import unquote_to_bytes

from web._core import Endpoint, FileCache, Request, Response
from web.errors import RouteError
from web.mime import content_type

__all__ = ["Static", "static"]

INDEX = "index.html"
_SHOWN_DOT_NAMES = (".well-known",)
_FOLDER = -1  # where a file has its size


@dataclass(frozen=True, slots=True)
class Static:
    """A folder that is served. ``folder`` as written; ``at``: the path under which it appears.

    Calling it with a request gives the Response, or None when it has nothing under that path.
    """

    folder: str
    at: str = "/"
    scope: Endpoint | None = field(default=None, repr=False, compare=False)  # of the group that it was placed in
    root: str = field(init=False, repr=False, compare=False)
    prefix: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    files: FileCache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.at.startswith("/"):
            raise RouteError(f"static({self.folder!r}, at={self.at!r}): at is a path that begins with '/'")
        names = self.at.strip("/").split("/") if self.at.strip("/") else []
        if any(not name or name in (".", "..") or name[0] == ":" or set(name) & set("*%?#{}<>\\\0") for name in names):
            raise RouteError(f"static({self.folder!r}, at={self.at!r}): at is plain text like '/assets', no pattern")
        root = os.path.realpath(self.folder)
        if not os.path.isdir(root):
            what = "is not a folder" if os.path.exists(root) else "does not exist"
            raise RouteError(f"static({self.folder!r}): {root} {what}; relative names start at {os.getcwd()}")
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "prefix", tuple(name.encode() for name in names))
        object.__setattr__(self, "files", FileCache(os.path.join(root, "")))

    def placed(self, prefix: str, scope: Endpoint | None) -> "Static":
        """This folder in a group: below its prefix, with the hooks of its scope around it."""
        return replace(self, at=prefix + self.at, scope=scope)

    def __call__(self, request: Request) -> Response | None:
        raw = request.raw_path
        kept = self.files.find(raw)
        return self._answer(request, raw) if kept is None else kept

    def _answer(self, request: Request, raw: str) -> Response | None:
        """What the file system says now."""
        if not raw.startswith("/"):
            return None
        segments = raw[1:].encode().split(b"/")
        if "%" in raw:
            segments = [unquote_to_bytes(segment) for segment in segments]
        below = len(self.prefix)
        if tuple(segments[:below]) != self.prefix:
            return None
        names = segments[below:]
        slash = names[-1:] == [b""]
        if slash:
            names.pop()
        found = self._find(names)
        if found is None:
            return None
        path, size = found
        if size != _FOLDER:
            return None if slash else self._file(raw, path, size, names)
        index = self._step(path, INDEX)
        if index is None or index[1] == _FOLDER:
            return None
        if slash:
            return self._file(raw, *index, [*names, INDEX.encode()])
        # The path begins with one slash and a name (an empty segment was refused), so it cannot be read as "//host".
        query = request.query_string
        return Response.redirect(f"{raw}/?{query}" if query else f"{raw}/", status=308)

    def _file(self, raw: str, path: str, size: int, names: list[bytes]) -> Response:
        """The file that the names led to; a small one is kept for this path, unless a link was on the way."""
        response = Response.file(path, content_type(os.fsdecode(names[-1])))
        if size > self.files.largest or "%" in raw or path != _joined(self.root, os.fsdecode(b"/".join(names))):
            return response
        return self.files.keep(raw, response)

    def _find(self, names: list[bytes]) -> tuple[str, int] | None:
        """(path, size or _FOLDER) of what the names lead to; None when that is nothing to serve."""
        path, size = self.root, _FOLDER
        for depth, name in enumerate(names):
            if not _is_served(name, depth):
                return None
            found = self._step(path, os.fsdecode(name))
            if found is None:
                return None
            path, size = found
        return path, size

    def _step(self, folder: str, name: str) -> tuple[str, int] | None:
        """One name further from a path that holds no link. The path that comes back holds none either."""
        path = _joined(folder, name)
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
            return path, _FOLDER
        return (path, about.st_size) if stat.S_ISREG(about.st_mode) else None


def _joined(folder: str, name: str) -> str:
    return folder + name if folder.endswith("/") else f"{folder}/{name}"


def _is_served(name: bytes, depth: int) -> bool:
    if not name or b"/" in name or b"\\" in name or b"\0" in name:
        return False
    return name[:1] != b"." or (depth == 0 and os.fsdecode(name) in _SHOWN_DOT_NAMES)


def static(folder: str | PathLike[str], at: str = "/") -> Static:
    """Serve the files of a folder for GET and HEAD under ``at``, where no route matches. RouteError: no such folder."""
    return Static(os.fspath(folder), at)
