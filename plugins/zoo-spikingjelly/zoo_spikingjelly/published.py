"""The networks that spikingjelly builds, as their papers describe them. Loads no torch.

A network's name is that of spikingjelly's function without underscores: `qkformer_10_384` is `sj_qkformer10384`. Sizes
that spikingjelly has no function for are built by its classes, and named as their authors name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final


@final
@dataclass(frozen=True)
class Level:
    """One feature level.

    Attributes:
        modules: of spikingjelly's network, in the order in which they run.
        channels: after them.
        reduction: input pixels per feature pixel.
    """

    modules: tuple[str, ...]
    channels: int
    reduction: int


@final
@dataclass(frozen=True)
class Published:
    """A network of spikingjelly.

    Attributes:
        builder: `module:function` inside spikingjelly.activation_based.model.
        paper: where it comes from.
        timesteps: T of the paper's image experiments.
        levels: everything before the classifier; together every layer that has parameters.
        arguments: of the function, beside the number of classes.
        head_neuron: the module that fires between pooling and the mean over T; '' for none.
        dropout: in front of the linear layer.
        head_std: standard deviation of the linear layer's first weights; None for torch's own choice.
        control: the same network without spikes, by name.
        settings: further arguments of the builder, where it is a class.
        title: the name behind `sj_` where the builder is a class.
        late_pooling: whether spikes are pooled, as in the authors' Spikformer, and not what the neurons are fed.
    """

    builder: str
    paper: str
    timesteps: int
    levels: tuple[Level, ...]
    arguments: tuple[str, ...] = ("T", "in_channels")
    head_neuron: str = ""
    dropout: float = 0.0
    head_std: float | None = None
    control: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    late_pooling: bool = False

    @property
    def name(self) -> str:
        """As it stands behind `sj_`."""
        return self.title or self.builder.partition(":")[2].replace("_", "")


_SEW, _MEMBRANE, _ATTENTION = "arXiv:2102.04159", "arXiv:2112.08954", "arXiv:2209.13929"
_SPIKFORMER, _QKFORMER, _SDT, _MAX = "arXiv:2209.15425", "arXiv:2403.16552", "arXiv:2307.01694", "arXiv:2505.18608"

_STEP = "arXiv:2505.11151"
_SDT_CLASS = "spike_driven_transformer:SpikeDrivenTransformer"

_WIDTHS = (64, 128, 256, 512)
_IN_ZOO = ("18", "34", "50")  # sizes that the zoo has without spikes


def _residual(kind: str, size: str) -> Published:
    """SEW-ResNet (ADD) or Spiking ResNet, with the SEW paper's IF neurons."""
    wide = 4 if int(size) >= 50 else 1
    levels = [Level(("conv1", "bn1", "sn1", "maxpool"), 64, 4)]
    levels += [Level((f"layer{i + 1}",), wide * width, 4 * 2**i) for i, width in enumerate(_WIDTHS)]
    control = f"ann_resnet{size}" if size in _IN_ZOO else None
    arguments = ("cnf", "spiking_neuron") if kind == "sew" else ("spiking_neuron",)
    return Published(f"{kind}_resnet:{kind}_resnet{size}", _SEW, 4, tuple(levels), arguments, control=control)


def _membrane(
    builder: str, paper: str, timesteps: int, widths: tuple[int, ...], reductions: tuple[int, ...], dropout: float = 0.0
) -> Published:
    """Residuals added to the membrane; the last stage ends with the neuron that fires into the classifier."""
    last = len(widths) - 1
    names = [("stem",), *((f"layer{i}",) for i in range(1, last)), (f"layer{last}", "head_lif")]
    levels = tuple(Level(*fields) for fields in zip(names, widths, reductions, strict=True))
    return Published(builder, paper, timesteps, levels, dropout=dropout)


def _spikformer(
    builder: str, width: int, reduction: int, arguments: tuple[str, ...] = ("T", "in_channels")
) -> Published:
    """Patches, then blocks of one width."""
    return Published(builder, _SPIKFORMER, 4, _flat(width, reduction), arguments, head_std=0.02)


def _authors_spikformer(depth: int, width: int, heads: int, patch: int, title: str = "") -> Published:
    """A size that spikingjelly has no function for; its authors pool spikes."""
    settings = {"depths": depth, "embed_dims": width, "num_heads": heads, "patch_size": patch}
    levels, title = _flat(width, patch), title or f"spikformer{depth}{width}"
    return Published(
        "spikformer:Spikformer",
        _SPIKFORMER,
        4,
        levels,
        head_std=0.02,
        settings=settings,
        title=title,
        late_pooling=True,
    )


