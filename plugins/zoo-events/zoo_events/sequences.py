"""Networks for sequences of frames: convolutions that see one frame at a time, and cells that keep a state.

    a layer: c_t = norm(conv3(y_t of the layer before));  y_t, state_t = cell(c_t, state_{t−1})
    logits = W · mean over T and pixels of the last y_t + b

A stem, and d stages of two layers; the stem and the first layer of a stage have stride 2. Cells are the zoo's neurons
`lif` and `plif`; `delta`, spikes that send what changed; and rivals without spikes, `graded`, which sends it as one
integer, `leaky` and `gru`.

What a `delta` network learns hardly depends on T, so that training may begin with few frames, which takes less time:
its norms know currents' means over time, its cells take in 1/T of a current, and its head sees sums of spikes. A
`leaky` network has such norms too; a layer learns how much it keeps: the stem all at first, layers behind it nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.blocks import (
    FramesEncoder,
    LIFNeuron,
    NetworkOverTime,
    ParametricLIFNeuron,
    PooledLinearHead,
    at_least_float32,
    conv,
    spiking_conv,
    spiking_norm,
)
from zoo.contracts import GRADED, REAL, SIGNED, FeatureInfo, Neuron, Price, Work
from zoo.errors import InputError
from zoo.names import Spec

LEVELS = 4


class Cell(Neuron):
    """A cell that is defined by its step."""

    api_version = 1

    def forward(self, x: Tensor) -> Tensor:
        return run_steps(self, x)

    @property
    def streams(self) -> bool:
        return True

    @abstractmethod
    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]: ...


@final
class LeakyUnits(Cell):
    """Integer leaky units: h_t = (1 − a/T)·h_{t−1} + max(a, 1)/T·x_t; y_t = min(max(round(h_t), 0), L), without reset.

    The leak a = T·σ(w) is learned, a scalar for the layer: near 0 a unit sums what comes, near T it keeps nothing. At
    T = 1 y is the quantised ReLU of L levels itself. The gradient passes over the rounding.
    """

    code = GRADED
    prices: ClassVar[tuple[Price, ...]] = (
        Price("leaky unit", Work(1, 2), reason="leak and current; a rounding and two bounds count as one comparison"),
    )

    def __init__(self, timesteps: int = 1, levels: int = LEVELS, w: float = 0.0) -> None:
        super().__init__()
        self.timesteps, self.levels = timesteps, levels
        self.w = nn.Parameter(torch.tensor(w))

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        lost = self.w.sigmoid()
        h = at_least_float32(x) * lost.clamp(1 / self.timesteps)
        if potential is not None:
            h = (1 - lost) * potential + h
        bounded = h.clamp(0, self.levels)
        return (bounded + (bounded.round() - bounded).detach()).to(x.dtype), h


class _PassGradient(torch.autograd.Function):
    """Returns its second argument, with the gradient of its first."""

    @staticmethod
    def forward(ctx: Any, continuous: Tensor, whole: Tensor) -> Tensor:
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


@final
class ChangeSpikes(Cell):
    """Spikes of −1, 0 and 1 whose sum follows a quantised ReLU (sigma-delta modulation).

    h_t = h_{t−1} + x_t/T;  y_t = min(max(round(h_t), 0), L) − Σ_{s<t} y_s, at most ⌈L/T⌉ in size, or of any size if
    `graded`. At T = 1 y is the quantised ReLU of L levels itself. The gradient is that of min(max(h_t, 0), L) −
    min(max(h_{t−1}, 0), L).
    """

    prices: ClassVar[tuple[Price, ...]] = (
        Price("change spike", Work(0, 3), reason="current, difference and sum; a rounding and bounds are a comparison"),
    )

    def __init__(self, timesteps: int = 1, levels: int = LEVELS, graded: bool = False) -> None:
        super().__init__()
        self.timesteps, self.levels = timesteps, levels
        self.most = levels if graded else -(-levels // timesteps)
        self.code = SIGNED if self.most == 1 else GRADED  # type: ignore[misc]

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        rest = torch.zeros_like(at_least_float32(x)).expand(2, *x.shape)
        spikes, h, sent = self._advance(x, *(rest if potential is None else potential))
        return spikes, torch.stack((h, sent))

    def _advance(self, x: Tensor, before: Tensor, sent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return spikes, and the next potential and sum of spikes."""
        h = before + at_least_float32(x) / self.timesteps
        bounded = h.clamp(0, self.levels)
        with torch.no_grad():
            spikes = (bounded.round() - sent).clamp(-self.most, self.most)
            sent = sent + spikes
        return _PassGradient.apply(bounded - before.clamp(0, self.levels), spikes).to(x.dtype), h, sent


