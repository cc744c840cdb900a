"""The benchmark of installed plugins: its arithmetic, and one short run."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import plugin_startup


def test_what_is_added_is_the_difference_of_medians() -> None:
    clock = {plugin_startup.BARE: (1.0, 3.0, 2.0), plugin_startup.FULL: (2.0, 9.0, 4.0)}
    rows = plugin_startup.summarise({name: [(each, each / 2) for each in taken] for name, taken in clock.items()})
    assert [(row["added_s"], row["cpu_added_s"]) for row in rows] == [(0.0, 0.0), (2.0, 1.0)]
    assert (rows[1]["min_s"], rows[1]["cpu_max_s"]) == (2.0, 4.5)


def test_the_distributions_are_what_they_claim(tmp_path: Path) -> None:
    plugin_startup.install(tmp_path, with_points=True)
    found = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    points = [point for each in found for point in each.entry_points]
    assert (len(found), len(points), len({(point.group, point.name) for point in points})) == (20, 200, 200)


@pytest.mark.parametrize(("clock", "processor", "status"), [(0.30, 0.20, 0), (0.35, 0.20, 1), (0.20, 0.26, 1)])
def test_it_judges_by_its_exit_status(
    clock: float, processor: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_both(variables: dict[str, str] | None) -> tuple[float, float]:
        full = variables is not None and "full" in variables["PYTHONPATH"].partition(":")[0]
        return (clock, processor) if full else (0.29, 0.20)

    monkeypatch.setattr(plugin_startup, "time_both", time_both)
    result = CliRunner().invoke(plugin_startup.app, ["--repeats", "2", "--out", str(tmp_path)])
    assert result.exit_code == status, result.output
    verdict = json.loads((tmp_path / "plugin_startup.json").read_text(encoding="utf-8"))["verdict"]
    assert verdict["within"] is (status == 0)


@pytest.mark.slow
def test_a_short_run_sees_200_entry_points(tmp_path: Path) -> None:
    result = CliRunner().invoke(plugin_startup.app, ["--repeats", "1", "--out", str(tmp_path)])
    assert "200 entry points add" in result.output, result.output
    written = json.loads((tmp_path / "plugin_startup.json").read_text(encoding="utf-8"))
    assert [len(row["seconds"]) for row in written["rows"]] == [1, 1, 1]
