"""Training by name: recipes, a loop that several processes share, runs that resume.

Needs `pip install 'has8-zoo[train]'`. `zoo train` from Python::

    from zoo.training import DataOptions, resume, train

    changes = {"epochs": 3, "seed": 7}             # of the recipe
    result = train("has8_resnet_b8_m2_d4_ste_bpd", "photos/", recipe="modern", changes=changes, out="runs/photos")
    result.metrics                                 # {"top1": …, "top5": …, "loss": …} of the validation split
    result.rows                                    # one for each epoch, as in metrics.csv
    zoo.create_model(result.reference)             # local-dir:runs/photos
    resume("runs/photos", changes={"epochs": 10})  # more epochs

Progress is shown on stderr; `observers=[]` silences it. To load data once for many runs, pass the result of `load_data`
in place of a name.
"""

from zoo.data import DataOptions as DataOptions
from zoo.data import load_data as load_data
from zoo.inference.evaluate import Evaluation as Evaluation
from zoo.inference.evaluate import evaluate as evaluate
from zoo.inference.evaluate import measure_weight as measure_weight
from zoo.training.observers import Display as Display
from zoo.training.observers import Observer as Observer
from zoo.training.recipe import Recipe as Recipe
from zoo.training.recipe import load_recipe as load_recipe
from zoo.training.recipe import recipe_names as recipe_names
from zoo.training.run import TrainingResult as TrainingResult
from zoo.training.run import resume as resume
from zoo.training.run import train as train
