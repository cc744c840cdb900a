"""Published weights: filled by a formula under their authors' keys, they answer as their authors' forward does.

The forwards here are written from the authors' repositories, in float64 and without spikingjelly.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from torchvision.models import resnet18, resnet50
from typer.testing import CliRunner
from zoo_convert import convert
from zoo_spikingjelly.converters import SpikformerConverter

import zoo
from zoo.cli import app
from zoo.errors import InputError, WeightError
from zoo.weights.load import read_config

T = 4
State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


# --- The formula. ---


def _fraction(key: str, count: int) -> Tensor:
    """Numbers in [0, 1) that only the key and the place decide."""
    start = int(hashlib.sha256(key.encode()).hexdigest()[:6], 16) % 1000
    places = torch.arange(count, dtype=torch.float64) + start
    return (torch.sin(places * 12.9898) * 43758.5453) % 1


def fill(shapes: Shapes) -> State:
    """Weights about as large as they are at the start of training, and norms whose neurons fire."""
    state = {}
    for key, shape in shapes.items():
        count = torch.Size(shape).numel()
        u = _fraction(key, count).reshape(shape)
        name = key.rpartition(".")[2]
        if name == "num_batches_tracked":
            state[key] = torch.tensor(5)
            continue
        if name == "running_var":
            value = 0.05 + 0.2 * u
        elif name == "running_mean":
            value = 0.2 * (u - 0.5)
        elif len(shape) == 1:
            value = 0.8 + 0.6 * u if name == "weight" else 0.6 * u
        else:
            value = (2 * u - 1) * (3 / torch.Size(shape[1:]).numel()) ** 0.5
        state[key] = value.float()
    return state


def _norm_shapes(key: str, width: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{key}.{name}": (width,) for name in names} | {f"{key}.num_batches_tracked": ()}


# --- The authors' arithmetic. ---


def neurons(x: Tensor, *, threshold: float = 1.0, tau: float | None = 2.0) -> Tensor:
    """(T, …) → spikes: LIF with decaying input, or IF with tau=None; reset to 0."""
    v, spikes = torch.zeros_like(x[0]), []
    for current in x:
        v = v + current if tau is None else v + (current - v) / tau
        spikes.append((v >= threshold).to(x))
        v = v * (1 - spikes[-1])
    return torch.stack(spikes)


def affine(state: State, conv: str, norm: str, x: Tensor, stride: int = 1) -> Tensor:
    """(T, N, C, …) → a convolution or matrix over C, then its norm."""
    weight, bias = state[f"{conv}.weight"], state.get(f"{conv}.bias")
    flat = x.flatten(0, 1)
    if weight.dim() == 4:
        y = functional.conv2d(flat, weight, bias, stride, weight.shape[-1] // 2)
    else:
        y = torch.einsum("oi,bi...->bo...", weight.flatten(1), flat)
        y = y if bias is None else y + bias.reshape(-1, *[1] * (y.dim() - 2))
    mean, var, scale, shift = (state[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    y = functional.batch_norm(y, mean, var, scale, shift)
    return y.unflatten(0, x.shape[:2])


def pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, x.shape[:2])


def sew_forward(state: State, image: Tensor, counts: tuple[int, ...], convs: int) -> Tensor:
    def layer(prefix: str, x: Tensor, stride: int = 1) -> Tensor:
        return neurons(affine(state, f"{prefix}.0", f"{prefix}.1", x, stride), tau=None)

    x = pool(neurons(affine(state, "conv1", "bn1", image.expand(T, *image.shape), 2), tau=None))
    for i, count in enumerate(counts):
        for j in range(count):
            block, y, stride = f"layer{i + 1}.{j}", x, 2 if i and not j else 1
            for k in range(convs):
                y = layer(f"{block}.conv{k + 1}.module", y, stride if k == convs - 2 else 1)
            shortcut = f"{block}.downsample.0.module"
            x = y + (layer(shortcut, x, stride) if f"{shortcut}.0.weight" in state else x)
    return functional.linear(x.mean((3, 4)).mean(0), state["fc.weight"], state["fc.bias"])


def heads(x: Tensor, count: int) -> Tensor:
    """(T, N, C, L) → (T, N, heads, L, C / heads)."""
    return x.unflatten(2, (count, -1)).transpose(-1, -2)


def self_attention(state: State, key: str, x: Tensor, count: int, kind: str) -> Tensor:
    q, k, v = (
        heads(neurons(affine(state, f"{key}.{name}_{kind}", f"{key}.{name}_bn", x)), count) for name in ("q", "k", "v")
    )
    attended = (q @ k.transpose(-1, -2)) @ v * 0.125
    y = neurons(attended.transpose(-1, -2).flatten(2, 3), threshold=0.5)
    return neurons(affine(state, f"{key}.proj_{kind}", f"{key}.proj_bn", y))


def token_attention(state: State, key: str, x: Tensor, count: int) -> Tensor:
    q, k = (neurons(affine(state, f"{key}.{name}_conv", f"{key}.{name}_bn", x)) for name in ("q", "k"))
    mask = neurons(q.unflatten(2, (count, -1)).sum(3, keepdim=True), threshold=0.5)
    return neurons(
        affine(state, f"{key}.proj_conv", f"{key}.proj_bn", (mask * k.unflatten(2, (count, -1))).flatten(2, 3))
    )


def mlp(state: State, key: str, x: Tensor, kind: str) -> Tensor:
    for number in "12":
        weight = f"{key}.fc{number}_{kind}"
        flattened = {**state, f"{weight}.weight": state[f"{weight}.weight"].flatten(1)}
        x = neurons(affine(flattened, weight, f"{key}.fc{number}_bn", x))
    return x


def spikformer_forward(state: State, image: Tensor, depth: int, count: int, kind: str) -> Tensor:
    x = image.expand(T, *image.shape)
    for i in range(4):
        number = str(i) if i else ""
        x = neurons(affine(state, f"patch_embed.proj_conv{number}", f"patch_embed.proj_bn{number}", x))
        x = pool(x) if kind == "conv" or i >= 2 else x
    x = x + neurons(affine(state, "patch_embed.rpe_conv", "patch_embed.rpe_bn", x))
    x = x.flatten(3)
    for i in range(depth):
        x = x + self_attention(state, f"block.{i}.attn", x, count, kind)
        x = x + mlp(state, f"block.{i}.mlp", x, kind)
    return functional.linear(x.mean(3).mean(0), state["head.weight"], state["head.bias"])


def qkformer_forward(state: State, image: Tensor, count: int) -> Tensor:
    x = image.expand(T, *image.shape)
    for i, blocks in enumerate((1, 2, 7)):
        key = f"patch_embed{i + 1}"
        second, third = ("proj1", "proj2") if i == 0 else ("proj3", "proj4")
        if i == 0:
            x = neurons(pool(affine(state, f"{key}.proj_conv", f"{key}.proj_bn", x)))
        y = neurons(pool(affine(state, f"{key}.{second}_conv", f"{key}.{second}_bn", x)))
        y = neurons(affine(state, f"{key}.{third}_conv", f"{key}.{third}_bn", y))
        x = y + neurons(affine(state, f"{key}.proj_res_conv", f"{key}.proj_res_bn", x, 2))
        size, x = x.shape[3:], x.flatten(3)
        for j in range(blocks):
            block = f"stage{i + 1}.{j}"
            if i == 2:
                x = x + self_attention(state, f"{block}.attn", x, count, "conv")
            else:
                x = x + token_attention(state, f"{block}.tssa", x, count)
            x = x + mlp(state, f"{block}.mlp", x, "conv")
        x = x.unflatten(3, size)
    return functional.linear(x.mean((3, 4)).mean(0), state["head.weight"], state["head.bias"])


def sdt_forward(state: State, image: Tensor, depth: int, pooled: str, threshold: float, mlp_names: str) -> Tensor:
    """The membrane is added, and neurons stand in front of every convolution."""
    x = image.expand(T, *image.shape)
    for i in range(4):
        number = str(i) if i else ""
        x = affine(state, f"patch_embed.proj_conv{number}", f"patch_embed.proj_bn{number}", x)
        x = neurons(x) if i < 3 else x
        x = pool(x) if pooled[i] == "1" else x
    x = x + affine(state, "patch_embed.rpe_conv", "patch_embed.rpe_bn", neurons(x))
    for i in range(depth):
        key = f"block.{i}.attn"
        spikes = neurons(x)
        q, k, v = (neurons(affine(state, f"{key}.{name}_conv", f"{key}.{name}_bn", spikes)) for name in "qkv")
        kept = neurons((k * v).sum((3, 4), keepdim=True), threshold=threshold)
        x = x + affine(state, f"{key}.proj_conv", f"{key}.proj_bn", q * kept)
        y = x
        for number in "12":
            conv, norm = (f"block.{i}.mlp.{name}" for name in mlp_names.replace("N", number).split())
            y = affine(state, conv, norm, neurons(y))
        x = x + y
    return functional.linear(neurons(x.mean((3, 4))).mean(0), state["head.weight"], state["head.bias"])


def msresnet_forward(state: State, image: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Six timesteps; a quarter of the membrane stays where no spike was."""

    def spikes(x: Tensor) -> Tensor:
        v, fired, out = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
        for current in x:
            v = 0.25 * v * (1 - fired) + current
            fired = (v > 0.5).to(x)
            out.append(fired)
        return torch.stack(out)

    x = affine(state, "conv1.0", "conv1.1.bn", image.expand(6, *image.shape), 2)
    for i, count in enumerate(counts):
        for j in range(count):
            block, stride = f"conv{i + 2}_x.{j}", 1 if j else 2
            y = affine(state, f"{block}.residual_function.1", f"{block}.residual_function.2.bn", spikes(x), stride)
            y = affine(state, f"{block}.residual_function.4", f"{block}.residual_function.5.bn", spikes(y))
            x = y + (x if j else affine(state, f"{block}.shortcut.0", f"{block}.shortcut.1.bn", x, stride))
    return functional.linear(spikes(x).mean((3, 4)).mean(0), state["fc.weight"], state["fc.bias"])


