"""The setup of a run: what follows from recipe, model and data, and the identity that a checkpoint must match."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import final

import torch
from pydantic import JsonValue
from torch import Tensor

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.data.images import Transform
from zoo.errors import InputError
from zoo.training.batches import MicroBatch, make_plan
from zoo.training.recipe import Recipe, build_augmentation, build_mixup
from zoo.weights.load import stated_preprocessing

Identity = Mapping[str, JsonValue]
"""All that the result of a run depends on, by the names that messages use."""


@final
class Setup:
    """What a run trains on, and how; `begun_with` are further facts that a checkpoint must match.

    Attributes:
        plan: the steps of an epoch.
        smoothing: of labels, in the loss.
        teacher: a network in eval mode, whose outputs are a part of the target.

    Raises:
        InputError: batches that cannot be split, or a teacher that takes other pixels.
    """

    def __init__(
        self,
        model: ImageClassifier,
        data: ImageSplit,
        recipe: Recipe,
        micro_batches: int = 1,
        teacher: ImageClassifier | None = None,
        begun_with: Identity | None = None,
    ) -> None:
        _check_teacher(teacher, model, recipe)
        self.data, self.recipe, self.teacher = data, recipe, teacher
        self.plan = make_plan(len(data), recipe.batch_size, micro_batches, recipe.seed)
        self.identity: Identity = {
            **recipe.model_dump(mode="json"),
            "model": str(model.spec.untagged()),
            "options": json.dumps(model.spec.options, sort_keys=True),
            "classes": list(data.classes),
            "images": len(data),
            "image size": list(data.size),
            "data fingerprint": data.fingerprint(),
            "number of micro-batches": micro_batches,
            "teacher's weights": None if teacher is None else teacher.pretrained_cfg.get("sha256"),
            **(begun_with or {}),
        }
        self._transform = Transform(stated_preprocessing(model))
        self._augment = build_augmentation(recipe, data.size, data.data.axes)
        self._mix = build_mixup(recipe, model.num_classes)
        self._format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.smoothing = 0.0 if self._mix else recipe.label_smoothing  # mixed targets are smooth already

    def prepare(self, batch: MicroBatch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images, labels and targets of a micro-batch; draws from the generators, which have its seed."""
        pixels, labels = batch.pixels.to(device), batch.labels.to(device)
        if self._augment is not None:
            pixels = torch.stack([self._augment(image) for image in pixels])
        scaled = self._transform.scale(pixels)
        axes = scaled.shape[1:-2]
        x = scaled.flatten(1, -3).contiguous(memory_format=self._format)  # of frames, all timesteps are mixed alike
        targets = labels
        if self._mix is not None:
            paired = len(x) // 2 * 2  # images are mixed in pairs
            labels = labels[:paired]
            x, targets = self._mix(x[:paired], labels)
        return x.unflatten(1, axes), labels, targets


def _check_teacher(teacher: ImageClassifier | None, model: ImageClassifier, recipe: Recipe) -> None:
    if teacher is None:
        return
    own = stated_preprocessing(model).of_channels(model.in_chans)
    theirs = stated_preprocessing(teacher).of_channels(model.in_chans)
    if own != theirs:
        problem = f"takes pixels of mean and std {theirs}, the network of {own}; both must be the same"
        raise InputError(f"teacher {recipe.teacher} {problem}")
