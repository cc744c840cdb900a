"""Training by name: recipes, an engine that several processes share, runs that go on where they stopped.

Needs `pip install 'has8-zoo[train]'`. `zoo train` from Python:

    from zoo.training import DataOptions, train

    result = train(
        "has8_resnet_b8_m2_d4_ste_bpd",            # any name; with a .tag, from that weight with a new last layer
        "photos/",                                 # a folder, an .npz, a name, hfds/…, (images, labels), a Dataset
        recipe="modern",                           # or finetune, paper-small, …, a YAML file, a Recipe
        changes={"epochs": 3, "seed": 7},          # settings of the recipe to replace
        out="runs/photos",                         # the folder of the run
        resume=True,                               # go on where it was stopped, or start
        options=DataOptions(limit=5000),           # a budget of training images, all classes alike
        observers=[],                              # [Display()] of zoo.training.observers.display prints the progress
    )
    result.metrics                                 # {"top1": …, "top5": …, "loss": …} of the validation split
    result.rows                                    # one for each epoch, as in metrics.csv
    zoo.create_model(result.reference)             # local-dir:runs/photos

A run that explodes raises `zoo.errors.DivergenceError`; SIGINT and SIGTERM raise `zoo.errors.TrainingStoppedError` once
all is saved. Loading data once for many runs: `load_data(…)`, whose `DataSplits` `train` takes in place of a name.

Everything is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo.data import DataSplits, ImageSplit, load_data, load_split
    from zoo.data.load import DataOptions
    from zoo.inference.evaluate import Evaluation, Measurement, evaluate, measure_weight
    from zoo.training.engine import Training
    from zoo.training.observers.base import Observer
    from zoo.training.recipes import Recipe, load_recipe, recipe_names
    from zoo.training.result import TrainingResult
    from zoo.training.run import train

_HOMES = {
    "DataOptions": "zoo.data.load",
    "DataSplits": "zoo.data",
    "Evaluation": "zoo.inference.evaluate",
    "ImageSplit": "zoo.data",
    "Measurement": "zoo.inference.evaluate",
    "Observer": "zoo.training.observers.base",
    "Recipe": "zoo.training.recipes",
    "Training": "zoo.training.engine",
    "TrainingResult": "zoo.training.result",
    "evaluate": "zoo.inference.evaluate",
    "load_data": "zoo.data",
    "load_recipe": "zoo.training.recipes",
    "load_split": "zoo.data",
    "measure_weight": "zoo.inference.evaluate",
    "recipe_names": "zoo.training.recipes",
    "train": "zoo.training.run",
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

__getattr__, __dir__ = attach(__name__, _HOMES)
