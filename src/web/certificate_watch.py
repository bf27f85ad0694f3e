"""CertificateWatch: notices that files of certificates have changed, and that certificates are about to end.
WatchThread lets one look, in a thread, until it is told to end.

It looks whenever it is told to, at most once in ``every`` seconds, and never waits: whoever owns it (a server's own
thread, or the master) brings the time. A change counts when two looks in a row saw the same, so that a certificate
and its key, replaced one after another, are read together. A file that cannot be read is a change as well: the reload
says what is wrong, and the old certificates stay.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from web._core import Certificate, TlsContext
from web.log import log as _log

__all__ = ["CertificateWatch", "WatchThread", "last_mark", "name_of"]

_DAYS = (30, 7, 1, 0)  # before its end at which a certificate is spoken of
_DAY = 86400.0
_PATIENCE = 5.0  # seconds that a look may take once nobody wants it: a file system may hang
_AGAIN, _AGAIN_MOST = 60.0, 3600.0  # seconds after a reload that failed, and that failed often

Stamp = tuple[int, int, int, int] | None  # inode, size, times of change; None: it cannot be seen


class CertificateWatch:
    """``contexts()`` gives those that are in use; ``reload()`` reads their files anew and says whether that went well:
    ``reload_and_tell``, which raises nothing."""

    def __init__(self, contexts: Callable[[], list[TlsContext]], reload: Callable[[], bool], every: float) -> None:
        self._contexts = contexts
        self._reload = reload
        self._every = every
        self._read = self._seen = self._stamps()
        self._wait = _AGAIN
        self._again_at = float("inf")  # when a reload that failed is tried again: the certificate may not be valid yet
        self._told: dict[bytes, int] = {}  # certificate -> days of the last word about it
        self.due = time.monotonic() + every
        for path, stamp in self._read.items():
            if stamp is None:
                _log.warning("the file %r cannot be seen by this process: it is not noticed when it changes", path)
        self._tell_ends()

    def look_if_due(self) -> None:
        """Looks where it is time."""
        if time.monotonic() >= self.due:
            self.look()
            self.due = time.monotonic() + self._every

    def look(self) -> None:
        """One look at files and dates."""
        before, self._seen = self._seen, self._stamps()
        is_new = self._seen != self._read and self._seen == before
        if is_new or time.monotonic() >= self._again_at:
            self._read = self._seen
            self._wait = _AGAIN if is_new else min(self._wait * 2, _AGAIN_MOST)
            self._again_at = float("inf") if self._reload() else time.monotonic() + self._wait
        self._tell_ends()

    def _stamps(self) -> dict[str, Stamp]:
        paths = {path for context in self._contexts() for path in context.files}
        return {path: _stamp(path) for path in sorted(paths)}

    def _tell_ends(self) -> None:
        """Once at each mark."""
        for certificate in _certificates(self._contexts()):
            reached = last_mark(certificate)
            if reached is None or reached >= self._told.get(certificate.der, _DAYS[0] + 1):
                continue
            self._told[certificate.der] = reached
            left = _days_left(certificate)
            name, when = name_of(certificate), f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
            if left <= 0:
                _log.error("the certificate for %s has expired (%s): clients refuse it; renew it", name, when)
            else:
                _log.warning("the certificate for %s ends in %.1f days (%s); renew it", name, left, when)


class WatchThread:
    """A CertificateWatch of the same arguments, in a thread of its own from now on."""

    def __init__(self, contexts: Callable[[], list[TlsContext]], reload: Callable[[], bool], every: float) -> None:
        self._watch = CertificateWatch(contexts, reload, every)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="web certificates", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No further look is taken once this returns."""
        self._done.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while not self._done.wait(max(0.0, self._watch.due - time.monotonic())):
            self._watch.look_if_due()


def last_mark(certificate: Certificate) -> int | None:
    """The last mark that it has come to, by its clock: 30 days left, 7, 1 or 0; None: there is time. The first marks of
    one that lives shortly come when a third of its life is left."""
    life = (certificate.not_after - certificate.not_before).total_seconds() / _DAY
    reached = [days for days in _DAYS if _days_left(certificate) <= min(days, life / 3)]
    return reached[-1] if reached else None


def _days_left(certificate: Certificate) -> float:
    return (certificate.not_after.timestamp() - time.time()) / _DAY


def name_of(certificate: Certificate) -> str:
    """What a reader knows a server's certificate by: its first name, or else its subject."""
    try:
        return certificate.names[0][1]
    except (ValueError, IndexError):  # they cannot be read; there are none
        return certificate.subject


def _certificates(contexts: Iterable[TlsContext]) -> Iterable[Certificate]:
    return [certificate for context in contexts for certificate in context.certificates]


def _stamp(path: str) -> Stamp:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
