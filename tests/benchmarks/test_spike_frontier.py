"""The frontier of spikes and accuracy: runs that are not made twice, what is judged, and the kept result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import spike_frontier
from benchmarks.common.reporting import RESULTS
from zoo.catalog.catalog import default_catalog
from zoo.composition import parse_name
from zoo.errors import InputError
from zoo.training import load_recipe

BEGUN: dict[str, Any] = {"penalty": None, "spike_rate": 0.2, "top1": 70.0}
CONTROL: dict[str, Any] = {"penalty": None, "spike_rate": None, "top1": 69.0}


def test_the_most_accurate_at_half_the_rate_is_named() -> None:
    rows = [BEGUN, CONTROL]
    rows += [{"penalty": p, "spike_rate": r, "top1": t} for p, r, t in ((0, 0.2, 75), (1, 0.1, 68), (2, 0.05, 60))]
    verdict = spike_frontier.judge(rows)
    assert verdict == {"half_the_rate": 1, "share_of_the_rate": 0.5, "top1_change": -2}
    assert spike_frontier.judge(rows[:3]) == {"half_the_rate": None}


def test_a_finished_run_is_taken_and_another_one_refused(tmp_path: Path) -> None:
    settings = load_recipe("bundled", {"spike_penalty": 2.0})
    assert spike_frontier.finished_top1(tmp_path, settings) is None
    run = {"settings": settings.model_dump(mode="json")}
    (tmp_path / "run.json").write_text(json.dumps(run), encoding="utf-8")
    assert spike_frontier.finished_top1(tmp_path, settings) is None  # it was stopped
    (tmp_path / "run.json").write_text(json.dumps(run | {"result": {"top1": 66.5}}), encoding="utf-8")
    assert spike_frontier.finished_top1(tmp_path, settings) == 66.5
    with pytest.raises(InputError, match="holds a run with other settings"):
        spike_frontier.finished_top1(tmp_path, load_recipe("bundled", {"spike_penalty": 3.0}))


def test_the_kept_frontier_falls_in_rate_and_energy() -> None:
    kept = json.loads((RESULTS / "spike_frontier.json").read_text(encoding="utf-8"))
    hybrid, control, *after = kept["rows"]
    for row in (hybrid, control):
        record = default_catalog().weight(parse_name(row["name"]))
        assert row["top1"] == record.metrics["top1"]
    trained = sorted((row for row in after if row["ratios"]), key=lambda row: row["penalty"])
    assert len(trained) >= 3
    assert trained[0]["penalty"] == 0
    for key in ("spike_rate", "ratios"):
        values = [row[key] if key == "spike_rate" else row[key]["arithmetic-float32"] for row in trained]
        assert values == sorted(values, reverse=True)
    assert trained[-1]["spike_rate"] < 0.8 * hybrid["spike_rate"]
    assert all(min(row["ratios"].values()) > 1 for row in trained)  # it contains its control
    assert kept["verdict"] == spike_frontier.judge(kept["rows"])
