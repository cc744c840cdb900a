"""README's table of weights is that of the catalogs, and no name of the picture stands on another."""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks import weights_page
from benchmarks.common.reporting import ROOT
from benchmarks.results_csv import rows


def row(name: str, top1: float, macs: int = 10**7, timesteps: int = 8) -> dict[str, Any]:
    nothing = {"control": None, "energy_ratio_lowest": None, "energy_ratio_highest": None}
    return {
        "name": name,
        "top1": top1,
        "macs": macs,
        "timesteps": timesteps,
        "params": 10**6,
        "distribution": "d",
    } | nothing


def test_the_readme_has_the_table_of_the_catalogs() -> None:
    assert weights_page.markdown(list(rows())) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_kept_picture_is_of_the_catalogs() -> None:
    text = weights_page.PICTURE.read_text(encoding="utf-8")
    for weight in rows():
        assert weight["name"].partition(".")[0] in text


def test_a_hybrid_shows_its_controls_accuracy() -> None:
    control = row("ann.x", 80.0, timesteps=1)
    hybrid = row("has8.x", 81.25) | {"control": "ann.x", "energy_ratio_lowest": 1.234, "energy_ratio_highest": 9.87}
    lines = weights_page.markdown([control, hybrid]).splitlines()
    assert lines[2].startswith("| `has8.x` | 81.25 | 80.00 |")
    assert "| 1.23 to 9.9 |" in lines[2]
    assert lines[3].startswith("| `ann.x` | 80.00 | – |")


def test_names_that_would_meet_stand_below_each_other() -> None:
    crowd = [row(f"a{number}", 80 - number / 10) for number in range(5)]
    heights = [height for _, height in weights_page.label_heights(crowd)]
    gaps = [upper - lower for upper, lower in itertools.pairwise(heights)]
    assert heights[0] == 80
    assert all(gap >= weights_page.NAME_HEIGHT - 1e-9 for gap in gaps)
    sides = [row("a", 80.0), row("b", 80.0, timesteps=1)]
    assert [height for _, height in weights_page.label_heights(sides)] == [80, 80]
