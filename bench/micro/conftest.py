"""What a benchmark says that it reads or writes: nanoseconds for one and bytes per second, in a table at the end."""

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Rate = Callable[[str, int, int], None]

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def rate(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> Rate:
    """rate(name, size, times), after the benchmark: `times` were done in one call, each of `size` bytes."""

    def add(name: str, size: int, times: int) -> None:
        if benchmark.stats is not None:  # it is with --benchmark-disable
            seconds = benchmark.stats.stats.median / times
            line = f"{name:<40} {size:>6,} bytes {seconds * 1e9:>9,.0f} ns {size / seconds / 1e6:>8,.0f} MB/s"
            pytestconfig.stash.setdefault(_LINES, []).append(line)

    return add


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_LINES, None):
        terminalreporter.section("medians, for one")
        for line in lines:
            terminalreporter.line(line)
