"""The benchmark of predicting many files beside the network alone: a tiny run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from benchmarks import predict_files
from benchmarks.common.reporting import RESULTS

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def test_the_files_are_the_same_at_every_call(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, again = (predict_files.write_files(tmp_path / name, 3, 40) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert len({path.read_bytes() for path in first}) == 3
    assert all(Image.open(path).size == (40, 40) for path in first)


def test_a_tiny_run_has_a_row_for_each_number_of_threads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    name = "ann_resnet_b8_m2_d4.cifar10"
    options = ["--model", name, "--files", "40", "--threads", "1", "--threads", "2", "--repeats", "1"]
    try:
        result = CliRunner().invoke(predict_files.app, [*options, "--out", str(tmp_path)], env=PLAIN)
    finally:
        torch.set_num_threads(before)
    assert isinstance(result.exception, SystemExit), result.output
    rows = json.loads((tmp_path / "predict_files.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["model"], row["files"], row["threads"]) for row in rows] == [(name, 40, 1), (name, 40, 2)]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["predict"]["median_s"] / row["network"]["median_s"])
    assert result.exit_code == (0 if all(row["ratio"] <= predict_files.WANTED for row in rows) else 1)


def test_the_documentation_says_what_was_measured() -> None:
    kept = json.loads((RESULTS / "predict_files.json").read_text(encoding="utf-8"))
    page = (RESULTS.parents[1] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for row in kept["rows"]:
        assert f"`{row['model']}` {row['ratio']:.2f} times" in page
