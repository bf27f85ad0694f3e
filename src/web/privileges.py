"""``user=`` and ``group=``: ports are bound and keys read as root, then the process becomes somebody else for good.

The order is setgroups, setgid, setuid: the later ones take the right to do the earlier. Afterwards all ids are read
back, and that root cannot be had again is tried; where either fails, nothing is served.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from web.errors import WebError

__all__ = ["Identity", "identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a process becomes: numbers, looked up before anything is given up."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    def is_current(self) -> bool:
        """Whether the process is that user and group already."""
        return _ids() == ({self.uid}, {self.gid})

    def assume(self) -> None:
        """Becomes it. WebError: it cannot; the process must not serve then."""
        if os.geteuid() == 0:
            try:
                os.setgroups(self.groups)
                os.setgid(self.gid)
                os.setuid(self.uid)
            except OSError as error:
                raise WebError(f"user {self.uid}, group {self.gid}: not permitted here ({error.strerror})") from error
        if not self.is_current():
            raise WebError(
                f"user {self.uid}, group {self.gid}: the process is still somebody else (uids and gids {_ids()})"
            )
        if self.uid != 0 and _root_comes_back():
            raise WebError(f"user {self.uid}: root's rights can still be had again; nothing is served like this")


def identity(user: str | int | None, group: str | int | None) -> Identity | None:
    """Whom the options name; None: they name nobody. WebError: unknown, or not to be reached from here."""
    if user is None:
        if group is not None:
            raise WebError(f"group={group!r} goes with user=; give both")
        return None
    name, uid, gid = _user(user)
    if group is not None:
        gid = _group(group)
    if gid is None:
        raise WebError(f"user={user!r} has no entry among the users; give its group= too")
    groups = (gid,) if name is None else tuple(sorted({gid, *os.getgrouplist(name, gid)}))
    found = Identity(uid, gid, groups)
    if os.geteuid() != 0 and not found.is_current():
        raise WebError(
            f"user={user!r}: only root can become another user; start as root, or leave user= and group= away"
        )
    return found


def _user(user: str | int) -> tuple[str | None, int, int | None]:
    """(name, uid, its group), where the last and the first are known."""
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if isinstance(user, int) and 0 <= user < 2**32 - 1:
            return None, user, None
        raise WebError(f"user={user!r}: there is no such user on this machine") from None
    return entry.pw_name, entry.pw_uid, entry.pw_gid


def _group(group: str | int) -> int:
    if isinstance(group, int):
        if 0 <= group < 2**32 - 1:  # -1 means "as it is" to the system
            return group
        raise WebError(f"group={group!r}: there is no such group on this machine")
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise WebError(f"group={group!r}: there is no such group on this machine") from None


def _ids() -> tuple[set[int], set[int]]:
    """All user and all group ids of the process: real, effective and, where the system tells, saved."""
    if hasattr(os, "getresuid"):
        return set(os.getresuid()), set(os.getresgid())
    return {os.getuid(), os.geteuid()}, {os.getgid(), os.getegid()}


def _root_comes_back() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
