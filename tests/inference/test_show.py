"""The picture of what a network sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.catalog import Preprocessing
from zoo.contracts import Encoder, Neuron
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import Transform, read_image, sample_photographs
from zoo.errors import InputError
from zoo.inference.predict import Prediction
from zoo.inference.show import Recording, draw, network_to_show, plane_captions, ranked, record, save_picture
from zoo.weights import labels_of

TINY = "has8_resnet_b1_m1_d1_ste_bpd"


@pytest.fixture
def photograph() -> torch.Tensor:
    return Transform(Preprocessing(size=32))(sample_photographs()[0])


def _hooks(model: ImageClassifier) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_planes_are_the_bits_of_the_input_and_rates_are_those_of_every_neuron(photograph: torch.Tensor) -> None:
    model = zoo.create_model(TINY, num_classes=10)
    seen: dict[str, float] = {}
    for name, module in model.named_modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out.mean().item()}))
    activity = record(model, photograph)
    assert activity.planes.shape == (8, 3, 32, 32)
    weights = 2.0 ** torch.arange(8).reshape(8, 1, 1, 1)
    torch.testing.assert_close((activity.planes * weights).sum(0) / 255, photograph)
    assert len(seen) >= 5
    assert activity.rates == pytest.approx(seen)
    assert list(activity.rates) == list(seen)
    assert any(rate > 0 for rate in seen.values())


def test_nothing_stays_on_the_model(photograph: torch.Tensor) -> None:
    model = zoo.create_model(TINY, num_classes=10).train()
    record(model, photograph)
    assert _hooks(model) == 0
    assert all(module.training for module in model.modules())
    with pytest.raises(InputError, match="takes images"):
        record(model, photograph[:2])
    assert _hooks(model) == 0
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["ann_resnet_b1_m1_d1", "ann_resnet18"])
def test_a_model_without_spikes_is_refused(photograph: torch.Tensor, name: str) -> None:
    with torch.device("meta"):
        model = zoo.create_model(name, num_classes=10)
    with pytest.raises(InputError, match=f"{name} has no spikes to show; choose"):
        record(model, photograph)


def test_a_model_that_encodes_once_shows_all_its_timesteps(photograph: torch.Tensor) -> None:
    model = zoo.create_model("sew_resnet18_phase", num_classes=2)
    activity = record(model, photograph)
    assert activity.planes.shape == (10, 3, 32, 32)
    encoder = next(module for module in model.modules() if isinstance(module, Encoder))
    assert torch.equal(activity.planes, encoder(photograph[None])[:, 0])
    assert len(activity.rates) == sum(isinstance(module, Neuron) for module in model.modules())


def test_captions_say_which_end_is_which() -> None:
    lsb, msb = plane_captions("binary-lsb-first", 8), plane_captions("binary-msb-first", 3)
    assert (lsb[0], lsb[3], lsb[7]) == ("plane 0 (least significant)", "plane 3", "plane 7 (most significant)")
    assert msb == ["plane 0 (most significant)", "plane 1", "plane 2 (least significant)"]
    assert plane_captions("rate", 2) == ["timestep 0", "timestep 1"]
    assert plane_captions("binary-lsb-first", 1) == ["plane 0"]


def _activity(planes: torch.Tensor, rates: dict[str, float]) -> Recording:
    return Recording(torch.zeros(3, *planes.shape[2:]), planes, "binary-lsb-first", rates)


def test_planes_and_bars_are_drawn_to_scale() -> None:
    planes = torch.zeros(8, 3, 2, 2)
    planes[0, 0, 0, 0] = 1  # plane 0: red at the top left, where the first tile begins
    pixels = np.asarray(draw(_activity(planes, {"half": 0.05, "all": 0.1, "none": 0.0}), "title"))
    assert pixels.shape[1] == 1200
    rows, columns = np.nonzero((pixels[:, 320:] == (255, 0, 0)).all(-1))  # the key to the colours is left of it
    side = np.ptp(rows) + 1
    assert side == np.ptp(columns) + 1
    assert len(rows) == side**2 > 80**2
    bars = (pixels == (0x2F, 0x6F, 0xDE)).all(-1).sum(1)
    lengths = [length for length, before in zip(bars[1:], bars[:-1], strict=True) if length and not before]
    assert lengths[0] == pytest.approx(lengths[1] / 2, abs=1)
    assert len(lengths) == 2


def test_the_answer_and_the_colours_are_explained_below_the_input() -> None:
    activity = _activity(torch.zeros(8, 3, 2, 2), {"half": 0.05})
    plain, told = (np.asarray(draw(activity, "t", "", answer)) for answer in ((), [("cat", 0.9), ("dog", 0.1)]))
    colours = {tuple(pixel) for pixel in plain[300:, 36:320].reshape(-1, 3).tolist()}
    assert {(red, green, blue) for red in (0, 255) for green in (0, 255) for blue in (0, 255)} <= colours
    assert (plain[:500, 320:] == told[:500, 320:]).all()  # the planes stay where they are
    assert (plain[400:700, :320] != told[400:700, :320]).any()


def test_the_answer_is_that_of_predict() -> None:
    weight = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
    network, preprocessing, _ = network_to_show(weight)
    answer = ranked(record(network, Transform(preprocessing)(sample_photographs()[0])), labels_of(network))
    (predicted,) = zoo.predict(weight, sample_photographs()[0])
    assert isinstance(predicted, Prediction)
    assert [label for label, _ in answer] == [label for label, _ in predicted.ranked]
    assert [p for _, p in answer] == pytest.approx([p for _, p in predicted.ranked], rel=1e-5)


@pytest.mark.parametrize(("timesteps", "size"), [(1, 1), (24, 300), (10, 33)])
def test_any_number_of_planes_of_any_size_has_room(timesteps: int, size: int) -> None:
    activity = _activity(torch.ones(timesteps, 3, size, size), {"a.long." * 30 + "name": 0.9})
    picture = draw(activity, "a very long title " * 20, "naïve ☃.png")
    assert picture.size[0] == 1200
    assert picture.mode == "RGB"


def test_a_picture_is_written_whole_and_never_over_another(tmp_path: Path) -> None:
    out = tmp_path / "show.png"
    save_picture(Image.new("RGB", (3, 3), "red"), out)
    with pytest.raises(InputError, match=r"show\.png exists already; --force"):
        save_picture(Image.new("RGB", (3, 3), "blue"), out)
    assert read_image(out).getpixel((1, 1)) == (255, 0, 0)
    save_picture(Image.new("RGB", (3, 3), "blue"), out, force=True)
    assert read_image(out).getpixel((1, 1)) == (0, 0, 255)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("name", "said"),
    [("show.jpg", r"\.png"), ("", r"\.png"), ("folder.png", "is a folder"), ("no/show.png", "folder of")],
)
def test_a_target_that_cannot_be_written_is_told(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=said):
        save_picture(Image.new("RGB", (3, 3)), tmp_path / name, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_a_network_without_weights_is_always_the_same_and_draws_no_random_numbers() -> None:
    spec = "snn_resnet_b1_m1_d1_ste_bpd"
    before = torch.get_rng_state()
    first, preprocessing, said = network_to_show(spec)
    torch.rand(5)
    second, _, _ = network_to_show(spec)
    torch.set_rng_state(before)
    assert preprocessing.size == 32
    assert "untrained" in said
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_network_that_needs_more_pixels_gets_them() -> None:
    network, preprocessing, _ = network_to_show("has8_vgg_b1_m1_d5_ste_bpd")
    assert preprocessing.size == network.min_image_size == 64
