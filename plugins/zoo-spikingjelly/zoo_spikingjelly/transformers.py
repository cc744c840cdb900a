"""The keys of the published Spikformer and QKFormer, and where their values go.

Keys and shapes are those of the authors' repositories: github.com/ZK-Zhou/spikformer (imagenet/model.py and
cifar10/model.py) and github.com/zhouchenlin2096/QKFormer (imagenet/qkformer.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from zoo.blocks import Layout
from zoo_spikingjelly.joins import Join, Shape

MLP_RATIO = 4


@final
@dataclass(frozen=True)
class Transformer:
    """A published transformer.

    Attributes:
        network: of `PUBLISHED`, its name.
        joins: every convolution with its norm.
        width: channels in front of the linear layer.
        unused: published keys that no forward reads, and their shapes.
    """

    network: str
    joins: tuple[Join, ...]
    width: int
    unused: Mapping[str, Shape]

    @property
    def layout(self) -> Layout:
        """All published keys."""
        shapes: dict[str, Shape] = {}
        for join in self.joins:
            shapes |= join.shapes()
        return Layout(
            self.network, shapes | dict(self.unused) | {"head.weight": (None, self.width), "head.bias": (None,)}
        )

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our keys and values, of a state with that layout."""
        ours: dict[str, Tensor] = {}
        for join in self.joins:
            ours |= join.joined(state)
        return ours | {f"head.fc.{name}": state[f"head.{name}"] for name in ("weight", "bias")}

    @property
    def first_conv(self) -> str:
        """The published key of the weight that sees the image."""
        return f"{self.joins[0].theirs[0][0]}.weight"


def spikformer(depth: int, width: int, *, linear: bool) -> Transformer:
    """Of ImageNet, with 1×1 convolutions, or of CIFAR, with matrices instead."""
    joins, unused = [], dict[str, Shape]()
    width_in: int | None = None
    for k, width_out in enumerate((width // 8, width // 4, width // 2, width)):
        number = str(k) if k else ""
        theirs = ((f"patch_embed.proj_conv{number}", f"patch_embed.proj_bn{number}"),)
        ours = f"stages.0.0.stages.{k}.conv_bn.block"
        joins.append(Join((f"{ours}.0", f"{ours}.1"), theirs, width_out, width_in, (3, 3), (3, 3)))
        width_in = width_out
    rpe, ours = (("patch_embed.rpe_conv", "patch_embed.rpe_bn"),), "stages.0.0.positional_encoding.conv_bn.block"
    joins.append(Join((f"{ours}.0", f"{ours}.1"), rpe, width, width, (3, 3), (3, 3)))
    for i in range(depth):
        block, own = f"block.{i}", f"stages.1.{i}"
        kind, ones = ("linear", 0) if linear else ("conv", 1)
        joins += _attention(f"{block}.attn", f"{own}.attn", width, "qkv", kind=kind, kernel=(1,) * ones, biased=linear)
        for number, (inner, outer) in (("1", (width, MLP_RATIO * width)), ("2", (MLP_RATIO * width, width))):
            theirs = ((f"{block}.mlp.fc{number}_{kind}", f"{block}.mlp.fc{number}_bn"),)
            place = (f"{own}.mlp.fc{number}.0", f"{own}.mlp.fc{number}.1")
            joins.append(Join(place, theirs, outer, inner, (1, 1) * ones, (1,), biased=True))
        unused |= {f"{block}.norm{n}.{name}": (width,) for n in (1, 2) for name in ("weight", "bias")}
    return Transformer(f"spikformer{depth}{width}", tuple(joins), width, unused)


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


def qkformer(width: int) -> Transformer:
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
    return Transformer(f"qkformer10{width}", tuple(joins), width, {})


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
