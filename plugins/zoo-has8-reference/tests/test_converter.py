"""The converter: sizes read from shapes, every key accounted for, clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo_convert import convert
from zoo_has8_reference.converter import Has8Converter
from zoo_has8_reference.published_keys import resnet_keys, vgg_keys

import zoo
from zoo.contracts import Converted
from zoo.errors import ModelNameError, OptionError, SaveError, UnknownComponentError, WeightError

OURS = {"encoder": "fourier", "decoder": "bpd"}


def _published(name: str, classes: int, in_chans: int, keys: dict[str, str]) -> dict[str, Tensor]:
    """The shapes of a network under the published keys."""
    state = zoo.create_model(name, num_classes=classes, in_chans=in_chans, device="meta").state_dict()
    assert set(keys.values()) == state.keys()
    return {published: state[ours] for published, ours in keys.items()}


def _check_fit(converted: Converted) -> None:
    """Every key and every shape is that of the network which the name says."""
    network = zoo.create_model(
        converted.spec_name, num_classes=converted.num_classes, in_chans=converted.in_chans, device="meta"
    )
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert {key: tensor.shape for key, tensor in converted.state.items()} == shapes


@pytest.mark.parametrize(
    ("size", "classes", "in_chans"),
    [("b32_m2_d4", 10, 3), ("b64_m2_d4", 101, 1), ("b3_m3_d2", 2, 5), ("b6_m1_d3", 1, 3), ("b7_m1_d1", 4, 3)],
)
def test_resnet_sizes_come_from_the_shapes(size: str, classes: int, in_chans: int) -> None:
    keys = resnet_keys(int(size[-1]), shortcut_first=not size.startswith("b64"))
    name = f"has8_resnetref_{size}_fourierref_bpdref_lifref"
    converted = Has8Converter().convert(_published(name, classes, in_chans, keys))
    assert (converted.spec_name, converted.num_classes, converted.in_chans, converted.note) == (
        name,
        classes,
        in_chans,
        "",
    )
    _check_fit(converted)


@pytest.mark.parametrize(
    ("size", "classes", "in_chans"), [("b16_m2_d4", 10, 3), ("b5_m1_d1", 257, 1), ("b2_m3_d2", 7, 4)]
)
def test_vgg_sizes_come_from_the_shapes(size: str, classes: int, in_chans: int) -> None:
    name = f"has8_vggref_{size}_fourierref_bpdref_lifref"
    converted = Has8Converter().convert(_published(name, classes, in_chans, vgg_keys(int(size[-1]))))
    assert (converted.spec_name, converted.num_classes, converted.in_chans, converted.note) == (
        name,
        classes,
        in_chans,
        "",
    )
    _check_fit(converted)


@pytest.mark.parametrize("encoder", ["sigmoidref", "tanhref", "fourierref", "zoo-has8-reference:fourierref"])
@pytest.mark.parametrize("decoder", ["bpdref", "rate"])
def test_published_codings_bring_the_published_parts(
    encoder: str, decoder: str, resnet_checkpoint: dict[str, Tensor]
) -> None:
    converted = Has8Converter(encoder, decoder).convert(resnet_checkpoint)
    assert converted.spec_name == f"has8_resnetref_b4_m2_d4_{encoder}_{decoder}_lifref"
    assert converted.note == ""
    _check_fit(converted)


def test_the_zoos_own_coding_brings_its_parts_and_says_so(
    resnet_checkpoint: dict[str, Tensor], vgg_checkpoint: dict[str, Tensor]
) -> None:
    resnet = Has8Converter(**OURS).convert(resnet_checkpoint)
    vgg = Has8Converter(**OURS).convert(vgg_checkpoint)
    assert resnet.spec_name == "has8_resnet_b4_m2_d4_fourier_bpd_lif"
    assert vgg.spec_name == "has8_vgg_b2_m2_d4_fourier_bpd_lif"
    for converted in (resnet, vgg):
        assert "the arithmetic is not" in converted.note
        _check_fit(converted)


def test_the_zoos_vgg_is_a_multiple_of_three_wide() -> None:
    def convert_own(base: int) -> Converted:
        name = f"has8_vggref_b{base}_m2_d1_fourierref_bpdref_lifref"
        return Has8Converter(**OURS).convert(_published(name, 10, 1, vgg_keys(1)))

    assert convert_own(6).spec_name == "has8_vgg_b2_m2_d1_fourier_bpd_lif"
    _check_fit(convert_own(6))
    with pytest.raises(WeightError, match=r"4 .*3"):
        convert_own(4)


# --- Refusals. ---


def _without(state: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in keys}


def test_another_model_is_refused_and_what_is_missing_named() -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten()).state_dict()
    with pytest.raises(WeightError, match=r"neither init_conv.* nor dv\.0.*it has 0\.bias, 0\.weight"):
        Has8Converter().convert(other)


@pytest.mark.parametrize(
    "key",
    ["fc.weight", "fc.bias", "layer3.0.snn_basic_block.conv1.weight", "layer1.1.ann_basic_block.bn2.running_var"],
)
def test_a_missing_resnet_key_is_named(key: str, resnet_checkpoint: dict[str, Tensor]) -> None:
    with pytest.raises(WeightError, match=f"{key}"):
        Has8Converter().convert(_without(resnet_checkpoint, key))


@pytest.mark.parametrize(
    "key", ["dv.2.sdv_block.sdv.0.weight", "dv.7.adv_block.adv.4.bias", "dv.0.adv_block.adv.1.bias"]
)
def test_a_missing_vgg_key_is_named(key: str, vgg_checkpoint: dict[str, Tensor]) -> None:
    with pytest.raises(WeightError, match=f"{key}"):
        Has8Converter().convert(_without(vgg_checkpoint, key))


def test_further_blocks_are_named(resnet_checkpoint: dict[str, Tensor]) -> None:
    extra = {"layer1.2.snn_basic_block.conv1.weight": torch.zeros(4, 4, 3, 3)}
    with pytest.raises(WeightError, match=r"layer1\.2\.snn_basic_block"):
        Has8Converter().convert(resnet_checkpoint | extra)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": torch.zeros(10)}, r"fc.weight has the shape \(10,\), expected 2 dimensions"),
        ({"fc.weight": torch.zeros(0, 32)}, "none empty"),
        ({"init_conv.snn_init_conv.init_conv.0.weight": torch.zeros(())}, r"has the shape \(\)"),
        ({"layer2.0.snn_basic_block.conv1.weight": torch.zeros(9, 4, 3, 3)}, r"widths \[4, 9, 16, 32\] are not b·m\^i"),
        ({"layer2.0.snn_basic_block.conv1.weight": torch.zeros(2, 4, 3, 3)}, r"widths \[4, 2, 16, 32\] are not b·m\^i"),
        ({"layer99999999999999999999.x": torch.zeros(1)}, "unexpected: layer9999"),
        ({"layer9.x": torch.zeros(1)}, "make it d9; valid: d1 to d8"),
    ],
)
def test_other_shapes_are_refused(
    change: dict[str, Tensor], message: str, resnet_checkpoint: dict[str, Tensor]
) -> None:
    with pytest.raises(WeightError, match=message):
        Has8Converter().convert(resnet_checkpoint | change)


@pytest.mark.parametrize(
    "change",
    [
        {"dv.0.sdv_block.sdv.0.weight": torch.zeros(7, 3, 3, 3)},
        {"dv.500.x": torch.zeros(1)},
        {"dv.8.x": torch.zeros(1)},
    ],
)
def test_other_vggs_are_refused(change: dict[str, Tensor], vgg_checkpoint: dict[str, Tensor]) -> None:
    with pytest.raises(WeightError):
        Has8Converter().convert(vgg_checkpoint | change)


# --- Files. ---


def test_a_file_becomes_a_folder_of_weights(resnet_checkpoint: dict[str, Tensor], tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "best.pth", tmp_path / "converted"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in resnet_checkpoint.items()}}, checkpoint)
    converted = convert("has8", checkpoint, out)
    assert converted.spec_name == "has8_resnetref_b4_m2_d4_fourierref_bpdref_lifref"
    assert (converted.num_classes, converted.in_chans) == (10, 3)
    model = zoo.create_model(f"local-dir:{out}")
    assert model.spec.text == converted.spec_name
    state = model.state_dict()
    for published, ours in resnet_keys(4, shortcut_first=True).items():
        assert torch.equal(state.pop(ours), resnet_checkpoint[published]), published
    assert not state
    with pytest.raises(SaveError, match="not empty"):
        convert("has8", checkpoint, out)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encoder": "fourierreff"}, UnknownComponentError, "did you mean 'fourierref'"),
        ({"neuron": "lif"}, OptionError, "no option 'neuron'"),
        ({"decoder": "bpdref.tag"}, ModelNameError, "has a tag"),
    ],
)
def test_wrong_options_write_nothing(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    resnet_checkpoint: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    torch.save(resnet_checkpoint, tmp_path / "x.pt")
    with pytest.raises(error, match=message):
        convert("has8", tmp_path / "x.pt", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
