"""What a network without spikes costs on frames if its layers send changes (sigma-delta, arXiv:1611.02024).

Layer by layer, for frame t: k_t = round(x_t / q) in whole numbers, and y_t = y_{t−1} + W · q (k_t − k_{t−1}). That is
W · q k_t, so answers are those of the quantised network, frame by frame, and numbers that stay cost no product. Changes
are signed and graded: one of ±1 is an addition, any other a multiplication.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import starmap
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from zoo.blocks import only_definitions
from zoo.contracts import ImageClassifier
from zoo.errors import InputError, check_count

MOST_LEVELS = 255


@final
@dataclass(frozen=True)
class Products:
    """Whole numbers that are not 0, and pairs of one and a weight that it meets.

    Attributes:
        numbers: that are not 0.
        set_bits: of all of them.
        total: sum of all of them, without signs.
        additions: of the numbers 1 and −1.
        multiplications: of all other numbers.
        bits: additions of both if a number is multiplied bit by bit, one for every set bit.
        spikes: additions of both if a number n is sent as |n| spikes of its sign.
    """

    numbers: int = 0
    set_bits: int = 0
    total: int = 0
    additions: int = 0
    multiplications: int = 0
    bits: int = 0
    spikes: int = 0

    def __add__(self, other: Products) -> Products:
        return Products(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def pairs(self) -> int:
        """All of them."""
        return self.additions + self.multiplications


@final
@dataclass(frozen=True)
class LayerChanges:
    """Counts of one layer over all frames but the first, which has none before it.

    Attributes:
        name: of the module.
        levels: the largest number; a change is as large, with a sign.
        dense: pairs with zeros and padding too.
        inputs: numbers that come in.
        outputs: sums.
        frames: products of the network that is run frame by frame and skips zeros.
        changes: products of the network that sends changes.
        accesses: values that the latter reads and writes of those that it keeps: every last number is read, those that
            changed are written, and sums that a change meets are read and written once.
    """

    name: str
    levels: int
    dense: int
    inputs: int
    outputs: int
    frames: Products
    changes: Products
    accesses: int

    @property
    def kept(self) -> int:
        """Values that the network which sends changes keeps from frame to frame: last numbers and sums."""
        return self.inputs + self.outputs


@final
@dataclass(frozen=True)
class Changes:
    """What `count_changes` found.

    Attributes:
        layers: counts of every layer.
        count: frames that are counted, N · (T − 1).
        answers: logits (N, T, classes) of the network that sends changes.
        quantised: of the same numbers, frame by frame.
        exact: of the network itself.
    """

    layers: tuple[LayerChanges, ...]
    count: int
    answers: Tensor
    quantised: Tensor
    exact: Tensor

    def per_frame(self, read: Callable[[LayerChanges], int]) -> float:
        """Sum a count over all layers, and divide it by the frames."""
        return sum(map(read, self.layers)) / self.count


def count_changes(model: ImageClassifier, frames: Tensor, levels: int = MOST_LEVELS) -> Changes:
    """Run a network frame by frame, and again by changes between frames; count the products of both.

    Everything is computed in float64, so that answers of the two differ by less than 1e-9 of the largest logit, unless
    that moves a value over the border between two numbers; the network itself differs by the rounding to these.

    Example:
        >>> import torch, zoo
        >>> model = zoo.create_model("ann_resnetsmall_b2_m1_d1", num_classes=3).eval()
        >>> still = torch.rand(1, 1, 3, 8, 8).expand(1, 4, 3, 8, 8)
        >>> count_changes(model, still).per_frame(lambda layer: layer.changes.pairs)
        0.0

    Args:
        model: one without spikes, such as `ann_…`, in eval mode.
        frames: (N, T, C, H, W), prepared as the model takes images; T of 2 or more.
        levels: whole numbers that the largest input of a layer in these frames is divided into; layers that see the
            frames have 255, as pixels have.

    Raises:
        InputError: the network has spikes, is in training mode, multiplies outside of convolutions and linear layers,
            or calls one twice; or the frames do not fit.
        CompositionError: levels out of range.
    """
    check_count("levels", levels, 1, MOST_LEVELS)
    if model.spiking_module_names or model.training:
        raise InputError(f"{model.spec} must be a network without spikes, such as ann_resnetsmall_b16_m2_d4, in eval()")
    if frames.dim() != 5 or frames.shape[1] < 2:
        raise InputError(f"changes are counted of frames (N, T, C, H, W), T of 2 or more, not {tuple(frames.shape)}")
    model.check_image(frames[:, 0], values=True)
    exact = copy.deepcopy(model).double()
    frames = frames.double()
    with torch.no_grad():
        largest = _largest_inputs(exact, frames)
        levels_of = dict.fromkeys(largest, levels) | dict.fromkeys(model.first_conv_names, MOST_LEVELS)
        whole, sending = (_with_numbers(exact, largest, levels_of, remembers) for remembers in (False, True))
        logits = [torch.stack([network(frame) for frame in frames.unbind(1)], 1) for network in (sending, whole, exact)]
        with only_definitions(), FlopCounterMode(display=False) as counter:
            exact(frames[:, 0])
    pairs = [(name, _layer_at(whole, name), _layer_at(sending, name)) for name in largest]
    if 2 * sum(layer.dense[0] for _, layer, _ in pairs) != counter.get_total_flops():
        raise InputError(f"{model.spec} has products outside of its layers, or calls a layer twice a frame")
    layers = tuple(starmap(_compare, pairs))
    return Changes(layers, len(frames) * (frames.shape[1] - 1), *logits)


def _compare(name: str, whole: _NumberLayer, sending: _NumberLayer) -> LayerChanges:
    frames, changes = (sum(layer.products[1:], Products()) for layer in (whole, sending))
    inputs, outputs, dense = (sum(counts[1:]) for counts in (whole.inputs, whole.outputs, whole.dense))
    return LayerChanges(name, whole.levels, dense, inputs, outputs, frames, changes, sum(sending.accesses[1:]))


def _layer_at(network: nn.Module, name: str) -> _NumberLayer:
    return cast(_NumberLayer, network.get_submodule(name))


@final
class _NumberLayer(nn.Module):
    """A convolution or linear layer that takes in whole numbers, or what changed of them; each call is a frame."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, largest: float, levels: int, remembers: bool) -> None:
        super().__init__()
        self.layer, self.levels, self.remembers = layer, levels, remembers
        self.step = largest / levels or 1.0
        self.numbers: Tensor | None = None
        self.total: Tensor | None = None
        self.products: list[Products] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.dense: list[int] = []
        self.accesses: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        sent = numbers = (x / self.step).round()
        if self.remembers and self.numbers is not None:
            sent = numbers - self.numbers
        total = self.layer(sent * self.step)
        if self.remembers and self.total is not None:
            total = self.total + total - self._bias()
        self.numbers, self.total = numbers, total
        self.products.append(_count(self.layer, sent.abs()))
        self.inputs.append(numbers.numel())
        self.outputs.append(total.numel())
        self.dense.append(total.numel() * self.layer.weight[0].numel())
        self.accesses.append(sent.numel() + int(sent.count_nonzero()) + 2 * _count_touched(self.layer, sent))
        return total.clone()  # an activation behind it may work in place

    def _bias(self) -> Tensor:
        """Return the bias, which the sum holds already, as it is added to the output."""
        bias = self.layer.weight.new_zeros(()) if self.layer.bias is None else self.layer.bias
        return bias.reshape(-1, 1, 1) if isinstance(self.layer, nn.Conv2d) else bias