@final
class GatedUnits(Cell):
    """A gated recurrent unit (arXiv:1406.1078) of every pixel, its weights shared: currents (N, 3·C, H, W) → (N, C, …).

    r, z = σ(x_r + U_r h), σ(x_z + U_z h); n = tanh(x_n + r·U_n h); h = (1 − z)·n + z·h.
    """

    code = REAL
    prices: ClassVar[tuple[Price, ...]] = (
        Price("gated unit", Work(1, 2), reason="three products and six additions of three currents; no lookups"),
    )

    def __init__(self, width: int) -> None:
        super().__init__()
        self.recurrent = conv(width, 3 * width, 1)

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        reset, update, new = x.chunk(3, 1)
        if potential is None:
            potential = torch.zeros_like(new)
        from_reset, from_update, from_new = self.recurrent(potential).chunk(3, 1)
        kept = torch.sigmoid(update + from_update)
        candidate = torch.tanh(new + torch.sigmoid(reset + from_reset) * from_new)
        h = (1 - kept) * candidate + kept * potential
        return h, h


CELLS: Mapping[str, Callable[[int, int, bool], Neuron]] = MappingProxyType(
    {
        "lif": lambda width, timesteps, stem: LIFNeuron(detach_reset=True),
        "plif": lambda width, timesteps, stem: ParametricLIFNeuron(detach_reset=True),
        "delta": lambda width, timesteps, stem: ChangeSpikes(timesteps),
        "graded": lambda width, timesteps, stem: ChangeSpikes(timesteps, graded=True),
        "leaky": lambda width, timesteps, stem: LeakyUnits(timesteps, w=-6.0 if stem else 4.0),
        "gru": lambda width, timesteps, stem: GatedUnits(width),
    }
)
"""Name of a cell → what makes one of a layer's width and T, for the stem or behind it: a leaky stem sums at first."""


def run_steps(cell: Neuron, x: Tensor, truncate: int | None = None) -> Tensor:
    """Run a cell from rest: (T, N, …) → (T, N, …); gradients go back over `truncate` timesteps, or over all."""
    outputs: list[Tensor] = []
    state: Tensor | None = None
    for t, current in enumerate(x):
        if state is not None and truncate is not None and t % truncate == 0:
            state = state.detach()
        output, state = cell.step(current, state)
        outputs.append(output)
    return torch.stack(outputs)


@final
class TruncatedCell(nn.Module):
    """A cell whose gradients go back over at most `truncate` timesteps: states are cut off at its multiples."""

    def __init__(self, cell: Neuron, truncate: int | None) -> None:
        super().__init__()
        self.cell, self.truncate = cell, truncate

    def forward(self, x: Tensor) -> Tensor:
        if self.truncate is None or len(x) <= self.truncate or not torch.is_grad_enabled():
            return cast(Tensor, self.cell(x))
        return run_steps(self.cell, x, self.truncate)


BY_MEANS = ("delta", "graded", "leaky")
"""Cells that take in 1/T of a current, whose norms know means over time."""


def normalise_by_means(norm: nn.BatchNorm2d, x: Tensor, present: Tensor | None) -> Tensor:
    """Normalise (T, N, C, H, W) in training by mean and variance of its means over time, and let the norm learn these.

    Frames that are 0 nearly everywhere, as of `scan:`, are not magnified so. Those not `present`, (T, N), don't count.
    """
    single = torch.promote_types(x.dtype, torch.float32)
    if present is None:
        means = x.mean(0, dtype=single)
    else:
        means = (x * (present / present.sum(0)).view(*present.shape, 1, 1, 1)).sum(0, dtype=single)
    variance, mean = torch.var_mean(means, (0, 2, 3), correction=0)
    with torch.no_grad():
        for statistic, found in ((norm.running_mean, mean), (norm.running_var, variance)):
            cast(Tensor, statistic).lerp_(found.to(norm.weight.dtype), cast(float, norm.momentum))
        cast(Tensor, norm.num_batches_tracked).add_(1)
    gain = norm.weight * torch.rsqrt(variance + norm.eps)
    offset = norm.bias - mean * gain
    return x * gain.to(x.dtype).view(-1, 1, 1) + offset.to(x.dtype).view(-1, 1, 1)


