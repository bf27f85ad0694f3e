"""``static("public", at="/")``: files of one folder, for GET and HEAD, tried after all routes.

A file is served when every segment of the path below ``at``, percent-decoded, is the name of something in the folder
(web.folders says what such a name is). All other paths are left to the next folder, and then answered with 404.
``/file.txt/`` is not ``/file.txt``.

A folder is answered with its ``index.html``; without the final slash with a redirect (308), so that relative links
work. One without index.html is a 404, or a page that lists it, where that is asked for.

Files of up to 16 KiB are kept in memory once they were asked for, and looked at again, name by name, before each use
(``FileCache``): the answers are those of a folder that keeps nothing. A Response that is stored by whoever called the
folder, or by an after hook, holds what the file was when it was asked for.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from os import PathLike
from typing import TypedDict
from urllib.parse import unquote_to_bytes

from web._core import Endpoint, FileCache, Look, Request, Response
from web.errors import RouteError
from web.folders import FOLDER, Folder, joined
from web.hook_checks import check_switch, check_whole, listed
from web.listing import listing_page
from web.mime import content_type
from web.negotiation import accepted

__all__ = ["Static", "StaticOptions", "static"]

INDEX = "index.html"
_YEAR = 31_536_000
_IMMUTABLE = f"public, max-age={_YEAR}, immutable"  # RFC 8246
_EXTENSIONS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
_CODINGS = tuple(_EXTENSIONS)


class StaticOptions(TypedDict, total=False):
    """What ``static`` takes by name."""

    max_age: int
    immutable: str | Iterable[str]
    precompressed: bool
    spa: bool
    listing: bool


@dataclass(frozen=True, slots=True)
class Static:
    """A folder that is served; ``static`` says what the fields are.

    Calling it with a request gives the Response, or None when it has nothing under that path.
    """

    folder: str
    at: str = "/"
    max_age: int = 0
    immutable: tuple[str, ...] = ()
    precompressed: bool = False
    spa: bool = False
    listing: bool = False
    scope: Endpoint | None = field(default=None, repr=False, compare=False)  # of the group that it was placed in
    below: Folder = field(init=False, repr=False, compare=False)
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
        self._check_options(root)
        object.__setattr__(self, "below", Folder(root))
        object.__setattr__(self, "prefix", tuple(name.encode() for name in names))
        object.__setattr__(self, "files", FileCache(os.path.join(root, "")))

    def _check_options(self, root: str) -> None:
        what = f"static({self.folder!r}, ...)"
        check_whole(what, "max_age", self.max_age, 0, 10 * _YEAR)
        for name in ("precompressed", "spa", "listing"):
            check_switch(what, name, getattr(self, name))
        for one in self.immutable:
            pattern: object = one
            if not isinstance(pattern, str) or not pattern or pattern.startswith("/"):
                raise RouteError(f"{what}: immutable={one!r}: give patterns of names in the folder, like 'assets/*'")
        if self.spa and not os.path.isfile(joined(root, INDEX)):
            raise RouteError(f"{what}: spa=True needs {joined(root, INDEX)}, which is no file")

    def placed(self, prefix: str, scope: Endpoint | None) -> "Static":
        """This folder in a group: below its prefix, with the hooks of its scope around it."""
        return replace(self, at=prefix + self.at, scope=scope)

    def __call__(self, request: Request) -> Response | None:
        raw = request.raw_path
        codings = self._codings(request) if self.precompressed else ()
        kept = self.files.find(_key(raw, codings))
        return self._answer(request, raw, codings) if kept is None else kept

    def _codings(self, request: Request) -> tuple[str, ...]:
        """In which the client would rather have a file than as it is, best first."""
        fields = request.headers.get_all("accept-encoding")
        wanted = accepted(",".join(fields) if fields else None, _CODINGS)
        return wanted[: wanted.index("identity")]

    def _answer(self, request: Request, raw: str, codings: tuple[str, ...]) -> Response | None:
        """What the file system says now."""
        names = self._names(raw)
        if names is None:
            return None
        slash = names[-1:] == [b""]
        if slash:
            names.pop()
        found = self.below.find(names)
        if found is not None and found[1] == FOLDER:
            return self._folder(request, raw, found[0], names, codings, slash=slash)
        if found is not None and not slash:
            return self._file(raw, *found, names, codings)
        return self._page(request, names, codings)

    def _names(self, raw: str) -> list[bytes] | None:
        """The names that a path has below ``at``; None: it does not lie there."""
        if not raw.startswith("/"):
            return None
        segments = raw[1:].encode().split(b"/")
        if "%" in raw:
            segments = [unquote_to_bytes(segment) for segment in segments]
        below = len(self.prefix)
        return segments[below:] if tuple(segments[:below]) == self.prefix else None

    def _folder(
        self, request: Request, raw: str, path: str, names: list[bytes], codings: tuple[str, ...], *, slash: bool
    ) -> Response | None:
        index = self.below.step(path, INDEX)
        if index is not None and index[1] == FOLDER:
            index = None
        if index is None and not self.listing:
            return self._page(request, names, codings)
        if not slash:
            # The path begins with one slash and a name (an empty segment was refused), so it cannot be read as "//host"
            query = request.query_string
            return Response.redirect(f"{raw}/?{query}" if query else f"{raw}/", status=308)
        if index is not None:
            return self._file(raw, *index, [*names, INDEX.encode()], codings)
        try:
            page = listing_page(request.path, self.below.entries(path), top=not names)
        except OSError:  # it is gone by now, or must not be read
            return None
        return Response.html(page, headers={"Cache-Control": "no-cache"})

    def _page(self, request: Request, names: list[bytes], codings: tuple[str, ...]) -> Response | None:
        """The page of an application that routes in the browser, where one is asked for: by a navigation, under a name
        without extension. A script or a picture that is missing stays a 404, and so does what a program asks for."""
        if not self.spa or b"." in (names or [b""])[-1] or "text/html" not in request.headers.get("accept", ""):
            return None
        index = self.below.step(self.below.root, INDEX)
        if index is None or index[1] == FOLDER:
            return None
        raw = self.at.rstrip("/") + "/"
        return self.files.find(_key(raw, codings)) or self._file(raw, *index, [INDEX.encode()], codings)

    def _file(self, raw: str, path: str, size: int, names: list[bytes], codings: tuple[str, ...]) -> Response:
        """The file that the names led to; a small one is kept for this path, unless a link was on the way."""
        name = os.fsdecode(b"/".join(names))
        looks: tuple[Look, ...] = ()
        fields = {"Cache-Control": self._caching(name)}
        sent = path
        if self.precompressed:
            fields["Vary"] = "Accept-Encoding"
            coding, looks = self._variant(path, codings)
            if coding is not None:
                sent += _EXTENSIONS[coding]
                fields["Content-Encoding"] = coding
        response = Response.file(sent, content_type(name), headers=fields)
        if (size > self.files.largest and sent == path) or "%" in raw or path != joined(self.below.root, name):
            return response
        return self.files.keep(_key(raw, codings), response, *looks)

    def _caching(self, name: str) -> str:
        """The value of Cache-Control (RFC 9111 5.2.2)."""
        if any(fnmatchcase(name, pattern) for pattern in self.immutable):
            return _IMMUTABLE
        return f"public, max-age={self.max_age}" if self.max_age else "no-cache"

    def _variant(self, path: str, codings: tuple[str, ...]) -> tuple[str | None, tuple[Look, ...]]:
        """The coding of the best compressed file beside this one, and all that was looked at. One that is older is not
        of this file as it is now."""
        if not codings:
            return None, ()
        looks = [self.files.look(path)]
        for coding in codings:
            looks.append(self.files.look(path + _EXTENSIONS[coding]))
            if looks[-1].is_file and looks[-1].modified >= looks[0].modified:
                return coding, tuple(looks)
        return None, tuple(looks)


def _key(raw: str, codings: tuple[str, ...]) -> str:
    """Of the FileCache. A path as it was received holds no space."""
    return f"{raw} {','.join(codings)}" if codings else raw


def static(
    folder: str | PathLike[str],
    at: str = "/",
    *,
    max_age: int = 0,
    immutable: str | Iterable[str] = (),
    precompressed: bool = False,
    spa: bool = False,
    listing: bool = False,
) -> Static:
    """Serve the files of a folder for GET and HEAD under ``at``, where no route matches.

    ``max_age``: seconds for which caches may use a file without asking; 0: they ask each time, which mostly is a 304.
    ``immutable``: patterns of names in the folder ("assets/*", "*.bundle.js") whose content never changes, because a
    digest is part of the name: kept for a year. ``precompressed``: ``name.br``, ``name.zst`` and ``name.gz`` are sent
    instead of ``name`` to those who take them, where they are not older. ``spa``: browsers that navigate to what is no
    file get ``index.html``. ``listing``: folders without index.html are listed. RouteError: no such folder, a value
    that cannot be meant.
    """
    return Static(os.fspath(folder), at, max_age, listed(immutable), precompressed, spa, listing)
