"""The benchmarks on costs: the paper's table 3, and synaptic operations beside NeuroBench's."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

import zoo
from benchmarks import cost, neurobench_synops
from benchmarks.common import paper
from benchmarks.common.reporting import RESULTS
from zoo.errors import install_extra
from zoo.profiling import profile

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def tables_of(macs: str, code: float) -> dict:
    return {
        "table3_cost": {"ann_resnet18": {"params": "11.7M", "macs": macs}},
        "measured_on_the_published_code": {"fvcore_per_timestep_gmacs": {"ann_resnet18": code}},
    }


def test_table_3_names_are_models() -> None:
    tables = yaml.safe_load(paper.PAPER.read_text(encoding="utf-8"))
    names = {short: cost.full_name(short) for short in tables["table3_cost"]}
    assert len(names) == 8
    assert names["sew_resnet50"] == ("sew_resnet50_phase", 1000)
    assert names["has8_vgg_b24_m2_d4"] == ("has8_vgg_b24_m2_d4_fourier_bpd", 10)
    assert all(str(zoo.parse_name(name)) == name for name, _ in names.values())
    assert paper.parse_figure("9.79M") == pytest.approx(9.79e6)
    assert paper.parse_figure("1.81G") == pytest.approx(1.81e9)


@pytest.mark.parametrize(
    ("macs", "code", "status"),
    [("0.0375G", 0.03763, 0), ("0.0381G", 0.03763, 1), ("0.0375G", 0.0377, 1)],
    ids=["within", "off the paper", "off the code"],
)
def test_a_count_that_misses_is_told_by_the_exit_status(macs: str, code: float, status: int, tmp_path: Path) -> None:
    found = profile("ann_resnet18", 32)
    paper = tmp_path / "paper.yaml"
    paper.write_text(yaml.safe_dump(tables_of(macs, code)), encoding="utf-8")
    arguments = ["--paper", str(paper), "--image-size", "32", "--out", str(tmp_path)]
    result = CliRunner().invoke(cost.app, arguments, env=PLAIN)
    assert result.exit_code == status, result.output
    written = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))
    (row,) = written["rows"]
    assert (row["macs"], row["params"], row["timesteps"]) == (found.macs, found.params, 1)
    assert row["macs_difference"] == pytest.approx(found.macs / (float(macs[:-1]) * 1e9) - 1)
    assert written["verdict"]["missed"] == ["ann_resnet18"] * status
    assert "0.038 G" in result.output


def test_without_the_papers_figures_nothing_is_compared(tmp_path: Path) -> None:
    arguments = ["--paper", str(tmp_path / "none.yaml"), "--out", str(tmp_path)]
    assert CliRunner().invoke(cost.app, arguments, env=PLAIN).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_the_kept_table_holds_all_eight_models_within_the_tolerances() -> None:
    kept = json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))
    assert len(kept["rows"]) == 8
    assert cost.judge(kept["rows"]) == kept["verdict"]["missed"] == []


# NeuroBench


def test_our_side_of_the_comparison_is_pairs_with_nonzero_inputs() -> None:
    activity = profile("has8_resnet_b1_m1_d1_ste_bpd", images=torch.rand(1, 3, 8, 8), num_classes=2).activity
    assert activity is not None
    ours = neurobench_synops.count_ours(activity)
    assert ours["acs"] == activity.synaptic.acs
    assert 0 < ours["macs"] < activity.synaptic.macs
    assert ours["dense"] == sum(each.dense for each in activity.synapses)


def test_differences_are_judged_but_for_the_dense_count() -> None:
    assert neurobench_synops.relative(0, 0) == 0.0
    assert neurobench_synops.relative(1, 0) == math.inf
    assert neurobench_synops.relative(11, 10) == pytest.approx(0.1)
    row: dict[str, Any] = {"name": "x", "difference": {"acs": 0.0, "macs": 1e-5, "dense": 0.2}}
    assert neurobench_synops.judge([row]) == []
    assert neurobench_synops.judge([row | {"difference": row["difference"] | {"acs": 1e-3}}]) == ["x"]


def test_without_neurobench_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neurobench", None)
    arguments = ["ann_resnet_b1_m1_d1", "--count", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(neurobench_synops.app, arguments, env=PLAIN)
    assert result.exit_code == 2
    assert install_extra("neurobench") in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["has8_resnet_b8_m2_d4_ste_bpd", "sew_resnet18_rate"])
def test_neurobench_counts_the_same(name: str) -> None:
    """Where the extra is installed; the kept comparison below was made with it."""
    pytest.importorskip("neurobench", reason=install_extra("neurobench"))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    row = neurobench_synops.compare(name, images)
    assert neurobench_synops.judge([row]) == []
    assert row["ours"]["macs"]


def test_the_kept_comparison_agrees() -> None:
    kept = json.loads((RESULTS / "neurobench_synops.json").read_text(encoding="utf-8"))
    assert kept["neurobench"]
    assert kept["verdict"]["differing"] == []
    assert any(row["ours"]["acs"] for row in kept["rows"])
