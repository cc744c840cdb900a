"""Parameters and multiply-accumulates, by branch and by layer.

fvcore counts the MACs of one image (paper, table 3): eval mode, batch 1; `macs` covers all T timesteps,
`macs_per_timestep` is analog + spiking / T. What lies in neither branch counts as analog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from zoo.catalog.records import Counts
from zoo.contracts.classifier import Branch, ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.family import DEFAULT_IMAGE_SIZE
from zoo.errors import CountingError, InputError
from zoo.families.numbers import in_spikes
from zoo.profiling.prices import NEURONS

if TYPE_CHECKING:
    from fvcore.nn import FlopCountAnalysis

_PRODUCTS = ("conv", "linear", "addmm", "mm", "matmul", "bmm", "einsum")


@dataclass(frozen=True)
class Cost:
    """Raw integers; `unsupported` lists the operations that fvcore left out, with their counts."""

    params: int
    image_size: int
    timesteps: int
    macs: int
    macs_analog: int
    macs_spiking: int
    macs_per_timestep: int
    unsupported: dict[str, int]

    @property
    def counts(self) -> Counts:
        """What records hold of it."""
        return Counts.model_validate({name: getattr(self, name) for name in Counts.model_fields})


@final
@dataclass(frozen=True)
class Layer:
    """A module without children, an encoder, decoder or neuron, or another module with parameters or MACs of its own.

    MACs are fvcore's and, as outputs, those of one image in all timesteps; parameters are the module's own.
    """

    name: str
    kind: str
    branch: Branch
    params: int
    macs: int
    outputs: int


def blank_image(model: ImageClassifier, image_size: int) -> Tensor:
    """Return zeros, one input of that size, of the model's type and device.

    Raises:
        InputError: the model is on the meta device.
    """
    weights = next(model.parameters())
    if weights.is_meta:
        raise InputError(f"{model.spec} is on the meta device, which cannot be traced; build it on 'cpu'")
    return torch.zeros(1, *model.input_axes, image_size, image_size, dtype=weights.dtype, device=weights.device)


def count_macs(model: ImageClassifier, image_size: int) -> FlopCountAnalysis:
    """Count one image with fvcore; every module's mode is restored afterwards.

    Raises:
        CountingError: fvcore cannot trace with this torch.
        InputError: the model is on the meta device, or needs a larger image.
    """
    if not hasattr(torch.jit, "_get_trace_graph"):  # private in torch, and the only way that fvcore has
        lacks = f"torch {torch.__version__} lacks torch.jit._get_trace_graph"
        raise CountingError(f"fvcore cannot count operations here: {lacks}; update fvcore, or take an older torch")
    from fvcore.nn import FlopCountAnalysis

    model = in_spikes(model)
    with model.evaluating():
        analysis = FlopCountAnalysis(model, blank_image(model, image_size))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    return analysis


def count_products(analysis: FlopCountAnalysis) -> int:
    """Sum the MACs of convolutions, linear layers and products of matrices."""
    return sum(int(macs) for name, macs in analysis.by_operator().items() if name in _PRODUCTS)


def count_cost(
    model: ImageClassifier, image_size: int = DEFAULT_IMAGE_SIZE, analysis: FlopCountAnalysis | None = None
) -> Cost:
    """Count one image of `image_size` pixels a side, from `analysis` if that is there already.

    Raises:
        InputError: the model is on the meta device, or needs a larger image.
    """
    analysis = analysis or count_macs(model, image_size)
    by_module = analysis.by_module()
    total, spiking = int(by_module[""]), sum(int(by_module[name]) for name in model.spiking_module_names)
    return Cost(
        params=sum(p.numel() for p in model.parameters()),
        image_size=image_size,
        timesteps=model.timesteps,
        macs=total,
        macs_analog=total - spiking,
        macs_spiking=spiking,
        macs_per_timestep=round(total - spiking + spiking / model.timesteps),
        unsupported=dict(analysis.unsupported_ops()),
    )


def list_layers(model: ImageClassifier, macs: Mapping[str, int], outputs: Mapping[str, int]) -> tuple[Layer, ...]:
    """List every layer in the order of the network, from MACs and outputs by module name; they add up to its own."""
    layers: list[Layer] = []
    inside: str | None = None  # prefix of the parts of an encoder, decoder or neuron: a surrogate is not a layer
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        inner = [f"{prefix}{child}" for child, _ in module.named_children()]
        params = sum(p.numel() for p in module.parameters(recurse=False))
        own_macs = int(macs.get(name, 0) - sum(macs.get(child, 0) for child in inner))
        coder_or_neuron = isinstance(module, (Encoder, Decoder, *NEURONS))
        part = inside is not None and name.startswith(inside)
        if coder_or_neuron or (not inner and not part) or params or own_macs:
            kind, branch = type(module).__name__, model.branch_of(name)
            layers.append(Layer(name, kind, branch, params, own_macs, outputs.get(name, 0)))
        inside = prefix if coder_or_neuron else inside
    return tuple(layers)
