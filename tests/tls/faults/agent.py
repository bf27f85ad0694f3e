"""The agent in this process: built by gcc, loaded before web._core, driven by ctypes. See agent.c."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from tests.tls.faults.table import CALLBACKS, FUNCTIONS, Callback, Failure, tracked

SOURCE = Path(__file__).with_name("agent.c")


class Unavailable(Exception):
    """Faults cannot be injected on this machine, or into this build: why."""


class NoAgent(Unavailable):
    """The agent cannot be built: there is something to install, or to mend."""


def build() -> Path:
    """The agent as a library, made anew when its source has changed."""
    compiler = os.environ.get("CC", "gcc").split()[0]
    if shutil.which(compiler) is None:
        raise NoAgent(f"no {compiler}")
    folder = SOURCE.parents[3] / "build/faults"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"agent-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not library.exists():
        fresh = library.with_suffix(f".{os.getpid()}")
        flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
        command = [compiler, *flags, "-o", str(fresh), str(SOURCE), "-lssl", "-lcrypto", "-ldl"]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode != 0:
            raise NoAgent(f"the agent does not compile: {made.stderr}")
        fresh.replace(library)
    return library


def extension() -> Path:
    """The file of web._core, without importing it."""
    import importlib.util

    spec = importlib.util.find_spec("web")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "_core" + sysconfig.get_config_var("EXT_SUFFIX"))


class Agent:
    """The functions and callbacks of the binary by name, what was counted, and the faults that are armed."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL(str(build()))
        for name in ("fault_name", "fault_late_call"):
            getattr(self.lib, name).restype = ctypes.c_char_p
        for name in ("fault_hits", "fault_calls", "fault_ones", "fault_live", "fault_queued", "fault_site"):
            getattr(self.lib, name).restype = ctypes.c_long
        self.lib.fault_arm.argtypes = [*[ctypes.c_int] * 3, ctypes.c_long, ctypes.c_long, *[ctypes.c_int] * 6]
        count = self.lib.fault_attach(os.fsencode(extension()))
        if count < 0:
            raise Unavailable(f"{extension()} cannot be taken over")
        if count == 0:
            raise Unavailable("web._core imports nothing of OpenSSL: it is linked statically")
        self.functions = {self.lib.fault_name(i).decode(): i for i in range(count)}
        self.kinds = tracked(FUNCTIONS.values())
        self.rules: dict[str, int] = {}
        for name, index in self.functions.items():
            if (row := FUNCTIONS.get(name)) is not None:
                makes, frees = (self.kinds.index(kind) + 1 if kind else 0 for kind in (row.makes, row.frees))
                watched = name.startswith("SSL_") and not row.quiet
                self.lib.fault_describe(index, makes, frees, row.frees_arg, watched)
        for callback in CALLBACKS:
            if callback.function in self.functions:
                self.rules[callback.name] = self._rule(callback)
        if "SSL_sendfile" in self.functions:
            self.lib.fault_stand_in_sendfile(self.functions["SSL_sendfile"])
        self.reset()

    def _rule(self, callback: Callback) -> int:
        function = self.functions[callback.function]
        rule: int = self.lib.fault_rule(function, callback.argument, callback.command, callback.is_bio)
        assert rule >= 0, callback
        return rule

    def reset(self) -> None:
        """Nothing is armed, nothing is counted but objects that live."""
        self.lib.fault_reset()

    def arm(self, target: str, nth: int, failure: Failure, slot: int = 0) -> None:
        """The nth call of a function or callback fails; nth 0: each."""
        is_callback = target in self.rules
        index = self.rules[target] if is_callback else self.functions[target]
        f = failure
        how = (f.queue_error, f.number, f.forced, f.fatal, f.retry, f.after)
        self.lib.fault_arm(slot, is_callback, index, nth, f.value, *how)

    def disarm(self) -> None:
        """Nothing is armed any more; what was counted stays, and so does what was forced."""
        self.lib.fault_disarm()

    def hits(self, slot: int = 0) -> int:
        hits: int = self.lib.fault_hits(slot)
        return hits

    def calls(self) -> dict[str, int]:
        """How often each was called since the reset, of those that were."""
        found = {name: self.lib.fault_calls(0, index) for name, index in self.functions.items()}
        found |= {name: self.lib.fault_calls(1, index) for name, index in self.rules.items()}
        return {name: calls for name, calls in found.items() if calls}

    def succeeded(self, name: str) -> int:
        """How often OpenSSL itself answered 1."""
        ones: int = self.lib.fault_ones(self.functions[name])
        return ones

    def live(self) -> dict[str, int]:
        return {kind: self.lib.fault_live(number) for number, kind in enumerate(self.kinds, 1)}

    def late_call(self) -> str:
        """What was called on a connection on which a fatal failure was forced; "" is right."""
        return (self.lib.fault_late_call() or b"").decode()

    def policy(self) -> str:
        """What the newest SSL_CTX that lives allows; "" without one."""
        text = ctypes.create_string_buffer(4096)
        self.lib.fault_policy(self.kinds.index("SSL_CTX") + 1, text, ctypes.c_size_t(len(text)))
        return text.value.decode()

    def queued(self) -> int:
        """The oldest error in this thread's queue; 0: it is empty."""
        code: int = self.lib.fault_queued()
        return code

    def clear_queue(self) -> None:
        self.lib.fault_clear_queue()

    def sites(self) -> list[int]:
        """The places that calls came from so far, as offsets in the extension."""
        found: list[int] = []
        while site := self.lib.fault_site(len(found)):
            found.append(site)
        return found
