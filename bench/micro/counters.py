"""Counters of user-space instructions, for one process that counts parts of itself.

States: made -> start() -> counting between `with counter:` and its end; take() gives the sum since the last take(),
without what the counting itself costs. Perf asks the processor (Linux, where the machine has such a counter: most
virtual machines have none). Callgrind needs a process that valgrind runs; it is some 50 times slower, and also counts
system calls: all of the process, since callgrind cannot leave any out.
"""

import ctypes
import os
import re
import struct
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

# perf_event_open(2): its number, and from <linux/perf_event.h> the first version of its argument and the requests
_SYSCALL = {"x86_64": 298, "aarch64": 241}
_HARDWARE, _INSTRUCTIONS = 0, 1
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")  # type, size, config, period, sample, format, flags, wakeup, breakpoint (2)
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1, 1 << 5, 1 << 6
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403


class Count(NamedTuple):
    instructions: float
    system_calls: float | None  # None: not counted

    def per(self, times: int) -> "Count":
        return Count(self.instructions / times, None if self.system_calls is None else self.system_calls / times)


class Counter:
    """What both share: how often it was on since the last take(), and what one empty `with counter:` counts."""

    def __init__(self) -> None:
        self._entered = 0
        self._empty = 0.0

    def start(self) -> None:
        self._begin()
        for _ in range(2):  # the first time warms the interpreter
            for _ in range(100):
                with self:
                    pass
            self._empty = self._read("empty").instructions / 100
            self._entered = 0

    def __enter__(self) -> None:
        self._entered += 1
        self._on()

    def __exit__(self, *_: object) -> None:
        self._off()

    def take(self, name: str) -> Count:
        count = self._read(name)
        empty, self._entered = self._entered * self._empty, 0
        return count._replace(instructions=count.instructions - empty)

    def _begin(self) -> None: ...
    def _on(self) -> None: ...
    def _off(self) -> None: ...
    def _read(self, name: str) -> Count:
        raise NotImplementedError


class Perf(Counter):
    """OSError when the kernel or the machine has no such counter for us."""

    def __init__(self, kind: int = _HARDWARE, event: int = _INSTRUCTIONS) -> None:
        super().__init__()
        number = _SYSCALL.get(os.uname().machine) if os.uname().sysname == "Linux" else None
        if number is None:
            raise OSError("perf_event_open: not known for this system")
        flags = _DISABLED | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
        attributes = _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, event, 0, 0, 0, flags, 0, 0, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.syscall(number, attributes, 0, -1, -1, 0)  # this thread, on every processor
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), f"perf_event_open: {os.strerror(ctypes.get_errno())}")

    def _on(self) -> None:
        ioctl(self._fd, _ENABLE, 0)

    def _off(self) -> None:
        ioctl(self._fd, _DISABLE, 0)

    def _read(self, name: str) -> Count:
        count = int.from_bytes(os.read(self._fd, 8), "little")
        ioctl(self._fd, _RESET, 0)
        return Count(count, None)


class Callgrind(Counter):
    """`out` is the --callgrind-out-file of this process: the n-th take() leaves a profile, with its name, in out.n.
    Before start() valgrind only runs the process, which is faster."""

    OPTIONS = ("--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no", "--collect-systime=yes", "--quiet")

    def __init__(self, library: Path, out: Path) -> None:
        super().__init__()
        self._requests = ctypes.CDLL(str(library))
        if not self._requests.running():
            raise OSError("Callgrind: valgrind does not run this process")
        self._out = out
        self._taken = 0

    def _begin(self) -> None:
        self._requests.start()

    def _on(self) -> None:
        self._requests.toggle()

    def _off(self) -> None:
        self._requests.toggle()

    def _read(self, name: str) -> Count:
        self._requests.dump(name.encode())
        self._taken += 1
        profile = Path(f"{self._out}.{self._taken}").read_text()
        found = re.search(r"^summary: (\d+)(?: (\d+))?", profile, re.MULTILINE)
        assert found is not None, f"callgrind's profile of {name} has no summary"
        return Count(int(found[1]), int(found[2] or 0))  # trailing zeros are left out
