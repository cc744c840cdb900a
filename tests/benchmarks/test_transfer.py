"""The benchmark of fine-tuning, `transfer`: its data, its judgement, and a tiny run of it all."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks import transfer
from benchmarks.common.reporting import ROOT


def _packed(file: Path, classes: int, each: int, seed: int) -> None:
    """Each class its own grey, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    files = []
    for label in labels:
        pixels = rng.integers(0, 60, (16, 16, 3)) + 180 * label // classes
        encoded = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(encoded, "JPEG")
        files.append(encoded.getvalue())
    names = np.array([f"grey{label}" for label in range(classes)])
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(file, jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets, labels=labels, classes=names)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    _packed(tmp_path / "train.npz", 4, 20, seed=0)
    _packed(tmp_path / "val.npz", 4, 6, seed=1)
    return tmp_path


def test_held_out_classes_are_never_seen_and_shots_differ_by_seed(data: Path, tmp_path: Path) -> None:
    budget = transfer.Budget(images=20, epochs=1, shots=3, recipe="finetune", seeds=2)
    made = transfer.make_data(data / "train.npz", data / "val.npz", tmp_path / "work", budget)
    found = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_dir()}
    assert {name for name in found if name.startswith("even/train/")} == {"even/train/grey0", "even/train/grey2"}
    assert {name for name in found if name.startswith("odd-1/")} >= {"odd-1/train/grey1", "odd-1/val/grey3"}
    counts = {
        part: len(list((made / part).glob("*.jpg")))
        for part in ("even/train/grey0", "odd-0/train/grey1", "odd-0/val/grey1")
    }
    assert counts == {"even/train/grey0": 10, "odd-0/train/grey1": 3, "odd-0/val/grey1": 6}
    shots = [{path.name for path in (made / f"odd-{seed}/train/grey1").iterdir()} for seed in range(2)]
    assert shots[0] != shots[1]


def test_every_seed_must_be_better() -> None:
    rows = [
        {"name": "a", "seed": seed, "start": start, "top1": top1}
        for seed, pair in enumerate([(40.0, 50.0), (45.0, 44.0)])
        for start, top1 in zip(transfer.STARTS, pair, strict=True)
    ]
    assert not transfer.judge(rows)
    assert transfer.judge(rows[:2])
    scratch, tuned = transfer.summarise(rows)
    assert (scratch["mean"], scratch["least"], scratch["most"], scratch["seeds"]) == (42.5, 40.0, 45.0, 2)
    assert tuned["mean"] == 47.0


@pytest.mark.slow
def test_a_tiny_run(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.yaml"
    text = (ROOT / "zoo" / "training" / "recipes" / "finetune.yaml").read_text(encoding="utf-8")
    recipe.write_text(text.replace("epochs: 60", "epochs: 2"), encoding="utf-8")
    budget = ["--images", "40", "--epochs", "1", "--shots", "4", "--seeds", "1", "--recipe", str(recipe)]
    arguments = ["--data", str(data), "--name", "has8_resnet_b2_m2_d1_ste_bpd", "--out", str(tmp_path / "out"), *budget]
    result = CliRunner().invoke(transfer.app, arguments, env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"})
    assert result.exit_code in (0, 1), result.output
    written = json.loads((tmp_path / "out" / "transfer.json").read_text(encoding="utf-8"))
    assert [(row["name"], row["start"]) for row in written["rows"]] == [
        (name, start) for name in ("has8_resnet_b2_m2_d1_ste_bpd", "ann_resnet_b2_m2_d1") for start in transfer.STARTS
    ]
    assert {row["images"] for row in written["rows"]} == {12}
    assert result.exit_code == (0 if written["verdict"]["better_with_every_seed"] else 1)
    assert written["settings"]["settings"]["epochs"] == 2


def test_the_guide_says_what_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "transfer.json").read_text(encoding="utf-8"))
    assert measured["verdict"]["better_with_every_seed"]
    page = " ".join((ROOT / "docs" / "guides" / "finetune.md").read_text(encoding="utf-8").split())
    means = {(row["name"], row["start"]): f"{row['mean']:.2f}" for row in measured["summary"]}
    name, control = "has8_resnet_b8_m2_d4_ste_bpd", "ann_resnet_b8_m2_d4"
    assert f"reached {means[name, 'fine-tuned']} % of 4,000 validation images" in page
    assert f"by the same recipe {means[name, 'scratch']} %" in page
    assert f"{means[control, 'fine-tuned']} and {means[control, 'scratch']} %" in page
