"""Training settings as data: one YAML file a recipe, which gives the reason for each of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zoo.errors import CatalogError, shorten, suggest

SUFFIXES = (".yaml", ".yml")
_WARMUP_SHARE = 5
"""A warm-up takes at most this part of a run, so that a short trial of a long recipe does more than warm up."""


@final
class Recipe(BaseModel):
    """All settings of a training run that its result depends on.

    A field with a default leaves out what it names, or is what torch and timm do anyway.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(ge=1, description="passes over the data")
    batch_size: int = Field(ge=2, description="images of one optimiser step, over all processes")
    optimizer: str = Field(description="as timm's create_optimizer_v2 names it")
    learning_rate: float = Field(gt=0, description="the highest")
    weight_decay: float = Field(ge=0)
    decay_all: bool = Field(default=False, description="weight decay on biases and batch norms too")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = Field(
        default=None, description="of Adam and its kin"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD")
    warmup_epochs: float = Field(ge=0, description="of linear rise; at most a fifth of the epochs")
    warmup_start: float = Field(default=0.01, gt=0, le=1, description="share of the learning rate that it starts from")
    warmup_first: bool = Field(
        default=False, description="the schedule begins after the warm-up, at the full rate, instead of beneath it"
    )
    schedule: Literal["cosine", "step", "constant"]
    cycles: int = Field(default=1, ge=1, description="cosines, each from the full rate to zero")
    cycle_growth: int = Field(default=1, ge=1, description="length of a cosine over the length of the one before")
    clip_norm: float | None = Field(default=None, gt=0, description="the gradient's largest norm")
    surrogate_scale: float = Field(
        default=1.0, gt=0, le=1, description="factor on the gradient that every encoder hands back"
    )
    spike_penalty: float = Field(
        default=0.0, ge=0, description="weight in the loss of the spike rate, the mean over neuron layers"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    flip: bool = Field(description="mirror an image with probability ½")
    max_shift: int = Field(ge=0, description="pixels that an image is moved by at most")
    mixup: float = Field(default=0.0, ge=0, description="α of timm's Mixup; 0 for none")
    cutmix: float = Field(default=0.0, ge=0, description="α of CutMix, by timm; 0 for none")
    mix_share: float = Field(
        default=1.0, gt=0, le=1, description="share of the batches that are mixed by the two above"
    )
    precision: Literal["no", "bf16", "fp16"]
    channels_last: bool = Field(default=False, description="memory format of images and weights")
    loss_limit: float = Field(default=1e4, gt=0, description="a loss above it has exploded: the run stops")
    seed: int = Field(ge=0)

    @field_validator("precision", mode="before")
    @classmethod
    def _no_is_a_word(cls, value: object) -> object:
        """YAML 1.1 reads `no` as False."""
        return "no" if value is False else value

    @property
    def warmup(self) -> float:
        """Epochs of warm-up that a run of this length really has."""
        return min(self.warmup_epochs, self.epochs / _WARMUP_SHARE)


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the zoo."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_recipe(name: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe of the zoo by name, or one of your own by the path of its YAML file.

    Args:
        name: `modern`, or a path that ends in .yaml.
        changes: settings to replace.

    Raises:
        CatalogError: unknown, unreadable or malformed, or a change that is not valid; the message names the setting.
    """
    text = str(name)
    return change_recipe(text, _parse(_read(text), text), changes or {})


def change_recipe(name: str, content: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    """The recipe of these settings, some replaced; raises `CatalogError` as `load_recipe` does."""
    unknown = sorted(set(changes) - Recipe.model_fields.keys())
    if unknown:
        raise CatalogError(f"a recipe has no setting {unknown[0]!r}{suggest(unknown[0], Recipe.model_fields)}")
    try:
        return Recipe.model_validate({**content, **changes})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, not {e['input']!r}" for e in error.errors())
        raise CatalogError(f"recipe {name}: {problems}") from error


def _read(name: str) -> str:
    if name.endswith(SUFFIXES):
        try:
            return Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogError(f"recipe {name} cannot be read: {error}") from error
    if name not in recipe_names():
        raise CatalogError(
            f"unknown recipe {shorten(name)}{suggest(name, recipe_names())}; a file of your own ends in .yaml"
        )
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CatalogError(f"recipe {name} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise CatalogError(f"recipe {name} is not a list of settings; zoo/training/recipes/modern.yaml shows one")
    return content