# --- The authors' keys. ---


def sew_state(bottleneck: bool, classes: int = 5) -> State:
    """torchvision's ResNet under the keys of the authors' containers."""
    with torch.device("meta"):
        network = (resnet50 if bottleneck else resnet18)(num_classes=classes)
    shapes = {}
    for key, value in network.state_dict().items():
        parts = key.split(".")
        if parts[0].startswith("layer"):
            if parts[2] == "downsample":
                parts[3:3] = ["0", "module"]
            else:
                parts[2:3] = [f"conv{parts[2][-1]}", "module", "0" if parts[2].startswith("conv") else "1"]
        shapes[".".join(parts)] = tuple(value.shape)
    return fill(shapes)


def _transformer_block(key: str, attention: str, parts: str, width: int, kind: str) -> Shapes:
    shapes: Shapes = {}
    kernel = (1,) if kind == "conv" else ()
    for part in [*parts, "proj"]:
        layer = f"{key}.{attention}.{part}"
        shapes[f"{layer}_{kind}.weight"] = (width, width, *kernel)
        if kind == "linear" or part == "proj":
            shapes[f"{layer}_{kind}.bias"] = (width,)
        shapes |= _norm_shapes(f"{layer}_bn", width)
    for number, inner, outer in (("1", width, 4 * width), ("2", 4 * width, width)):
        shapes[f"{key}.mlp.fc{number}_{kind}.weight"] = (outer, inner, *kernel * 2)
        shapes[f"{key}.mlp.fc{number}_{kind}.bias"] = (outer,)
        shapes |= _norm_shapes(f"{key}.mlp.fc{number}_bn", outer)
    return shapes


