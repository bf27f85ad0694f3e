"""The measurements as Markdown, CSV and JSON. A figure is a median, its range from the least to the greatest sample."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

from bench import harness
from bench.load import peers, picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.load.measure import Sample
    from bench.load.workloads import Workload

PICTURED = ("A", "B", "E", "F-full", "F-resumed", "G-1m", "G-100m", "G-1m-tls", "G-100m-tls")


@dataclasses.dataclass
class Outcome:
    """One server under one workload: samples by round, or the reason why there are none."""

    load: Workload
    peer: peers.Peer
    samples: list[Sample] = dataclasses.field(default_factory=list)
    failed: str | None = None
    answer_bytes: int = 0

    @property
    def measured(self) -> bool:
        return self.failed is None and bool(self.samples)

    @property
    def costs(self) -> list[float]:
        return [sample.cost(self.load) for sample in self.samples]

    def ratios(self, base: Outcome) -> list[float]:
        """To another server's samples of the same round."""
        return [mine / other for mine, other in zip(self.costs, base.costs, strict=False)]


def base_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """What the others are compared with: the C server, for files nginx."""
    for name in (peers.REFERENCE, peers.NGINX):
        for outcome in outcomes:
            if outcome.peer.name == name and outcome.measured:
                return outcome
    return None


def ordered(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Best first, those that failed last."""
    sign = -1 if outcomes[0].load.by_bytes else 1
    return sorted(outcomes, key=lambda o: sign * statistics.median(o.costs) if o.measured else float("inf"))


def spread(values: Sequence[float], digits: int) -> str:
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def section(outcomes: Sequence[Outcome]) -> str:
    load, base = outcomes[0].load, base_of(outcomes)
    units = ("MB per CPU second", "MB/s") if load.by_bytes else ("CPU us/request", "requests/s")
    against = f"ratio to {base.peer.title.split(' (')[0]}" if base else "ratio"
    digits, rows = 0 if load.by_bytes else 2, []
    for o in ordered(outcomes):
        if not o.measured:
            rows.append((o.peer.title, f"not measured: {o.failed}", "", "", "", ""))
            continue
        p99 = statistics.median(sample.p99_us for sample in o.samples) / 1000
        rows.append((
            o.peer.title, spread(o.costs, digits), spread(o.ratios(base), 2) if base else "",
            f"{statistics.median(sample.rate(load) for sample in o.samples):,.0f}",
            "" if p99 != p99 or load.by_bytes else f"{p99:.2f}", str(o.answer_bytes or ""),
        ))  # fmt: skip
    head = ("server", units[0], against, units[1], "p99 ms", "bytes of an answer")
    return f"### {load.letter}: {load.title}\n\n{harness.table(head, rows)}"


def table_of_all(results: Sequence[Sequence[Outcome]]) -> str:
    """One line a workload: the base, ours, the best of the others."""
    rows = []
    for outcomes in results:
        load = outcomes[0].load
        base, digits = base_of(outcomes), 0 if load.by_bytes else 2
        mine = next((o for o in outcomes if o.peer.name == peers.OURS and o.measured), None)
        others = [o for o in ordered(outcomes) if o.measured and o.peer.name != peers.REFERENCE]
        best = next((o for o in others if not o.peer.name.startswith(peers.OURS)), None)
        cells = [f"{load.letter} {load.title}"]
        cells += [f"{statistics.median(o.costs):,.{digits}f}" if o else "" for o in (base, mine)]
        cells.append(spread(mine.ratios(base), 2) if mine and base else "")
        cells.append(f"{best.peer.title} {statistics.median(best.costs):,.{digits}f}" if best else "")
        cells.append(f"{statistics.median(mine.ratios(best)):.2f}" if mine and best else "")
        rows.append(cells)
    head = ("workload", "base", "ours", "ours/base", "best other", "ours/best other")
    about = "CPU microseconds per request, base: the C server. Files: MB per CPU second (more is better), base: nginx."
    return f"{about}\n\n{harness.table(head, rows)}"


def as_csv(results: Sequence[Sequence[Outcome]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["workload", "server", "round", "requests", "bytes", "seconds", "cpu_seconds", "p50_us", "p99_us", "failed"]
    )
    for outcomes in results:
        for o in outcomes:
            for number, s in enumerate(o.samples if o.measured else (), 1):
                figures = [s.requests, s.bytes, f"{s.seconds:.4f}", f"{s.cpu_seconds:.6f}", s.p50_us, s.p99_us]
                writer.writerow([o.load.name, o.peer.name, number, *figures, ""])
            if not o.measured:
                writer.writerow([o.load.name, o.peer.name, *[""] * 7, o.failed])
    return out.getvalue()


def as_json(results: Sequence[Sequence[Outcome]], about: dict[str, Any]) -> str:
    data = []
    for outcomes in results:
        base = base_of(outcomes)
        for o in outcomes:
            entry: dict[str, Any] = {"workload": o.load.name, "server": o.peer.name, "failed": o.failed}
            if o.measured:
                entry |= {
                    "unit": "MB per CPU second" if o.load.by_bytes else "CPU microseconds per request",
                    "median": statistics.median(o.costs),
                    "samples": [dataclasses.asdict(sample) for sample in o.samples],
                    "answer_bytes": o.answer_bytes,
                    "ratio_to": base.peer.name if base else None,
                    "ratio": statistics.median(o.ratios(base)) if base else None,
                }
            data.append(entry)
    return json.dumps({"about": about, "results": data}, indent=1).replace("NaN", "null") + "\n"


def panels(results: Sequence[Sequence[Outcome]]) -> list[picture.Panel]:
    made = []
    for outcomes in results:
        load = outcomes[0].load
        bars = [
            picture.Bar(
                o.peer.title.replace("*", ""), statistics.median(o.costs), min(o.costs), max(o.costs),
                o.peer.name == peers.OURS, o.peer.name == peers.REFERENCE,
            )
            for o in ordered(outcomes) if o.measured
        ]  # fmt: skip
        if load.name in PICTURED and bars:
            unit = "MB per CPU second (more is better)" if load.by_bytes else "CPU us per request (less is better)"
            made.append(picture.Panel(f"{load.letter}: {load.title}", unit, bars))
    return made


def write(folder: Path, results: Sequence[Sequence[Outcome]], about: dict[str, Any], command: str) -> str:
    """Writes load.md, load.csv, load.json, load.svg into the folder; returns the Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    head = f"{harness.describe(about['machine'])}\n\n{versions}\n\n`{command}`"
    for name, reason in about["missing"].items():
        head += f"\n\nnot installed: {name}: {reason}"
    parts = [head, table_of_all(results), *(section(outcomes) for outcomes in results)]
    markdown = "\n\n".join(parts) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "load.md").write_text(markdown)
    (folder / "load.csv").write_text(as_csv(results))
    (folder / "load.json").write_text(as_json(results, about))
    draw(folder / "load.svg", panels(results), harness.describe(about["machine"]))
    return markdown


def draw(path: Path, drawn: Sequence[picture.Panel], footer: str) -> None:
    """The picture; beside it as PNG where librsvg's program is installed. None when no pictured workload was run."""
    as_png = path.with_suffix(".png")
    path.unlink(missing_ok=True)
    as_png.unlink(missing_ok=True)
    if drawn:
        path.write_text(picture.draw(drawn, footer))
        if converter := shutil.which("rsvg-convert"):
            subprocess.run([converter, str(path), "-o", str(as_png)], check=False)
