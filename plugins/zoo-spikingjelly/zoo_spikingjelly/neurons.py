"""spikingjelly's further neurons by name: `clif`, `klif`, `glif`, `psn`, `ilif`.

The steps are spikingjelly's own functions. All neurons start from rest on every call, and fire by an arctan surrogate,
`ilif` by its own.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, final

import torch
from spikingjelly.activation_based import functional, surrogate
from torch import Tensor, nn

from zoo.blocks import ALPHA, at_least_float32
from zoo.contracts import Neuron, Price, Work
from zoo.errors import InputError, check_count, check_flag, check_number

_TAU = 2.0
_MOST_LEVELS = 64
_CONDUCTANCES = 8
_ORDER = 4


def _logit(share: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(share).logit())


class SteppedNeuron(Neuron):
    """A neuron that is a step from one timestep to the next, with one tensor as its state."""

    api_version = 1

    def __init__(self) -> None:
        super().__init__()
        self.surrogate = surrogate.ATan(ALPHA)

    @abstractmethod
    def advance(self, x: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        """Take the currents (N, …) of timestep t, and return spikes and the next state; None is rest."""

    def forward(self, x: Tensor) -> Tensor:
        state, spikes = None, []
        for t, currents in enumerate(at_least_float32(x)):
            fired, state = self.advance(currents, state, t)
            spikes.append(fired)
        return torch.stack(spikes).to(x.dtype)

    @property
    def streams(self) -> bool:
        return True

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        spikes, state = self.advance(at_least_float32(x), potential, 0)
        return spikes.to(x.dtype), state


@final
class ComplementaryLIFNeuron(SteppedNeuron):
    """CLIF (arXiv:2402.04663): a second potential remembers spikes and deepens the reset.

    h = (1 − 1/τ)·v + x; s = [h ≥ θ]; m = m·σ(h/τ) + s; v = h − s·(θ + σ(m)).
    """

    options = frozenset({"tau", "v_threshold"})
    prices = (
        Price(
            "CLIF neuron",
            Work(2, 4),
            reason="leak and decay of m; adds current, spike and reset, compares; the two sigmoids are left out",
        ),
    )

    def __init__(self, tau: float = _TAU, v_threshold: float = 1.0) -> None:
        super().__init__()
        self.tau = check_number("tau", tau, above=1)
        self.v_threshold = check_number("v_threshold", v_threshold, above=0)

    def advance(self, x: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        v, m = (torch.zeros_like(x),) * 2 if state is None else state
        spikes, v, m = functional.clif_step(x, v, m, self.tau, self.v_threshold, self.surrogate)
        return spikes, torch.stack((v, m))


@final
class KLIFNeuron(SteppedNeuron):
    """KLIF (arXiv:2302.09238): f = ReLU(k·h) of a leaky h fires and is reset to 0; k is learned, one for the layer."""

    options = frozenset({"tau", "v_threshold"})
    prices = (Price("KLIF neuron", Work(2, 3), reason="x − v, times 1/τ onto v, times k, two comparisons"),)

    def __init__(self, tau: float = _TAU, v_threshold: float = 1.0) -> None:
        super().__init__()
        self.tau = check_number("tau", tau, above=1)
        self.v_threshold = check_number("v_threshold", v_threshold, above=0)
        self.k = nn.Parameter(torch.tensor(1.0))

    def advance(self, x: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        v = torch.zeros_like(x) if state is None else state
        spikes, v = functional.klif_step(x, v, self.k, self.tau, True, False, self.v_threshold, 0.0, self.surrogate)
        return spikes, v


@final
class GatedLIFNeuron(SteppedNeuron):
    """GLIF (arXiv:2210.13768): learned gates between two leaks, two resets and two ways to take currents in.

    One set of parameters for the layer, as spikingjelly has them without `inplane`. Conductances are of the first
    timesteps; later ones have the last.

    Args:
        conductances: as many timesteps as have one of their own.
    """

    options = frozenset({"conductances"})
    prices = (
        Price("GLIF neuron", Work(3, 4), reason="current and potential by their gates, two resets, a comparison"),
    )

    def __init__(self, conductances: int = _CONDUCTANCES) -> None:
        super().__init__()
        count = check_count("conductances", conductances, 1, 1024)
        for gate in ("alpha", "beta", "gamma"):
            self.register_parameter(gate, nn.Parameter(0.2 * (torch.rand(()) - 0.5)))
        self.tau, self.v_threshold, self.v_subreset = _logit(0.25), _logit(0.5), _logit(0.5)
        self.linear_decay = _logit(0.5 / (2 * count))
        self.conduct = nn.Parameter(torch.zeros(count))

    def advance(self, x: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        v, spikes = (torch.zeros_like(x),) * 2 if state is None else state
        gates = ("alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset")
        shares = [at_least_float32(self.get_parameter(name)).sigmoid() for name in gates]
        conductance = at_least_float32(self.conduct[min(t, len(self.conduct) - 1)]).sigmoid()
        spikes, v = functional.gated_lif_step(x, v, spikes, *shares, conductance, self.surrogate)
        return spikes, torch.stack((v, spikes))

    @property
    def streams(self) -> bool:
        return False  # it would have to know which timestep it is


@final
class SlidingPSNeuron(SteppedNeuron):
    """The sliding PSN (arXiv:2304.12760, eq. 9): a weighted sum of the last k currents, without reset.

    Of the paper's three it is the one that takes any T and sees no later currents.

    Args:
        order: k.
    """

    options = frozenset({"order"})
    prices = (Price("sliding PSN", Work(_ORDER, 1), reason="a weighted sum of four currents, and a comparison"),)

    def __init__(self, order: int = _ORDER) -> None:
        super().__init__()
        count = check_count("order", order, 1, 1024)
        self.weight = nn.Parameter(0.5 ** torch.arange(count - 1, -1, -1.0))
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def advance(self, x: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        past = x.new_zeros(len(self.weight) - 1, *x.shape) if state is None else state
        seen = torch.cat((past, x[None]))
        weights = at_least_float32(self.weight).view(-1, *(1,) * x.dim())
        return self.surrogate((seen * weights).sum(0) + self.bias), seen[1:]


@final
class IntegerLIFNeuron(SteppedNeuron):
    """I-LIF (arXiv:2407.20708, 2411.16061): trained on integers, run on as many spikes.

    h = (1 − 1/τ)·v + x; c = round(clip(D·h/θ, 0, D)); v = h − c·θ/D. With `integers` it returns c/D in each timestep.
    Without, D timesteps take the place of one: x is their mean current, and c of them fire, the first ones. Layers
    between such neurons are linear, so that the mean over D timesteps of a spiking network is the integer network's,
    with the same tensors: train with `integers` and T, then build without and with D·T.

    Args:
        levels: D. T must be a multiple of it.
        integers: return c/D.
        tau, v_threshold: τ and θ; 4/3 is the authors' leak of a quarter.
    """

    options = frozenset({"levels", "integers", "tau", "v_threshold"})
    prices: ClassVar[tuple[Price, ...]] = (
        Price("I-LIF neuron", Work(1, 3), reason="leak, current, comparison, reset, in every timestep"),
    )

    def __init__(self, levels: int = 1, integers: bool = False, tau: float = 4 / 3, v_threshold: float = 1.0) -> None:
        super().__init__()
        self.levels = check_count("levels", levels, 1, _MOST_LEVELS)
        self.integers = check_flag("integers", integers)
        self.tau = check_number("tau", tau, above=1)
        self.v_threshold = check_number("v_threshold", v_threshold, above=0)
        self.surrogate = surrogate.MultiLevelSpikeCount(self.levels)

    def advance(self, x: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        v = torch.zeros_like(x) if state is None else state
        counts, v = functional.ilif_step(x, v, self.tau, self.v_threshold / self.levels, self.surrogate)
        return counts / self.levels, v

    def forward(self, x: Tensor) -> Tensor:
        if self.integers or self.levels == 1:
            return super().forward(x)
        if len(x) % self.levels:
            raise InputError(f"ilif with levels={self.levels} takes a multiple of as many timesteps, not {len(x)}")
        shares = super().forward(at_least_float32(x).unflatten(0, (-1, self.levels)).mean(1))[:, None]
        places = torch.arange(self.levels, device=x.device).view(1, -1, *(1,) * (x.dim() - 1))
        spikes = (places < (shares * self.levels).round()).to(shares.dtype)
        return (spikes + (shares - shares.detach())).flatten(0, 1).to(x.dtype)  # each has the gradient of their mean

    @property
    def streams(self) -> bool:
        return self.integers or self.levels == 1

    def extra_repr(self) -> str:
        return f"levels={self.levels}, integers={self.integers}"
