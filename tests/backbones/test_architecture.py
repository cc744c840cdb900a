"""Backbones: parameters of the published networks, torchvision's twins, feature maps and image sizes.

That logits and gradients are the published ones is tested in plugins/zoo-has8-reference.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from zoo.errors import CompositionError, InputError
from zoo.models.factory import create_model

TABLES = Path(__file__).parents[1] / "paper" / "tables.yaml"
PUBLISHED_PARAMS = yaml.safe_load(TABLES.read_text())["measured_on_the_published_code"]["params"]


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [(name, classes, count) for name, row in PUBLISHED_PARAMS.items() for classes, count in row.items()],
)
def test_parameter_counts_are_the_published_ones(name: str, classes: int, count: int) -> None:
    model = create_model(f"{name}_fourier_bpd", num_classes=classes, device="meta")
    assert sum(p.numel() for p in model.parameters()) == count


# --- The analog branch alone is torchvision's network, where widths agree. ---

TWINS = [
    ("ann_resnet_b64_m2_d4", "resnet18"),
    ("ann_resnet34_b64_m2_d4", "resnet34"),
    ("ann_resnet50_b64_m2_d4", "resnet50"),
    pytest.param("ann_resnet101_b64_m2_d4", "resnet101", marks=pytest.mark.slow),
    pytest.param("ann_resnet152_b64_m2_d4", "resnet152", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_analog_branch_has_torchvisions_tensors_in_its_order(name: str, twin: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(twin)
    ours = create_model(name, device="meta")
    assert [v.shape for v in ours.state_dict().values()] == [v.shape for v in theirs.state_dict().values()]


@pytest.mark.parametrize(
    ("name", "twin"), [TWINS[0], pytest.param("ann_resnet50_b64_m2_d4", "resnet50", marks=pytest.mark.slow)]
)
def test_analog_branch_computes_what_torchvision_does(name: str, twin: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(twin, num_classes=10).eval()
    ours = create_model(name, num_classes=10).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.rand((2, 3, 40, 33))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet_b4_m3_d3", "resnetfull_b4_m2_d2", "resnet50_b4_m2_d4", "vgg_b2_m2_d2"])
def test_hybrid_is_its_two_controls(backbone: str) -> None:
    def shapes(name: str) -> dict[str, torch.Size]:
        return {key: p.shape for key, p in create_model(name, num_classes=7, device="meta").named_parameters()}

    hybrid, analog = shapes(f"has8_{backbone}_ste_bpd"), shapes(f"ann_{backbone}")
    spiking = shapes(f"snn_{backbone}_ste_bpd")
    assert hybrid == analog | spiking
    assert {key for key in hybrid if ".spiking." not in key} == set(analog)
    assert {key for key in hybrid if ".analog." not in key} == set(spiking)


@pytest.mark.parametrize("backbone", ["resnet_b4_m3_d3", "resnetsmall_b4_m2_d2", "resnet50_b4_m2_d4", "vgg_b2_m2_d2"])
def test_branches_have_the_same_convolutions(backbone: str) -> None:
    model = create_model(f"has8_{backbone}_ste_bpd", device="meta")
    convs = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)}
    analog = {name for name in convs if ".analog." in name}
    assert len(analog) * 2 == len(convs)
    for name in analog:
        one, other = convs[name], convs[name.replace(".analog.", ".spiking.")]
        for setting in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "bias"):
            assert getattr(one, setting) == getattr(other, setting), (name, setting)


# --- Feature maps and image sizes ---


@pytest.mark.parametrize(
    ("backbone", "widths", "reductions"),
    [
        ("resnet_b2_m3_d3", [64, 2, 6, 18], [4, 4, 8, 16]),
        ("resnetsmall_b2_m2_d4", [2, 2, 4, 8, 16], [1, 2, 4, 8, 16]),
        ("resnetfull_b2_m2_d4", [2, 2, 4, 8, 16], [1, 1, 2, 4, 8]),
        ("resnet34_b2_m2_d4", [64, 2, 4, 8, 16], [4, 4, 8, 16, 32]),
        ("resnet50_b2_m2_d4", [64, 8, 16, 32, 64], [4, 4, 8, 16, 32]),
        ("vgg_b2_m2_d3", [6, 12, 24, 48], [2, 4, 8, 16]),
    ],
)
@pytest.mark.parametrize("form", ["has8_{}_ste_bpd", "ann_{}"])
def test_feature_info_is_what_comes_out(form: str, backbone: str, widths: list[int], reductions: list[int]) -> None:
    model = create_model(form.format(backbone), num_classes=5).eval()
    assert [info["num_chs"] for info in model.feature_info] == widths
    assert [info["reduction"] for info in model.feature_info] == reductions
    with torch.no_grad():
        final, maps = model.forward_intermediates(torch.rand(2, 3, 64, 32))
    assert [tuple(each.shape) for each in maps] == [
        (2, width, 64 // step, 32 // step) for width, step in zip(widths, reductions, strict=True)
    ]
    assert torch.equal(final, maps[-1])
    assert model.num_features == widths[-1]


@pytest.mark.parametrize("depth", [1, 4])
def test_vgg_needs_a_pixel_for_every_halving(depth: int) -> None:
    model = create_model(f"has8_vgg_b1_m1_d{depth}_ste_bpd", num_classes=5).eval()
    least = 2 ** (1 + depth)
    with torch.no_grad():
        assert model(torch.rand(1, 3, least, least)).shape == (1, 5)
        assert model(torch.rand(1, 3, least + 1, 2 * least - 1)).shape == (1, 5)
    for size in [(least - 1, least), (least, least - 1), (1, 1)]:
        with pytest.raises(InputError, match=f"{least} pixels.* {size[0]}×{size[1]}"):
            model(torch.rand(1, 3, *size))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 4, 32, 32), (1, 1, 3, 32, 32)])
def test_images_of_another_form_are_refused(shape: tuple[int, ...]) -> None:
    model = create_model("has8_resnet_b2_m2_d1_ste_bpd", num_classes=5)
    with pytest.raises(InputError, match=r"\(N, 3, H, W\)"):
        model(torch.rand(shape))


@pytest.mark.parametrize("in_chans", [1, 4])
@pytest.mark.parametrize("backbone", ["resnet_b2_m2_d1", "vgg_b2_m2_d1"])
def test_image_channels_change_the_first_convolutions_alone(backbone: str, in_chans: int) -> None:
    model = create_model(f"has8_{backbone}_ste_bpd", num_classes=5, in_chans=in_chans)
    usual = create_model(f"has8_{backbone}_ste_bpd", num_classes=5)
    shapes = {key: value.shape for key, value in usual.state_dict().items()}
    changed = {key for key, value in model.state_dict().items() if value.shape != shapes[key]}
    assert changed == {f"{name}.weight" for name in model.first_conv_names}
    assert len(changed) == 2
    assert model.eval()(torch.rand(1, in_chans, 8, 8)).shape == (1, 5)


@pytest.mark.parametrize("depth", [3, 5])
def test_fixed_backbones_want_four_stages(depth: int) -> None:
    with pytest.raises(CompositionError, match=f"d4.*d{depth}"):
        create_model(f"has8_resnet34_b2_m2_d{depth}_ste_bpd", device="meta")
