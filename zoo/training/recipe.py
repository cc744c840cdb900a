"""Training settings as data: a YAML file each, with the reason for every number; and what timm builds from them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, final

import torch
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from torch import nn
from torchvision.transforms import v2

from zoo.catalog.records import complaints
from zoo.errors import CatalogError, InputError, shorten, suggest
from zoo.profiling.prices import NORMS
from zoo.registry.installing import missing_extra

try:
    from timm.data.mixup import Mixup
    from timm.optim import create_optimizer_v2, list_optimizers
    from timm.scheduler import create_scheduler_v2
    from timm.scheduler.scheduler import Scheduler
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error

_FOLDER = resources.files("zoo.training").joinpath("recipes")


def _read_precision(value: object) -> object:
    """Return accelerate's word for float32, which YAML reads as False."""
    return "no" if value is False or value == "float32" else value


@final
class Recipe(BaseModel):
    """Settings that a run's result depends on; a default leaves a feature out, or is torch's and timm's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(ge=1, description="passes over the data")
    batch_size: int = Field(ge=2, description="images of one optimiser step, over all processes")
    optimizer: str = Field(description="as timm's create_optimizer_v2 names it")
    learning_rate: float = Field(gt=0, description="the highest")
    weight_decay: float = Field(ge=0)
    decay_all: bool = Field(default=False, description="weight decay on biases and batch norms too")
    bias_rate: float = Field(default=1.0, gt=0, description="factor on the learning rate of batch norms' biases")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD")
    warmup_epochs: float = Field(ge=0, description="of linear rise; at most a fifth of the epochs")
    warmup_start: float = Field(default=0.01, gt=0, le=1, description="share of the learning rate that it starts from")
    warmup_first: bool = Field(default=False, description="the schedule begins after the warm-up, not beneath it")
    schedule: Literal["cosine", "restarts", "linear", "step", "constant"]
    restart_epochs: float = Field(default=10.0, gt=0, description="length T₀ of the first cosine of restarts (SGDR)")
    restart_factor: float = Field(default=1.0, ge=1, description="length of each further cosine by the one before it")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    surrogate_scale: float = Field(default=1.0, gt=0, le=1, description="factor on the gradient of every encoder")
    spike_penalty: float = Field(default=0.0, ge=0, description="weight of the layers' mean spike rate in the loss")
    timestep_loss: float = Field(
        default=0.0, ge=0, le=1, description="share of the loss that is of the answers after each timestep"
    )
    frozen_norms: bool = Field(default=False, description="batch norms keep their statistics, as in eval mode")
    calibration: int = Field(default=0, ge=0, description="images that set the scales of activations at first")
    teacher: str | None = Field(default=None, description="a weight by name, whose outputs are a part of the target")
    distillation: float = Field(default=0.5, ge=0, le=1, description="the teacher's part of the loss")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the weights' moving average, which is saved")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    flip: bool = Field(description="mirror an image with probability ½")
    alternate_flips: bool = Field(default=False, description="mirror an image in every other epoch instead")
    max_shift: int = Field(ge=0, description="pixels that an image is moved by at most")
    reflect: bool = Field(default=False, description="fill the edge of a moved image by reflection, not with black")
    crop_share: float = Field(default=1.0, gt=0, le=1, description="smallest share of RandomResizedCrop; 1 for none")
    randaugment: int = Field(default=0, ge=0, description="operations on an image, by torchvision's RandAugment")
    mixup: float = Field(default=0.0, ge=0, description="α of timm's Mixup; 0 for none")
    cutmix: float = Field(default=0.0, ge=0, description="α of CutMix, by timm; 0 for none")
    mix_share: float = Field(default=1.0, gt=0, le=1, description="share of the batches that are mixed")
    precision: Annotated[Literal["no", "bf16"], BeforeValidator(_read_precision)]
    channels_last: bool = Field(default=False, description="memory format of images and weights")
    compile: bool = Field(default=False, description="run the network through torch.compile")
    seed: int = Field(ge=0, lt=2**63)

    @model_validator(mode="after")
    def _biases_decay_too(self) -> Self:
        if self.bias_rate != 1 and not self.decay_all:
            raise ValueError("bias_rate keeps the decay of a bias in step with its rate, so it needs decay_all: true")
        return self

    @model_validator(mode="after")
    def _hooks_are_not_compiled(self) -> Self:
        if self.compile and (self.spike_penalty or self.surrogate_scale != 1):
            raise ValueError("compile does not go with spike_penalty or surrogate_scale, which hook into every layer")
        return self


def recipe_names() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))


def load_recipe(name: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe of the package by name, or one of your own by the path of its YAML file, with `changes`.

    Example:
        >>> from zoo.training import load_recipe
        >>> load_recipe("modern", {"epochs": 3}).epochs
        3

    Raises:
        CatalogError: unknown, unreadable or malformed, or a change that is not valid; the message names the setting.
    """
    text = str(name)
    if not text.endswith((".yaml", ".yml")) and text not in recipe_names():
        raise CatalogError(f"unknown recipe {shorten(text)}{suggest(text, recipe_names())}; or a file, NAME.yaml")
    file = _FOLDER.joinpath(f"{text}.yaml") if text in recipe_names() else Path(text)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CatalogError(f"recipe {text} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CatalogError(f"recipe {text} is not a list of settings; zoo/training/recipes/modern.yaml shows one")
    return change_recipe(text, content, changes or {})


def change_recipe(name: str, content: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    """Validate settings, some of them replaced; raises `CatalogError` as `load_recipe` does."""
    unknown = sorted(set(changes) - Recipe.model_fields.keys())
    if unknown:
        raise CatalogError(f"a recipe has no setting {unknown[0]!r}{suggest(unknown[0], Recipe.model_fields)}")
    try:
        return Recipe.model_validate({**content, **changes})
    except ValidationError as error:
        raise CatalogError(f"recipe {name}: {complaints(error)}") from error


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimiser over all parameters; raises `CatalogError` for settings that timm does not take."""
    try:
        return create_optimizer_v2(
            model if recipe.bias_rate == 1 else _split_biases(model, recipe),
            opt=recipe.optimizer,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=not recipe.decay_all,
        )
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        valid = "" if recipe.optimizer.lower() in (names := list_optimizers()) else suggest(recipe.optimizer, names)
        raise CatalogError(f"timm's optimizer {recipe.optimizer!r} cannot be built: {error}{valid}") from error


def _split_biases(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Divide the parameters into batch norms' biases, whose rate is multiplied and whose decay is not, and others."""
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    biases = [norm.bias for norm in norms if isinstance(norm.bias, nn.Parameter)]
    bias_ids = set(map(id, biases))
    others = [
        parameter for parameter in model.parameters() if id(parameter) not in bias_ids and parameter.requires_grad
    ]
    rate, decay = recipe.learning_rate * recipe.bias_rate, recipe.weight_decay / recipe.bias_rate
    return [{"params": others}, {"params": biases, "lr": rate, "weight_decay": decay}]


def build_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Scheduler:
    """Build the schedule, stepped by the number of updates; an epoch has `steps` of them."""
    warmup = _warmup_epochs(recipe)
    epochs = recipe.epochs - (warmup if recipe.warmup_first else 0)
    cycles: dict[str, float] = {}
    if recipe.schedule == "restarts":
        limit = _count_cycles(epochs, recipe.restart_epochs, recipe.restart_factor)
        epochs = recipe.restart_epochs
        cycles = {"cycle_mul": recipe.restart_factor, "cycle_decay": 1.0, "cycle_limit": limit}
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched={"linear": "poly", "restarts": "cosine"}.get(recipe.schedule, recipe.schedule),
        decay_rate=1.0 if recipe.schedule == "linear" else 0.1,  # timm's polynomial has its power by that name
        num_epochs=epochs,
        warmup_epochs=warmup,
        warmup_lr=recipe.learning_rate * recipe.warmup_start,
        warmup_prefix=recipe.warmup_first,
        step_on_epochs=False,
        updates_per_epoch=steps,
        **cycles,
    )
    return schedule


def _count_cycles(epochs: float, first: float, factor: float) -> int:
    """Count the cosines that begin before the end; the last one ends at zero if it ends with the run."""
    cycles, end, length = 1, first, first
    while end < epochs - 1e-6:
        cycles, length = cycles + 1, length * factor
        end += length
    return cycles


def _warmup_epochs(recipe: Recipe) -> float:
    return min(recipe.warmup_epochs, recipe.epochs / 5)  # a trial of few epochs does more than warm up


def rates_are_alike(shorter: Recipe, longer: Recipe) -> bool:
    """Return whether a recipe with more epochs has the learning rates of the shorter one until that ends."""
    ends_at_no_epoch = shorter.schedule in ("constant", "step")
    return ends_at_no_epoch and _warmup_epochs(shorter) == _warmup_epochs(longer)


def build_mixup(recipe: Recipe, classes: int) -> Mixup | None:
    """Build timm's Mixup and CutMix; None if the recipe has neither."""
    if not recipe.mixup and not recipe.cutmix:
        return None
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=recipe.mix_share,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
    )


def build_augmentation(recipe: Recipe, size: tuple[int, int], axes: tuple[int, ...] = (3,)) -> v2.Transform | None:
    """Build the transforms of one (*axes, H, W) uint8 image that draw from torch's generator; None without any.

    Raises `InputError` for RandAugment, which changes colours, of images that are not RGB.
    """
    transforms: list[v2.Transform] = []
    if recipe.crop_share < 1:
        transforms.append(v2.RandomResizedCrop(size, scale=(recipe.crop_share, 1.0), antialias=True))
    if recipe.randaugment and axes != (3,):
        raise InputError("randaugment changes colours, and these images are not RGB; choose `randaugment=0`")
    if recipe.randaugment:
        transforms.append(v2.RandAugment(recipe.randaugment))
    return v2.Compose(transforms) if transforms else None
