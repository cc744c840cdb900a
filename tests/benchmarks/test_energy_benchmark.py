"""The benchmark on models of energy: what it measures and writes, and what the kept result says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import energy_models
from benchmarks.common.reporting import RESULTS
from tests.data.made_data import packed
from zoo.catalog.catalog import default_catalog

BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def test_one_command_measures_the_bundled_pair(tmp_path: Path) -> None:
    data = packed(tmp_path / "kinds.npz", 10)
    arguments = [BUNDLED, "--data", str(data), "--count", "2", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(energy_models.app, arguments, env=PLAIN)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out" / "energy_models.json").read_text(encoding="utf-8"))
    (row,) = written["rows"]
    assert (row["name"], row["control"], row["images"], row["seed"]) == (BUNDLED, "ann_resnet_b8_m2_d4", 2, 3407)
    table = (tmp_path / "out" / "energy_models.md").read_text(encoding="utf-8")
    for model in row["models"]:
        assert model["ratio"] == pytest.approx(model["network_pj"] / model["control_pj"])
        assert f"| {model['name']} | {model['network_pj'] / 1e6:,.3f} | " in table
        assert model["name"] in result.output


def test_a_weight_that_is_not_listed_is_named(tmp_path: Path) -> None:
    arguments = ["has8_resnet_b8_m2_d4_ste_bpd.nothing", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(energy_models.app, arguments, env=PLAIN)
    assert result.exit_code == 2
    assert "no installed catalog lists has8_resnet_b8_m2_d4_ste_bpd.nothing" in result.output
    assert not (tmp_path / "out").exists()


def test_the_kept_result_agrees_with_the_catalog() -> None:
    kept = json.loads((RESULTS / "energy_models.json").read_text(encoding="utf-8"))
    rows = {row["name"]: {model["name"]: model for model in row["models"]} for row in kept["rows"]}
    record = next(r for group in default_catalog().weights.values() for r in group if r.name == BUNDLED)
    assert record.activity is not None
    energy = rows[BUNDLED]["arithmetic-float32"]
    assert energy["network_pj"] / 1e6 == pytest.approx(record.activity.energy_uj, rel=0.02)  # fewer images than there
    assert energy["control_pj"] / 1e6 == pytest.approx(record.activity.control_energy_uj, rel=1e-3)
    assert all(model["ratio"] > 1 for models in rows.values() for model in models.values())
