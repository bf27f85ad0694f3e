"""How certificates are read anew: one reload after another, and what is said of it in the log.

A Reloads belongs to one server of one process. Its lock is held while contexts are made and swapped: two at a time
would miss each other's contexts, and one of them would be served for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from web._core import TlsError
from web.errors import WebError
from web.log import log as _log

__all__ = ["Reloads", "reload_and_tell"]


class Reloads:
    """Runs ``renew()`` for whoever asks, from any thread."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self._lock = threading.Lock()
        self._inside: set[int] = set()  # threads that are at it, or wait for the lock
        self._once_more = False

    def run(self) -> None:
        """Returns when it is done, or raises what it raised. A signal's handler may come in the midst of it, in the
        very thread that holds the lock: then it only asks for one more run."""
        me = threading.get_ident()
        if me in self._inside:
            self._once_more = True
            return
        while True:
            self._inside.add(me)
            try:
                with self._lock:
                    self._once_more = False
                    self._renew()
            finally:
                self._inside.discard(me)
            if not self._once_more:
                return


def reload_and_tell(reload: Callable[[], object]) -> bool:
    """Runs it, and says in the log how it went: whether it went well. Nothing that it raises ends the server."""
    try:
        reload()
    except (WebError, TlsError) as error:  # TlsError: no memory
        _log.error("certificates are not reloaded, the old ones stay: %s", error)
        return False
    except Exception:  # noqa: BLE001
        _log.exception("certificates are not reloaded, the old ones stay")
        return False
    _log.info("certificates are reloaded")
    return True
