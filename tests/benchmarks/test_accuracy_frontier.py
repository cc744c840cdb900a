"""Accuracy against energy: what is profiled, which runs are compared, and what no cheaper network equals."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import zoo
from benchmarks.accuracy import frontier
from benchmarks.accuracy.runs import Ledger, Run, Spent
from benchmarks.common.reporting import RESULTS
from zoo.errors import InputError

HYBRID, CONTROL = "has8_resnet_b2_m1_d2_ste_bpd", "ann_resnet_b2_m1_d2"


def make_run(name: str = CONTROL, **changes: Any) -> Run:
    facts = {"budget": "a", "name": name, "seed": 1, "seconds": 1.0, "cpu_seconds": 1.0, "threads": 1, "torch": "2"}
    return Run(**{"top1": 50.0, **facts, **changes})


def test_a_run_is_profiled_from_its_folder_and_its_energy_is_recorded(tmp_path: Path) -> None:
    ledger, pixels = Ledger(tmp_path / "state.jsonl"), torch.rand(2, 3, 32, 32)
    for name in (HYBRID, CONTROL):
        folder = tmp_path / name
        zoo.save(zoo.create_model(name, num_classes=10).eval(), folder)
        ledger.add(make_run(name))
        ledger.add(frontier.measure(make_run(name), folder, pixels))
    cheap, dear = frontier.make_rows(Ledger(tmp_path / "state.jsonl"), "a")
    assert (cheap["name"], cheap["spike_rate"], cheap["images"]) == (CONTROL, None, 2)
    assert (dear["family"], dear["top1"]) == ("has8", 50.0)
    assert 0 < dear["spike_rate"] < 1
    assert 0 < cheap["microjoules"] < dear["microjoules"]


def test_runs_of_several_budgets_are_not_compared() -> None:
    one, other = make_run(), make_run(budget="b")
    assert frontier.choose_budget([one], None) == "a"
    assert frontier.choose_budget([one, other], "b") == "b"
    for runs, wanted in (([one, other], None), ([one], "c"), ([], None)):
        with pytest.raises(InputError, match=r"runs of \d budgets.*--budget"):
            frontier.choose_budget(runs, wanted)


def test_the_line_joins_what_no_cheaper_network_equals() -> None:
    figures = [(1.0, 40.0), (2.0, 40.0), (3.0, 45.0), (4.0, 44.0), (5.0, 50.0)]
    rows = [
        {"name": f"m{e}", "family": "ann", "microjoules": e, "top1": top1, "least": top1 - 1, "most": top1}
        for e, top1 in figures
    ]
    assert [row["microjoules"] for row in frontier.best(rows)] == [1.0, 3.0, 5.0]
    assert Image.open(io.BytesIO(frontier.picture(rows))).format == "PNG"


def test_the_seeds_of_a_network_are_averaged_so_that_many_tries_do_not_help(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state.jsonl")
    for seed, top1, microjoules in ((1, 40.0, 10.0), (2, 50.0, 12.0), (3, 48.0, 14.0)):
        ledger.add(make_run(seed=seed, top1=top1))
        ledger.add(Spent(budget="a", name=CONTROL, seed=seed, images=2, microjoules=microjoules, spike_rate=None))
    (row,) = frontier.make_rows(ledger, "a")
    assert (row["seeds"], row["microjoules"], row["top1"]) == (3, 12.0, 46.0)
    assert (row["least"], row["most"], row["spike_rate"]) == (40.0, 50.0, None)


def test_the_kept_picture_is_of_every_network_of_the_table() -> None:
    kept = json.loads((RESULTS / "accuracy_energy.json").read_text(encoding="utf-8"))
    rows = frontier.make_rows(ledger := Ledger(RESULTS / "accuracy.jsonl"), frontier.choose_budget(ledger.runs(), None))
    assert kept["rows"] == rows
    assert kept["best"] == [row["name"] for row in frontier.best(rows)]
    assert {row["name"] for row in rows} == {run.name for run in ledger.runs()}
    assert Image.open(RESULTS / "accuracy_energy.png").size[0] > 1000
