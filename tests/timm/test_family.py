"""timm_resnet18: a network of timm's by its name there, behind the zoo's contract."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import zoo
import zoo.timm
from zoo.cli import app
from zoo.errors import (
    CompositionError,
    InputError,
    MissingExtraError,
    ModelNameError,
    OptionError,
    UnknownComponentError,
    install_extra,
)


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "test_efficientnet", "convnext_atto"])
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


def test_the_same_network_costs_the_same_whoever_wrote_it() -> None:
    theirs, torchvisions = zoo.profile("timm_resnet18"), zoo.profile("ann_resnet18")
    assert theirs.params == torchvisions.params == 11689512
    # fvcore counts timm's adaptive pooling, a value of the last map each; the mean that the zoo pools by it leaves out.
    assert theirs.macs - 512 * 7 * 7 == torchvisions.macs == 1819040768
    assert theirs.timesteps == 1


def test_a_published_one_says_whose_network_it_is_and_comes_back(tmp_path: Path) -> None:
    name, folder, x = "timm_test_resnet", tmp_path / "out", torch.rand(2, 3, 64, 64)
    model = zoo.create_model(name, num_classes=2).eval()
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    stated = ["--license", "MIT", "--labels", "cat,dog", "--image-size", "64", "--dataset", "Pets"]
    order = ["publish", f"{name}.mine", "--checkpoint", str(tmp_path / "mine.safetensors"), *stated]
    result = CliRunner().invoke(app, [*order, "--dry-run", "--to-dir", str(folder)])
    assert result.exit_code == 0, result.output
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "# timm_test_resnet.mine\n\nAn image classifier without spikes, `test_resnet` of [timm]" in card
    assert "pip install . timm\n" in card
    assert f"made with has8-zoo {version('has8-zoo')}, timm {version('timm')}." in card
    assert f"| MACs, all timesteps | {zoo.profile(name, num_classes=2, image_size=64).macs:,} |" in card
    zoo.timm.register_models(name)
    with torch.no_grad():
        for create in (zoo.create_model, timm.create_model):
            assert torch.equal(create(f"local-dir:{folder}", pretrained=True).eval()(x), model(x))


def test_its_information_names_timms_version() -> None:
    network = {"kind": "network", "name": "test_resnet", "distribution": "timm", "version": version("timm")}
    assert network in zoo.model_info("timm_test_resnet")["components"]


def test_names_read_back_and_hold_the_whole_of_timms_name() -> None:
    spec = zoo.parse_name("timm_convnext_atto.mine")
    assert (str(spec), spec["network"], spec.tag) == ("timm_convnext_atto.mine", "convnext_atto", "mine")
    with pytest.raises(ModelNameError, match=r"timm has no weights 'mine' of convnext_atto.*tags: d2_in1k"):
        zoo.create_model("timm_convnext_atto.mine")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm_resnet19", r"timm has no model 'resnet19'; did you mean 'resnet\d+'"),
        ("timm_zzz", "timm has no model 'zzz'; see timm.list_models()"),
        ("timm_", "timm has no model ''"),
        ("timm_has8_resnet_b8_m2_d4_ste_bpd", "is the zoo's own; leave 'timm_' out"),
    ],
)
def test_an_unknown_name_is_told_from_a_near_one(name: str, told: str) -> None:
    with pytest.raises(UnknownComponentError, match=told):
        zoo.parse_name(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vit_tiny_patch16_224", "224 pixels a side alone"),
        ("mambaout_femto", r"no feature map \(N, 288, H, W\)"),
        ("efficientvim_m1", "no feature map"),
        ("csatv2", "no classifier or no first convolution"),
    ],
)
def test_what_is_no_convolutional_network_is_refused(name: str, told: str) -> None:
    with pytest.raises(CompositionError, match=f"{told}.*such as timm_resnet18"):
        zoo.create_model(f"timm_{name}")


def test_too_small_an_image_and_wrong_arguments_are_refused() -> None:
    model = zoo.create_model("timm_vgg11", device="meta", num_classes=3)
    assert model.min_image_size == 32
    with pytest.raises(InputError, match="at least 32 pixels"):
        model(torch.empty(1, 3, 31, 64, device="meta"))
    for call in (lambda: model.reset_classifier(3, ""), lambda: model.reset_classifier(3, "max")):
        with pytest.raises(InputError, match="valid: 'avg'"):
            call()
    with pytest.raises(InputError, match="'NCHW'"):
        model.forward_intermediates(torch.empty(1, 3, 64, 64, device="meta"), output_fmt="NLC")
    with pytest.raises(CompositionError, match="cannot recompute its blocks"):
        model.set_grad_checkpointing()
    with pytest.raises(OptionError, match="no option 'drop_rate'"):
        zoo.create_model("timm_vgg11", drop_rate=0.5)


def test_without_timm_the_error_says_what_to_install_and_other_names_work() -> None:
    code = (
        "import sys; sys.modules['timm'] = None\n"
        "import zoo\n"
        "zoo.create_model('ann_resnet_b2_m1_d1')\n"
        "zoo.create_model('timm_resnet18')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError: the family timm needs timm; " in done.stderr
    assert install_extra("timm") in done.stderr
    assert issubclass(MissingExtraError, ModuleNotFoundError)
    assert "line 4" in done.stderr
