"""Parameters and multiply-accumulates, by branch and by layer, as fvcore counts them.

Conventions (paper, table 3): eval mode, batch 1; `macs` covers all T timesteps, `macs_per_timestep` is
analog + spiking / T. What lies in neither branch counts as analog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import torch
from fvcore.nn import FlopCountAnalysis
from spikingjelly.activation_based import neuron
from torch import Tensor

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE
from zoo.errors import InputError

NEURONS = (Neuron, neuron.BaseNode)
"""Layers of neurons: the zoo's contract, and spikingjelly's own nodes."""

_PRODUCTS = ("conv", "linear", "addmm", "mm", "matmul", "bmm", "einsum")

Branch = Literal["analog", "spiking"]


def branch_of(name: str, model: ImageClassifier) -> Branch:
    """Return the branch in which a module or parameter of that name lies."""
    return "spiking" if any(f"{name}.".startswith(f"{prefix}.") for prefix in model.spiking_module_names) else "analog"


def blank_images(model: ImageClassifier, image_size: int, count: int = 1) -> Tensor:
    """Return zeros (count, in_chans, image_size, image_size) of the model's type and device.

    Raises:
        InputError: the model is on the meta device.
    """
    weights = next(model.parameters())
    if weights.is_meta:
        raise InputError(f"{model.spec} is on the meta device, where nothing can be traced; build it on 'cpu'")
    return torch.zeros(count, model.in_chans, image_size, image_size, dtype=weights.dtype, device=weights.device)


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

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return asdict(self)


@final
@dataclass(frozen=True)
class Layer:
    """A module without children, an encoder, decoder or neuron, or another module with parameters or MACs of its own.

    Attributes:
        name: the module's.
        kind: its class.
        branch: 'spiking', or 'analog' for what lies outside the spiking branch.
        params: its own.
        macs: as fvcore counts them, all timesteps of one image.
        outputs: values that it returns for one image, all timesteps.
    """

    name: str
    kind: str
    branch: Branch
    params: int
    macs: int
    outputs: int


@final
@dataclass(frozen=True)
class Counts:
    """The counts of fvcore.

    Attributes:
        by_module: MACs by module name; '' for all.
        by_operator: MACs by fvcore's name of the operation.
        unsupported: the operations that it left out, with numbers of calls.
    """

    by_module: Mapping[str, int]
    by_operator: Mapping[str, int]
    unsupported: dict[str, int]

    @property
    def products(self) -> int:
        """MACs of convolutions, linear layers and products of matrices."""
        return sum(self.by_operator.get(name, 0) for name in _PRODUCTS)


def count_macs(model: ImageClassifier, image_size: int) -> Counts:
    """Count one image with fvcore; every module's mode is restored afterwards.

    Raises:
        InputError: the model is on the meta device, or needs a larger image.
    """
    image = blank_images(model, image_size)
    with model.evaluating():
        analysis = FlopCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_module = {name: int(macs) for name, macs in analysis.by_module().items()}
        by_operator = {name: int(macs) for name, macs in analysis.by_operator().items()}
        return Counts(by_module, by_operator, dict(analysis.unsupported_ops()))


def cost_of(model: ImageClassifier, image_size: int, counts: Counts) -> Cost:
    """Return the cost that follows from these counts."""
    total = counts.by_module[""]
    spiking = sum(counts.by_module[name] for name in model.spiking_module_names)
    return Cost(
        params=sum(p.numel() for p in model.parameters()),
        image_size=image_size,
        timesteps=model.timesteps,
        macs=total,
        macs_analog=total - spiking,
        macs_spiking=spiking,
        macs_per_timestep=round(total - spiking + spiking / model.timesteps),
        unsupported=counts.unsupported,
    )


def count_cost(model: ImageClassifier, image_size: int = DEFAULT_IMAGE_SIZE) -> Cost:
    """Count one image of `image_size` pixels a side; every module's mode is restored afterwards.

    Raises:
        InputError: the model is on the meta device, or needs a larger image.
    """
    return cost_of(model, image_size, count_macs(model, image_size))


def params_by_branch(model: ImageClassifier) -> dict[Branch, int]:
    """Count the parameters of each branch."""
    params: dict[Branch, int] = {"analog": 0, "spiking": 0}
    for name, parameter in model.named_parameters():
        params[branch_of(name, model)] += parameter.numel()
    return params


def list_layers(model: ImageClassifier, by_module: Mapping[str, int], outputs: Mapping[str, int]) -> tuple[Layer, ...]:
    """List every layer in the order of the network; their parameters and MACs add up to the network's.

    A module with children is listed only if it has parameters or MACs of its own.

    Args:
        model: the network.
        by_module: MACs by module name.
        outputs: values returned for one image, by module name.
    """
    layers: list[Layer] = []
    inside: str | None = None  # prefix of the parts of an encoder, decoder or neuron: a surrogate is not a layer
    for name, module in model.named_modules():
        inner = [child for child, _ in module.named_children()]
        params = sum(p.numel() for p in module.parameters(recurse=False))
        prefix = f"{name}." if name else ""
        macs = by_module.get(name, 0) - sum(by_module.get(f"{prefix}{child}", 0) for child in inner)
        counted_whole = isinstance(module, (Encoder, Decoder, *NEURONS))
        part = inside is not None and name.startswith(inside)
        if counted_whole or (not inner and not part) or params or macs:
            kind, branch = type(module).__name__, branch_of(name, model)
            layers.append(Layer(name, kind, branch, params, macs, outputs.get(name, 0)))
        inside = prefix if counted_whole else inside
    return tuple(layers)