def _patch_shapes(width: int) -> Shapes:
    shapes: Shapes = {}
    widths = (3, width // 8, width // 4, width // 2, width, width)
    for name, inner, outer in zip(("proj", "1", "2", "3", "rpe"), widths[:-1], widths[1:], strict=True):
        conv, norm = (f"proj_conv{name}", f"proj_bn{name}") if name in "123" else (f"{name}_conv", f"{name}_bn")
        shapes[f"patch_embed.{conv}.weight"] = (outer, inner, 3, 3)
        shapes |= _norm_shapes(f"patch_embed.{norm}", outer)
    return shapes


def spikformer_state(depth: int, width: int, kind: str, classes: int = 5) -> State:
    shapes = _patch_shapes(width)
    for i in range(depth):
        shapes |= {f"block.{i}.norm{n}.{name}": (width,) for n in (1, 2) for name in ("weight", "bias")}
        shapes |= _transformer_block(f"block.{i}", "attn", "qkv", width, kind)
    return fill(shapes | {"head.weight": (classes, width), "head.bias": (classes,)})


def qkformer_state(width: int, classes: int = 5) -> State:
    shapes: Shapes = {}
    inner = 3
    for i, blocks in enumerate((1, 2, 7)):
        key, outer = f"patch_embed{i + 1}", width // 4 * 2**i
        half = outer // 2
        layers = [("proj", 3, half), ("proj1", half, outer), ("proj2", outer, outer)]
        layers = layers if i == 0 else [("proj3", inner, outer), ("proj4", outer, outer)]
        for name, before, after in layers:
            shapes[f"{key}.{name}_conv.weight"] = (after, before, 3, 3)
            shapes |= _norm_shapes(f"{key}.{name}_bn", after)
        shapes[f"{key}.proj_res_conv.weight"] = (outer, half, 1, 1)
        shapes |= _norm_shapes(f"{key}.proj_res_bn", outer)
        for j in range(blocks):
            attention, parts = ("attn", "qkv") if i == 2 else ("tssa", "qk")
            shapes |= _transformer_block(f"stage{i + 1}.{j}", attention, parts, outer, "conv")
        inner = outer
    return fill(shapes | {"head.weight": (classes, width), "head.bias": (classes,)})


def sdt_state(depth: int, width: int, mlp_names: str, classes: int = 5) -> State:
    shapes = _patch_shapes(width)
    for i in range(depth):
        block = f"block.{i}"
        for part in ("q", "k", "v", "proj"):
            shapes[f"{block}.attn.{part}_conv.weight"] = (width, width, 1, 1)
            if part == "proj":
                shapes[f"{block}.attn.{part}_conv.bias"] = (width,)
            shapes |= _norm_shapes(f"{block}.attn.{part}_bn", width)
        shapes[f"{block}.attn.talking_heads.weight"] = (8, 8, 1)
        for number, inner, outer in (("1", width, 4 * width), ("2", 4 * width, width)):
            conv, norm = (f"{block}.mlp.{name}" for name in mlp_names.replace("N", number).split())
            shapes |= {f"{conv}.weight": (outer, inner, 1, 1), f"{conv}.bias": (outer,)} | _norm_shapes(norm, outer)
    return fill(shapes | {"head.weight": (classes, width), "head.bias": (classes,)})


def msresnet_state(counts: tuple[int, ...], classes: int = 5) -> State:
    shapes: Shapes = {"conv1.0.weight": (64, 3, 7, 7)} | _norm_shapes("conv1.1.bn", 64)
    inner = 64
    for i, count in enumerate(counts):
        for j in range(count):
            block, outer = f"conv{i + 2}_x.{j}", 64 * 2**i
            for place, inputs in ((1, inner), (4, outer)):
                shapes[f"{block}.residual_function.{place}.weight"] = (outer, inputs, 3, 3)
                shapes |= _norm_shapes(f"{block}.residual_function.{place + 1}.bn", outer)
            if j == 0:
                shapes[f"{block}.shortcut.0.weight"] = (outer, inner, 1, 1)
                shapes |= _norm_shapes(f"{block}.shortcut.1.bn", outer)
            inner = outer
    return fill(shapes | {"fc.weight": (classes, 512), "fc.bias": (classes,)})


def of_step(state: State, attention: str, mlp: str, head: str = "") -> State:
    """The same under STEP's keys: no norms that are not used, and every neuron has a threshold and a slope."""
    state = {key: value for key, value in state.items() if ".norm" not in key}
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("block."))
    places = [f"patch_embed.{name}" for name in ("proj_lif", "proj_lif1", "proj_lif2", "proj_lif3", "rpe_lif")]
    for i in range(blocks):
        places += [f"block.{i}.attn.{name}_lif" for name in attention.split()]
        places += [f"block.{i}.mlp.{name}" for name in mlp.split()]
    for place in [*places, *head.split()]:
        state[f"{place}.threshold"] = torch.tensor(0.5 if place.endswith("attn_lif") else 1.0)
        state[f"{place}.act_fun.alpha"] = torch.tensor(4.0)
    return state


