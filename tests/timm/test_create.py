"""timm.create_model on the zoo's names: the same networks, timm's options, and no option ignored in silence."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from timm.optim import create_optimizer_v2
from torch import Tensor

import zoo
import zoo.timm
from zoo.catalog.records import Preprocessing
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import Transform
from zoo.errors import InputError, OptionError

B8 = "has8_resnet_b8_m2_d4_ste_bpd"
VGG = "has8_vgg_b1_m2_d2_ste_bpd"
THEIRS = "timm_test_resnet"
zoo.timm.register_models(VGG, THEIRS)


def logits(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x)


@pytest.mark.parametrize("name", [B8, f"{B8}.cifar10", "ann_resnet_b8_m2_d4"])
def test_pretrained_is_the_zoos_own_bit_for_bit(name: str) -> None:
    x = torch.rand(2, 3, 32, 32)
    ours, theirs = zoo.create_model(name, pretrained=True), timm.create_model(name, pretrained=True)
    assert torch.equal(logits(theirs, x), logits(ours, x))
    assert theirs.state_dict().keys() == ours.state_dict().keys()


@pytest.mark.parametrize(("chans", "classes"), [(1, 5), (5, 0)])
@pytest.mark.filterwarnings("ignore::zoo.errors.NewHeadWarning")
def test_other_channels_and_classes_are_the_zoos_but_for_the_new_head(chans: int, classes: int) -> None:
    options: dict[str, Any] = {"pretrained": True, "in_chans": chans, "num_classes": classes}
    ours, theirs = zoo.create_model(B8, **options), timm.create_model(B8, **options)
    assert (theirs.num_classes, theirs.in_chans) == (classes, chans)
    new_head = ("head.fc.weight", "head.fc.bias") if classes == 5 else ()
    for key, value in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[key], value) == (key not in new_head)


def test_pixels_go_to_the_network_as_they_are(tmp_path: Path) -> None:
    config = resolve_model_data_config(timm.create_model(B8, pretrained=True))
    assert (config["input_size"], config["mean"], config["std"]) == ((3, 32, 32), (0.0,) * 3, (1.0,) * 3)
    pixels = torch.randint(0, 256, (40, 32, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "image.png")
    image = create_transform(**config)(Image.open(tmp_path / "image.png"))
    assert torch.equal(image, Transform(Preprocessing(size=32))(tmp_path / "image.png"))


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"nope": 1}, OptionError, "nope"),
        ({"timesteps": 4}, OptionError, "timesteps"),
        ({"drop_rate": 0.1}, OptionError, "no dropout"),
        ({"global_pool": "max"}, InputError, "valid: 'avg'"),
        ({"global_pool": ""}, InputError, "num_classes=0"),
        ({"features_only": True, "out_indices": (5,)}, InputError, "5 levels 0…4"),
        ({"features_only": True, "feature_cls": "hook"}, OptionError, "feature_cls"),
    ],
)
def test_wrong_options_say_what_is_right(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        timm.create_model(B8, **options)


def test_a_name_without_weights_and_an_unknown_tag_say_so() -> None:
    with pytest.raises(RuntimeError, match=VGG):
        timm.create_model(VGG, pretrained=True)
    with pytest.raises(RuntimeError, match="imagenet"):
        timm.create_model(f"{B8}.imagenet")


@pytest.mark.parametrize("place", ["file", "state_dict"])
def test_own_weights_from_a_file_or_memory(tmp_path: Path, place: str) -> None:
    trained, x = timm.create_model(VGG, num_classes=3), torch.rand(2, 3, 16, 16)
    save_file(trained.state_dict(), tmp_path / "mine.safetensors")
    source: Any = trained.state_dict() if place == "state_dict" else str(tmp_path / "mine.safetensors")
    overlay = {place: source, "num_classes": 3}
    again = timm.create_model(VGG, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(logits(again, x), logits(trained, x))
    other = timm.create_model(VGG, pretrained=True, num_classes=5, pretrained_cfg_overlay=overlay)
    assert torch.equal(other.eval().forward_features(x), trained.eval().forward_features(x))


@pytest.mark.parametrize("name", [VGG, "ann_resnet18", "sew_resnet18_ttfs", THEIRS])
def test_features_only_are_the_intermediates(name: str) -> None:
    x = torch.rand(1, 3, 32, 32)
    torch.manual_seed(1)
    model: ImageClassifier = timm.create_model(name).eval()
    levels = (0, len(model.feature_info) - 2)
    torch.manual_seed(1)
    features = timm.create_model(name, features_only=True, out_indices=levels).eval()
    with torch.no_grad():
        expected, found = model.forward_intermediates(x, levels, intermediates_only=True), features(x)
    assert isinstance(expected, list)
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
    assert features.feature_info.channels() == [each.shape[1] for each in found]
    assert features.feature_info.reduction() == [32 // each.shape[2] for each in found]


@pytest.mark.parametrize("name", [VGG, "sew_resnet18_ttfs", THEIRS])
def test_a_pruned_network_ends_at_its_level_and_gets_a_new_head(name: str) -> None:
    x = torch.rand(2, 3, 32, 32)
    model: Any = timm.create_model(name).eval()
    with torch.no_grad():
        maps = model.forward_intermediates(x, intermediates_only=True)
    pruned = copy.deepcopy(model)
    assert pruned.prune_intermediate_layers([0, -2]) == [0, len(maps) - 2]
    assert len(pruned.feature_info) == len(maps) - 1
    assert torch.equal(logits(pruned, x), maps[-2])
    pruned.reset_classifier(4)
    assert pruned.head_hidden_size == maps[-2].shape[1]
    pruned.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in pruned.parameters())
    kept = copy.deepcopy(model)
    kept.prune_intermediate_layers(1, prune_head=False)
    assert torch.equal(logits(kept, x), logits(model, x))
    with pytest.raises(InputError, match="outside"):
        kept.prune_intermediate_layers([99])


@pytest.mark.parametrize("name", [VGG, THEIRS])
def test_a_reset_classifier_keeps_the_mode_and_brings_pooling_back(name: str) -> None:
    model, x = timm.create_model(name).eval(), torch.rand(1, 3, 32, 32)
    model.pretrained_cfg["label_names"] = ["cat", "dog"]
    model.reset_classifier(model.num_classes)
    assert model.pretrained_cfg["label_names"] == ["cat", "dog"]
    model.reset_classifier(2)
    assert "label_names" not in model.pretrained_cfg
    model.reset_classifier(0, "")
    model.reset_classifier(0)
    assert torch.equal(logits(model, x), model.forward_features(x))
    model.reset_classifier(4)
    assert logits(model, x).shape == (1, 4)
    model.reset_classifier(0)
    assert logits(model, x).shape == (1, model.head_hidden_size)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", [B8, VGG, "sew_resnet18_ttfs", "ann_resnet18", THEIRS])
def test_layers_learn_more_slowly_the_lower_they_are(name: str) -> None:
    model = timm.create_model(name, num_classes=3, device="meta")
    optimizer = create_optimizer_v2(model, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    order = [scale[id(parameter)] for parameter in model.parameters()]
    assert order == sorted(order)
    assert order[-1] == 1.0
    assert order[0] < order[len(order) // 2] < 1.0


@pytest.mark.parametrize("name", [B8, VGG, "sew_resnet18_ttfs", "ann_resnet18"])
def test_the_pattern_of_the_stem_is_of_the_layers_that_see_the_image(name: str) -> None:
    model = timm.create_model(name, num_classes=3, device="meta")
    stem = [key for key, _ in model.named_parameters() if re.match(model.group_matcher()["stem"], key)]
    first = model.pretrained_cfg["first_conv"]
    first = [first] if isinstance(first, str) else first
    assert {f"{layer}.weight" for layer in first} <= set(stem)
    assert len(stem) < len(list(model.parameters())) / 2
