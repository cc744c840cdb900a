"""The experiments on neurons: what is planned, what is not run twice, and planes in the other order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from benchmarks import neurons
from benchmarks.common.reporting import RESULTS
from zoo.blocks import straight_through_planes
from zoo.errors import InputError

BUDGET = {"images": 100, "epochs": 1}
RUNS: list[dict[str, Any]] = [
    {"seed": 3407, "top1": 50.0, "spike_rate": 0.1},
    {"seed": 3408, "top1": 54.0, "spike_rate": 0.3},
]


def test_every_experiment_has_a_title_of_its_own_and_builds() -> None:
    titles = [each.title for each in neurons.EXPERIMENTS]
    assert len(set(titles)) == len(titles)
    for each in neurons.EXPERIMENTS:
        if "descending" not in each.name:
            zoo.create_model(each.name, num_classes=10, device="meta", **_options(each))


def _options(experiment: neurons.Experiment) -> dict[str, Any]:
    return {"neuron_options": dict(experiment.options)} if experiment.options else {}


def test_networks_that_are_compared_directly_are_run_with_every_seed() -> None:
    repeated = {each.title for each in neurons.EXPERIMENTS if len(neurons.seeds_of(each, 3)) == 3}
    words = {f"{family}, {name}" for family in ("hybrid", "spikes alone") for name in ("IF", "LIF", "PLIF")}
    assert repeated == words | {"no spikes", "hybrid, LIF, threshold 0.5"}


def test_the_other_order_is_the_same_planes_and_decodes_to_the_same_value() -> None:
    values = torch.arange(256).reshape(1, 256) / 255
    planes = neurons.DescendingEncoder()(values)
    assert torch.equal(planes.flip(0), straight_through_planes(values))
    assert torch.equal(neurons.DescendingDecoder()(planes), values)


def test_rows_are_written_in_the_plans_order_and_read_again(tmp_path: Path) -> None:
    done = {"LIF, τ = 4": RUNS[:1], "no spikes": RUNS}
    rows = neurons.write_rows(tmp_path, BUDGET, done)
    assert [row["title"] for row in rows] == ["no spikes", "LIF, τ = 4"]
    assert neurons.cells(rows[0]) == ["no spikes", "52.00 (50.00 to 54.00)", "20.0 %", "2"]
    assert neurons.read_done(tmp_path / "neurons.json", BUDGET) == done
    table = (tmp_path / "neurons.md").read_text(encoding="utf-8").splitlines()
    assert table[0] == "| experiment | top-1 (least to most) | spike rate | seeds |"
    assert table[2:] == ["| no spikes | 52.00 (50.00 to 54.00) | 20.0 % | 2 |", "| LIF, τ = 4 | 50.00 | 10.0 % | 1 |"]


def test_runs_of_another_budget_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "neurons.json"
    assert neurons.read_done(path, BUDGET) == {}
    neurons.write_rows(tmp_path, BUDGET, {"no spikes": RUNS})
    with pytest.raises(InputError, match="another budget"):
        neurons.read_done(path, BUDGET | {"epochs": 2})


def test_the_kept_result_has_every_experiment_with_every_seed() -> None:
    kept = json.loads((RESULTS / "neurons.json").read_text(encoding="utf-8"))
    rows = [neurons.summarise(each, row["runs"]) for each, row in zip(neurons.EXPERIMENTS, kept["rows"], strict=True)]
    assert kept["rows"] == json.loads(json.dumps(rows))
    for each, row in zip(neurons.EXPERIMENTS, rows, strict=True):
        assert tuple(run["seed"] for run in row["runs"]) == neurons.seeds_of(each, 3)
    assert (kept["budget"]["images"], kept["budget"]["epochs"], kept["budget"]["val_images"]) == (10_000, 4, 8_000)
