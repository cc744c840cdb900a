"""The networks against the authors' published implementation: parameter counts, logits, gradients, feature maps."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from torch import Tensor
from torch.nn import functional

from zoo.backbones.resnet import ResidualBackbone
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.errors import CompositionError, InputError
from zoo.factory import create_model
from zoo.registry import Registry, default_registry

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "plugins" / "zoo-has8-reference" / "tests" / "data"  # its README.md says what they are
TABLES = ROOT / "tests" / "paper" / "tables.yaml"
PUBLISHED_PARAMS = yaml.safe_load(TABLES.read_text())["measured_on_the_published_code"]["params"]
RESNET = "has8_resnetorder_b4_m2_d4_fourierref_bpdref_lif"
VGG = "has8_vgg_b2_m2_d4_fourierref_bpdref_lif"


# --- The published arithmetic (equations.md, "What the authors' published code does differently"). ---


def published_range(x: Tensor) -> Tensor:
    """Min-max over the whole batch, when any value of it leaves [0, 1]; a constant batch becomes all ones."""
    lo, hi = x.min(), x.max()
    if lo >= 0 and hi <= 1:
        return x
    return torch.ones_like(x) if lo == hi else (x - lo) / (hi - lo)


class _PublishedPlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rest = x * 255
        ctx.save_for_backward(rest)
        planes = []
        for _ in range(8):
            planes.append(torch.fmod(rest, 2))  # 255·x is never rounded: plane 0 keeps the fraction
            rest = torch.floor(rest / 2)
        return torch.stack(planes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (intensity,) = ctx.saved_tensors
        total = torch.zeros_like(intensity)
        for k in range(8):
            cosines = sum(torch.cos(n * math.pi * intensity / 2**k) for n in (1, 3, 5, 7, 9))
            total += k / 2 ** (7 - k) * grads[0][k] * (0.5 - 2 / 2**k * cosines)
        return total * 255


class PublishedFourier(Encoder):
    api_version = 1
    code = "published-planes"
    differentiable = True
    timesteps = 8

    def forward(self, x: Tensor) -> Tensor:
        planes: Tensor = _PublishedPlanes.apply(published_range(x))
        return planes


class PublishedDecoder(Decoder):
    """128 on the first plane, which is the least significant one."""

    api_version = 1
    codes = frozenset({"published-planes"})
    timesteps = 8

    def forward(self, spikes: Tensor) -> Tensor:
        weights = torch.tensor([2.0**k for k in range(7, -1, -1)]).reshape((8,) + (1,) * (spikes.dim() - 1))
        return (weights * spikes).sum(0) / 255


class PublishedOrderResNet(ResidualBackbone):
    """Our blocks in the order in memory that the published network has: the last bit decides about planes."""

    pixels_last = False


@pytest.fixture(scope="module")
def published() -> Registry:
    registry = Registry(default_registry().components())
    registry.register("backbone", "resnetorder", PublishedOrderResNet)
    registry.register("encoder", "fourierref", PublishedFourier)
    registry.register("decoder", "bpdref", PublishedDecoder)
    return registry


@pytest.fixture(scope="module")
def coding() -> dict[str, Tensor]:
    with np.load(GOLDEN / "coding.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_reference_encoder_is_the_published_one(coding: dict[str, Tensor]) -> None:
    x = coding["x"].clone().requires_grad_()
    planes = PublishedFourier()(x)
    planes.backward(coding["grad_out"])
    assert torch.equal(planes, coding["planes_fourier"])
    want = coding["grad_fourier"]
    assert x.grad is not None
    assert (x.grad - want).abs().max() <= 1e-5 * want.abs().max()


def test_reference_decoder_and_range_are_the_published_ones(coding: dict[str, Tensor]) -> None:
    assert torch.allclose(PublishedDecoder()(coding["levels_planes"]), coding["bpd_of_levels"], atol=1e-7)
    assert torch.equal(published_range(coding["rescale_in"]), coding["rescale_out"])
    assert torch.equal(published_range(torch.full((2, 3), 4.0)), torch.ones(2, 3))


# --- Published names → ours. ---

_BRANCH = {"snn": "spiking", "ann": "analog", "s": "spiking", "a": "analog"}
_STEM = {"0": "conv", "1": "bn"}
_BODY = {"conv1": "body.0", "bn1": "body.1", "conv2": "body.3", "bn2": "body.4", "downsample": "shortcut"}
_MLP = {"0": "hidden.0", "2": "hidden.2", "4": "fc"}


def resnet_key(key: str) -> str:
    if found := re.fullmatch(r"init_conv\.([sa]nn)_init_conv\.init_conv\.(\d)\.(\w+)", key):
        return f"stages.0.0.{_BRANCH[found[1]]}.{_STEM[found[2]]}.{found[3]}"
    if found := re.fullmatch(r"layer(\d)\.(\d)\.([sa]nn)_basic_block\.(\w+)\.(.+)", key):
        return f"stages.{found[1]}.{found[2]}.{_BRANCH[found[3]]}.{_BODY[found[4]]}.{found[5]}"
    return f"head.{key}"


def vgg_key(key: str, depth: int = 4) -> str:
    found = re.fullmatch(r"dv\.(\d+)\.([sa])dv_block\.[sa]dv\.(\d)\.(\w+)", key)
    assert found, key
    block, branch = int(found[1]), _BRANCH[found[2]]
    if block == depth + 3:
        return f"head.mlp.{branch}.{_MLP[found[3]]}.{found[4]}"
    return f"stages.{block}.0.{branch}.{_STEM[found[3]]}.{found[4]}"


# --- Whole models. ---


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [(name, classes, count) for name, row in PUBLISHED_PARAMS.items() for classes, count in row.items()],
)
def test_parameter_counts_are_the_published_ones(name: str, classes: int, count: int) -> None:
    model = create_model(f"{name}_fourier_bpd", num_classes=classes, device="meta")
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.fixture(scope="module")
def resnet_golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "resnet_b4_m2_d4_fourier_bpd.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def resnet(published: Registry, resnet_golden: dict[str, np.ndarray]) -> ImageClassifier:
    model = create_model(RESNET, num_classes=10, registry=published)
    state = {
        resnet_key(key.removeprefix("state/")): torch.from_numpy(np.array(value))
        for key, value in resnet_golden.items()
        if key.startswith("state/")
    }
    model.load_state_dict(state, strict=True)
    return model


SAME_ROUNDING = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512",
    reason="the vectors were made with AVX-512; other kernels round the last bit differently, which flips planes",
)


@SAME_ROUNDING
def test_resnet_logits_are_the_published_ones(resnet: ImageClassifier, resnet_golden: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        logits = resnet.eval()(torch.from_numpy(resnet_golden["input"]))
    want = torch.from_numpy(resnet_golden["eval_logits"])
    torch.testing.assert_close(logits, want, rtol=0, atol=1e-5)


@SAME_ROUNDING
def test_resnet_training_step_is_the_published_one(
    resnet: ImageClassifier, resnet_golden: dict[str, np.ndarray]
) -> None:
    logits = resnet.train()(torch.from_numpy(resnet_golden["input"]))
    loss = functional.cross_entropy(logits, torch.from_numpy(resnet_golden["target"]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(resnet_golden["train_loss"]), abs=1e-5)
    norms = {name: float(p.grad.norm()) for name, p in resnet.named_parameters() if p.grad is not None}
    want = dict(zip(map(resnet_key, resnet_golden["grad_names"]), resnet_golden["grad_norms"], strict=True))
    assert norms == pytest.approx(want, rel=1e-3)


def filled(shape: tuple[int, ...], index: int, name: str) -> Tensor:
    """Entry values by formula (reference README): computed in float64, then cast."""
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    u = np.modf(43758.5453 * np.sin(12.9898 * np.arange(math.prod(shape)) + 78.233 * index))[0]
    if kind == "running_var":
        u = 1 + 0.5 * np.abs(u)
    elif kind == "running_mean":
        u = 0.2 * u
    elif len(shape) == 1:
        u = 1 + 0.1 * u if kind == "weight" else 0.1 * u
    else:
        u = u * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(u.reshape(shape)).float()


def filled_input(size: int) -> Tensor:
    entries = np.arange(2 * 3 * size * size)
    values = np.abs(np.modf(9973.17 * np.sin(0.7331 * entries))[0])
    return torch.from_numpy(values.reshape(2, 3, size, size)).float()


@pytest.mark.parametrize("size", [32, 64])
def test_vgg_logits_are_the_published_ones(published: Registry, size: int) -> None:
    golden = json.loads((GOLDEN / "filled.json").read_text())["vgg_b2_m2_d4_fourier_bpd"]
    model = create_model(VGG, num_classes=10, registry=published).eval()
    assert sum(p.numel() for p in model.parameters()) == golden["params"]
    state = {vgg_key(key): filled(tuple(shape), i, key) for i, (key, shape, _) in enumerate(golden["keys"])}
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        logits = model(filled_input(size))
    torch.testing.assert_close(logits, torch.tensor(golden[f"eval_logits_{size}"]), rtol=0, atol=1e-5)


# --- The analog branch alone is torchvision's network, where widths agree. ---

TWINS = [
    ("ann_resnet_b64_m2_d4", "resnet18"),
    ("ann_resnet34_b64_m2_d4", "resnet34"),
    ("ann_resnet50_b64_m2_d4", "resnet50"),
    ("ann_resnet101_b64_m2_d4", "resnet101"),
    ("ann_resnet152_b64_m2_d4", "resnet152"),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_analog_branch_has_torchvisions_tensors_in_its_order(name: str, twin: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(twin)
    ours = create_model(name, device="meta")
    assert [v.shape for v in ours.state_dict().values()] == [v.shape for v in theirs.state_dict().values()]


@pytest.mark.parametrize(("name", "twin"), [TWINS[0], TWINS[2]])
def test_analog_branch_computes_what_torchvision_does(name: str, twin: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(twin, num_classes=10).eval()
    ours = create_model(name, num_classes=10).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.rand((2, 3, 40, 33))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet_b4_m3_d3", "resnet50_b4_m2_d4", "vgg_b2_m2_d2"])
def test_hybrid_is_its_two_controls(backbone: str) -> None:
    def shapes(name: str) -> dict[str, torch.Size]:
        return {key: p.shape for key, p in create_model(name, num_classes=7, device="meta").named_parameters()}

    hybrid, analog = shapes(f"has8_{backbone}_ste_bpd"), shapes(f"ann_{backbone}")
    spiking = shapes(f"snn_{backbone}_ste_bpd")
    assert hybrid == analog | spiking
    assert {key for key in hybrid if ".spiking." not in key} == set(analog)
    assert {key for key in hybrid if ".analog." not in key} == set(spiking)


@pytest.mark.parametrize("backbone", ["resnet_b4_m3_d3", "resnet34_b2_m2_d4", "resnet50_b4_m2_d4", "vgg_b2_m2_d2"])
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
        ("resnet_b2_m3_d1", [64, 2], [4, 4]),
        ("resnet_b2_m3_d3", [64, 2, 6, 18], [4, 4, 8, 16]),
        ("resnet34_b2_m2_d4", [64, 2, 4, 8, 16], [4, 4, 8, 16, 32]),
        ("resnet50_b2_m2_d4", [64, 8, 16, 32, 64], [4, 4, 8, 16, 32]),
        ("vgg_b2_m2_d3", [6, 12, 24, 48], [2, 4, 8, 16]),
    ],
)
@pytest.mark.parametrize("family", ["has8", "snn", "ann"])
def test_feature_info_is_what_comes_out(family: str, backbone: str, widths: list[int], reductions: list[int]) -> None:
    model = create_model(f"{family}_{backbone}" + ("" if family == "ann" else "_ste_bpd"), num_classes=5).eval()
    assert [info["num_chs"] for info in model.feature_info] == widths
    assert [info["reduction"] for info in model.feature_info] == reductions
    with torch.no_grad():
        final, maps = model.forward_intermediates(torch.rand(2, 3, 64, 32))
    assert [tuple(each.shape) for each in maps] == [
        (2, width, 64 // step, 32 // step) for width, step in zip(widths, reductions, strict=True)
    ]
    assert torch.equal(final, maps[-1])
    assert model.num_features == widths[-1]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 9), (33, 17)])
@pytest.mark.parametrize("backbone", ["resnet_b2_m2_d4", "resnet50_b2_m2_d4"])
def test_resnet_takes_any_image_size(backbone: str, size: tuple[int, int]) -> None:
    model = create_model(f"has8_{backbone}_ste_bpd", num_classes=5).eval()
    assert model.min_image_size == 1
    with torch.no_grad():
        logits = model(torch.rand(2, 3, *size))
    assert logits.shape == (2, 5)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_vgg_needs_a_pixel_for_every_halving(depth: int) -> None:
    model = create_model(f"has8_vgg_b1_m1_d{depth}_ste_bpd", num_classes=5).eval()
    least = 2 ** (1 + depth)
    with torch.no_grad():
        assert model(torch.rand(1, 3, least, least)).shape == (1, 5)
        assert model(torch.rand(1, 3, least + 1, 2 * least - 1)).shape == (1, 5)
    for size in [(least - 1, least), (least, least - 1), (1, 1)]:
        with pytest.raises(InputError, match=f"at least {least} pixels a side, not {size[0]}×{size[1]}"):
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


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("backbone", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_fixed_backbones_want_four_stages(backbone: str, depth: int) -> None:
    with pytest.raises(CompositionError, match=f"wants d4, not d{depth}"):
        create_model(f"has8_{backbone}_b2_m2_d{depth}_ste_bpd", device="meta")
    assert create_model(f"has8_{backbone}_b2_m2_d4_ste_bpd", device="meta").feature_info[-1]["reduction"] == 32


@pytest.mark.parametrize(
    ("backbone", "blocks"),
    [
        ("resnet_b2_m2_d3", [1, 2, 2, 2]),
        ("resnet34_b2_m2_d4", [1, 3, 4, 6, 3]),
        ("resnet50_b2_m2_d4", [1, 3, 4, 6, 3]),
        ("resnet101_b2_m2_d4", [1, 3, 4, 23, 3]),
        ("resnet152_b2_m2_d4", [1, 3, 8, 36, 3]),
        ("vgg_b2_m2_d3", [1, 1, 1, 1]),
    ],
)
def test_blocks_of_every_stage(backbone: str, blocks: list[int]) -> None:
    model = create_model(f"has8_{backbone}_ste_bpd", device="meta")
    children = dict(model.named_children())
    assert [len(list(stage.children())) for stage in children["stages"].children()] == blocks


@pytest.mark.parametrize(
    ("backbone", "sides"), [("resnetsmall", [32, 16, 8, 4, 2]), ("resnetfull", [32, 32, 16, 8, 4])]
)
def test_a_backbone_for_small_images_keeps_their_pixels_in_its_stem(backbone: str, sides: list[int]) -> None:
    model = create_model(f"has8_{backbone}_b8_m2_d4_ste_bpd", num_classes=10).eval()
    with torch.no_grad():
        maps = model.forward_intermediates(torch.rand(2, 3, 32, 32), intermediates_only=True)
    shapes = [(width, side, side) for width, side in zip([8, 8, 16, 32, 64], sides, strict=True)]
    assert [tuple(level.shape[1:]) for level in maps] == shapes
    assert [level["reduction"] for level in model.feature_info] == [32 // side for side in sides]
    control = create_model(f"ann_{backbone}_b8_m2_d4", num_classes=10)
    analog = {
        key.replace(".analog.", "."): value.shape for key, value in model.state_dict().items() if "spiking" not in key
    }
    assert analog == {key.replace(".analog.", "."): value.shape for key, value in control.state_dict().items()}
