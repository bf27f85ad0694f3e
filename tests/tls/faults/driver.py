"""One scenario in a process of its own: a clean run, then each case of it. A line of JSON for each thing that happens.

A crash ends this process, not the tests: who started it knows by the last "case" line what was under way, and starts it
again behind that one (--skip). usage: driver.py FOLDER SCENARIO [--sample] [--skip N] [--only TARGET]
       driver.py FOLDER import TARGET MODE
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import logging
from pathlib import Path

from tests.tls.faults.agent import Agent
from tests.tls.faults.table import CALLBACKS, FUNCTIONS, Failure

HANG = 30.0  # seconds for one case; then the process ends with a traceback
ALL_UP_TO = 16  # where a function is called more often, these many of the first, and some of the others


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def failures_of(target: str) -> tuple[Failure, ...]:
    for callback in CALLBACKS:
        if callback.name == target:
            return callback.failures
    return FUNCTIONS[target].failures if target in FUNCTIONS else ()


def numbers(calls: int, sample: bool) -> list[int]:
    """Which of the calls fail: in a sample the first two and the last; else all, but of many only some."""
    if sample:
        return sorted({1, min(2, calls), calls})
    if calls <= ALL_UP_TO:
        return list(range(1, calls + 1))
    return [*range(1, ALL_UP_TO + 1), *range(ALL_UP_TO + 8, calls, 8), calls]


def fail_import(agent: Agent, target: str, mode: str) -> None:
    """The module is imported while one of its calls fails: ImportError, and nothing else."""
    failure = next(failure for failure in failures_of(target) if failure.mode == mode)
    agent.arm(target, 1, failure)
    try:
        import web._core  # noqa: F401
    except ImportError as error:
        say(event="import", error=str(error), hits=agent.hits())
    else:
        say(event="import", error="", hits=agent.hits())


def drive(agent: Agent, folder: Path, name: str, sample: bool, skip: int, only: str) -> None:
    from tests.tls.faults.scenario import Case
    from tests.tls.faults.scenarios import SCENARIOS
    from web import _core

    _core.abort_on_illegal_steps(True)
    logging.getLogger("web").setLevel(logging.CRITICAL + 1)
    faulthandler.dump_traceback_later(HANG, exit=True)
    scenario = SCENARIOS[name](agent, folder)
    gc.freeze()  # what is here stays: collecting what a run left is quick then
    clean = scenario.clean()
    calls = dict(scenario.calls)
    say(event="clean", done=clean.done, problems=clean.problems, calls=calls)
    cases = [
        Case(target, nth, failure)
        for target in sorted(calls)
        for failure in failures_of(target)
        for nth in numbers(calls[target], sample)
        if only in ("", target)
    ]
    for number, case in enumerate(cases[skip:], skip):
        say(event="case", number=number, case=str(case))
        faulthandler.dump_traceback_later(HANG, exit=True)
        result = scenario.run(case)
        after = scenario.clean()
        faulthandler.cancel_dump_traceback_later()
        problems = result.problems + [f"then, without a fault: {problem}" for problem in after.problems]
        if not after.done:
            problems.append("then, without a fault, it does not work")
        say(event="result", problems=problems, done=result.done, hit=result.hit)
    scenario.close()
    say(event="end", sites=agent.sites())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("scenario")
    parser.add_argument("fault", nargs="*")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    agent = Agent()
    say(event="start", functions=sorted(agent.functions))
    if options.scenario == "import":
        fail_import(agent, *options.fault)
    else:
        drive(agent, options.folder, options.scenario, options.sample, options.skip, options.only)


if __name__ == "__main__":
    main()
