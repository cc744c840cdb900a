"""Classify many files on many machines by Ray Data, with the answers of `zoo predict` on one.

    ray start --head                              # on the first machine
    ray start --address=first-machine:6379        # on each of the others
    python ray_predict.py NAME FOLDER > answers.jsonl

All machines see the same folder. The number of workers is that of the cluster's cores.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ray
from ray.data import ActorPoolStrategy

import zoo
from zoo.data.images import find_images
from zoo.inference.predict import Failure

BATCH = 32  # of files: the batch is part of an answer's last digits, and so a row of the data is a whole batch


class Classifier:
    """A worker, which holds the network."""

    def __init__(self, name: str) -> None:
        self._model = zoo.create_model(name, pretrained=True)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        answers = zoo.predict(self._model, list(row["files"]), batch_size=BATCH)
        return {
            "answers": [
                {"file": str(each.file), "error": each.error}
                if isinstance(each, Failure)
                else {"file": str(each.file), "label": each.label, "probability": each.probability}
                for each in answers
            ]
        }


def main(name: str, folder: str) -> None:
    """Print a line of JSON for each file, in their order."""
    ray.init(log_to_driver=False)
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    files = [str(file.absolute()) for file in find_images([folder])]
    batches = [{"files": files[row : row + BATCH]} for row in range(0, len(files), BATCH)]
    workers = ActorPoolStrategy(size=min(len(batches), int(ray.cluster_resources()["CPU"])))
    rows = ray.data.from_items(batches).map(Classifier, fn_constructor_args=(name,), compute=workers)
    for row in rows.iter_rows():
        for answer in row["answers"]:
            print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
