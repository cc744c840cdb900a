"""Activations with a learned scale θ: the quantised ReLU of an analog network, and the spiking neuron that it becomes.

A quantised ReLU returns one of L + 1 levels, θ · ⌊L · clip(x/θ, 0, 1) + ½⌋ / L (clip-floor-shift, arXiv:2303.04347). An
integrate-and-fire neuron with soft reset, an initial potential of θ/2 and T = L timesteps fires as often as that level
says, if its current is constant. So θ is the threshold, and each spike is worth θ to what follows. At inference a
constant θ folds into the weights before and behind: convolutions take spikes.
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
from zoo.cpu.functions import serves
from zoo.families.fusion import adjacent_layers
from zoo.neurons.nodes import IFNeuron

INITIAL_SCALE = 2.0
"""θ before it is learned or calibrated; behind a batch norm few currents are larger."""

_SHARES = torch.linspace(0.05, 1, 96)
"""Shares of the largest current that calibration tries as θ."""
_SAMPLE = 200_000
"""Currents of a layer that calibration looks at, about."""

_IN_CACHE = 1 << 16
"""Currents whose levels are computed at once."""


class ScaledActivation(nn.Module):
    """An activation in the place of a ReLU with a learned scale θ, a scalar for the layer.

    Attributes:
        levels: L, the levels above zero.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.scale = nn.Parameter(torch.tensor(INITIAL_SCALE))

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
    if not torch.is_grad_enabled() and serves(x) and x.dim() > 1:
        return _quantise_by_parts(x, scale.detach(), levels)
    share = (x / scale).clamp(0, 1)
    level = torch.floor(share * levels + 0.5) / levels
    return scale * (share + (level - share).detach())


def _quantise_by_parts(x: Tensor, scale: Tensor, levels: int) -> Tensor:
    """The same, sample by sample in parts that stay in the processor's cache: a sixth of the time of 250 maps."""
    result = torch.empty_like(x)
    at_once = max(1, _IN_CACHE * len(x) // x.numel())
    for currents, part in zip(x.split(at_once), result.split(at_once), strict=True):
        torch.div(currents, scale, out=part)
        part.clamp_(0, 1).mul_(levels).add_(0.5).floor_().div_(levels)
        torch.mul(scale, part, out=part)  # in this order bfloat16 rounds as above
    return result


@final
class QuantisedReLU(ScaledActivation):
    """ReLU with L levels above zero and a learned largest value θ, (N, …) → (N, …)."""

    def forward(self, x: Tensor) -> Tensor:
        return quantise(x, self.scale, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


@final
class SpikingActivation(ScaledActivation):
    """θ · neuron(x/θ) in the place of a ReLU: spikes that are worth θ each, T timesteps folded into the batch.

    Args:
        neuron: (T, N, …) → (T, N, …) in {0, 1}.
        timesteps: T.
        encoder: of the currents (N, …), if they are not (T·N, …) yet.
    """

    def __init__(self, neuron: nn.Module, timesteps: int, encoder: Encoder | None = None) -> None:
        super().__init__(timesteps)
        self.encoder, self.neuron = encoder, neuron

    def currents(self, x: Tensor) -> Tensor:
        """(N, …) or (T·N, …) → (T, N, …)."""
        return x.unflatten(0, (self.levels, -1)) if self.encoder is None else cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Neuron, self.neuron).scaled(self.currents(x), self.scale).flatten(0, 1)

    def calibrate(self, x: Tensor) -> None:
        super().calibrate(self.currents(x).mean(0))


def replace_activations(block: nn.Module, make: Callable[[], ScaledActivation]) -> None:
    """Replace every ReLU and leaky ReLU inside `block`."""
    for parent in list(block.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU | nn.LeakyReLU):
                setattr(parent, name, make())


_LINEAR = (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.Identity)
"""Layers through which a mean over T passes, in eval mode."""


def quantise_waiting(network: nn.Module) -> bool:
    """Replace waiting neurons by the quantised activations that they equal, in place; True if there were any.

    A neuron with θ = 1 and an initial potential of ½ that waits fires as often as the level nearest to its mean current
    says. What lies between such neurons must pass a mean on: linear layers do, and max pooling right behind a neuron,
    whose spikes come first and then none. A network with anything else is left as it is.

    Args:
        network: layers that carry (T·N, …) behind the first activation; the quantised ones carry (N, …).
    """
    modules = dict(network.named_modules())
    firing = {name: module for name, module in modules.items() if isinstance(module, SpikingActivation)}
    behind = {second for first, second in adjacent_layers(network) if first in firing}
    inside = tuple(f"{name}." for name in firing)
    between = {n: m for n, m in modules.items() if not (n in firing or n.startswith(inside) or any(m.children()))}
    passes = all(isinstance(m, _LINEAR) or (isinstance(m, nn.MaxPool2d) and n in behind) for n, m in between.items())
    if not (firing and passes and all(_waits(activation.neuron) for activation in firing.values())):
        return False
    for name, activation in firing.items():
        quantised = QuantisedReLU(activation.levels)
        quantised.scale = activation.scale
        network.set_submodule(name, quantised.train(activation.training))
    return True


def _waits(neuron: nn.Module) -> bool:
    if type(neuron) is not IFNeuron:
        return False
    return bool(neuron.waits and neuron.v_reset is None and neuron.v_threshold == 1 and neuron.v_init == 0.5)


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
