"""The benchmark of hybrids that start from a converted weight, `fine_tuning`: its data, its judgement, a tiny run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import fine_tuning
from benchmarks.common.reporting import ROOT
from benchmarks.fine_tuning import ARMS, CONTROL, HYBRID, Arm
from tests.benchmarks.test_transfer import _packed

BUDGET = fine_tuning.Budget(images=10, epochs=1, shots=3, tuning_epochs=1, validation=2, seeds=2, image_size=16)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    _packed(tmp_path / "train.npz", 4, 70, seed=0)
    _packed(tmp_path / "val.npz", 4, 6, seed=1)
    return tmp_path


def test_the_control_never_sees_the_odd_classes_and_all_are_measured_alike(data: Path, tmp_path: Path) -> None:
    made = fine_tuning.make_data(data / "train.npz", data / "val.npz", tmp_path / "work", BUDGET)
    assert {path.name for path in (made / "even" / "train").iterdir()} == {"grey0", "grey2"}
    assert {path.name for path in (made / "odd-1" / "train").iterdir()} == {"grey1", "grey3"}
    files = {
        part: [sorted(path.name for path in (made / f"odd-{seed}" / part / "grey1").iterdir()) for seed in range(2)]
        for part in ("train", "val")
    }
    assert [len(names) for names in files["train"]] == [3, 3]
    assert files["train"][0] != files["train"][1]
    assert files["val"][0] == files["val"][1]


def _rows(top1: dict[Arm, tuple[float, float]]) -> list[dict[str, Any]]:
    return [
        {"name": arm.name, "start": arm.start, "gain": arm.gain, "seed": seed, "top1": value}
        for arm, values in top1.items()
        for seed, value in enumerate(values)
    ]


def test_a_lead_is_over_the_same_network_and_seed_from_scratch() -> None:
    values = [(30.0, 40.0), (50.0, 41.0), (35.0, 39.0), (20.0, 20.0), (60.0, 61.0)]
    rows = _rows(dict(zip(ARMS, values, strict=True)))
    assert fine_tuning.margins(rows) == {
        f"{HYBRID}-control": 1.0,
        f"{HYBRID}-control-gain0": -1.0,
        f"{CONTROL}-control": 40.0,
    }
    assert [row["mean"] for row in fine_tuning.summarise(rows)] == [35.0, 45.5, 37.0, 20.0, 60.5]


@pytest.mark.slow
def test_a_tiny_run(data: Path, tmp_path: Path) -> None:
    budget = ["--images", "70", "--epochs", "1", "--shots", "8", "--tuning-epochs", "1", "--seeds", "1"]
    arguments = [
        "--data",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--image-size",
        "16",
        "--validation",
        "3",
        *budget,
    ]
    result = CliRunner().invoke(fine_tuning.app, arguments, env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"})
    assert result.exit_code in (0, 1), result.output
    written = json.loads((tmp_path / "out" / "fine_tuning.json").read_text(encoding="utf-8"))
    assert [Arm(row["name"], row["start"], row["gain"]) for row in written["rows"]] == list(ARMS)
    assert {row["images"] for row in written["rows"]} == {6}
    assert result.exit_code == (0 if written["verdict"]["better_with_every_seed"] else 1)


def test_the_documentation_says_what_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "fine_tuning.json").read_text(encoding="utf-8"))
    page = " ".join((ROOT / "docs" / "conversion.md").read_text(encoding="utf-8").split())
    for row in measured["summary"]:
        cells = " | ".join(f"{row[key]:.2f}" for key in ("mean", "least", "most"))
        gain = "" if row["gain"] is None else f"{row['gain']:g}"
        assert f"| `{row['name']}` | {row['start']} | {gain} | {cells} |".replace("|  |", "| |") in page
    assert f"reached {measured['control_top1']:.1f} %" in page
