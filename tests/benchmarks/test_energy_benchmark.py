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


def test_the_table_of_kept_figures_is_written_anew_with_the_control_in_int8(tmp_path: Path) -> None:
    kept = json.loads((RESULTS / "energy_models.json").read_text(encoding="utf-8"))
    kept["rows"] = kept["rows"][:1]
    kept["rows"][0]["models"][0]["source"] = "as it was written once"
    (tmp_path / "energy_models.json").write_text(json.dumps(kept), encoding="utf-8")
    int8 = {"name": "ann_resnet_b8_m2_d4.cifar10", "top1": 72.25, "float_top1": 73.5, "images": 1234}
    (tmp_path / "int8_controls.json").write_text(json.dumps({"rows": [int8]}), encoding="utf-8")
    result = CliRunner().invoke(energy_models.app, ["--kept", "--out", str(tmp_path)], env=PLAIN)
    assert result.exit_code == 0, result.output
    again = json.loads((tmp_path / "energy_models.json").read_text(encoding="utf-8"))
    assert again["command"] == kept["command"]
    assert again["rows"][0]["models"][0]["source"].startswith("Horowitz, ISSCC 2014")
    assert again["rows"][0]["models"][0]["ratio"] == kept["rows"][0]["models"][0]["ratio"]
    table = (tmp_path / "energy_models.md").read_text(encoding="utf-8")
    assert "gets 72.25 % of 1,234 validation images right, in float32 73.50 %; its arithmetic takes 0.747 µJ" in table
    both = CliRunner().invoke(energy_models.app, ["--kept", "--data", "x", "--out", str(tmp_path)], env=PLAIN)
    assert both.exit_code == 2


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


def test_the_kept_result_is_what_is_known_of_the_bundled_pair() -> None:
    """Figures that were found independently; spikingjelly's are of other images, and differ by what these spike."""
    kept = json.loads((RESULTS / "energy_models.json").read_text(encoding="utf-8"))
    (row,) = (row for row in kept["rows"] if row["name"] == BUNDLED)
    ratios = {model["name"]: model["ratio"] for model in row["models"]}
    assert ratios["arithmetic-float32"] == pytest.approx(1.66, abs=0.005)
    assert ratios["arithmetic-int8"] == pytest.approx(1.44, abs=0.005)
    assert ratios["spikesim-dense"] == pytest.approx(9.0, abs=0.005)
    assert ratios["spikingjelly-compute"] == pytest.approx(1.70, rel=0.03)
    assert ratios["spikingjelly-memory"] == pytest.approx(4.10, rel=0.04)
