"""A user's walk from Python: predict, train on arrays, turn the knobs of neurons, compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.inference.compare import compare_models
from zoo.inference.predict import Prediction
from zoo.training import train

WEIGHT = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
TINY = "has8_resnet_b1_m1_d1_ste_bpd_lif"
KNOBS = {"tau": 4.0, "v_threshold": 0.5}


def _arrays(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Dark and bright noise: (N, H, W, 3) of bytes, and the numbers of their two classes, (N,)."""
    noise, bright = np.random.default_rng(5), np.arange(count) % 2
    images = noise.integers(0, 120, (count, 16, 16, 3)) + 120 * bright[:, None, None, None]
    return images.astype(np.uint8), bright


def test_three_lines_classify_a_photograph() -> None:
    from zoo.data.images import sample_photographs

    answers = zoo.predict(WEIGHT, sample_photographs())
    assert isinstance(answers[0], Prediction)
    assert answers[0].label == "cat"


def test_arrays_are_trained_on_and_what_comes_out_predicts(tmp_path: Path) -> None:
    images, labels = _arrays()
    changes = {"epochs": 1, "batch_size": 8, "precision": "no"}
    result = train(TINY, (images, labels), out=tmp_path / "run", changes=changes)
    assert len(result.rows) == 1
    answers = zoo.predict(result.reference, images[:3])
    assert len(answers) == 3
    assert all(isinstance(answer, Prediction) and answer.label in result.weight.labels for answer in answers)


def test_knobs_of_neurons_are_stored_and_found_again(tmp_path: Path) -> None:
    model = zoo.create_model(TINY, num_classes=2, neuron_options=KNOBS).eval()
    zoo.save(model, tmp_path / "turned", labels=["dark", "bright"])
    again = zoo.create_model(f"local-dir:{tmp_path / 'turned'}").eval()
    assert again.spec.options["neuron"] == KNOBS
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), model(images))
    plain = zoo.create_model(TINY, num_classes=2).eval()
    plain.load_state_dict(model.state_dict(), strict=True)
    assert not torch.equal(plain(images), model(images))  # the knobs, and not the weights alone, came back


def test_a_model_is_compared_with_its_control() -> None:
    hybrid, control = compare_models([WEIGHT])
    assert (hybrid.name, hybrid.control) == (WEIGHT, control.name.partition(".")[0])
    assert hybrid.macs > control.macs
    assert hybrid.top1 == pytest.approx(73.8)
