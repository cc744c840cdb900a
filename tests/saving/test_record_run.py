"""A finished run becomes a record of the catalog, every figure measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import zoo
from tests.data.made_data import folder, packed
from tools.record_run import record_run
from zoo.cli import app
from zoo.errors import InputError, WeightError
from zoo.training import evaluate, load_split, train

NAME = "has8_resnet_b2_m2_d1_ste_bpd"
FACTS = {
    "license": "mit",
    "dataset": "made",
    "dataset_license": "none",
    "dataset_attribution": "nobody",
    "dataset_note": "noise",
}
SOURCE = "package:made/made.safetensors"


@pytest.mark.slow
def test_a_finished_run_becomes_a_catalog_record(tmp_path: Path) -> None:
    data = packed(tmp_path / "val.npz")
    with pytest.raises(WeightError, match=r"config.json cannot be read"):
        record_run(tmp_path, "made", SOURCE, data, FACTS)
    out = tmp_path / "run"
    packed(tmp_path / "train.npz")
    train(NAME, tmp_path, out=out, changes={"epochs": 3, "batch_size": 8, "precision": "no", "seed": 5})
    record = record_run(out, "made", SOURCE, data, FACTS)
    assert record.name == NAME + ".made"
    assert record.size == (out / "model.safetensors").stat().st_size
    assert record.labels == ("dark", "bright")
    assert (record.epochs, record.seed, record.preprocessing.size) == (3, 5, 16)
    assert record.recipe == "modern (epochs=3, batch_size=8, precision=no, seed=5)"
    assert (record.license, record.dataset_note) == ("mit", "noise")
    model = zoo.create_model(f"local-dir:{out}")
    assert record.figures.params == sum(p.numel() for p in model.parameters())
    assert record.metrics == {"top1": round(evaluate(model, load_split(data, "val")).top["top1"], 4)}
    assert record.activity is not None
    assert record.activity.images == 24
    assert record.activity.data == "24 images of made, by `zoo profile NAME --data DATA --limit 24`"
    few = record_run(out, "made", SOURCE, data, FACTS, counted=10).activity
    assert few is not None
    command = ["profile", str(out), "--data", str(data), "--limit", "10", "--json"]
    told = json.loads(CliRunner().invoke(app, command).stdout)["activity"]
    assert (few.images, told["images"]) == (10, 10)
    assert few.spike_rate == round(told["spike_rate"], 6)
    assert record.providers.keys() == {"has8-zoo"}


def test_other_classes_are_refused(tmp_path: Path) -> None:
    train(NAME, packed(tmp_path / "data.npz", 40), out=tmp_path / "run", changes={"epochs": 1, "batch_size": 8})
    other = folder(tmp_path / "other", {"cat": 2, "dog": 2})
    with pytest.raises(InputError, match="was trained on the classes dark, bright, not cat, dog"):
        record_run(tmp_path / "run", "made", SOURCE, other, FACTS)
