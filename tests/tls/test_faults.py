"""Every call of OpenSSL fails in turn, and every callback of ours: a sample of what `make faults` runs whole.

The sample takes the first, the second and the last call of each function in each scenario, in every mode. What is tried
and what must hold: tests/tls/faults/scenarios.py; how each function fails: table.py; how it is done: agent.c.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.tls.faults import agent, runner, sites
from tests.tls.faults.client import MARKER, answers_in, not_records, stable
from tests.tls.faults.plants import PLANTS, plant
from tests.tls.faults.scenarios import SCENARIOS
from tests.tls.faults.table import CALLBACKS, FUNCTIONS

SOURCES = Path(__file__).parents[2] / "src/web"
JOBS = 8  # at a time: they mostly wait for deadlines


def why_not() -> str:
    """Why nothing can be made to fail here; "" where it can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"trampolines are there for Linux on x86-64 and aarch64, not for {sys.platform} {platform.machine()}"
    if (Path(agent.extension()).parents[1] / "weblatch.libs").exists():
        return "the wheel has a copy of OpenSSL beside it, not the one that the agent is linked with"
    try:
        agent.build()
    except agent.NoAgent as problem:
        if os.environ.get("CI"):
            pytest.fail(str(problem))
        return str(problem)
    probe = "from tests.tls.faults.agent import *\ntry: Agent()\nexcept Unavailable as why: print(why)"
    asked = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=runner.environment({}))
    return asked.stdout.strip() or asked.stderr


@pytest.fixture(autouse=True)
def no_fd_is_left() -> None:
    """Here the runs beside have pipes in this process; what they look at are their own descriptors."""


@pytest.fixture(scope="module")
def under_way() -> Iterator[dict[str, Future[runner.Report]]]:
    """The sample, run once for all tests; each test of a scenario waits for that one."""
    if why := why_not():
        pytest.skip(why)
    with runner.started([], sample=True, jobs=JOBS) as reports:
        yield reports


@pytest.mark.parametrize("scenario", [*SCENARIOS, "import"])
def test_whatever_fails_fails_closed(scenario: str, under_way: dict[str, Future[runner.Report]]) -> None:
    findings = under_way[scenario].result().findings
    assert not findings, "\n".join(findings)


@pytest.fixture
def report(under_way: dict[str, Future[runner.Report]]) -> runner.Report:
    """What all of them said."""
    return runner.total(each.result() for each in under_way.values())


def test_every_function_of_the_binary_has_a_row_and_every_row_a_function(report: runner.Report) -> None:
    assert runner.unfit_rows(report.functions) == []


def test_everything_that_can_fail_was_made_to(report: runner.Report) -> None:
    assert runner.unreached(report) == []
    assert report.runs > 1500
    assert report.missed < report.runs // 20


def test_every_call_in_the_binary_that_can_fail_is_come_by(report: runner.Report) -> None:
    """A new call of a function that others call, too, needs a scenario that reaches it."""
    if not sites.can_list():
        pytest.skip("no objdump and readelf for x86-64")
    assert runner.unreached_sites(report) == []
    told = runner.unreached_sites(runner.Report())
    assert any(line.endswith("handshake_step calls SSL_accept: no scenario comes by") for line in told)


def test_the_binary_is_read_as_nm_reads_it(report: runner.Report) -> None:
    """The list of functions is not one that we keep: it is what the linker wrote."""
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    listed = subprocess.run(["nm", "-D", "--undefined-only", agent.extension()], capture_output=True, text=True)
    names = {line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines() if "OPENSSL_" in line}
    assert names == report.functions


def test_a_function_without_a_row_and_a_row_without_a_function_are_told() -> None:
    unfit = runner.unfit_rows({*FUNCTIONS, "SSL_new_call"} - {"SSL_accept"})
    assert unfit == [
        "SSL_accept: has a row, and the binary does not import it",
        "SSL_new_call: add a row to tests/tls/faults/table.py that says how it fails",
    ]


def test_what_no_scenario_reaches_is_told() -> None:
    told = runner.unreached(runner.Report())
    assert "SSL_accept: no scenario makes it fail" in told
    assert "bio_write: no scenario makes it fail" in told
    assert not any(line.startswith("SSL_free") for line in told)


def test_every_row_says_how_it_fails_or_why_it_cannot() -> None:
    assert [name for name, row in FUNCTIONS.items() if not row.failures and not row.why] == []
    assert [name for name, row in FUNCTIONS.items() if not row.reached and not row.why] == []
    for callback in CALLBACKS:
        assert callback.function in FUNCTIONS
        assert callback.failures


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"\x16\x03\x03\x00\x01aHTTP/1.1 200 OK\r\n",
        b"\x17\x03\x03\x00\x02ab\x17\x02",
        b"\x17\x03\x03\x50\x00",
        b"\x18\x03",
    ],
)
def test_what_is_no_record_is_seen(raw: bytes) -> None:
    assert not_records(raw)


@pytest.mark.parametrize("raw", [b"", b"\x16", b"\x16\x03", b"\x16\x03\x03\x00\x02a", b"\x16\x03\x03\x00\x01a" * 3])
def test_records_are_records(raw: bytes) -> None:
    assert not_records(raw) == ""


def test_answers_are_counted_when_they_are_whole() -> None:
    answer = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 16\r\n\r\n" + MARKER
    assert answers_in(answer * 2) == 2
    assert answers_in(answer * 2 + answer[:-1]) == 2
    assert b"now" not in stable(answer)
    assert MARKER in stable(answer)


def test_plants_fit_the_sources(tmp_path: Path) -> None:
    """`make faults` builds them and demands that each is found."""
    for path in SOURCES.glob("*.pxi"):
        shutil.copy(path, tmp_path)
    plant(tmp_path)
    assert all(each.scenario in SCENARIOS and each.target in FUNCTIONS for each in PLANTS.values())


def test_a_process_that_dies_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = [{"event": "case", "number": 0, "case": "SSL_new #1: returns NULL"}]
    deaths = iter([(heard, -11, "Segmentation fault"), ([], 0, "")])
    monkeypatch.setattr(runner, "listen", lambda arguments, extra: next(deaths))
    report = runner.run_scenario(tmp_path, "load")
    assert report.findings == ["load: SSL_new #1: returns NULL: killed by SIGSEGV\nSegmentation fault"]
