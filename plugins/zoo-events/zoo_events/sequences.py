"""Networks for sequences of frames: convolutions that see one frame at a time, and cells that keep a state.

    layer i of d: c_t = norm(conv3(y_t of the layer before)), stride 2;  y_t, state_t = cell(c_t, state_{t−1})
    logits = W · mean over T and pixels of the last y_t + b

Cells are the zoo's neurons `lif` and `plif`, and two rivals without spikes, `leaky` and `gru`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, cast, final

import torch
from torch import Tensor, nn

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
from zoo.contracts import GRADED, REAL, FeatureInfo, Neuron, Price, Work
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
    """Integer leaky units: h_t = λ·h_{t−1} + x_t; y_t = min(max(round(h_t), 0), L), without reset.

    λ = σ(w) is learned, a scalar for the layer, ½ at first. The gradient passes over the rounding.
    """

    code = GRADED
    prices: ClassVar[tuple[Price, ...]] = (
        Price("leaky unit", Work(1, 2), reason="leak and current; a rounding and two bounds count as one comparison"),
    )

    def __init__(self, levels: int = LEVELS) -> None:
        super().__init__()
        self.levels = levels
        self.w = nn.Parameter(torch.zeros(()))

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        current = at_least_float32(x)
        h = current if potential is None else self.w.sigmoid() * potential + current
        bounded = h.clamp(0, self.levels)
        return (bounded + (bounded.round() - bounded).detach()).to(x.dtype), h


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


CELLS: Mapping[str, Callable[[int], Neuron]] = MappingProxyType(
    {
        "lif": lambda width: LIFNeuron(detach_reset=True),
        "plif": lambda width: ParametricLIFNeuron(detach_reset=True),
        "leaky": lambda width: LeakyUnits(),
        "gru": GatedUnits,
    }
)
"""Name of a cell → what makes one of a layer's width."""


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


@final
class SequenceNetwork(NetworkOverTime):
    """Layers of a strided convolution, a norm and a cell, width b·2^i; then the mean over time, and a linear head.

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
        for i in range(int(spec["depth"])):
            width = int(spec["base"]) * 2**i
            currents = 3 * width if kind == "gru" else width
            layers = OrderedDict[str, nn.Module](
                conv=spiking_conv(width_in, currents, 3, stride=2),
                bn=spiking_norm(currents),
                act=TruncatedCell(CELLS[kind](width), truncate),
            )
            self.stages.append(nn.Sequential(layers))
            self.feature_info.append(FeatureInfo(num_chs=width, reduction=2 ** (i + 1), module=f"stages.{i}"))
            width_in = width
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
            frames = self.run_blocks(stage[:-1], x[present][None])[0]
            currents = frames.new_zeros(*present.shape, *frames.shape[1:])
            currents[present] = frames
            x = self.run_blocks(stage[-1:], currents)
            yield x

    def mean_over_time(self, carried: Tensor) -> Tensor:
        return carried.mean(0)

    def drop_above(self, last: int) -> None:
        self.stages = cast(nn.Sequential, self.stages[: last + 1])

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        return ("stages",)

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return ("stages.0.conv",)
