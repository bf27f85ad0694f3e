"""What every scenario is: a thing that is done while one call fails, and what must hold after any run of it.

A scenario is prepared once in a process. run(case) arms the fault (none: a clean run), does the thing, and returns a
Result: what was wrong, and whether it was done as without a fault. What must hold after every run: nothing hangs, no
fd, no object of OpenSSL and no error in its queue is left, and then the same thing works without a fault.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.tls.faults.agent import Agent
from tests.tls.faults.client import MARKER
from tests.tls.faults.table import MADE, Failure

PATIENCE = 8.0  # seconds; whatever lasts longer hangs
LARGE = MARKER * 25_000


@dataclass(frozen=True)
class Case:
    """The nth call of a function, or of a callback, fails."""

    target: str
    nth: int
    failure: Failure

    def __str__(self) -> str:
        return f"{self.target} #{self.nth}: {self.failure.mode}"


@dataclass
class Result:
    problems: list[str] = field(default_factory=list)
    done: bool = False  # all was done, as without a fault
    hit: bool = False


def open_fds() -> set[str]:
    """Descriptors and what they are, without the one of the listing. A listener may have been opened anew."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{fd}: {os.readlink(f'/proc/self/fd/{fd}').partition('[')[0]}")
    return found


class Scenario:
    """Checks what must hold before and after `act`, which a scenario adds."""

    makes = False  # it makes something that is kept, a context or a certificate

    def __init__(self, agent: Agent, folder: Path) -> None:
        self.agent = agent
        self.folder = folder
        self.case: Case | None = None
        self.problems: list[str] = []
        self.calls: dict[str, int] = {}  # of the last run, up to where faults were armed

    def act(self) -> bool:
        """Does the thing; whether it was done as without a fault. What is wrong goes to `problems`."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives up what the scenario holds."""

    def run(self, case: Case | None) -> Result:
        agent = self.agent
        self.case, self.problems, self.calls = case, [], {}
        gc.collect()
        fds, live = open_fds(), agent.live()
        agent.reset()
        agent.clear_queue()
        if case is not None:
            agent.arm(case.target, case.nth, case.failure)
        done = False
        try:
            done = self.act()
        except Exception as error:  # noqa: BLE001 - what may be raised, act() knows
            self.problems.append(f"raised {error!r}")
        self.disarm()
        hit = case is not None and agent.hits() > 0
        if agent.queued():
            self.problems.append(f"an error is left in OpenSSL's queue ({agent.queued():x})")
        if late := agent.late_call():
            self.problems.append(f"{late} was called on a connection that is broken")
        if agent.live() != live or open_fds() != fds:
            gc.collect()
        if agent.live() != live:
            self.problems.append(f"objects: {live} before, {agent.live()} after")
        if (after := open_fds()) != fds:
            self.problems.append(f"descriptors: {sorted(after - fds)} more, {sorted(fds - after)} less")
        return Result(self.problems, done, hit)

    def clean(self) -> Result:
        """A run without a fault; again where it failed, because a machine may be slow and deadlines are short."""
        result = self.run(None)
        for _ in range(2):
            if not result.done or result.problems:
                result = self.run(None)
        return result

    def disarm(self) -> None:
        """What is under test is done; what follows only looks at it."""
        if not self.calls:
            self.calls = self.agent.calls()
            self.agent.disarm()

    def must_not_be(self, what: str) -> None:
        """Called where something is given out: a failure that closes must not come before that."""
        closed = self.case is not None and self.case.failure.closed
        if (closed is True or (closed == MADE and self.makes)) and self.agent.hits():
            self.problems.append(f"{what} after {self.case}")
