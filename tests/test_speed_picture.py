"""docs/images/speed.svg is drawn from the figures in bench/README.md, and can be read on light and dark pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import picture
from tests.serving import environment

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "bench/picture.py"
FIGURES = picture.read(picture.FIGURES.read_text(encoding="utf-8"))
SVG = "{http://www.w3.org/2000/svg}"


def check() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--check"]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


def test_it_is_of_the_figures() -> None:
    done = check()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_change_of_a_figure_is_seen() -> None:
    text = picture.FIGURES.read_text(encoding="utf-8")
    drawn = picture.draw(picture.read(text))
    row = f"| {FIGURES.rows[0].title} | 6.55 | "
    assert row in text
    for changed in (
        text.replace(f"{row}7.14", f"{row}7.15", 1),
        text.replace("2026-11-25, AMD EPYC", "2026-11-26, Z80", 1),
    ):
        assert changed != text
        assert picture.draw(picture.read(changed)) != drawn


def test_every_row_is_there_lost_ones_too() -> None:
    table = picture.FIGURES.read_text(encoding="utf-8").partition("## Figures")[2].partition("\n| workload")[2]
    lines = table.partition("\n\n")[0].splitlines()[2:]
    assert len(FIGURES.rows) == len(lines) > 15
    drawn = ET.fromstring(picture.draw(FIGURES))
    words = [text.text or "" for text in drawn.iter(f"{SVG}text")]
    bars = {kind: [bar for bar in drawn.iter(f"{SVG}rect") if bar.get("class") == kind] for kind in ("less", "more")}
    for row in FIGURES.rows:
        assert row.title.partition(" ")[2] in words
        assert f"{row.cost:.2f}" in words
        assert any(row.ours in word and row.best in word for word in words)
    assert len(bars["more"]) == sum(row.cost > 1 for row in FIGURES.rows) > 0
    assert len(bars["less"]) == sum(row.cost <= 1 for row in FIGURES.rows)
    lengths = [
        float(bar.get("width") or 0) / picture.UNIT for bar in drawn.iter(f"{SVG}rect") if bar.get("class") in bars
    ]
    assert lengths == pytest.approx([row.cost for row in FIGURES.rows], abs=0.005)
    assert FIGURES.machine in " ".join(words)
    assert any(FIGURES.command in word for word in words)


def test_files_by_bytes_count_the_other_way_round() -> None:
    costs = {row.title: row.cost for row in FIGURES.rows}
    assert costs["G static file, 1 KiB, plain"] < 1  # microseconds: fewer than nginx
    assert costs["G static file, 1 MiB, plain"] < 1  # bytes: more than nginx
    assert costs["G static file, 100 MiB, plain"] > 1
    assert [row.title for row in FIGURES.rows if row.by_bytes] == [
        f"G static file, {size} MiB, {how}" for how in ("plain", "over TLS") for size in (1, 100)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "## Figures\n\nA machine; peers.\n\n`a command`\n\nno table\n",
        "## Figures\n\nA machine; peers.\n\n`a command`\n\n| workload | ours |\n|---|---|\n| A | 1 |\n",
    ],
)
def test_another_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="under '## Figures'"):
        picture.read(text)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read(dark: bool) -> None:
    """Words stand out from the background that is drawn behind them by 4.5 at least (WCAG 2.2, 1.4.3), in both."""
    drawn = picture.PICTURE.read_text(encoding="utf-8")
    light_rules, media, dark_rules = drawn.partition("@media (prefers-color-scheme: dark)")
    assert media
    colours = dict(re.findall(r"\.(\w+)\{fill:(#[0-9a-f]{6})\}", dark_rules if dark else light_rules))
    back = luminance(colours.pop("back"))
    assert set(colours) == {"ink", "faint", "less", "more"}
    for colour in colours.values():
        darker, lighter = sorted((back, luminance(colour)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5
    root = ET.fromstring(drawn)
    first = next(one for one in root if one.tag in (f"{SVG}rect", f"{SVG}text"))
    _, _, width, height = (root.get("viewBox") or "").split()
    assert (first.get("class"), first.get("width"), first.get("height")) == ("back", width, height)
    assert {text.get("class") for text in root.iter(f"{SVG}text")} <= set(colours)


def test_nothing_lies_outside() -> None:
    """With 0.57 of its height for a letter: that is a wide font."""
    root = ET.fromstring(picture.PICTURE.read_text(encoding="utf-8"))
    for text in root.iter(f"{SVG}text"):
        length, x = 0.57 * float(text.get("font-size") or 0) * len(text.text or ""), float(text.get("x") or 0)
        before = {"end": length, "middle": length / 2}.get(text.get("text-anchor") or "", 0)
        assert 0 <= x - before < x - before + length <= picture.WIDTH, text.text


def test_the_readme_shows_it_and_says_how_it_was_measured() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    after = text.partition("](docs/images/speed.svg)")[2].partition("## ")[0]
    assert f"`{FIGURES.command}`" in after
    assert "AMD EPYC" in after
    assert "AMD EPYC" in FIGURES.machine
    assert f"in each of {len(FIGURES.rows)} workloads](docs/images/speed.svg)" in text
