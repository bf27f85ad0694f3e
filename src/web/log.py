"""The framework's log, logger ``web``, for code that must go on: a logging handler that raises ends nothing here.

logging's own handlers tell their errors and swallow them; one of an application may raise.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

__all__ = ["log"]


class _Log(logging.LoggerAdapter[logging.Logger]):
    def log(self, level: int, msg: object, *args: object, **keywords: Any) -> None:
        with suppress(Exception):
            super().log(level, msg, *args, **{"stacklevel": 2, **keywords})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


log = _Log(logging.getLogger("web"))
