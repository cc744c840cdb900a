"""A network that sends changes between frames gives the same answers, and is charged what changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode
from zoo_events import count_changes
from zoo_events.changes import CODES, energies, main
from zoo_events.deltas import Changes

import zoo
from zoo.contracts import ImageClassifier
from zoo.errors import CompositionError, InputError

CONTROL = "ann_resnetsmall_b2_m2_d2"
TRAINED = "ann_resnetsmall_b16_m2_d4.cifar10long"


@pytest.fixture
def model() -> ImageClassifier:
    torch.manual_seed(0)
    return zoo.create_model(CONTROL, num_classes=5).eval()


def made_frames(share: float, images: int = 3) -> Tensor:
    """Frames of bytes, of which so large a share of pixels is drawn again from frame to frame."""
    draw = torch.Generator().manual_seed(0)
    frames = [torch.randint(0, 256, (images, 3, 16, 16), generator=draw)]
    for _ in range(5):
        drawn = torch.rand(images, 1, 16, 16, generator=draw) < share
        frames.append(torch.where(drawn, torch.randint(0, 256, frames[-1].shape, generator=draw), frames[-1]))
    return torch.stack(frames, 1) / 255


def products(found: Changes) -> float:
    return found.per_frame(lambda layer: layer.changes.pairs)


@pytest.mark.parametrize("name", [CONTROL, "ann_vgg_b2_m2_d2", "ann_resnet18"])
@pytest.mark.parametrize("levels", [255, 7])
def test_answers_are_those_of_whole_numbers_frame_by_frame(name: str, levels: int) -> None:
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=5).eval()
    frames = made_frames(0.3, images=2)
    found = count_changes(model, frames, levels)
    assert found.answers.shape == (2, 6, 5)
    torch.testing.assert_close(found.answers, found.quantised, rtol=0, atol=1e-9)
    expected = torch.stack([model(frame) for frame in frames.unbind(1)], 1).double()
    torch.testing.assert_close(found.exact, expected, rtol=1e-4, atol=1e-4)
    assert (found.quantised != found.exact).any()


def test_finer_numbers_are_nearer_to_the_networks_own(model: ImageClassifier) -> None:
    differences = []
    for levels in (7, 31, 255):
        found = count_changes(model, made_frames(0.3), levels)
        differences.append(float((found.answers - found.exact).abs().max()))
    assert differences == sorted(differences, reverse=True)
    assert differences[-1] < 0.05 * float(found.exact.abs().max())


def test_frames_that_repeat_cost_nothing(model: ImageClassifier) -> None:
    found = count_changes(model, made_frames(0))
    assert products(found) == 0
    assert found.per_frame(lambda layer: layer.frames.pairs) > 0
    assert found.per_frame(lambda layer: layer.changes.bits) == 0


def test_more_change_costs_more(model: ImageClassifier) -> None:
    counts = [products(count_changes(model, made_frames(share))) for share in (0, 0.01, 0.1, 0.5)]
    assert counts == sorted(set(counts))


def test_products_of_the_first_layer_are_pairs_of_changes_and_weights(model: ImageClassifier) -> None:
    frames = made_frames(0.2).double()
    (first, *_) = count_changes(model, frames.float()).layers
    weights = torch.ones_like(model.get_submodule(first.name).weight, dtype=torch.float64)  # type: ignore[arg-type]
    levels = (255 * frames).round()
    for counted, sent in ((first.frames, levels[:, 1:]), (first.changes, levels.diff(dim=1))):
        magnitudes = sent.flatten(0, 1).abs()
        for count, chosen in ((counted.additions, magnitudes == 1), (counted.multiplications, magnitudes > 1)):
            assert count == conv2d(chosen.double(), weights, padding=1).sum()
        bits = magnitudes.long().clone().apply_(int.bit_count)
        assert counted.bits == conv2d(bits.double(), weights, padding=1).sum()
        assert counted.spikes == conv2d(magnitudes, weights, padding=1).sum()
        assert (counted.numbers, counted.set_bits, counted.total) == tuple(
            int(each.sum()) for each in (magnitudes > 0, bits, magnitudes)
        )


def test_all_pairs_are_the_macs_of_the_network(model: ImageClassifier) -> None:
    found = count_changes(model, made_frames(0.2))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 16, 16))
    assert found.per_frame(lambda layer: layer.dense) == counter.get_total_flops() / 2
    assert {layer.name for layer in found.layers} == {
        name for name, part in model.named_modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)
    }


def test_every_last_number_is_read_and_what_changed_is_written(model: ImageClassifier) -> None:
    still = count_changes(model, made_frames(0)).layers[0]
    assert still.accesses == 3 * 5 * 3 * 16 * 16  # images, frames, values of the first layer's input
    frames = made_frames(0)
    frames[:, 3:, 1, 8, 8] = 1 - frames[:, 3:, 1, 8, 8].round()  # one value of every image changes once
    found = count_changes(model, frames).layers[0]
    width = model.get_submodule(found.name).weight.shape[0]  # type: ignore[index]
    assert found.accesses - still.accesses == 3 * (1 + 2 * 9 * width)
    assert found.kept == 3 * 5 * (3 + width) * 16 * 16


@pytest.mark.parametrize("name", ["ann_resnet_b2_m1_d4", "ann_vgg_b2_m1_d4", "ann_resnetfull_b2_m1_d2"])
def test_maps_of_every_size_are_counted(name: str) -> None:
    model = zoo.create_model(name, num_classes=5).eval()
    frames = torch.rand(2, 2, 3, 32, 32).round()
    assert products(count_changes(model, frames)) > 0


def test_products_outside_of_layers_are_refused(model: ImageClassifier) -> None:
    model.register_forward_hook(lambda *arguments: arguments[2] @ torch.eye(5, dtype=arguments[2].dtype))
    with pytest.raises(InputError, match="outside"):
        count_changes(model, made_frames(0))


def test_the_network_itself_stays_as_it_was(model: ImageClassifier) -> None:
    frames = made_frames(0.2)
    before = model(frames[:, 0])
    count_changes(model, frames)
    assert torch.equal(model(frames[:, 0]), before)


def test_frames_that_do_not_fit_are_refused(model: ImageClassifier) -> None:
    for frames in (made_frames(0)[:, :1], made_frames(0)[:, 0], made_frames(0)[:, :, :2]):
        with pytest.raises(InputError, match="N"):
            count_changes(model, frames)
    with pytest.raises(CompositionError, match="levels"):
        count_changes(model, made_frames(0), 0)


def test_networks_that_cannot_send_changes_are_refused(model: ImageClassifier) -> None:
    spiking = zoo.create_model("sew_resnetsmall_b2_m1_d1_direct", num_classes=5).eval()
    for network in (spiking, model.train()):
        with pytest.raises(InputError, match="ann_"):
            count_changes(network, made_frames(0))


def test_energy_of_changes_is_that_of_products_and_of_memory(model: ImageClassifier) -> None:
    still, moving = (energies(model, count_changes(model, made_frames(share), 15)) for share in (0, 0.9))
    assert {"arithmetic-int8-sparse", "memory-shift-add", "lowbit"} <= still.keys() == moving.keys()
    for name, by_code in still.items():
        assert by_code.keys() == CODES.keys()
        plain = name.removesuffix(", 5 pJ an access")
        for code in CODES.keys() - {"frames"}:
            assert 0 < by_code[code] < moving[name][code], name  # frames that repeat are compared, and nothing else
            assert by_code[code] > still[plain][code] or name == plain
        assert by_code["frames"] == still[plain]["frames"]
    assert "memory-shift-add, 5 pJ an access" not in still  # it charges memory itself
    by_float32 = still["arithmetic-float32-sparse"]
    assert by_float32["graded"] < 0.05 * by_float32["frames"]


def test_energy_of_spikes_is_that_of_additions(model: ImageClassifier) -> None:
    found = count_changes(model, made_frames(0.9), 15)
    found_energies = energies(model, found)["shift-add-int8"]
    inputs = found.per_frame(lambda layer: layer.inputs)
    for code, additions, sent in (
        ("digits", lambda layer: layer.changes.bits, lambda layer: layer.changes.set_bits),
        ("unary", lambda layer: layer.changes.spikes, lambda layer: layer.changes.total),
    ):
        counted = found.per_frame(additions) + found.per_frame(sent) + inputs
        assert found_energies[code] == pytest.approx(0.03 * counted)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.radial_gradient("L").resize((32, 32)).convert("RGB").save(tmp_path / "photos" / label / f"{colour}.png")
    return tmp_path / "photos"


def test_the_command_prints_a_row_for_each_speed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([TRAINED, str(photos), "--speeds", "0", "2", "--timesteps", "3"])
    head, _, still, moving, *others = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()
    )
    assert len(head) == len(still) == len(moving)
    place = head.index("changes")
    assert (still[0], still[place]) == ("0", "0")
    assert moving[0] == "2"
    assert int(moving[place].replace(",", "")) > 0
    ratios = [cells for cells in others if cells[0] == "arithmetic-int8-sparse"]
    assert len(ratios) == len(CODES) - 1
    for _, _, slow, fast in ratios:
        assert float(slow) < float(fast)


def test_the_command_writes_figures_and_draws_them(photos: Path, tmp_path: Path) -> None:
    files = [tmp_path / "out" / name for name in ("pan.json", "pan.svg", "again.svg")]
    for json_file, picture in (files[:2], (tmp_path / "again.json", files[2])):
        written = ["--json", str(json_file), "--out", str(picture)]
        main([TRAINED, str(photos), "--speeds", "0", "2", "--timesteps", "3", *written])
    content = json.loads(files[0].read_text())
    assert (content["network"], content["images"], content["timesteps"]) == (TRAINED, 2, 3)
    assert content["command"].startswith(f"python -m zoo_events.changes {TRAINED}")
    still, moving = content["speeds"]
    for result in (still, moving):
        assert len(result["top1_network"]) == 3
        assert result["top1_changes"] == result["top1_frame_by_frame"]
        assert result["same_class"] == 100
        assert result["additions"].keys() == content["codes"].keys() == CODES.keys()
        assert result["additions"]["digits"] == result["additions"]["graded"] <= result["additions"]["unary"]
    assert still["additions"]["unary"] == 0 < moving["additions"]["graded"]
    assert still["additions"]["frames"] > 0
    assert b"<svg" in files[1].read_bytes() == files[2].read_bytes()


@pytest.mark.parametrize(("option", "name"), [("--json", "pan.txt"), ("--out", "pan.png"), ("--out", "old.svg")])
def test_files_that_must_not_be_written_end_the_command(
    option: str, name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.svg").write_text("kept")
    with pytest.raises(SystemExit):
        main([TRAINED, str(photos), option, str(tmp_path / name)])
    printed = capsys.readouterr()
    assert name in printed.err
    assert not printed.out
    assert (tmp_path / "old.svg").read_text() == "kept"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--speeds", "33"), "SPEED"),
        (("--speeds", "-1"), "SPEED"),
        (("--speeds", "nan"), "SPEED"),
        (("--timesteps", "1"), "T of 2"),
        (("--timesteps", "0"), "T of pan=0"),
        (("--limit", "0"), "limit=0"),
        (("--levels", "256"), "levels=256"),
    ],
)
def test_options_out_of_range_end_the_command(
    options: tuple[str, str], told: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([TRAINED, str(photos), *options])
    assert told in capsys.readouterr().err