def _authors_qkformer(width: int, heads: int) -> Published:
    """A width that spikingjelly has no function for."""
    settings = {"embed_dims": width, "num_heads": (heads,) * 3}
    levels = tuple(Level((f"patch_embed{i + 1}", f"stage{i + 1}"), width // 4 * 2**i, 4 * 2**i) for i in range(3))
    return Published("qkformer:QKFormer", _QKFORMER, 4, levels, settings=settings, title=f"qkformer10{width}")


def _authors_sdt(depth: int, width: int) -> Published:
    """A size of ImageNet that spikingjelly has no function for."""
    settings = {"depths": depth, "embed_dims": width, "num_heads": 8, "detach_reset": True}
    levels, title = _flat(width, 16), f"sdt{depth}{width}"
    return Published(_SDT_CLASS, _SDT, 4, levels, head_neuron="head_lif", settings=settings, title=title)


def _step_sdt() -> Published:
    """STEP's of CIFAR: two poolings less, and every neuron has the threshold 1, in attention too."""
    settings = {
        "depths": 2,
        "embed_dims": 512,
        "num_heads": 8,
        "pooling_stat": "0011",
        "v_threshold": 1.0,
        "detach_reset": True,
    }
    return Published(
        _SDT_CLASS, _STEP, 4, _flat(512, 4), head_neuron="head_lif", settings=settings, title="sdt2512step"
    )


def _flat(width: int, reduction: int) -> tuple[Level, ...]:
    return Level(("patch_embed",), width, reduction), Level(("blocks",), width, reduction)


def _hierarchical(
    builder: str, paper: str, reduction: int, head_neuron: str = "", head_std: float | None = None
) -> Published:
    """Three stages of patches and blocks, each of half the resolution and twice the width."""
    levels = tuple(Level((f"patch_embed{i + 1}", f"stage{i + 1}"), 96 * 2**i, reduction * 2**i) for i in range(3))
    return Published(builder, paper, 4, levels, head_neuron=head_neuron, head_std=head_std)


HEADS_OF_8_384 = (6, 8, 12)
"""Heads of 64, 48 and 32 channels: nothing public says how many Spikformer-8-384 was trained with."""

_ALL = (
    *(_residual(kind, size) for kind in ("sew", "spiking") for size in ("18", "34", "50", "101", "152")),
    _membrane("ms_resnet:ms_resnet18", _MEMBRANE, 6, (64, *_WIDTHS), (2, 4, 8, 16, 32)),
    _membrane("ms_resnet:ms_resnet34", _MEMBRANE, 6, (64, *_WIDTHS), (2, 4, 8, 16, 32)),
    _membrane("ms_resnet:max_resnet18", _MAX, 4, (64, 128, 256, 512), (1, 1, 2, 4)),
    _membrane("masnn:att_ms_resnet18", _ATTENTION, 1, (64, *_WIDTHS), (2, 4, 8, 16, 32), dropout=0.2),
    _spikformer("spikformer:spikformer_ti", 256, 16),
    _spikformer("spikformer:spikformer_s", 384, 16),
    _spikformer("spikformer:spikformer_cifar10", 384, 4, arguments=("T",)),
    Published("spike_driven_transformer:sdt_8_384", _SDT, 4, _flat(384, 16), head_neuron="head_lif"),
    *(_authors_sdt(depth, width) for depth, width in ((6, 512), (8, 512), (10, 512), (8, 768))),
    _step_sdt(),
    _authors_spikformer(2, 384, 12, 4),
    _authors_spikformer(4, 384, 12, 4),
    *(_authors_spikformer(8, 384, heads, 16, f"spikformer8384h{heads}") for heads in HEADS_OF_8_384),
    _authors_spikformer(6, 512, 8, 16),
    _authors_spikformer(8, 512, 8, 16),
    _authors_spikformer(10, 512, 8, 16),
    _authors_spikformer(8, 768, 12, 16),
    _hierarchical("qkformer:qkformer_10_384", _QKFORMER, 4),
    _authors_qkformer(512, 8),
    _authors_qkformer(768, 12),
    _hierarchical("maxformer:maxformer_10_384", _MAX, 4, head_neuron="head_lif"),
    _hierarchical("maxformer:maxformer_cifar", _MAX, 1, head_neuron="head_lif", head_std=0.02),
)

PUBLISHED = {network.name: network for network in _ALL}
"""By name."""
