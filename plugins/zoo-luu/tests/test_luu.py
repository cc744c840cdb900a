"""The kit on both encoders; spikes are those of the authors' equations; a network keeps its tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from zoo_kit import suites_of
from zoo_luu import RECIPE, with_encoder
from zoo_luu.colours import COLOUR_MODELS
from zoo_luu.encoders import RateBitsEncoder, TtfsBitsEncoder

import zoo
from zoo.errors import InputError

globals().update(suites_of("zoo-luu"))

LEVELS = torch.arange(256)
SHARES = (LEVELS / 255)[None]


@pytest.mark.parametrize("encoder", [RateBitsEncoder(6), TtfsBitsEncoder(6)], ids=["rate", "ttfs"])
def test_the_last_eight_steps_are_planes_most_significant_first(encoder: RateBitsEncoder | TtfsBitsEncoder) -> None:
    spikes = encoder.eval()(SHARES)
    assert spikes.shape == (14, 1, 256)
    weights = 2.0 ** torch.arange(7, -1, -1)
    assert torch.equal((spikes[6:, 0] * weights[:, None]).sum(0), LEVELS.float())


@pytest.mark.parametrize("name", COLOUR_MODELS)
def test_planes_of_every_colour_model_are_those_of_the_authors_code(name: str) -> None:
    """colours.npz: two images, greys, black, white and pure red among them, through its commit f03ed67."""
    stored = np.load(Path(__file__).with_name("colours.npz"))
    encoder = TtfsBitsEncoder(2, color_model=name)
    planes = encoder(torch.from_numpy(stored["images"]) / 255)[2:]
    assert encoder.timesteps == 2 + len(planes)
    assert np.array_equal(np.packbits(planes.numpy().astype(np.uint8)), stored[name])


def test_a_colour_model_is_a_networks_option_and_needs_three_channels() -> None:
    name, options = "sew_resnetsmall_b2_m2_d1_ratebits", {"color_model": "lab"}
    model = zoo.create_model(name, num_classes=3, encoder_options=options)
    assert model.timesteps == 17
    with pytest.raises(InputError, match="ycbcr"):
        RateBitsEncoder(color_model="cmyk")
    with pytest.raises(InputError, match="RGB"):
        RateBitsEncoder(color_model="lab")(torch.rand(1, 4, 2, 2))


def test_rates_are_those_of_the_values() -> None:
    encoder = RateBitsEncoder(200)
    torch.manual_seed(0)
    for spikes in (encoder.train()(SHARES), encoder.eval()(SHARES)):
        rates = spikes[:200, 0].mean(0)
        assert (rates - SHARES[0]).abs().max() < 0.15
        assert (rates - SHARES[0]).mean().abs() < 0.01
    assert (encoder(SHARES)[:200, 0].mean(0) - SHARES[0]).abs().max() < 0.02  # evenly, in eval mode


def test_every_value_has_one_spike_before_its_planes_and_bright_is_early() -> None:
    first = TtfsBitsEncoder(10)(SHARES)[:10, 0]
    assert torch.equal(first.sum(0), torch.ones(256))
    when = first.argmax(0)
    assert (when[0], when[-1]) == (9, 0)
    assert (when.diff() <= 0).all()


def test_a_network_keeps_its_tensors_with_another_encoder() -> None:
    options = {"v_threshold": 0.8}
    direct = zoo.create_model("sew_resnetsmall_b2_m2_d1_direct_lif", num_classes=3, neuron_options=options).eval()
    events = with_encoder(direct, "ttfsbits", steps=4)
    assert (str(events.spec), events.timesteps) == ("sew_resnetsmall_b2_m2_d1_ttfsbits_lif", 12)
    assert events.spec.options["neuron"] == options
    assert not events.training
    assert all(torch.equal(value, direct.state_dict()[key]) for key, value in events.state_dict().items())
    with pytest.raises(InputError, match="direct"):
        with_encoder(events, "ttfs")


@pytest.mark.slow
def test_a_network_learns_from_itself(tmp_path: Path) -> None:
    for label, colour in (("dark", 60), ("light", 200)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            noise = np.random.default_rng(number).integers(0, 50, (16, 16, 3))
            Image.fromarray((noise + colour).astype(np.uint8)).save(tmp_path / "data" / label / f"{number}.png")
    from zoo.training import load_recipe, train

    direct = zoo.create_model("sew_resnetsmall_b2_m2_d1_direct", num_classes=2)
    labels = ["dark", "light"]
    zoo.save(direct, tmp_path / "direct", license="MIT", labels=labels, image_size=16)
    zoo.save(
        with_encoder(direct, "ttfs", timesteps=4), tmp_path / "events", license="MIT", labels=labels, image_size=16
    )
    changes = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0.2, "teacher": f"local-dir:{tmp_path / 'direct'}"}
    assert load_recipe(RECIPE, changes).distillation == 0.5
    name = f"local-dir:{tmp_path / 'events'}"
    train(name, tmp_path / "data", recipe=RECIPE, changes=changes, out=tmp_path / "run", trackers=())
    trained = zoo.create_model(f"local-dir:{tmp_path / 'run'}")
    assert trained.spec["encoder"] == "ttfs"