def _count(layer: nn.Conv2d | nn.Linear, numbers: Tensor) -> Products:
    """Count the weights that numbers (N, C, …), without their signs, meet."""
    whole = numbers.long()
    bits = sum((whole >> place & 1 for place in range(int(whole.max()).bit_length())), torch.zeros_like(whole))
    met = (_fan(layer, counts) for counts in (whole == 1, whole > 1, bits, whole))
    return Products(int(whole.count_nonzero()), int(bits.sum()), int(whole.sum()), *met)


def _fan(layer: nn.Conv2d | nn.Linear, counts: Tensor) -> int:
    """Sum counts of a layer's inputs, each as often as there are weights that it meets."""
    if isinstance(layer, nn.Linear):
        return int(counts.sum()) * layer.out_features
    return int(_meet(layer, counts).sum()) * layer.out_channels // layer.groups


def _count_touched(layer: nn.Conv2d | nn.Linear, sent: Tensor) -> int:
    """Count the outputs that are sums of at least one number that is not 0."""
    if isinstance(layer, nn.Linear):
        return int(sent.any(-1).sum()) * layer.out_features
    return int(_meet(layer, sent != 0).count_nonzero()) * layer.out_channels // layer.groups


def _meet(layer: nn.Conv2d, counts: Tensor) -> Tensor:
    """Sum counts (N, C, H, W) of what an output of each group sees, (N, groups, H', W')."""
    kernel = torch.ones(layer.groups, 1, *layer.kernel_size, dtype=torch.float64, device=counts.device)
    planes = counts.double().unflatten(1, (layer.groups, -1)).sum(2)
    return conv2d(planes, kernel, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def _layers_of(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def _largest_inputs(network: nn.Module, frames: Tensor) -> dict[str, float]:
    """Return the largest magnitude of what comes into each layer that is called, by its name."""
    largest: dict[str, float] = {}

    def look(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest[name] = max(largest.get(name, 0.0), float(inputs[0].abs().max()))

        return layer.register_forward_pre_hook(note)

    handles = list(starmap(look, _layers_of(network).items()))
    for frame in frames.unbind(1):
        network(frame)
    for handle in handles:
        handle.remove()
    return largest


def _with_numbers(
    network: nn.Module, largest: Mapping[str, float], levels: Mapping[str, int], remembers: bool
) -> nn.Module:
    """Copy a network whose layers take in whole numbers, or their changes, of so many levels of their largest input."""
    changed = copy.deepcopy(network)
    layers = _layers_of(changed)
    for name, value in largest.items():
        changed.set_submodule(name, _NumberLayer(layers[name], value, levels[name], remembers))
    return changed
