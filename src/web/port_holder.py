"""Who listens on a TCP port: for the message that says that it is taken.

Linux: the sockets in /proc/net, and whose file descriptor they are. Others are asked by ``lsof``, where it is. What may
not be looked at (another user's process, another container's) stays unknown.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["holder_of"]

_PROC = Path("/proc")
_LISTEN = "0A"  # TCP_LISTEN in the kernel's tables
_COMMAND_MAX = 60


def holder_of(port: int) -> str | None:
    """``"nginx (pid 812: nginx: master process)"``, or None where it cannot be known."""
    if not (_PROC / "net/tcp").exists():
        return _by_lsof(port)
    pid = _pid_by_proc(port)
    if pid is None:
        return None
    return "this process itself" if pid == os.getpid() else _named(pid)


def _pid_by_proc(port: int) -> int | None:
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    for folder in _PROC.glob("[0-9]*/fd") if wanted else ():
        with suppress(OSError):  # it ended, or is another user's
            for fd in folder.iterdir():
                with suppress(OSError):
                    if os.readlink(fd) in wanted:
                        return int(folder.parent.name)
    return None


def _listening(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on a port."""
    for name in ("net/tcp", "net/tcp6"):
        with suppress(OSError):
            for line in (_PROC / name).read_text().splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                    yield inode


def _named(pid: int) -> str:
    name = command = ""
    with suppress(OSError):
        name = (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
        command = " ".join((_PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")).strip()
    return _described(name, pid, command)


def _by_lsof(port: int) -> str | None:
    lsof = shutil.which("lsof")
    if lsof is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        asked = [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout  # noqa: S603
        if found := re.search(r"^p(\d+)\nc(.*)$", said, re.MULTILINE):
            return _described(found[2], int(found[1]), "")
    return None


def _described(name: str, pid: int, command: str) -> str:
    command = _printable(command)
    if len(command) > _COMMAND_MAX:
        command = f"{command[:_COMMAND_MAX]}..."
    return f"{_printable(name) or 'a process'} (pid {pid}{': ' if command else ''}{command})"


def _printable(text: str) -> str:
    """A process names itself as it likes."""
    return "".join(one if one.isprintable() else "?" for one in text)
