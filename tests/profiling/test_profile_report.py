"""`zoo.profile`: energy, the control beside it, images of every kind, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.catalog import catalog_path, default_catalog
from zoo.cli.profile import price
from zoo.contracts import EnergyModel, Operations, Picojoules, Prices, Work
from zoo.errors import CompositionError, InputError, ModelNameError, OptionError
from zoo.profiling import RULES, Energy, Part, charged, preprocessing_of, profile
from zoo.profiling.energy import compare
from zoo.registry import Registry, default_registry
from zoo.weights import write_config

TINY = "has8_resnet_b1_m1_d1_ste_bpd"
BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd"


# Energy and control ---------------------------------------------------------------------------------------------------


def test_energy_is_4_6_pj_a_mac_and_0_9_pj_an_ac() -> None:
    work = {part: Work() for part in Part} | {Part.SYNAPSES: Work(10, 20), Part.REST: Work(0, 10)}
    energy = Energy(4, work)
    assert energy.total == Work(10, 30)
    assert energy.pj == pytest.approx((46 + 27) / 4)
    assert energy.part_pj(Part.SYNAPSES) == pytest.approx((46 + 18) / 4)
    assert energy.part_pj(Part.NEURONS) == 0
    written = energy.to_json()
    assert written["operations"]["synapses"] == {"macs": 10, "acs": 20}
    assert sum(written[f"{part}_pj"] for part in Part) == pytest.approx(written["total_pj"])


@pytest.mark.parametrize(
    ("ours", "theirs", "sentence"),
    [
        (52.0, 10.0, "costs 5.2 times the energy of its control ann_x, which has no spikes"),
        (16.6, 10.0, "costs 1.66 times the energy of its control ann_x, which has no spikes"),
        (6.2, 10.0, "costs 0.62 times the energy of its control ann_x, which has no spikes: 38% less"),
        (10.0, 10.0, "costs 1.00 times the energy of its control ann_x, which has no spikes"),
    ],
)
def test_the_sentence_says_which_costs_more(ours: float, theirs: float, sentence: str) -> None:
    assert compare(ours, theirs, "energy", "ann_x") == sentence


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("has8_vgg_b16_m2_d4_fourier_bpd_lif", "ann_vgg_b16_m2_d4"),
        ("snn_resnet34_b8_m2_d4_ste_rate", "ann_resnet34_b8_m2_d4"),
        ("sew_resnet50_phase", "ann_resnet50"),
        ("ann_resnet_b8_m2_d4", None),
        ("ann_resnet18", None),
    ],
)
def test_every_family_knows_its_control(name: str, control: str | None) -> None:
    spec = zoo.parse_name(name)
    assert default_registry().load("family", spec.family)().control(dict(spec.fields)) == control
    if control is not None:
        assert str(zoo.parse_name(control)) == control


def test_the_control_is_profiled_with_the_same_images() -> None:
    images = torch.rand(2, 3, 8, 8)
    found, alone = (
        profile(TINY, images=images, num_classes=7),
        profile("ann_resnet_b1_m1_d1", images=images, num_classes=7),
    )
    assert found.control is not None
    assert found.control.energy is not None
    assert alone.energy is not None
    assert found.control.name == "ann_resnet_b1_m1_d1"
    assert found.control.cost.macs == alone.macs == found.macs_analog
    assert found.control.energy.images == alone.energy.images == 2
    assert found.control.energy.work[Part.REST] == alone.energy.work[Part.REST]
    assert found.energy is not None
    assert found.energy_ratio == found.energy.pj / found.control.energy.pj
    assert f"; {found.energy_ratio:.2f} times by 32-bit arithmetic alone" in found.statement
    assert (alone.control, alone.statement, alone.energy_ratio) == (None, "", None)


def test_without_images_the_macs_are_compared_at_the_weights_size() -> None:
    found = profile(BUNDLED)
    assert found.image_size == profile(zoo.create_model(BUNDLED, pretrained=True)).image_size == 32
    assert profile(TINY).image_size == 224
    assert (found.activity, found.energy, found.weights) == (None, None, None)
    assert (found.num_classes, found.name) == (10, f"{BUNDLED}.cifar10")
    assert found.statement.endswith("costs 9.0 times the MACs of its control ann_resnet_b8_m2_d4, which has no spikes")


def test_every_rule_stands_in_the_documentation_with_its_price_and_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "profile.md").read_text(encoding="utf-8")
    parts = {"encoder": Part.CODING, "decoder": Part.CODING, "neuron": Part.NEURONS}
    ours = [each for each in default_registry().components() if each.distribution == "has8-zoo" and each.kind in parts]
    declared = {rule for each in ours for rule in charged(each.load().prices, parts[each.kind])}
    rules = declared | set(RULES)
    assert len({rule.operation for rule in rules}) == len(rules)
    for rule in rules:
        assert f"| {rule.operation} | {price(rule)} | {rule.reason} |" in page


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
    assert list(rows)[:3] == ["arithmetic-float32", "arithmetic-int8", "memory-float32"]  # the zoo's own come first
    chip, arithmetic = rows["my-chip"], rows["arithmetic-float32"]
    assert chip.network is not None
    assert arithmetic.network is not None
    assert 0 < chip.network.total < arithmetic.network.total
    assert (chip.control, chip.ratio, chip.refusal) == (None, None, "it needs spikes")
    assert found.energy_range is not None
    assert "my-chip" not in found.energy_range.models
    assert found.energy is not None
    assert arithmetic.network.total == pytest.approx(found.energy.pj)


# Names and networks ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_weights_are_loaded_where_images_need_them() -> None:
    images = torch.rand(1, 3, 32, 32)
    by_name = profile(BUNDLED, images=images)
    by_network = profile(zoo.create_model(BUNDLED, pretrained=True), images=images)
    assert (by_name.weights, by_network.weights) == ("weights cifar10", "as given")
    assert by_name.caveat == by_network.caveat == ""
    assert by_name.activity == by_network.activity
    untrained = profile(zoo.create_model(BUNDLED, num_classes=10), images=images)
    assert untrained.activity != by_name.activity


def test_a_network_without_weights_is_the_same_every_time_and_says_so() -> None:
    images = torch.rand(1, 3, 8, 8)
    first, second = profile(TINY, images=images), profile(TINY, images=images)
    assert first == second
    assert first.weights == "untrained, seed 0"
    assert "say nothing of a trained network" in first.caveat


@pytest.mark.slow
def test_a_folder_is_profiled_by_reference(tmp_path: Path) -> None:
    record, model = default_catalog().weight(zoo.parse_name(BUNDLED)), zoo.create_model(BUNDLED, pretrained=True)
    (tmp_path / "config.json").write_bytes(write_config(record.stored(), model.pretrained_cfg, model.num_features))
    shutil.copy(
        catalog_path().parent / "zoo" / "pretrained" / f"{record.name}.safetensors", tmp_path / "model.safetensors"
    )
    images = torch.rand(1, 3, 32, 32)
    found, expected = profile(f"local-dir:{tmp_path}", images=images), profile(BUNDLED, images=images)
    assert found == expected
    assert preprocessing_of(f"local-dir:{tmp_path}") == record.preprocessing


def test_other_channels_and_types() -> None:
    model = zoo.create_model(TINY, num_classes=2, in_chans=1, dtype=torch.bfloat16)
    found = profile(model, images=torch.rand(2, 1, 8, 8))
    assert found.control is not None
    assert found.energy is not None
    assert not found.activity.uncounted
    assert found.control.cost.macs == found.macs_analog


def test_json_is_one_object_of_raw_numbers() -> None:
    found = profile(TINY, images=torch.rand(2, 3, 8, 8), num_classes=4)
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    for key in ("params", "macs", "macs_per_timestep", "timesteps", "macs_analog", "macs_spiking", "image_size"):
        assert isinstance(written[key], int), key
    assert written["timesteps"] == 8
    assert len(written["layers"]) == len(found.layers)
    assert written["activity"]["images"] == 2
    synapses = written["activity"]["synapses"]
    assert sum(s["counted"] for s in synapses if s["operation"] == "AC") == written["activity"]["synaptic_acs"]
    assert all(s["counted_per_image"] == s["counted"] / 2 for s in synapses)
    assert written["energy"]["pj_per_mac"] == 4.6
    assert "10.1109/ISSCC.2014.6757323" in written["energy"]["source"]
    assert written["control"]["energy"]["total_pj"] > 0
    assert json.loads(json.dumps(profile(TINY, 8).to_json()))["activity"] is None


# What it refuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 8, 8), r"images are \(N, C, H, W\), not \(3, 8, 8\); a single one is image\[None\]"),
        (torch.rand(0, 3, 8, 8), "there are no images"),
        ([], "there are no images"),
        (torch.rand(1, 3, 8, 6), "image 0 has 8×6 pixels; wanted: 6×6"),
        ([torch.rand(3, 8, 8), torch.rand(3, 9, 9)], "image 1 has 9×9 pixels; wanted: 8×8"),
        (torch.full((1, 3, 8, 8), 2.0), r"image 0 holds values outside \[0, 1\]"),
        (torch.full((1, 3, 8, 8), torch.nan), r"image 0 holds values outside \[0, 1\], or NaN"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "image 0 is not a floating-point tensor"),
        ([None], "image 0 is not a floating-point tensor"),
        (torch.rand(1, 4, 8, 8), r"takes images \(N, 3, H, W\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        profile(TINY, images=images)


def test_sizes_and_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="image 0 has 8×8 pixels; wanted: 224×224"):
        profile(TINY, 224, images=torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match="image_size=0 is out of range; valid: 1 to 4096"):
        profile(TINY, 0)
    for wrong in ("32", 5.5, True):
        for function in (profile, preprocessing_of):
            with pytest.raises(OptionError, match=f"image_size must be an integer from 1 to 4096, not {wrong!r}"):
                function(TINY, wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="image_size=4097 is out of range; valid: 1 to 4096"):
        preprocessing_of(TINY, 4097)
    with pytest.raises(InputError, match="needs at least 32 pixels a side"):
        profile("ann_vgg_b1_m1_d4", 16)
    with pytest.raises(OptionError, match="num_classes=5 goes with a name"):
        profile(zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2), num_classes=5)
    with pytest.raises(OptionError, match="not Identity"):
        profile(torch.nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(ModelNameError):
        profile(f"{BUNDLED}.nothing")


def test_images_are_prepared_as_the_weight_wants_them() -> None:
    assert preprocessing_of(BUNDLED).size == 32
    assert preprocessing_of(BUNDLED, 64).size == 64
    assert preprocessing_of(TINY).size == 224


@pytest.mark.slow
def test_the_text_of_a_profile_is_a_short_table() -> None:
    cost = profile("has8_resnet_b8_m2_d4_ste_bpd", 32, num_classes=10)
    lines = repr(cost).splitlines()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
    assert lines[1] == "control: ann_resnet_b8_m2_d4"
    assert "MACs                                    29,541,376           3,282,944" in lines
    assert f"{len(cost.layers)} layers in .layers" in lines[-1]
    counted = profile("has8_resnet_b8_m2_d4_ste_bpd", images=torch.rand(2, 3, 32, 32))
    assert sum(line.startswith(("energy, µJ", "spike rate")) for line in repr(counted).splitlines()) == 2
    assert len(repr(counted).splitlines()) <= 12
