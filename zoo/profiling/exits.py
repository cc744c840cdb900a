"""Additions and sequential steps of images that are answered early, which depend on the machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook

from zoo.contracts.classifier import ImageClassifier
from zoo.models.steps import layers_before_classifier, runs_beside

MACHINES = ("pipelined layers", "timestep by timestep")


def exit_costs(model: ImageClassifier, x: Tensor, timesteps: Tensor) -> Tensor:
    """Count what images cost that take no further timestep once they are answered.

    With pipelined layers every layer works a step behind the one before it: an answer after t timesteps is there after
    layers + t − 1 steps, and the layers before have begun later timesteps by then. Timestep by timestep nothing is
    begun in vain, and an answer takes layers · t steps.

    Of images (N, C, H, W) or frames (N, T, C, H, W) and the timesteps that each took (N,) it returns, for each of
    `MACHINES`, additions of spikes and weights, then steps: (N, 4).
    """
    names = layers_before_classifier(model)
    weights = [model.get_submodule(name).weight for name in names]
    places = {id(weight): sum(not runs_beside(n) for n in names[: k + 1]) for k, weight in enumerate(weights)}
    layers = max(places.values())
    frames = x.unbind(1) if x.dim() == 5 else [x] * model.timesteps
    of_frames: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        place = places.get(id(getattr(module, "weight", None)), 0)  # a stream's copy shares the weights
        if place > 1:  # the first layer takes the image in
            of_frames[-1][place] += _additions(module, args[0])

    hook = register_module_forward_hook(note)
    try:
        with model.streaming() as stream:
            for frame in frames:
                of_frames.append(torch.zeros(layers + 1, len(x), device=x.device))
                stream(frame)
    finally:
        hook.remove()
    work = torch.stack(of_frames)
    order = torch.arange(len(frames), device=x.device)[:, None, None]
    behind = torch.arange(layers + 1, device=x.device)[None, :, None]
    pipelined, soon = order < timesteps + layers - behind, (order < timesteps).expand_as(work)
    steps = layers + timesteps - 1, layers * timesteps
    additions = ((work * begun).sum((0, 1)) for begun in (pipelined, soon))
    return torch.stack([figure for pair in zip(additions, steps, strict=True) for figure in pair], 1)


def _additions(layer: nn.Module, x: Tensor) -> Tensor:
    """Pairs of a spike and a weight of each image, (…, N, C, H, W) or (…, N, C) of one timestep → (N,)."""
    if isinstance(layer, nn.Linear):
        return (x != 0).sum(-1).flatten() * layer.out_features
    assert isinstance(layer, nn.Conv2d)
    ones = torch.ones(layer.groups, *layer.weight.shape[1:], device=x.device)
    spikes = (x != 0).flatten(0, -4).float()
    met = functional.conv2d(spikes, ones, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    return met.flatten(1).sum(1) * (layer.out_channels // layer.groups)
