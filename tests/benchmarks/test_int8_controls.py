"""Controls in 8-bit integers: one command measures both files, and what the kept result says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import int8_controls
from benchmarks.common.reporting import RESULTS
from tests.benchmarks.noise import write_noise
from zoo.catalog.catalog import default_catalog
from zoo.composition import parse_name

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
BUNDLED = "ann_resnet_b8_m2_d4.cifar10"


@pytest.mark.slow
def test_one_command_exports_quantises_and_measures(tmp_path: Path) -> None:
    noise = write_noise(tmp_path / "noise.npz", BUNDLED, 40)
    arguments = [BUNDLED, "--data", str(noise), "--out", str(tmp_path)]
    result = CliRunner().invoke(int8_controls.app, arguments, env=PLAIN)
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "int8_controls.json").read_text(encoding="utf-8"))["rows"]
    assert (row["name"], row["images"], row["calibration_images"]) == (BUNDLED, 10, 30)
    assert row["size"] < row["float_size"]
    assert f"{row['top1']:.2f} %" in result.output


def test_the_kept_figures_are_of_all_images_and_agree_with_the_catalog() -> None:
    kept = json.loads((RESULTS / "int8_controls.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in kept["rows"]}
    assert set(rows) == set(int8_controls.DEFAULT_WEIGHTS)
    record = default_catalog().weight(parse_name(BUNDLED))
    assert rows[BUNDLED]["images"] == 8000
    assert rows[BUNDLED]["float_top1"] == pytest.approx(record.metrics["top1"], abs=0.05)  # runtimes round apart
    for row in rows.values():
        assert abs(row["top1"] - row["float_top1"]) < 1
        assert row["size"] < row["float_size"] / 3
