"""The card says what the record says, and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hub.hub_weights import TINY, tiny_files
from tests.hub.made_cards import card, changed, weight
from zoo.catalog.catalog import default_catalog
from zoo.catalog.schema import StoredWeight
from zoo.hub.publish import control_of, metadata, write_eval_results
from zoo.registry import parse_name


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (changed("figures", params=24_680_246), "| parameters | 24,680,246 |"),
        (changed("figures", timesteps=9), "| timesteps T | 9 |"),
        (changed("figures", timesteps=9), "over 9 timesteps"),
        (changed("figures", macs=97_531_357), "| MACs, all timesteps | 97,531,357 |"),
        (
            changed("figures", macs_per_timestep=86_421),
            "| MACs per timestep (analog + spiking / T, the paper's convention) | 86,421 |",
        ),
        (changed("figures", image_size=77), "One image of 77 × 77 pixels, 3 classes"),
        (changed("activity", spike_rate=0.125), "12.5 % of the neurons fire in a timestep"),
        (changed("activity", macs=3_141_592), "3,141,592 multiply-accumulates"),
        (changed("activity", acs=2_718_281), "2,718,281 accumulates an image"),
        (changed("activity", energy_uj=99.25), "that is 99.25 µJ"),
        (changed("activity", data="eight photographs"), "eight photographs"),
        (changed("activity", control_energy_uj=29.2), "takes 29.20 µJ: the spikes cost energy here\n(1.2 times"),
        (changed("activity", control_energy_uj=73.0), "takes 73.00 µJ: the spikes save energy here\n(0.5 times"),
        (weight(activity=None), "Spike rate and energy were not measured."),
        (weight(metrics={"top1": 98.765, "top5": 99.9}), "| Top-1 accuracy | 98.77 % |\n| Top-5 accuracy | 99.90 % |"),
        (weight(metrics={"loss": 0.5}), "| loss | 0.50 |"),
        (weight(metrics={}), "It was not measured."),
        (weight(epochs=1), "1 epoch,"),
        (weight(license="CC-BY-NC-4.0"), "The weights: CC-BY-NC-4.0."),
        (weight(dataset="Pebbles"), ", trained on Pebbles."),
        (weight(dataset="Pebbles"), "| | Pebbles |"),
        (weight(dataset_license="ODbL", dataset_attribution="the sea"), "Noise: ODbL; the sea."),
        (weight(dataset_note="half of it was wet"), "Half of it was wet."),
        (weight(recipe="slow.yaml"), "Recipe `slow.yaml`"),
        (weight(epochs=77), ", 77 epochs"),
        (weight(seed=0), ", seed 0;"),
        (weight(limits="Not for bridges."), "## Limits\n\nNot for bridges.\n"),
        (weight(providers={"has8-zoo": "0.1.0", "zoo-gray": "2.5"}), "made with has8-zoo 0.1.0, zoo-gray 2.5."),
        (weight(providers={"has8-zoo": "0.1.0", "zoo-gray": "2.5"}), "pip install has8-zoo zoo-gray\n"),
        (weight(in_chans=1), "torch.rand(1, 1, 8, 8)"),
        (weight(in_chans=1), "Images: 1 channels, the"),
        (changed("preprocessing", size=64), "resized to 64 pixels (bicubic)"),
        (changed("preprocessing", interpolation="lanczos"), "resized to 8 pixels (lanczos)"),
        (weight(sha256="5" * 64), "5" * 64),
    ],
)
def test_every_claim_follows_the_record(record: StoredWeight, words: str) -> None:
    assert words in card(record)
    assert words not in card(weight())


def test_nothing_is_claimed_that_the_record_does_not_say() -> None:
    silent = weight(activity=None, metrics={}, epochs=None, seed=None, recipe="", in_chans=1)
    text = card(silent)
    for word in (" % |", "µJ", "epochs", "seed", "RGB", "zoo predict", "Top-"):
        assert word not in text
    assert metadata(silent, parse_name(TINY)).eval_results is None
    assert write_eval_results(silent) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "Pets"},
        {"dataset_note": "on half of it"},
        {"labels": ("cat", "dog")},
        {"in_chans": 1},
        {"preprocessing": {"size": 64}},
        {"figures": {"params": 1, "image_size": 64, "timesteps": 8, "macs": 1, "macs_per_timestep": 1}},
    ],
)
def test_no_control_that_was_measured_on_something_else(other: dict[str, Any]) -> None:
    hybrid = default_catalog().weights["has8_resnet_b8_m2_d4_ste_bpd"][0].stored()
    spec = hybrid.spec_of(parse_name(hybrid.variant))
    control = control_of(hybrid, spec)
    assert control is not None
    assert control.variant == "ann_resnet_b8_m2_d4"
    assert control_of(type(hybrid).model_validate(hybrid.model_dump() | other), spec) is None


def test_the_control_stands_beside_it_or_nowhere() -> None:
    records = default_catalog().weights
    hybrid, control = records["has8_resnet_b8_m2_d4_ste_bpd"][0], records["ann_resnet_b8_m2_d4"][0]
    text = card(hybrid.stored(), control.stored())
    assert f"| parameters | {hybrid.figures.params:,} | {control.figures.params:,} |" in text
    assert f"| Top-1 accuracy | {hybrid.metrics['top1']:.2f} % | {control.metrics['top1']:.2f} % |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4}
    assert "spiking-neural-network" in text
    assert "ann_resnet" not in card(hybrid.stored())
    assert "spiking-neural-network" not in card(control.stored())


def test_the_config_says_to_timm_what_it_says_to_us() -> None:
    content = json.loads(tiny_files()["config.json"])
    ours = content["zoo"]["weight"]
    assert content["architecture"] == ours["variant"]
    assert content["label_names"] == ours["labels"]
    assert content["pretrained_cfg"]["license"] == ours["license"]
    assert content["pretrained_cfg"]["input_size"] == [ours["in_chans"], 8, 8]