@final
class StatefulLayer(nn.Sequential):
    """A convolution, a norm and a cell, over (T, N, C, H, W)."""

    def __init__(
        self, width_in: int, width: int, stride: int, kind: str, timesteps: int, truncate: int | None, stem: bool
    ) -> None:
        currents = 3 * width if kind == "gru" else width
        conv, norm = spiking_conv(width_in, currents, 3, stride), spiking_norm(currents)
        cell = TruncatedCell(CELLS[kind](width, timesteps, stem), truncate)
        super().__init__(OrderedDict[str, nn.Module](conv=conv, bn=norm, act=cell))
        self.by_means = kind in BY_MEANS
        if self.by_means:
            norm.eps /= timesteps**2  # a mean over time is that much smaller than a sum

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Run all timesteps; with `present` (T, N), convolution and norm see those frames alone."""
        if present is None and not (self.by_means and self.training):
            return cast(Tensor, super().forward(x))
        conv, norm, cell = self
        currents = conv(x) if present is None else conv(x[present][None])
        if not (self.by_means and self.training):
            return cast(Tensor, cell(_spread(norm(currents), cast(Tensor, present))))
        currents = currents if present is None else _spread(currents, present)
        return cast(Tensor, cell(normalise_by_means(cast(nn.BatchNorm2d, norm), currents, present)))


def _spread(frames: Tensor, present: Tensor) -> Tensor:
    """Put the frames that are present, (1, count, …), in their places (T, N, …), and 0 into the others."""
    places = frames.new_zeros(*present.shape, *frames.shape[2:])
    places[present] = frames[0]
    return places


@final
class SequenceNetwork(NetworkOverTime):
    """A stem of width b, d stages of two layers of widths 2·b, 4·b, …; then the mean over time, and a linear head.

    Sequences of several lengths go in as one batch, padded to the longest:

        >>> import torch, zoo
        >>> model = zoo.create_model("seq_lif_b2_d1", num_classes=3).eval()
        >>> model(torch.rand(2, 12, 3, 8, 8), lengths=[12, 5]).shape
        torch.Size([2, 3])
    """

    takes_frames = True
    stem_names = r"^stages\.0\."

    def __init__(
        self,
        spec: Spec,
        encoder: FramesEncoder,
        num_classes: int,
        in_chans: int,
        truncate: int | None,
    ) -> None:
        super().__init__(spec, num_classes, in_chans)
        self.encoder = encoder
        self.stages = nn.Sequential()
        self.feature_info = []
        kind, width_in = str(spec["cell"]), in_chans
        for i in range(int(spec["depth"]) + 1):
            width = int(spec["base"]) * 2**i
            shapes = [(width_in, width, 2), (width, width, 1)][: 2 if i else 1]
            layers = [StatefulLayer(*shape, kind, self.timesteps, truncate, stem=i == 0) for shape in shapes]
            self.stages.append(nn.Sequential(*layers))
            self.feature_info.append(FeatureInfo(num_chs=width, reduction=2 ** (i + 1), module=f"stages.{i}"))
            width_in = width
        self.worth = self.timesteps if kind in ("delta", "graded") else 1  # the head sees sums of spikes, not means
        self.head = PooledLinearHead(width_in, num_classes, "avg")
        self.num_features = self.head_hidden_size = width_in

    @property
    def timesteps(self) -> int:
        return self.encoder.timesteps

    def forward(self, x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """Map frames (N, T, C, H, W) to logits (N, classes).

        Args:
            x: as many frames as the network has timesteps, or any T with `lengths`.
            lengths: frames of each sequence, (N,), 1 to T; those behind them are padding, which no norm's statistics,
                gradient or answer sees. On the CPU, so that no GPU is waited for.

        Raises:
            InputError: frames or lengths that do not fit.
        """
        return self.forward_head(self.forward_features(x, lengths))

    def forward_features(self, x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        if lengths is None:
            return super().forward_features(x)
        present = self._present(x, lengths).to(x.device)
        *_, carried = self._run_present(x.transpose(0, 1), present)
        total = (carried * present.view(*present.shape, 1, 1, 1)).sum(0)
        return total / present.sum(0).view(-1, 1, 1, 1)

    def run_stages(self, x: Tensor, last: int) -> Iterator[Tensor]:
        self.check_image(x)
        x = self.encoder(x)
        for stage in list(self.stages)[: last + 1]:
            x = self.run_blocks(stage, x)
            yield x

    def _present(self, x: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """Return which frames of x (N, T, C, H, W) are no padding, (T, N); raises `InputError`."""
        of_any_length = isinstance(x, Tensor) and x.dim() == 5 and x.shape[1] > 0
        self.check_image(x[:, :1].expand(-1, self.timesteps, *x.shape[2:]) if of_any_length else x)
        counts = torch.as_tensor(lengths)
        count, longest = x.shape[:2]
        if counts.shape != (count,) or counts.is_floating_point() or counts.dtype == torch.bool:
            stated = f"{tuple(counts.shape)} of {counts.dtype}"
            raise InputError(f"lengths of {count} sequences are {count} whole numbers (N,), not {stated}")
        if ((counts < 1) | (counts > longest)).any():
            raise InputError(f"lengths are {counts.tolist()}; valid: 1 to {longest}, the frames of the batch")
        return torch.arange(longest, device=counts.device)[:, None] < counts

    def _run_present(self, x: Tensor, present: Tensor) -> Iterator[Tensor]:
        """Run stages as `run_stages` does; convolutions and norms see only frames that are present."""
        for stage in cast(Iterable[nn.Sequential], self.stages):
            for block in stage:
                if self.grad_checkpointing and self.training:
                    x = cast(Tensor, checkpoint(block, x, present, use_reentrant=False))
                else:
                    x = cast(Tensor, block(x, present))
            yield x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return super().forward_head(x * self.worth, pre_logits)

    def norm_pairs(self) -> Iterable[tuple[str, str]]:
        layers = (name for name, module in self.named_modules() if isinstance(module, StatefulLayer))
        return [pair for name in layers for pair in pairwise(f"{name}.{child}" for child in ("conv", "bn", "act"))]

    def mean_over_time(self, carried: Tensor) -> Tensor:
        return carried.mean(0)

    def drop_above(self, last: int) -> None:
        self.stages = nn.Sequential(*list(self.stages)[: last + 1])

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        return ("stages",)

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return ("stages.0.0.conv",)
