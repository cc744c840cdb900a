"""`zoo compare` and the figures of `zoo list`, as a user and as a script meet them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import zoo
from tests.cli.commands import LABELS, objects, run
from tools.variant_figures import COLUMNS, count_variant
from zoo.catalog.queries import variant_figures

PAIR = ("has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10")


def test_a_hybrid_stands_beside_its_control() -> None:
    hybrid, control = objects(run("compare", PAIR[0], "--json"))
    assert [row["name"] for row in (hybrid, control)] == list(PAIR)
    assert hybrid["control"] == "ann_resnet_b8_m2_d4"
    assert (hybrid["params"], hybrid["timesteps"], control["timesteps"]) == (379882, 8, 1)
    assert (hybrid["top1"], control["top1"]) == (73.8, 73.4375)
    assert hybrid["energy_uj"] > control["energy_uj"] > 0
    assert 0 < hybrid["spike_rate"] < 1
    assert control["spike_rate"] is None


def test_a_named_control_shows_the_figures_of_an_unnamed_one() -> None:
    alone, named = (objects(run("compare", *names, "--json")) for names in (PAIR[:1], PAIR))
    assert named == alone
    assert named[1]["energies"]


@pytest.mark.slow
def test_what_is_compared_itself_is_shown_once(tmp_path: Path) -> None:
    assert len(objects(run("compare", *PAIR, PAIR[0], "--json"))) == 2
    assert len(objects(run("compare", PAIR[0], "--no-controls", "--json"))) == 1
    hybrid, control = (name.partition(".")[0] for name in PAIR)
    folder = tmp_path / "control"
    zoo.save(zoo.create_model(control, num_classes=10), folder, labels=LABELS)
    for names in ((hybrid, control), (control, hybrid), PAIR[::-1]):
        assert [row["name"] for row in objects(run("compare", *names, "--json"))] == list(names)
    untrained = hybrid.replace("ste", "fourier")  # has no record that names a control's weight
    rows = objects(run("compare", untrained, folder, "--json"))
    assert [row["name"].partition(".")[0] for row in rows] == [untrained, control]


@pytest.mark.slow
def test_a_control_of_other_data_is_none_and_unlike_columns_are_named(tmp_path: Path) -> None:
    hybrid = PAIR[0].partition(".")[0]
    zoo.save(zoo.create_model(hybrid, num_classes=2), tmp_path / "mine", labels=["cat", "dog"])
    mine, control, *cifar = objects(run("compare", tmp_path / "mine", *PAIR, "--json"))
    assert [row["name"] for row in cifar] == list(PAIR)
    assert (control["name"], control["weights"], control["top1"]) == ("ann_resnet_b8_m2_d4", "untrained, seed 0", None)
    assert (mine["num_classes"], control["num_classes"]) == (2, 2)
    text = run("compare", tmp_path / "mine", PAIR[1]).stdout
    assert "different numbers of classes" in text
    assert ("image sizes differ" in text) == (mine["image_size"] != 32)


@pytest.mark.slow
def test_a_twin_stands_between_spikes_and_control(tmp_path: Path) -> None:
    name = "sew_resnetsmall_b1_m1_d1_direct"
    waiting = {"v_reset": None, "v_init": 0.5, "waits": True}
    network = zoo.create_model(name, num_classes=10, timesteps=3, neuron_options=waiting)
    zoo.save(network, tmp_path / "mine", labels=LABELS)
    Image.effect_noise((32, 32), 64).convert("RGB").save(tmp_path / "noise.png")
    arguments = ("compare", tmp_path / "mine", "--data", tmp_path / "noise.png")
    spikes, twin, control = objects(run(*arguments, "--json"))
    assert spikes["twin"] == twin["name"] == "ann_resnetsmall_b1_m1_d1 (levels=3)"
    assert (twin["top1"], twin["timesteps"], twin["spike_rate"]) == (spikes["top1"], 1, None)
    assert control["name"] == spikes["control"] == "ann_resnetsmall_b1_m1_d1"
    assert (spikes["steps"], twin["steps"], control["steps"]) == (5 * 3, 5, 5)
    models = set(spikes["energies"])
    assert {"arithmetic-float32-sparse", "shift-add-float32", "lowbit"} <= models
    assert models == set(twin["energies"]) == set(control["energies"])
    assert twin["energies"]["shift-add-float32"] <= spikes["energies"]["shift-add-float32"]
    text = run(*arguments).stdout
    assert "twin: B, control: C" in text
    shown = {model for model in models if any(line.startswith(f"{model} ") for line in text.splitlines())}
    assert (len(shown), shown < models) == (5, True)
    every = run(*arguments, "--all").stdout
    assert all(any(line.startswith(model) for line in every.splitlines()) for model in models)
    assert len(objects(run(*arguments, "--no-controls", "--json"))) == 1


def test_the_plugin_with_the_weight_of_a_control_is_named(
    stored: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.registry.installing.known_plugins", lambda: {"zoo-walk": ["ann_resnet_b1_m1_d1.far"]})
    result = run("compare", stored(control="ann_resnet_b1_m1_d1.far"), "--json")
    assert [row["weights"] for row in objects(result)] == ["checkpoint scratch", "untrained, seed 0"]
    assert "pip install zoo-walk" in result.stderr


def test_nothing_is_not_compared() -> None:
    assert run("compare").exit_code == 2


def test_a_family_without_listed_names_is_found() -> None:
    assert "timm_*" in run("list", "timm_resnet").stderr


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("names", [[PAIR[0].partition(".")[0]], pytest.param(None, marks=pytest.mark.slow)])
def test_listed_figures_are_the_networks(names: list[str] | None) -> None:
    assert set(variant_figures()) <= set(zoo.list_models())  # `python -m tools.variant_figures` adds what is missing
    for name in names or variant_figures():
        listed = tuple(getattr(variant_figures()[name], column) for column in COLUMNS[1:])
        assert tuple(map(int, list(count_variant(name).values())[1:])) == listed, name
