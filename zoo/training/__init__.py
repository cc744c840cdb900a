"""Training by name: recipes, an engine that several processes share, runs that go on where they stopped.

Needs `pip install 'has8-zoo[train]'`. `zoo train` from Python:

    from zoo.training import DataOptions, train

    result = train(
        "has8_resnet_b8_m2_d4_ste_bpd",            # any name; with a .tag, from that weight with a new last layer
        "photos/",                                 # a folder, a packed .npz, a data set's name, or DataSplits
        recipe="modern",                           # or finetune, paper-small, …, a YAML file, a Recipe
        changes={"epochs": 3, "seed": 7},          # settings of the recipe to replace
        out="runs/photos",                         # the folder of the run
        resume=True,                               # go on where it was stopped, or start
        options=DataOptions(limit=5000),           # a budget of training images, all classes alike
        observers=[],                              # [Display()] of zoo.training.showing prints the progress
    )
    result.metrics                                 # {"top1": …, "top5": …, "loss": …} of the validation split
    result.rows                                    # one for each epoch, as in metrics.csv
    zoo.create_model(result.reference)             # local-dir:runs/photos

A run that explodes raises `zoo.errors.DivergenceError`; SIGINT and SIGTERM raise `zoo.errors.TrainingStoppedError` once
all is saved. Loading data once for many runs: `load_data(…)`, whose `DataSplits` `train` takes in place of a name.

Everything is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.training.datasets import DataSplits, ImageSplit, load_data, load_split
    from zoo.training.engine import Training
    from zoo.training.evaluating import Evaluation, evaluate
    from zoo.training.measuring import Measurement, measure_weight
    from zoo.training.observing import Observer
    from zoo.training.preparing import DataOptions
    from zoo.training.recipes import Recipe, load_recipe, recipe_names
    from zoo.training.results import TrainingResult
    from zoo.training.running import train

_HOMES = {
    "DataOptions": "preparing",
    "DataSplits": "datasets",
    "Evaluation": "evaluating",
    "ImageSplit": "datasets",
    "Measurement": "measuring",
    "Observer": "observing",
    "Recipe": "recipes",
    "Training": "engine",
    "TrainingResult": "results",
    "evaluate": "evaluating",
    "load_data": "datasets",
    "load_recipe": "recipes",
    "load_split": "datasets",
    "measure_weight": "measuring",
    "recipe_names": "recipes",
    "train": "running",
}

__all__ = [
    "DataOptions",
    "DataSplits",
    "Evaluation",
    "ImageSplit",
    "Measurement",
    "Observer",
    "Recipe",
    "Training",
    "TrainingResult",
    "evaluate",
    "load_data",
    "load_recipe",
    "load_split",
    "measure_weight",
    "recipe_names",
    "train",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
