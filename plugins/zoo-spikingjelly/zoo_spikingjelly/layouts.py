"""The keys of published networks, and where their values go.

Keys and shapes are those of the authors' repositories: github.com/ZK-Zhou/spikformer (imagenet/model.py and
cifar10/model.py), github.com/zhouchenlin2096/QKFormer (imagenet/qkformer.py),
github.com/BICLab/Spike-Driven-Transformer (model/spikeformer.py, module/ms_conv.py and module/sps.py),
github.com/Ariande1/MS-ResNet (models/MS_ResNet.py) and github.com/Fancyssc/STEP (spikformer_cifar.py and sdt_cifar.py
of cls/models/static), with the neurons of github.com/BrainCog-X/Brain-Cog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor
from zoo_convert import Layout

from zoo_spikingjelly.joins import Join, Shape

MLP_RATIO = 4
SDT_HEADS = 8
MS_RESNETS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Blocks in each stage."""
PATCH_NEURONS = ("proj_lif", "proj_lif1", "proj_lif2", "proj_lif3", "rpe_lif")


@final
@dataclass(frozen=True)
class Keys:
    """The keys of a published network.

    Attributes:
        network: of `PUBLISHED`, its name.
        joins: every convolution with its norm.
        width: channels in front of the linear layer.
        unused: published keys that no forward reads, and their shapes.
        head: the published key of the linear layer.
    """

    network: str
    joins: tuple[Join, ...]
    width: int
    unused: Mapping[str, Shape]
    head: str = "head"

    @property
    def layout(self) -> Layout:
        """All published keys."""
        shapes: dict[str, Shape] = {}
        for join in self.joins:
            shapes |= join.shapes()
        head: dict[str, Shape] = {f"{self.head}.weight": (None, self.width), f"{self.head}.bias": (None,)}
        return Layout(self.network, shapes | dict(self.unused) | head)

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our keys and values, of a state with that layout."""
        ours: dict[str, Tensor] = {}
        for join in self.joins:
            ours |= join.joined(state)
        return ours | {f"head.fc.{name}": state[f"{self.head}.{name}"] for name in ("weight", "bias")}

    @property
    def first_conv(self) -> str:
        """The published key of the weight that sees the image."""
        return f"{self.joins[0].theirs[0][0]}.weight"


def spikformer(depth: int, width: int, *, linear: bool, step: bool = False) -> Keys:
    """Of ImageNet, with 1×1 convolutions, or of CIFAR, with matrices instead; of the authors, or of STEP."""
    places = [f"stages.0.0.stages.{k}.conv_bn.block" for k in range(4)]
    places.append("stages.0.0.positional_encoding.conv_bn.block")
    joins = _plain_patches(width, [(f"{place}.0", f"{place}.1") for place in places])
    unused: dict[str, Shape] = {}
    if step:
        unused |= _neurons("patch_embed", PATCH_NEURONS)
    for i in range(depth):
        block = f"block.{i}"
        joins += _spikformer_block(block, f"stages.1.{i}", width, linear)
        if step:
            unused |= _neurons(f"{block}.attn", ("q_lif", "k_lif", "v_lif", "attn_lif", "proj_lif"))
            unused |= _neurons(f"{block}.mlp", ("fc1_lif", "fc2_lif"))
        else:
            unused |= {f"{block}.norm{n}.{name}": (width,) for n in (1, 2) for name in ("weight", "bias")}
    return Keys(f"spikformer{depth}{width}", tuple(joins), width, unused)


def _spikformer_block(block: str, own: str, width: int, linear: bool) -> list[Join]:
    """Attention and the two layers behind it, under their prefix and ours."""
    kind = "linear" if linear else "conv"
    kernel = () if linear else (1,)
    joins = _attention(f"{block}.attn", f"{own}.attn", width, "qkv", kind=kind, kernel=kernel, biased=linear)
    inner_width = MLP_RATIO * width
    for number, inputs, outputs in (("1", width, inner_width), ("2", inner_width, width)):
        theirs = ((f"{block}.mlp.fc{number}_{kind}", f"{block}.mlp.fc{number}_bn"),)
        place = (f"{own}.mlp.fc{number}.0", f"{own}.mlp.fc{number}.1")
        joins.append(Join(place, theirs, outputs, inputs, kernel * 2, (1,), biased=True))
    return joins


def sdt(depth: int, width: int, *, step: bool = False) -> Keys:
    """Spike-driven Transformer, of the authors or of STEP; neither reads the convolution over heads that it holds."""
    ours = "stages.0.0"
    places = [(f"{ours}.stages.{k}.0", f"{ours}.stages.{k}.1") for k in range(3)]
    places += [(f"{ours}.final_stage.0", f"{ours}.final_stage.1"), (f"{ours}.rpe_conv", f"{ours}.rpe_bn")]
    joins = _plain_patches(width, places, our_bias=True)
    unused = _neurons("patch_embed", PATCH_NEURONS) if step else {}
    for i in range(depth):
        block, own = f"block.{i}", f"stages.1.{i}"
        for part in ("q", "k", "v", "proj"):
            conv, norm, biased = f"attn.{part}_conv", f"attn.{part}_bn", part == "proj"
            place, theirs = (f"{own}.{conv}", f"{own}.{norm}"), ((f"{block}.{conv}", f"{block}.{norm}"),)
            joins.append(Join(place, theirs, width, width, (1, 1), (1, 1), biased=biased, our_bias=biased))
        for n, (inner, outer) in ((1, (width, MLP_RATIO * width)), (2, (MLP_RATIO * width, width))):
            conv, norm = (f"fc_conv{n}", f"fc_bn{n}") if step else (f"fc{n}_conv", f"fc{n}_bn")
            place, theirs = (f"{own}.mlp.fc{n}", f"{own}.mlp.bn{n}"), ((f"{block}.mlp.{conv}", f"{block}.mlp.{norm}"),)
            joins.append(Join(place, theirs, outer, inner, (1, 1), (1, 1), biased=True, our_bias=True))
        unused[f"{block}.attn.talking_heads.weight"] = (SDT_HEADS, SDT_HEADS, 1)
        if step:
            lifs = ("q_lif", "k_lif", "v_lif", "attn_lif", "talking_heads_lif", "shortcut_lif")
            unused |= _neurons(f"{block}.attn", lifs) | _neurons(f"{block}.mlp", ("fc_lif1", "fc_lif2"))
    if step:
        unused |= _neurons("", ("head_lif",))
    return Keys(f"sdt{depth}{width}{'step' if step else ''}", tuple(joins), width, unused)


def msresnet(size: int) -> Keys:
    """MS-ResNet-18 or 34."""
    joins = [Join(("stages.0.0", "stages.0.1"), (("conv1.0", "conv1.1.bn"),), 64, None, (7, 7), (7, 7))]
    inner = 64
    for i, (count, width) in enumerate(zip(MS_RESNETS[size], (64, 128, 256, 512), strict=True)):
        for j in range(count):
            block, own = f"conv{i + 2}_x.{j}", f"stages.{i + 1}.{j}"
            for n, (inputs, place) in ((1, (inner, 1)), (2, (width, 4))):
                theirs = ((f"{block}.residual_function.{place}", f"{block}.residual_function.{place + 1}.bn"),)
                joins.append(Join((f"{own}.conv{n}", f"{own}.bn{n}"), theirs, width, inputs, (3, 3), (3, 3)))
            if j == 0:
                theirs, shortcut = ((f"{block}.shortcut.0", f"{block}.shortcut.1.bn"),), f"{own}.downsample"
                joins.append(Join((f"{shortcut}.0", f"{shortcut}.1"), theirs, width, inner, (1, 1), (1, 1)))
            inner = width
    return Keys(f"msresnet{size}", tuple(joins), 512, {}, head="fc")


def _plain_patches(width: int, places: Sequence[tuple[str, str]], *, our_bias: bool = False) -> list[Join]:
    """Four convolutions to the whole width, and the one that tells positions apart."""
    names = [(f"proj_conv{number}", f"proj_bn{number}") for number in ("", "1", "2", "3")] + [("rpe_conv", "rpe_bn")]
    widths = (None, width // 8, width // 4, width // 2, width, width)
    joins = []
    for k, ((conv, norm), place) in enumerate(zip(names, places, strict=True)):
        theirs, bias = ((f"patch_embed.{conv}", f"patch_embed.{norm}"),), our_bias and conv != "rpe_conv"
        joins.append(Join(place, theirs, widths[k + 1] or width, widths[k], (3, 3), (3, 3), our_bias=bias))
    return joins


def _neurons(prefix: str, names: Sequence[str]) -> dict[str, Shape]:
    """State of BrainCog's neurons: the threshold, and the slope of the gradient that stands in for the spike's."""
    places = [f"{prefix}.{name}" if prefix else name for name in names]
    return {f"{place}.{value}": () for place in places for value in ("threshold", "act_fun.alpha")}


def _attention(
    theirs: str, ours: str, width: int, parts: str, *, kind: str, kernel: tuple[int, ...], biased: bool
) -> list[Join]:
    """q, k and maybe v, which are one convolution of ours, and the projection behind them."""
    stacked = tuple((f"{theirs}.{part}_{kind}", f"{theirs}.{part}_bn") for part in parts)
    projection = ((f"{theirs}.proj_{kind}", f"{theirs}.proj_bn"),)
    own, out = f"{ours}.{parts}_conv_bn", f"{ours}.proj_conv_bn"
    return [
        Join((f"{own}.0", f"{own}.1"), stacked, width, width, kernel, (1,), biased=biased),
        Join((f"{out}.0", f"{out}.1"), projection, width, width, kernel, (1,), biased=True),
    ]


def qkformer(width: int) -> Keys:
    """Three stages of 1, 2 and 7 blocks; the first two attend by q and k alone."""
    joins: list[Join] = []
    width_in: int | None = None
    for i, count in enumerate((1, 2, 7)):
        width_out = width // 4 * 2**i
        joins += _patches(f"patch_embed{i + 1}", f"stages.{i}.0", width_in, width_out)
        attention, parts = ("attn", "qkv") if i == 2 else ("tssa", "qk")
        for j in range(count):
            block, own = f"stage{i + 1}.{j}", f"stages.{i}.{j + 1}"
            joins += _attention(
                f"{block}.{attention}", f"{own}.attn", width_out, parts, kind="conv", kernel=(1,), biased=False
            )
            for n, (inner, outer) in ((1, (width_out, MLP_RATIO * width_out)), (2, (MLP_RATIO * width_out, width_out))):
                theirs = ((f"{block}.mlp.fc{n}_conv", f"{block}.mlp.fc{n}_bn"),)
                place = (f"{own}.mlp.fc{n}", f"{own}.mlp.bn{n}")
                joins.append(Join(place, theirs, outer, inner, (1, 1), (1,), biased=True, our_bias=True))
        width_in = width_out
    return Keys(f"qkformer10{width}", tuple(joins), width, {})


def _patches(theirs: str, ours: str, width_in: int | None, width: int) -> list[Join]:
    """The patches of a stage; those of the first one begin with a convolution of the image, half as wide."""
    first = [("proj", "1", width // 2, None)] if width_in is None else []
    inner = width // 2 if width_in is None else width_in
    second, third = ("proj1", "proj2") if width_in is None else ("proj3", "proj4")
    place = 2 if width_in is None else 1
    layers: list[tuple[str, str, int, int | None]] = [
        *first,
        (second, str(place), width, inner),
        (third, str(place + 1), width, width),
    ]
    joins = [
        Join(
            (f"{ours}.conv{number}", f"{ours}.bn{number}"),
            ((f"{theirs}.{name}_conv", f"{theirs}.{name}_bn"),),
            outputs,
            inputs,
            (3, 3),
            (3, 3),
            our_bias=True,
        )
        for name, number, outputs, inputs in layers
    ]
    shortcut = (f"{ours}.shortcut.0", f"{ours}.shortcut.1")
    residual = ((f"{theirs}.proj_res_conv", f"{theirs}.proj_res_bn"),)
    return [*joins, Join(shortcut, residual, width, inner, (1, 1), (1, 1), our_bias=True)]
