"""Networks as ONNX models that also tell what `zoo show` draws: the planes of the image, each layer's spike rate."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from zoo.catalog.schema import StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.errors import InputError
from zoo.exporting.network import Normalised, check_image_size, example_images
from zoo.exporting.onnx_file import OUTPUT, describe_onnx, to_onnx
from zoo.inference.show import watching
from zoo.weights import stated_preprocessing

RATES, PLANES = "rates", "planes"
"""Names of the outputs after the logits."""


@final
@dataclass(frozen=True)
class TellingNetwork:
    """A network as ONNX that tells its spike rates.

    Attributes:
        data: the file; `pixels` (1, C, H, W) in [0, 1] → `logits` (1, classes), `rates` (1, layers) and `planes`
            (T, 1, C, H, W). Its metadata has the layers as `zoo.layers`, a JSON list.
        layers: names of the layers of neurons, in the order of execution and of `rates`.
        code: what the planes mean, the encoder's own word.
        timesteps: how many there are.
    """

    data: bytes
    layers: tuple[str, ...]
    code: str
    timesteps: int


@final
class Telling(nn.Module):
    """A network with what its neurons and its first encoder do: pixels (N, C, H, W) → logits, rates and planes.

    Args:
        model: the network; where its weight states a mean and a std, they are applied first.

    Raises:
        InputError: the model has no spikes.
    """

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self._neurons = {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}
        self._encoders = {name: module for name, module in model.named_modules() if isinstance(module, Encoder)}
        if not self._neurons or not self._encoders:
            raise InputError(f"{model.spec} has no spikes to tell of; choose a model of the family has8, snn or sew")
        self.network: nn.Module = Normalised(model) if stated_preprocessing(model).normalises else model
        self.layers: tuple[str, ...] = ()
        self.code = ""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, classes); mean spikes per neuron per timestep (N, layers); planes (T, N, C, H, W) in {0, 1}.

        It leaves the names of the layers in `layers`, and the word on the planes in `code`.
        """
        spikes: dict[str, list[Tensor]] = {}
        planes: list[tuple[str, Tensor]] = []
        with ExitStack() as stack:
            stack.enter_context(watching(self._neurons, lambda name, s: spikes.setdefault(name, []).append(_rate(s))))
            stack.enter_context(watching(self._encoders, lambda name, s: planes.append((name, s))))
            logits: Tensor = self.network(x)
        self.layers, self.code = tuple(spikes), self._encoders[planes[0][0]].code
        rates = torch.stack([torch.stack(runs).mean(0) for runs in spikes.values()], 1)
        return logits, rates, planes[0][1]


def _rate(spikes: Tensor) -> Tensor:
    """(T, N, …) → (N,), the mean of each image."""
    return spikes.float().transpose(0, 1).flatten(1).mean(1)


def onnx_with_rates(model: ImageClassifier, weight: StoredWeight | None = None, *, image_size: int) -> TellingNetwork:
    """A spiking network as an ONNX model of one image that tells its spike rates and the planes of the image.

    Args:
        model: the network; every module's mode is restored afterwards.
        weight: what its weights are, to be told by the metadata; None where they are nobody's.
        image_size: pixels a side, the only one that it takes.

    Raises:
        InputError: the model has no spikes, or cannot be expressed in ONNX.
        MissingExtraError: `has8-zoo[export]` is not installed.
    """
    check_image_size(model, image_size)
    telling = Telling(model)
    example = example_images(model, image_size, 1)
    with model.evaluating():
        planes = telling.eval()(example)[2]  # it notes the names of its layers
        outputs = (OUTPUT, RATES, PLANES)
        converted = to_onnx(telling, example, str(model.spec), any_batch=False, outputs=outputs)
    facts = {**describe_onnx(model, weight, image_size), "zoo.layers": json.dumps(telling.layers)}
    for key, value in facts.items():
        converted.metadata_props.add(key=key, value=value)
    return TellingNetwork(converted.SerializeToString(deterministic=True), telling.layers, telling.code, len(planes))
