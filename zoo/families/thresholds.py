"""Activations with a learned scale θ: the quantised ReLU of an analog network, and the spiking neuron that it becomes.

A quantised ReLU returns one of L + 1 levels, θ · ⌊L · clip(x/θ, 0, 1) + ½⌋ / L (clip-floor-shift, arXiv:2303.04347). An
integrate-and-fire neuron with soft reset, an initial potential of θ/2 and T = L timesteps fires as often as that level
says, if its current is constant. So θ is the threshold, and each spike is worth θ to what follows. At inference a
constant θ folds into the weights before and behind: convolutions take spikes. A neuron that writes digits writes the
same level in binary, and θ is its largest value: see `zoo.families.numbers`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import cast, final

import torch
from torch import Tensor, nn

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.cpu import functions
from zoo.cpu.functions import kernel_supports
from zoo.decoders import averages

INITIAL_SCALE = 2.0
"""θ before it is learned or calibrated; behind a batch norm few currents are larger."""

_SHARES = torch.linspace(0.05, 1, 96)
"""Shares of the largest current that calibration tries as θ."""
_SAMPLE = 200_000
"""Currents of a layer that calibration looks at, about."""


class ScaledActivation(nn.Module):
    """An activation instead of a ReLU with a learned scale θ, a scalar for the layer.

    Attributes:
        levels: L, the levels above zero.
    """

    def __init__(self, levels: int, scale: float = INITIAL_SCALE) -> None:
        super().__init__()
        self.levels = levels
        self.scale = nn.Parameter(torch.tensor(scale))

    @property
    def unit(self) -> Tensor:
        """What a spike, or the first level, is worth to what follows."""
        return self.scale / self.levels

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Set θ to the candidate whose levels are nearest to ReLU(x), by the mean square of a sample. x: currents."""
        positive = x.relu().flatten()
        largest = positive.max()
        positive = positive[:: max(1, len(positive) // _SAMPLE)]
        if largest > 0:
            errors = [(quantise(positive, s * largest, self.levels) - positive).square().mean() for s in _SHARES]
            self.scale.copy_(_SHARES[int(torch.stack(errors).argmin())] * largest)


def quantise(x: Tensor, scale: Tensor, levels: int) -> Tensor:
    """θ · floor(L · clip(x/θ, 0, 1) + ½) / L; the floor is passed over in the gradient. Any shape → the same."""

    def definition(x: Tensor, scale: Tensor) -> Tensor:
        share = (x / scale).clamp(0, 1)
        level = torch.floor(share * levels + 0.5) / levels
        return scale * (level.detach() + (share - share.detach()))

    if kernel_supports(x, scale):
        return functions.quantise(x, scale, levels, definition)
    return definition(x, scale)


@final
class QuantisedReLU(ScaledActivation):
    """ReLU with L levels above zero and a learned largest value θ, (N, …) → (N, …)."""

    def forward(self, x: Tensor) -> Tensor:
        return quantise(x, self.scale, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


@final
class SpikingActivation(ScaledActivation):
    """θ · neuron(x/θ) instead of a ReLU: spikes that are worth θ each, T timesteps folded into the batch.

    Of digits the largest number is worth θ in the mean over T that its places weigh.

    Args:
        neuron: (T, N, …) → (T, N, …).
        timesteps: T.
        encoder: of the currents (N, …), if they are not (T·N, …) yet.
        scale: θ before it is learned.
        on_numbers: take in and return the numbers (N, …) that the digits stand for: a quantised ReLU.
    """

    def __init__(
        self,
        neuron: nn.Module,
        timesteps: int,
        encoder: Encoder | None = None,
        scale: float = INITIAL_SCALE,
        on_numbers: bool = False,
    ) -> None:
        fired = cast(Neuron, neuron)
        super().__init__(fired.largest(timesteps), scale)
        self.places, self.timesteps, self.on_numbers = fired.places(timesteps), timesteps, on_numbers
        self.encoder, self.neuron = encoder, neuron

    @property
    def unit(self) -> Tensor:
        total = sum(self.places)
        return self.scale if total == self.levels else self.scale * (total / self.levels)

    def currents(self, x: Tensor) -> Tensor:
        """(N, …) or (T·N, …) → (T, N, …)."""
        return x.unflatten(0, (self.timesteps, -1)) if self.encoder is None else cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        if self.on_numbers:
            return quantise(x, self.scale, self.levels)
        return cast(Neuron, self.neuron).scaled(self.currents(x), self.unit).flatten(0, 1)

    def calibrate(self, x: Tensor) -> None:
        super().calibrate(x if self.on_numbers else averages.weighted_mean(self.currents(x), self.places))


@final
class ScaledNeuron(nn.Module):
    """θ · neuron(x/θ) over (T, N, …), θ learned, a scalar for the layer."""

    def __init__(self, neuron: nn.Module, scale: float) -> None:
        super().__init__()
        self.neuron, self.scale = neuron, nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Neuron, self.neuron).scaled(x, self.scale)


_REPLACED = (nn.ReLU, nn.LeakyReLU)


def replace_activations(block: nn.Module, make: Callable[[], ScaledActivation]) -> None:
    """Replace every ReLU and leaky ReLU inside `block`."""
    for name, module in list(block.named_modules(remove_duplicate=False)):
        if isinstance(module, _REPLACED):
            block.set_submodule(name, make())


def first_activation(block: nn.Module) -> str | None:
    """Return the name of the first ReLU that a sequence calls; None for a block whose order is its own."""
    children = block.named_children() if isinstance(block, nn.Sequential) else ()
    return next((name for name, child in children if isinstance(child, _REPLACED)), None)


def calibrate(model: ImageClassifier, images: Tensor) -> bool:
    """Set every θ by one pass of images (N, C, H, W), layer after layer; False if the network has none.

    Each layer sees what the calibrated ones before it return.
    """
    activations = [module for module in model.modules() if isinstance(module, ScaledActivation)]
    with ExitStack() as stack:
        for activation in activations:
            hook = activation.register_forward_pre_hook(lambda module, args: module.calibrate(args[0]))
            stack.callback(hook.remove)
        if activations:
            with model.evaluating():
                model(images)
    return bool(activations)
