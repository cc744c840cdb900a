"""Training settings as data: one YAML file a recipe."""

from __future__ import annotations

from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo.errors import CatalogError, shorten, suggest


class Recipe(BaseModel):
    """All settings of a training run; the file beside this module gives each number's reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    optimizer: str
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_epochs: int = Field(ge=0)
    schedule: Literal["cosine", "step"]
    clip_norm: float | None = Field(default=None, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    flip: bool
    max_shift: int = Field(ge=0)
    precision: Literal["no", "bf16"]
    seed: int


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the zoo."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name; raises `CatalogError` for an unknown or malformed one."""
    if name not in recipe_names():
        raise CatalogError(f"unknown recipe {shorten(name)}{suggest(name, recipe_names())}")
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    try:
        return Recipe.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise CatalogError(f"recipe {name}: {error}") from error
