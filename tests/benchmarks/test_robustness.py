"""What branches are worth and what worse images cost: silencing leaves the control, alterations do what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import zoo
from benchmarks import robustness
from tests.benchmarks.noise import write_noise

BUNDLED, CONTROL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10"
NAMES = (("has8_resnet", "_ste_bpd"), ("ann_resnet", ""))


def test_without_spikes_a_hybrid_is_its_control() -> None:
    hybrid, control = (zoo.create_model(f"{name}_b2_m1_d2{rest}").eval() for name, rest in NAMES)
    control.load_state_dict({key: hybrid.state_dict()[key] for key in control.state_dict()}, strict=True)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad(), robustness.silenced(hybrid, "spiking") as blocks:
        assert blocks == 5
        torch.testing.assert_close(hybrid(pixels), control(pixels))
    assert not torch.allclose(hybrid(pixels), control(pixels))
    with robustness.silenced(control, "spiking") as blocks:
        assert blocks == 0


@pytest.mark.parametrize("what", robustness.ALTERATIONS)
def test_alterations_keep_range_and_shape_and_are_the_same_each_time(what: str) -> None:
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    altered = robustness.ALTERATIONS[what](pixels)
    assert altered.shape == pixels.shape
    assert 0 <= altered.min() <= altered.max() <= 1
    assert 0.01 < (altered - pixels).abs().mean() < 0.4
    assert torch.equal(altered, robustness.ALTERATIONS[what](pixels))


def test_confidence_that_is_right_has_no_calibration_error() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    assert robustness.calibration_error(torch.tensor([[0.75, 0.25]] * 4), labels) == 0
    assert robustness.calibration_error(torch.tensor([[1.0, 0.0]] * 4), labels) == 25


def test_one_command_measures_a_hybrid_and_its_control(tmp_path: Path) -> None:
    noise = write_noise(tmp_path / "noise.npz", BUNDLED, 20)
    arguments = [BUNDLED, "--data", str(noise), "--out", str(tmp_path)]
    result = CliRunner().invoke(robustness.app, arguments)
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in kept["rows"]] == [BUNDLED, CONTROL]
    assert [set(row["silenced"]) for row in kept["rows"]] == [{"spiking", "analog"}, set()]
    assert all(row["altered"].keys() == robustness.ALTERATIONS.keys() for row in kept["rows"])
