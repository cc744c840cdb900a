"""`zoo profile`: what it prints, in text and JSON, with images and without."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.commands import TINY, objects, run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three pictures of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate([(40, 30), (20, 50), (33, 33)]):
        Image.linear_gradient("L").resize(size).convert("RGB").save(folder / f"{number}.png")
    return folder


def test_costs_are_counted_by_branch() -> None:
    (cost,) = objects(run("profile", TINY, "--image-size", "8", "--num-classes", "10", "--json"))
    assert (cost["name"], cost["image_size"], cost["num_classes"], cost["timesteps"]) == (TINY, 8, 10, 8)
    assert cost["macs"] == cost["macs_analog"] + cost["macs_spiking"]
    assert cost["macs_per_timestep"] == cost["macs_analog"] + cost["macs_spiking"] // 8
    assert cost["control"]["macs"] == cost["macs_analog"]
    assert (cost["activity"], cost["energy"]) == (None, None)
    text = run("profile", TINY, "--image-size", "8", "--num-classes", "10").stdout
    said_first = (f"{cost['macs']:,}", "no MACs in this count: ", "control ann_resnet_b1_m1_d1")
    for said in (*said_first, "times the MACs of its"):
        assert said in text
    assert "stages.0.0.analog.conv" not in text
    assert "energy" not in text


def test_images_add_spikes_and_energy_under_every_model(photos: Path, scratch: str) -> None:
    result = run("profile", scratch, "--data", photos, "--json")
    assert result.exit_code == 0, result.output
    (cost,) = objects(result)
    assert (cost["name"], cost["weights"], cost["image_size"]) == (scratch, "checkpoint scratch", 32)
    assert cost["activity"]["images"] == 3
    text = run("profile", scratch, "--data", photos).stdout
    assert max(map(len, text.splitlines())) <= 100
    joined = " ".join(text.split())
    for row in cost["energy_models"]:
        if row["ratio"]:
            assert f"{row['name']} {row['network_pj'] / 1e6:,.3f} µJ {row['control_pj'] / 1e6:,.3f} µJ " in joined
    assert {"arithmetic-float32", "arithmetic-int8", "memory-float32"} <= {row["name"] for row in cost["energy_models"]}
    for said in (cost["statement"], f"{cost['energy']['total_pj'] / 1e6:,.3f} µJ", "10.1109/ISSCC.2014.6757323"):
        assert said in joined
    assert "aten::" not in text
    assert "not charged: none" in joined
    assert "contains its control" in joined
    assert "would cost what its control costs" not in joined


def test_layer_by_layer_with_every_model(photos: Path) -> None:
    arguments = ("profile", "snn_vgg_b1_m1_d1_ste_rate", "--data", photos, "--image-size", "8")
    (cost,) = objects(run(*arguments, "--json"))
    text = run(*arguments, "--layers").stdout
    assert max(map(len, text.splitlines())) <= 100
    lines = [" ".join(line.split()) for line in text.splitlines()]
    joined = " ".join(lines)
    assert any(
        re.match(r"stages\.0\.0\.spiking\.conv \w*Conv2d 81 41,472 1,536 [\d,]+ AC \(1\)", line) for line in lines
    )
    assert any(re.match(r"stages\.0\.0\.encoder StraightThroughEncoder .* rate 0\.\d{4}$", line) for line in lines)
    assert cost["break_even"]
    for point in cost["break_even"]:
        assert point["timesteps"] is None or f"T = {point['timesteps']:.3g}" in joined


def test_a_folder_of_a_run(photos: Path, stored: Callable[..., Path]) -> None:
    result = run("profile", stored(), "--data", photos, "--limit", "1", "--json")
    assert result.exit_code == 0, result.output
    (cost,) = objects(result)
    assert (cost["name"], cost["weights"], cost["num_classes"]) == (f"{TINY}.scratch", "checkpoint scratch", 10)
    assert (cost["image_size"], cost["activity"]["images"]) == (32, 1)


def test_a_file_that_is_no_image_is_named(photos: Path) -> None:
    (photos / "1.png").write_bytes(b"no picture")
    result = run("profile", TINY, "--data", photos, "--image-size", "8")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "1.png cannot be read" in result.stderr
    empty = photos / "empty"
    empty.mkdir()
    assert str(empty) in run("profile", TINY, "--data", empty).stderr


def test_a_model_without_spikes_has_no_control() -> None:
    text = run("profile", "ann_resnet_b1_m1_d1", "--image-size", "8").stdout
    assert "control" not in text


def test_any_module_is_counted_with_its_weights(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zoo_energy")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))\n"
    )
    torch.save({"1.weight": torch.ones(2, 192), "1.bias": torch.ones(2)}, "mine.pt")
    arguments = ("profile", "--module", "mine:build", "--data", photos, "--image-size", "8")
    (cost,) = objects(run(*arguments, "--weights", "mine.pt", "--html", "report.html", "--json"))
    assert (cost["name"], cost["macs"], cost["activity"]["images"]) == ("Sequential", 384, 3)
    assert "Sequential" in (tmp_path / "report.html").read_text()
    assert run(*arguments, "--csv").stdout.count("\n") == 2
    torch.save({"1.weight": torch.ones(2, 191)}, "mine.pt")
    assert "mine.pt" in run(*arguments, "--weights", "mine.pt").stderr
    Path("mine.pt").write_text("hello")
    for bad in ("mine.pt", "missing.pt"):
        result = run(*arguments, "--weights", bad)
        assert (result.exit_code, bad in result.stderr, "Traceback" in result.output) == (2, True, False)
    for bad in ("mine:other", "mine", "builtins:max"):
        assert bad in run("profile", "--module", bad, "--data", photos).stderr
    for wrong in (
        (),
        (TINY, "--module", "mine:build"),
        (TINY, "--weights", "mine.pt"),
        (*arguments[1:], "--num-classes", 2),
    ):
        assert run("profile", *wrong).exit_code == 2
