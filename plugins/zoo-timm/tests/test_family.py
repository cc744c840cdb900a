"""timm_resnet18: a network of timm by its name there, behind the zoo's contract."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import timm
import torch

import zoo
from zoo.errors import CompositionError, InputError, ModelNameError, OptionError, UnknownComponentError


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "convnext_atto"])
def test_it_is_timms_own_network(name: str) -> None:
    x = torch.rand(2, 3, 64, 64)
    torch.manual_seed(1)
    ours = zoo.create_model(f"timm_{name}", num_classes=7).eval()
    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=7).eval()
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
        features = theirs.forward_features(x)
        assert torch.equal(ours.forward_features(x), features)
        final, maps = ours.forward_intermediates(x, [-1, 0])
        lowest, highest = theirs.forward_intermediates(x, [0, len(theirs.feature_info) - 1], intermediates_only=True)
    assert torch.equal(final, features)
    assert torch.equal(maps[0], highest)
    assert torch.equal(maps[1], lowest)
    state = ours.state_dict()
    assert all(f"{layer}.weight" in state for layer in (*ours.classifier_names, *ours.first_conv_names))


def test_names_hold_the_whole_of_timms_name_and_its_version() -> None:
    spec = zoo.parse_name("timm_convnext_atto.mine")
    assert (str(spec), spec["network"], spec.tag) == ("timm_convnext_atto.mine", "convnext_atto", "mine")
    network = {"kind": "network", "name": "test_resnet", "distribution": "timm", "version": version("timm")}
    assert network in zoo.model_info("timm_test_resnet")["components"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm_resnet19", r"did you mean 'resnet\d+'"),
        ("timm_zzz", r"timm\.list_models\(\)"),
        ("timm_", "timm has no model"),
        ("timm_has8_resnet_b8_m2_d4_ste_bpd", "leave 'timm_' out"),
    ],
)
def test_an_unknown_name_is_told_from_a_near_one(name: str, told: str) -> None:
    import zoo.timm  # registers the zoo's own names

    with pytest.raises(UnknownComponentError, match=told):
        zoo.parse_name(name)


@pytest.mark.parametrize("name", ["timm_convnext_atto.mine", "timm_test_resnet.a9_in1k", "timm_resnet14t.nothing"])
def test_weights_that_timm_does_not_have(name: str) -> None:
    with pytest.raises(ModelNameError, match=r"weights '\w+'"):
        zoo.create_model(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [("vit_tiny_patch16_224", "one size"), ("mambaout_femto", "feature map"), ("csatv2", "no stem or head")],
)
def test_a_network_that_is_not_convolutional_is_refused(name: str, told: str) -> None:
    with pytest.raises(CompositionError, match=f"{told}.*such as timm_resnet18"):
        zoo.create_model(f"timm_{name}")


def test_too_small_an_image_and_wrong_arguments_are_refused() -> None:
    model = zoo.create_model("timm_vgg11", device="meta", num_classes=3)
    assert model.min_image_size == 32
    with pytest.raises(InputError, match="at least 32 pixels"):
        model(torch.empty(1, 3, 31, 64, device="meta"))
    for pool in ("", "max"):
        with pytest.raises(InputError, match="valid: 'avg'"):
            model.reset_classifier(3, pool)
    with pytest.raises(InputError, match="'NCHW'"):
        model.forward_intermediates(torch.empty(1, 3, 64, 64, device="meta"), output_fmt="NLC")
    with pytest.raises(OptionError, match="drop_rate"):
        zoo.create_model("timm_vgg11", drop_rate=0.5)
