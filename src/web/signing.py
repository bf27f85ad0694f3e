"""``Signer``: text that comes back from a client as it was sent, or not at all.

HMAC-SHA256 by itsdangerous, with the time of signing. A Signer never changes, and threads may share it. Each *purpose*
has a key of its own, derived from the application's, so that what was signed for one purpose is nothing for another.

Keys rotate: the first signs, all verify. Nothing that a client sends raises an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from web.errors import WebError

if TYPE_CHECKING:
    from itsdangerous import TimestampSigner

__all__ = ["Signer", "check_keys", "check_max_age", "load_itsdangerous", "signer_options"]

KEY_MIN = 32  # bytes: a key for HMAC-SHA256 is as long as its result (RFC 2104 3)


def load_itsdangerous(what: str) -> Any:
    """The module itsdangerous; WebError, which names the extra, when it is not installed."""
    try:
        import itsdangerous
    except ImportError:
        raise WebError(f"{what}: itsdangerous is not installed; pip install weblatch[sessions]") from None
    return itsdangerous


def check_keys(what: str, keys: str | Sequence[str]) -> list[str]:
    """The keys as a list. ValueError without the key itself, since messages end up in logs."""
    found = [keys] if isinstance(keys, str) else list(keys)
    if not found:
        raise ValueError(f"{what}: no key; give at least one")
    for number, key in enumerate(found, 1):
        if not isinstance(key, str):
            raise TypeError(f"{what}: key {number} is text, not {type(key).__name__}")
        if len(key.encode("utf-8", "replace")) < KEY_MIN:
            raise ValueError(
                f"{what}: key {number} is shorter than {KEY_MIN} bytes; make a random one once, keep it secret and "
                'give it in the environment: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
    return found


def check_max_age(what: str, max_age: int | timedelta) -> int:
    """Seconds, 1 or more."""
    seconds = max_age // timedelta(seconds=1) if isinstance(max_age, timedelta) else max_age
    if type(seconds) is not int or seconds < 1:
        raise ValueError(f"{what}: max_age={max_age!r}: give whole seconds, 1 or more, or a timedelta")
    return seconds


class SignerOptions(TypedDict):
    """How itsdangerous signs for this package."""

    key_derivation: str
    digest_method: Any


def signer_options() -> SignerOptions:
    """The same for Signer and sessions: itsdangerous's own defaults are SHA-1 and a plain concatenation."""
    return SignerOptions(key_derivation="hmac", digest_method=hashlib.sha256)


class Signer:
    """``Signer(keys, *, purpose="signer", max_age=None)`` signs text and verifies it.

    ``keys``: one or several, of 32 bytes or more each: the first signs, all verify, so that a key is changed by putting
    a new one in front and, when ``max_age`` has passed, taking the old one away. ``purpose``: text that was signed for
    another purpose does not verify. ``max_age``: seconds, or a timedelta, for which a signature counts; None: for ever.

    ValueError for keys or a time that cannot be; WebError when itsdangerous (``weblatch[sessions]``) is not installed.
    The text can be read by everybody: it is signed, not encrypted.
    """

    __slots__ = ("_bad_data", "_max_age", "_signer")

    def __init__(
        self, keys: str | Sequence[str], *, purpose: str = "signer", max_age: int | timedelta | None = None
    ) -> None:
        found = check_keys("Signer(keys)", keys)
        self._max_age = None if max_age is None else check_max_age("Signer", max_age)
        module = load_itsdangerous("Signer")
        self._bad_data = module.BadData
        # itsdangerous signs with the last
        self._signer: TimestampSigner = module.TimestampSigner(
            found[::-1], salt=f"weblatch.signer:{purpose}", **signer_options()
        )

    def sign(self, text: str) -> str:
        """The text, the time and the signature, with dots between them. A text of ASCII letters, digits, ``-`` and
        ``_`` gives a value that ``Response.set_cookie`` takes; encode others first."""
        return self._signer.sign(text.encode()).decode()

    def unsign(self, signed: str | None) -> str | None:
        """The text that was signed; None when the signature is wrong, too old or by a key that is not ours, and for
        None (``signer.unsign(req.cookies.get("name"))``). Never raises for a text."""
        if signed is None:
            return None
        try:
            return self._signer.unsign(signed.encode(), max_age=self._max_age).decode()
        except (self._bad_data, UnicodeError):
            return None