def step_spikformer_state(classes: int = 5) -> State:
    return of_step(spikformer_state(4, 384, "linear", classes), "q k v attn proj", "fc1_lif fc2_lif")


def step_sdt_state(classes: int = 5) -> State:
    state = sdt_state(2, 512, STEP_MLP, classes)
    return of_step(state, "q k v attn talking_heads shortcut", "fc_lif1 fc_lif2", "head_lif")


AUTHORS_MLP, STEP_MLP = "fcN_conv fcN_bn", "fc_convN fc_bnN"

# --- The tests. ---

CASES: dict[str, tuple[str, Callable[[], State], Callable[[State, Tensor], Tensor], int]] = {
    "sj_sewresnet18": ("sew", lambda: sew_state(False), lambda s, x: sew_forward(s, x, (2, 2, 2, 2), 2), 32),
    "sj_sewresnet50": ("sew", lambda: sew_state(True), lambda s, x: sew_forward(s, x, (3, 4, 6, 3), 3), 32),
    "sj_spikformer4384": (
        "spikformer",
        lambda: spikformer_state(4, 384, "linear"),
        lambda s, x: spikformer_forward(s, x, 4, 12, "linear"),
        16,
    ),
    "sj_spikformer8512": (
        "spikformer",
        lambda: spikformer_state(8, 512, "conv"),
        lambda s, x: spikformer_forward(s, x, 8, 8, "conv"),
        48,
    ),
    "sj_qkformer10384": ("qkformer", lambda: qkformer_state(384), lambda s, x: qkformer_forward(s, x, 6), 32),
    "sj_qkformer10512": ("qkformer", lambda: qkformer_state(512), lambda s, x: qkformer_forward(s, x, 8), 32),
    "sj_sdt8384": (
        "sdt",
        lambda: sdt_state(8, 384, AUTHORS_MLP),
        lambda s, x: sdt_forward(s, x, 8, "1111", 0.5, AUTHORS_MLP),
        48,
    ),
    "sj_sdt6512": (
        "sdt",
        lambda: sdt_state(6, 512, AUTHORS_MLP),
        lambda s, x: sdt_forward(s, x, 6, "1111", 0.5, AUTHORS_MLP),
        48,
    ),
    "sj_msresnet18": (
        "msresnet",
        lambda: msresnet_state((2, 2, 2, 2)),
        lambda s, x: msresnet_forward(s, x, (2, 2, 2, 2)),
        32,
    ),
    "sj_msresnet34": (
        "msresnet",
        lambda: msresnet_state((3, 4, 6, 3)),
        lambda s, x: msresnet_forward(s, x, (3, 4, 6, 3)),
        32,
    ),
    "sj_spikformer4384 of STEP": (
        "step",
        step_spikformer_state,
        lambda s, x: spikformer_forward(s, x, 4, 12, "linear"),
        16,
    ),
    "sj_sdt2512step of STEP": ("step", step_sdt_state, lambda s, x: sdt_forward(s, x, 2, "0011", 1.0, STEP_MLP), 16),
}


