"""Networks whose layers carry all T timesteps up to the head, and average them only for a feature map."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import CONSTANT, FRAMES, Encoder
from zoo.contracts.neuron import RADIX, Neuron
from zoo.cpu.functions import at_least_float32
from zoo.decoders.averages import RateDecoder
from zoo.errors import InputError
from zoo.families.headed import HeadedClassifier, StagedClassifier
from zoo.families.thresholds import SpikingActivation


class NetworkOverTime(HeadedClassifier):
    """A spiking network; feature maps are means over T, and the head sees the mean of the last one.

    Attributes:
        takes_frames: its encoder passes the timesteps of its input on.
    """

    takes_frames: bool = False

    @property
    def input_axes(self) -> tuple[int, ...]:
        return (self.timesteps, self.in_chans) if self.takes_frames else (self.in_chans,)

    @abstractmethod
    def run_stages(self, x: Tensor, last: int) -> Iterator[Tensor]:
        """Yield what the levels 0…last pass on, with all timesteps."""

    @abstractmethod
    def mean_over_time(self, carried: Tensor) -> Tensor:
        """Average what a level passes on: → (N, C, H, W)."""

    def features_over_time(self, x: Tensor) -> Tensor:
        """Return the features of which the head sees the mean, with all timesteps."""
        *_, carried = self.run_stages(x, len(self.feature_info) - 1)
        return carried

    def forward_features(self, x: Tensor) -> Tensor:
        return self.mean_over_time(self.features_over_time(x)).contiguous()

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        return list(self._feature_maps(x, last, range(last + 1)).values())

    def forward_levels(self, x: Tensor, levels: list[int], norm: bool, stop_early: bool) -> tuple[Tensor, list[Tensor]]:
        last = max(levels) if stop_early else len(self.feature_info) - 1
        maps = self._feature_maps(x, last, {*levels, last})
        return maps[last], [maps[level] for level in levels]

    @contextmanager
    def streaming(self) -> Iterator[Stream]:
        stream = Stream(self)
        try:
            yield stream
        finally:
            stream.close()

    def answers_over_time(self, x: Tensor) -> Tensor:
        """Answer after every timestep, as a stream does: logits (T, N, classes), the last of them the network's own.

        Raises:
            InputError: its neurons write digits, which are a number when the last has come.
        """
        if any(isinstance(module, Neuron) and module.code == RADIX for module in self.modules()):
            raise InputError(f"{self.spec} writes digits, and answers when the last has come; choose the neuron 'if'")
        carried = self.features_over_time(x)
        seen = at_least_float32(carried.flatten(0, -4).unflatten(0, (self.timesteps, -1))).cumsum(0)
        counts = torch.arange(1, self.timesteps + 1, device=seen.device)
        means = (seen / counts.view(-1, 1, 1, 1, 1)).to(carried.dtype).flatten(0, 1).contiguous()
        return self.forward_head(means).unflatten(0, (self.timesteps, -1))

    def _feature_maps(self, x: Tensor, last: int, wanted: Collection[int]) -> dict[int, Tensor]:
        """Average the wanted levels alone; in torch's own order, since the head rounds by the order in memory."""
        stages = enumerate(self.run_stages(x, last))
        return {level: self.mean_over_time(carried).contiguous() for level, carried in stages if level in wanted}


@final
class Stream:
    """A network that is given one frame after another, and answers after each; see `ImageClassifier.streaming`.

    Its potentials lie in a copy of the network that shares all tensors, so that the network itself keeps no state.
    """

    def __init__(self, model: NetworkOverTime) -> None:
        self._network: NetworkOverTime | None = _one_timestep(model)
        self._shape: tuple[int, ...] = ()
        self._total: Tensor | None = None
        self._steps = 0

    def __call__(self, frame: Tensor) -> Tensor:
        """Take the next frame, (N, in_chans, H, W), and return the logits so far; raises `InputError`."""
        network = self._network
        if network is None:
            raise InputError("this stream is closed, and its frames are forgotten; open another by model.streaming()")
        if not isinstance(frame, Tensor) or frame.dim() != 4:
            raise InputError(f"a stream of {network.spec} takes one frame (N, {network.in_chans}, H, W) at a time")
        if self._shape and tuple(frame.shape) != self._shape:
            raise InputError(f"a frame is {tuple(frame.shape)}, the ones before were {self._shape}; open a new stream")
        x = frame[:, None] if network.takes_frames else frame
        network.check_image(x, values=True)
        with network.evaluating():
            now = network.forward_features(x)
            seen = at_least_float32(now)
            self._total = seen if self._total is None else self._total + seen
            self._steps += 1
            self._shape = tuple(frame.shape)
            return network.forward_head((self._total / self._steps).to(now.dtype))

    def close(self) -> None:
        """Forget the frames."""
        self._network = self._total = None


@final
class _SteppedNeuron(Neuron):
    """A neuron that keeps its potential from call to call, one timestep a call: (1, N, …) → (1, N, …)."""

    api_version = 1

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.neuron = neuron
        self.potential: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        spikes, self.potential = self.neuron.step(x[0], self.potential)
        return spikes[None]


def _one_timestep(model: NetworkOverTime) -> NetworkOverTime:
    """Copy a network for one timestep a call; its tensors are shared. Raises `InputError` if it cannot stream."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    network = copy.deepcopy(model, shared)
    modules = dict(network.named_modules())
    if not any(isinstance(module, Neuron) for module in modules.values()):
        raise InputError(f"{model.spec} has no neurons that keep a potential from one timestep to the next")
    for name, module in modules.items():
        if fault := streaming_obstacle(module):
            raise InputError(
                f"{model.spec} cannot run one timestep at a time: {name} ({type(module).__name__}) {fault}"
            )
        if isinstance(module, Neuron):
            network.set_submodule(name, _SteppedNeuron(module))
        elif isinstance(module, Encoder):
            network.set_submodule(name, type(module)(timesteps=1))
        elif isinstance(module, SpikingActivation):
            module.timesteps = module.levels = 1
            module.places = (1,)
    if isinstance(network, StagedClassifier):
        network.timesteps = 1
    return network


def streaming_obstacle(module: nn.Module) -> str:
    """Say why a network with this module needs all timesteps at once; '' if it does not."""
    if isinstance(module, Neuron) and not module.streams:
        return "takes in all currents before it fires; neurons that do not wait stream (waits=False)"
    if isinstance(module, Encoder) and module.code not in (CONSTANT, FRAMES):
        return "makes all timesteps of one image; the encoders frames and direct stream"
    if isinstance(module, Decoder) and not isinstance(module, RateDecoder):
        return "is not the mean over time; the decoder rate streams"
    return ""
