"""`zoo.profile`: energy, the control beside it, images of every kind, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.contracts import EnergyModel, Operations, Picojoules, Price, Prices, Work
from zoo.errors import CompositionError, InputError, ModelNameError, OptionError
from zoo.profiling import PRICES, OperationCounts, Part, profile
from zoo.profiling.energy import energy_json
from zoo.registry.components import Registry, default_registry

TINY = "has8_vgg_b1_m1_d1_ste_bpd"
CONTROL = "ann_vgg_b1_m1_d1"
BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd"


def test_energy_is_4_6_pj_a_mac_and_0_9_pj_an_ac() -> None:
    work = {Part.REST: {PRICES[-1]: Work(10, 20)}, Part.CODING: {PRICES[0]: Work(0, 10)}}
    counts = OperationCounts(4, (), (), Work(10, 30), Work(), work, {})
    assert counts.total == Work(10, 30)
    written = energy_json(counts)
    assert written["total_pj"] == pytest.approx((46 + 27) / 4)
    assert (written["rest_pj"], written["neurons_pj"]) == (pytest.approx((46 + 18) / 4), 0)
    assert written["operations"]["coding"] == {"macs": 0, "acs": 10}


def test_the_control_is_profiled_with_the_same_images() -> None:
    images = torch.rand(2, 3, 8, 8)
    found, alone = (profile(name, images=images, num_classes=7) for name in (TINY, CONTROL))
    beside = found.control
    assert beside is not None
    assert (beside.name, beside.macs) == (alone.name, alone.macs) == (CONTROL, found.macs_analog)
    assert beside.activity is not None
    assert alone.activity is not None
    assert beside.activity.images == 2
    assert beside.activity.work()[Part.REST] == alone.activity.work()[Part.REST]
    assert found.energy_pj is not None
    assert beside.energy_pj is not None
    assert found.energy_ratio == found.energy_pj / beside.energy_pj
    assert f"{found.energy_ratio:.2f} times by 32-bit arithmetic" in found.statement
    assert found.contains_control
    assert (alone.control, alone.statement, alone.energy_ratio) == (None, "", None)
    assert found.weights == "untrained, seed 0"
    assert "untrained" in found.caveat
    assert found == profile(TINY, images=images, num_classes=7)
    assert found.statement in repr(found)
    assert len(repr(found).splitlines()) == 2


def test_json_is_one_object_of_raw_numbers() -> None:
    written = profile(f"{TINY}_plif", images=torch.rand(2, 3, 8, 8), num_classes=4).to_json()
    assert json.loads(json.dumps(written, allow_nan=False)).keys() == written.keys()
    synapses = written["activity"]["synapses"]
    assert sum(s["counted"] for s in synapses if s["operation"] == "AC") == written["activity"]["synaptic_acs"]
    assert all(s["counted_per_image"] == s["counted"] / 2 for s in synapses)


@pytest.mark.slow
def test_without_images_the_macs_are_compared_at_the_weights_size() -> None:
    found = profile(f"{BUNDLED}.cifar10")
    assert found.image_size == profile(zoo.create_model(BUNDLED, pretrained=True)).image_size == 32
    assert profile(TINY).image_size == 224
    assert (found.activity, found.weights, found.num_classes) == (None, None, 10)
    assert "9.0 times the MACs of its control ann_resnet_b8_m2_d4" in found.statement


@pytest.mark.slow
def test_weights_are_loaded_if_images_need_them() -> None:
    images = torch.rand(1, 3, 32, 32)
    by_name = profile(f"{BUNDLED}.cifar10", images=images)
    by_network = profile(zoo.create_model(BUNDLED, pretrained=True), images=images)
    assert (by_name.weights, by_network.weights) == ("checkpoint cifar10", "as given")
    assert by_name.caveat == by_network.caveat == ""
    assert by_name.activity == by_network.activity


def test_other_channels_types_and_batches_larger_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.profiling.report.BATCH_VALUES", 1)
    model = zoo.create_model(TINY, num_classes=2, in_chans=1, dtype=torch.bfloat16)
    found = profile(model, images=iter(torch.rand(2, 1, 8, 8)))
    assert found.control is not None
    assert found.activity is not None
    assert (found.activity.images, found.activity.uncounted) == (2, {})
    assert found.control.macs == found.macs_analog


def test_every_price_stands_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "counting.md").read_text(encoding="utf-8")
    kinds = ("encoder", "decoder", "neuron")
    ours = [each for each in default_registry().components() if each.distribution == "has8-zoo" and each.kind in kinds]
    prices: set[Price] = {price for each in ours for price in each.load().prices}.union(PRICES)
    assert len({price.operation for price in prices}) == len(prices)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    table = {row[0]: row[1:] for row in rows}
    for price in prices:
        charge, reason = table[price.operation]
        assert reason == price.reason
        for side, word in ((price.read, "read"), (price.written, "written")):
            assert (word in charge) is (side != Work())


class Chip(EnergyModel):
    """Cheap accumulates; it does not run on networks without spikes."""

    api_version = 1
    source = prices = charges = leaves_out = "text"

    def estimate(self, operations: Operations) -> Picojoules:
        if not operations.rates:
            raise CompositionError("it needs spikes")
        return Prices(mac=1.0, ac=0.1, synapse=0.1).estimate(operations)


def test_a_registered_model_of_energy_is_one_more_row(registry: Registry) -> None:
    registry.register("energy_model", "my-chip", Chip)
    found = profile(TINY, images=torch.rand(2, 3, 8, 8), num_classes=3, registry=registry)
    rows = {estimate.name: estimate for estimate in found.estimates}
    assert list(rows)[:2] == ["arithmetic-float32", "arithmetic-float32-sparse"]  # the zoo's own come first
    assert all(rows[name].model.__module__.startswith("zoo.") for name in list(rows)[:9])
    chip, arithmetic = rows["my-chip"], rows["arithmetic-float32"]
    assert chip.network is not None
    assert arithmetic.network is not None
    assert 0 < chip.network.total < arithmetic.network.total == pytest.approx(found.energy_pj)
    assert (chip.control, chip.ratio, chip.refusal) == (None, None, "it needs spikes")
    assert found.energy_range is not None
    assert "my-chip" not in found.energy_range.models


IMAGES = [torch.rand(3, 8, 8), torch.rand(0, 3, 8, 8), torch.rand(1, 3, 8, 6), torch.rand(1, 4, 8, 8), ["cat.png"]]
IMAGES += [torch.full((1, 3, 8, 8), 2.0), torch.full((1, 3, 8, 8), torch.nan), torch.zeros(1, 3, 8, 8).byte()]
IMAGES += [[torch.rand(3, 8, 8), torch.rand(3, 9, 9)]]


@pytest.mark.parametrize("images", IMAGES, ids=lambda images: str(getattr(images, "shape", len(images))))
def test_images_that_do_not_fit_are_refused(images: Any) -> None:
    with pytest.raises(InputError, match="image"):
        profile(zoo.create_model(CONTROL, num_classes=2), images=images)


@pytest.mark.parametrize("bad", [torch.full((3, 8, 8), 2.0), torch.rand(3, 9, 9)], ids=["values", "size"])
def test_the_error_says_which_image_does_not_fit(bad: torch.Tensor) -> None:
    with pytest.raises(InputError, match="image 2 "):
        profile(zoo.create_model(CONTROL, num_classes=2), images=[*torch.rand(2, 3, 8, 8), bad])


@pytest.mark.parametrize(
    ("model", "keywords", "error", "said"),
    [
        (CONTROL, {"image_size": 224, "images": torch.zeros(1, 3, 8, 8)}, InputError, r"\(3, 8, 8\)"),
        (CONTROL, {"image_size": 0}, CompositionError, "1 to 4096"),
        (CONTROL, {"image_size": "32"}, OptionError, "image_size"),
        (CONTROL, {"image_size": True}, OptionError, "image_size"),
        ("ann_vgg_b1_m1_d4", {"image_size": 16}, InputError, "32 pixels"),
        (f"{BUNDLED}.nothing", {}, ModelNameError, "nothing"),
        (zoo.create_model(CONTROL, num_classes=2), {"num_classes": 5}, OptionError, "num_classes=5"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(model: Any, keywords: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        profile(model, **keywords)