@pytest.mark.parametrize("name", CASES)
def test_the_converted_network_has_the_authors_logits(name: str, tmp_path: Path) -> None:
    converter, make, forward, size = CASES[name]
    state = make()
    torch.save({"model": state, "epoch": 3, "args": argparse.Namespace(T=4, lr=0.1)}, tmp_path / "x.pth")
    done = CliRunner().invoke(app, ["convert", converter, str(tmp_path / "x.pth"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    model = zoo.create_model(f"local-dir:{tmp_path / 'out'}").double().eval()
    assert str(model.spec) == f"{name.split()[0]}.converted"
    image = _fraction("image", 2 * 3 * size * size).reshape(2, 3, size, size)
    with torch.no_grad():
        logits = model(image)
        expected = forward({key: value.double() for key, value in state.items()}, image)
    assert (expected[0] - expected[1]).abs().max() > 1e-2  # it fires, and sees the image
    assert (logits - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("depth", "width", "kind"), [(2, 384, "linear"), (6, 512, "conv"), (10, 512, "conv"), (8, 768, "conv")]
)
def test_sizes_whose_heads_are_not_published_say_so(depth: int, width: int, kind: str) -> None:
    converted = SpikformerConverter().convert(spikformer_state(depth, width, kind))
    assert converted.spec_name == f"sj_spikformer{depth}{width}"
    assert "heads are assumed" in converted.note


def test_8_384_converts_where_its_heads_are_said_and_only_there(tmp_path: Path) -> None:
    state = spikformer_state(8, 384, "conv")
    save_file(state, tmp_path / "x.safetensors")
    arguments = ["convert", "spikformer", f"{tmp_path}/x.safetensors", "--out", f"{tmp_path}/out"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    assert "says how many heads it has" in said
    assert "--set heads=…: 6, 8, 12" in said
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*arguments, "--set", "heads=8"])
    assert done.exit_code == 0, done.output
    model = zoo.create_model(f"local-dir:{tmp_path / 'out'}").double().eval()
    assert str(model.spec) == "sj_spikformer8384h8.converted"
    image = _fraction("image", 3 * 48 * 48).reshape(1, 3, 48, 48)
    doubled = {key: value.double() for key, value in state.items()}
    with torch.no_grad():
        logits = model(image)
        eight, twelve = (spikformer_forward(doubled, image, 8, heads, "conv") for heads in (8, 12))
    assert (logits - eight).abs().max() <= 1e-5
    assert (logits - twelve).abs().max() > 1e-3, "another number of heads is another network"


def test_heads_are_refused_where_they_are_known_or_impossible() -> None:
    with pytest.raises(InputError, match="heads is '7'; valid: 6, 8, 12"):
        SpikformerConverter(heads="7")
    with pytest.raises(InputError, match="sj_spikformer4384"):
        SpikformerConverter(heads="8").convert(spikformer_state(4, 384, "linear"))


def test_spikingjellys_own_layout_of_sew_gives_the_same_network(tmp_path: Path) -> None:
    from spikingjelly.activation_based import neuron
    from spikingjelly.activation_based.model.sew_resnet import sew_resnet18

    authors = sew_state(False)
    theirs = sew_resnet18(num_classes=5, cnf="ADD", spiking_neuron=neuron.IFNode).state_dict()
    save_file(dict(zip(theirs, authors.values(), strict=True)), tmp_path / "theirs.safetensors")
    save_file(authors, tmp_path / "authors.safetensors")
    notes = [convert("sew", tmp_path / f"{name}.safetensors", tmp_path / name).note for name in ("theirs", "authors")]
    assert "A ResNet without spikes has the same keys" in notes[0]
    assert "same keys" not in notes[1]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("theirs", "authors")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("converter", "make", "size", "mean", "crop_pct"),
    [
        ("sew", lambda: sew_state(False, 1000), 224, 0.485, 0.875),
        ("qkformer", lambda: qkformer_state(384, 1000), 224, 0.485, 0.875),
        ("spikformer", lambda: spikformer_state(4, 384, "linear", 10), 32, 0.4914, 1.0),
        ("sew", lambda: sew_state(False, 7), 32, 0.0, 1.0),
        ("sdt", lambda: sdt_state(8, 384, AUTHORS_MLP, 1000), 224, 0.485, 0.95),
        ("msresnet", lambda: msresnet_state((2, 2, 2, 2), 1000), 224, 0.485, 0.875),
        ("step", lambda: step_sdt_state(10), 32, 0.4914, 1.0),
    ],
)
def test_images_are_prepared_as_the_authors_do(
    converter: str, make: Callable[[], State], size: int, mean: float, crop_pct: float, tmp_path: Path
) -> None:
    save_file(make(), tmp_path / "x.safetensors")
    convert(converter, tmp_path / "x.safetensors", tmp_path / "out")
    weight = read_config((tmp_path / "out" / "config.json").read_bytes(), "it")
    prepared = weight.preprocessing
    assert (prepared.size, prepared.mean[0], prepared.crop_pct) == (size, mean, crop_pct)
    assert weight.converted is not None
    assert (weight.converted.name, weight.license) == ("x.safetensors", "not stated")


def _cut(state: State, key: str) -> State:
    keys = list(state)
    return {name: state[name] for name in keys[: keys.index(key)]}


def _renamed(state: State, key: str) -> State:
    return {("renamed." + name if name == key else name): value for name, value in state.items()}


MAKERS: dict[str, tuple[Callable[[], State], str]] = {
    "sew": (lambda: sew_state(False), "layer3.0.conv2.module.0.weight"),
    "spikformer": (lambda: spikformer_state(4, 384, "linear"), "block.2.mlp.fc1_linear.weight"),
    "qkformer": (lambda: qkformer_state(384), "stage3.4.attn.k_conv.weight"),
    "sdt": (lambda: sdt_state(8, 384, AUTHORS_MLP), "block.5.mlp.fc2_conv.weight"),
    "msresnet": (lambda: msresnet_state((2, 2, 2, 2)), "conv4_x.1.residual_function.4.weight"),
    "step": (step_spikformer_state, "block.3.attn.proj_linear.weight"),
}


@pytest.mark.parametrize("converter", MAKERS)
def test_foreign_cut_and_renamed_files_name_the_first_wrong_key(converter: str, tmp_path: Path) -> None:
    make, key = MAKERS[converter]
    state = make()
    other = MAKERS["sew" if converter != "sew" else "qkformer"][0]
    misshapen = state | {key: torch.ones(3)}
    cases = [
        (_cut(state, key), f"but {key} is missing"),
        (_renamed(state, key), f"but {key} is missing; it has 'renamed.{key}'"),
        (misshapen, rf"but {key} has the shape \(3,\)"),
        (other(), "is missing; it has '"),
    ]
    for i, (wrong, said) in enumerate(cases):
        save_file(wrong, tmp_path / f"{i}.safetensors")
        with pytest.raises(WeightError, match=said):
            convert(converter, tmp_path / f"{i}.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "neuron", "value", "expected"),
    [
        (step_spikformer_state, "block.2.attn.attn_lif", 1.0, 0.5),
        (step_sdt_state, "block.1.attn.talking_heads_lif", 0.5, 1),
    ],
)
def test_neurons_of_step_with_other_thresholds_are_another_network(
    make: Callable[[], State], neuron: str, value: float, expected: float, tmp_path: Path
) -> None:
    save_file(make() | {f"{neuron}.threshold": torch.tensor(value)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightError, match=rf"{neuron}\.threshold' is {value:g}, and sj_\w+ has {expected:g}"):
        convert("step", tmp_path / "x.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_layouts_of_step_and_of_the_authors_are_told_apart(tmp_path: Path) -> None:
    for reader, state in (("spikformer", step_spikformer_state()), ("step", spikformer_state(4, 384, "linear"))):
        save_file(state, tmp_path / f"{reader}.safetensors")
        with pytest.raises(WeightError, match=r"norm1|threshold"):
            convert(reader, tmp_path / f"{reader}.safetensors", tmp_path / "out")


def test_a_pickle_that_needs_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "x.pth")
    with pytest.raises(WeightError, match=r"torch\.nn\.modules\.linear\.Linear"):
        convert("sew", tmp_path / "x.pth", tmp_path / "out")


@pytest.mark.parametrize("said", ["resnet18-f37072fd", "arch"])
def test_a_resnet_without_spikes_is_refused_by_its_name(said: str, tmp_path: Path) -> None:
    """Its keys and shapes are those of spikingjelly's SEW-ResNet."""
    state = torchvision.models.resnet18(num_classes=2).state_dict()
    file = tmp_path / (f"{said}.pth" if said != "arch" else "last.pth")
    torch.save({"state_dict": state, "arch": "resnet18"} if said == "arch" else state, file)
    with pytest.raises(WeightError, match="without spikes"):
        convert("sew", file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    torch.save(state, tmp_path / "sew_resnet18.pth")
    assert convert("sew", tmp_path / "sew_resnet18.pth", tmp_path / "out").spec_name == "sj_sewresnet18"
