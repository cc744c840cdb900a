"""`zoo train` as a function: from a name, data and a recipe to a folder that loads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, final

import torch

from zoo.catalog import Preprocessing, StoredWeight
from zoo.contracts.device import AUTO
from zoo.data import DataOptions, DataSplits
from zoo.data.datasets import InHand, open_in_hand
from zoo.data.load import identify_data, load_data
from zoo.data.splits import limit_images
from zoo.errors import DivergenceError, InputError, TrainingError, printable
from zoo.factory import OpenedModel, open_model
from zoo.files import remove_parts, replace_bytes
from zoo.inference.evaluate import Evaluation, evaluate, rounded
from zoo.names import Options
from zoo.saving import ModelFolder, check_tag, fold_built, without_folders
from zoo.training.checkpoint import CHECKPOINT
from zoo.training.loop import Training, make_accelerator
from zoo.training.observers import CURVES, Display, EpochRow, MetricsFile, Observer, Trackers, draw_curves
from zoo.training.recipe import Recipe, change_recipe, load_recipe
from zoo.training.start import Start, build, calibrate_scales, find_teacher
from zoo.weights import CONFIG, MODEL, RUN, pack, stated_preprocessing

DEFAULT_RECIPE, FINE_TUNING_RECIPE = "modern", "finetune"
TENSORBOARD = ("tensorboard",)
_FEW_STEPS = 10


def train(
    name: str,
    data: str | Path | InHand | DataSplits,
    *,
    recipe: str | Path | Recipe | None = None,
    changes: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    tag: str | None = None,
    control: str | None = None,
    model_options: Options | None = None,
    options: DataOptions | None = None,
    accumulate: int = 1,
    device: str = AUTO,
    validate_every: int = 0,
    observers: Sequence[Observer] | None = None,
    trackers: Sequence[str] = TENSORBOARD,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
) -> TrainingResult:
    """Train a model, measure it once on the validation split, and write it as a folder that the zoo loads.

    Args:
        name: of the model; with a tag, or as `local-dir:` or `hf-hub:`, the run starts from that weight.
        data: as for `zoo.data.load_data`: a folder, a packed file, the name of a data set, a reference, arrays or a
            torch Dataset; or splits that are loaded already.
        recipe: by name, as the path of a YAML file, or itself; by default `modern`, and `finetune` from a weight.
        changes: settings of the recipe to replace, such as `{"epochs": 3}`.
        out: folder of the run; by default runs/NAME.TAG-RECIPE.
        resume: continue the run in `out`, or start it if there is none.
        tag: of the resulting weight; by default the data's name.
        control: a weight of the network without spikes, by name or reference, that the network starts from: a hybrid
            takes its analog branches and head, a `sew` or `snn` network its layers.
        model_options: of the model's components by their kind, and of its family: `{"neuron": {"tau": 4.0}}`.
        options: for reading the data; of splits, the limits alone count.
        accumulate: micro-batches of a process in one step.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` for a GPU with CUDA if there is one.
        validate_every: epochs between two measurements on the validation split; 0 measures once, at the end.
        observers: told of the progress; None for a display on stderr.
        trackers: experiment trackers, by accelerate's names: `tensorboard`, `wandb`, `mlflow`, ….
        endpoint, cache_dir: of the model and of its control, as for `create_model`.

    Returns:
        The folder, the record of the weight, the figures. Python's, numpy's and torch's random generators are seeded
        in every step.

    Raises:
        ModelNameError, CompositionError, WeightError, HubError: as `create_model` does.
        CatalogError: the recipe is unknown or malformed.
        InputError: the data cannot be used, the folder holds another run, or this machine lacks the device.
        DivergenceError: the loss or the gradient exploded; the message names step and layer.
        TrainingError: a file cannot be written.
        MemoryLimitError: a step or validation needs more memory than there is; what was saved stays.
    """
    opened = open_model(name, endpoint=endpoint, cache_dir=cache_dir, options=model_options)
    label, settings = _load_settings(recipe, opened, changes or {})
    given = data if isinstance(data, str | Path | DataSplits) else open_in_hand(data)
    tag = check_tag(tag or default_tag(given))
    folder = Path(out) if out is not None else _default_folder(f"{opened.spec.text}.{tag}", label)
    _check_folder(folder, resume, given)
    accelerator = make_accelerator(settings.precision, accumulate, device, trackers, folder)
    with accelerator.local_main_process_first():  # which downloads, if needed
        splits = _load_data(given, options or DataOptions(), opened)
    classes = splits.train.classes
    start = build(opened, classes, settings.seed, open_model(control, **opened.places) if control else None)
    calibrate_scales(start.model, splits.train, settings.calibration)
    start.model.spec = start.model.spec.tagged(tag)  # of the weight that it becomes
    shown = [Display()] if observers is None else observers
    observing = [MetricsFile(folder), Trackers(accelerator), *shown] if accelerator.is_main_process else []
    training = Training(
        start.model,
        splits.train,
        settings,
        folder,
        accelerator=accelerator,
        observers=observing,
        begun_with={"initial weights": start.sha256, "validation data fingerprint": splits.val.fingerprint()},
        teacher=find_teacher(settings.teacher, opened, classes),
    )
    if resume:
        training.resume()
    asked = {
        "begin": name,
        "control": control,
        "data": identify_data(given),
        "recipe": label,
        "changes": dict(changes or {}),
        "validate_every": validate_every,
    }
    try:
        return _Run(training, start, splits, folder, observing, asked).go()
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written ({error}); make room, continue with --resume") from error


def _load_settings(
    recipe: str | Path | Recipe | None, opened: OpenedModel, changes: Mapping[str, Any]
) -> tuple[str, Recipe]:
    if isinstance(recipe, Recipe):
        return "custom", change_recipe("custom", recipe.model_dump(), changes)
    label = recipe or (FINE_TUNING_RECIPE if opened.weight_name else DEFAULT_RECIPE)
    return str(label), load_recipe(label, changes)


def _load_data(given: str | Path | InHand | DataSplits, options: DataOptions, opened: OpenedModel) -> DataSplits:
    """Load the data of a run; its images get the size of the weight that it begins with, if there is one."""
    if isinstance(given, DataSplits):
        return replace(given, train=limit_images(given.train, options.limit))
    size = opened.preprocessing().size if opened.weight_name and options.image_size is None else None
    return load_data(given, replace(options, image_size=size or options.image_size))


@final
@dataclass(frozen=True, repr=False)
class TrainingResult:
    """A finished run.

    Attributes:
        folder: with model.safetensors, config.json, run.json, metrics.csv, curves.png and the checkpoint.
        weight: the record in config.json.
        evaluation: of the final weights, on the validation split.
        rows: one for each epoch.
        notes: for the reader.
    """

    folder: Path
    weight: StoredWeight
    evaluation: Evaluation
    rows: tuple[EpochRow, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value:.4g}" for name, value in self.metrics.items())
        return f"TrainingResult({self.weight.name}, {figures}, folder={str(self.folder)!r})"

    @property
    def reference(self) -> str:
        """The name by which `create_model`, `zoo predict --model` and `zoo publish` load the weight."""
        return f"local-dir:{self.folder}"

    @property
    def metrics(self) -> dict[str, float]:
        """`top1`, `top5` if there are more than five classes, in percent, and `loss`."""
        return self.evaluation.top | {"loss": self.evaluation.loss}

    @property
    def missing(self) -> tuple[str, ...]:
        """Reasons not to publish the weight yet; empty for one that learned something."""
        steps, top1 = self.rows[-1].step, self.evaluation.top["top1"]
        guessed = 100 * int(self.evaluation.confusion.sum(1).max()) / self.evaluation.images
        few = f"training steps: {steps}, too few to learn from; take more epochs, or more images"
        poor = (
            f"its top-1 of {top1:.2f} % is not above the {guessed:.2f} % of always naming the most frequent class; "
            "train longer, or on more images"
        )
        return (few,) * (steps < _FEW_STEPS) + (poor,) * (top1 <= guessed)

    def to_json(self) -> dict[str, Any]:
        """The summary that `zoo train --json` prints."""
        last = self.rows[-1]
        return {
            "name": self.weight.name,
            "load": self.reference,
            "folder": str(self.folder),
            **self.metrics,
            "validation_images": self.evaluation.images,
            "eval_batch_size": self.evaluation.batch_size,
            "epochs": last.epoch,
            "steps": last.step,
            "seconds": round(sum(row.seconds for row in self.rows), 3),
            "train_loss": last.train_loss,
            "train_top1": last.train_top1,
            "spike_rate": last.spike_rate,
            "params": self.weight.figures.params,
            "macs": self.weight.figures.macs,
            "sha256": self.weight.sha256,
            "notes": list(self.notes),
            "missing": list(self.missing),
        }


# The folder -----------------------------------------------------------------------------------------------------------


def default_tag(source: object) -> str:
    """A tag for weights that were trained on `source`: the name of its folder, file or data set."""
    path = Path(source) if isinstance(source, str | Path) else Path()
    name = path.resolve().stem if path.exists() and path != Path() else path.name
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "trained"


def _default_folder(weight: str, recipe: str) -> Path:
    return Path("runs", re.sub(r"[^\w.-]+", "-", f"{weight}-{Path(recipe).stem}"))


def _check_folder(out: Path, resume: bool, data: object) -> None:
    """Raise `InputError` if `out` holds what this run must not replace, or is one of the class folders of its data."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another folder (--out)")
    present = [name for name in (CHECKPOINT, RUN, MODEL, CONFIG) if (out / name).exists()]
    if present and not (resume and RUN in present):
        raise InputError(
            f"{out} holds {', '.join(present)}; continue a run of `zoo train` with --resume, or choose another folder "
            "(--out)"
        )
    undivided = isinstance(data, str | Path) and Path(data).is_dir() and not any(Path(data).glob("train*"))
    if undivided and out.resolve().is_relative_to(Path(str(data)).resolve()):
        raise InputError(f"{out} lies in {data}, where a folder is a class; choose a folder elsewhere (--out)")


# The run --------------------------------------------------------------------------------------------------------------


@final
@dataclass
class _Run:
    """A training with its data and its folder."""

    training: Training
    start: Start
    splits: DataSplits
    folder: Path
    observers: Sequence[Observer]
    asked: Mapping[str, Any]

    def go(self) -> TrainingResult:
        """Train, measure, write."""
        training, main = self.training, self.training.accelerator.is_main_process
        if main:
            self._make_model()  # a network that cannot be saved fails here, before it is trained
            self._write_run()
            remove_parts(self.folder)  # of a run that was killed while it saved
        with ExitStack() as stack:
            for observer in self.observers:
                observer.started(training, self._notes())
                stack.callback(observer.closed)
            evaluation = training.run(self._measure, self.asked["validate_every"])
        if not math.isfinite(evaluation.loss):
            raise DivergenceError(
                f"the loss on the validation split is {evaluation.loss}: training exploded, and no weight is written; "
                "start again with a lower --learning-rate, or --set clip_norm=1 or less"
            )
        weight = training.broadcast(self._write_model(evaluation) if main else None)
        assert weight is not None  # the first process wrote it
        result = TrainingResult(self.folder, weight, evaluation, tuple(training.rows), tuple(self._notes()))
        if main:
            draw_curves(training.rows, f"{weight.name}, {self._recipe_text}", self.folder / CURVES)
            self._write_run(result)
        return result

    def _measure(self) -> Evaluation:
        """Measure the network on the validation split, and write the figures into the last row."""
        training, accelerator = self.training, self.training.accelerator
        training.share_statistics()
        share = (accelerator.process_index, accelerator.num_processes)
        evaluation = evaluate(training.network, self.splits.val, share=share)
        training.rows[-1].val.update(rounded(evaluation))
        return evaluation

    def _make_model(self, evaluation: Evaluation | None = None) -> ModelFolder:
        """Make the files of the network as it is."""
        network, recipe = self.training.network, self.training.recipe
        train, val, stated = self.splits.train, self.splits.val, stated_preprocessing(network)
        return fold_built(
            network,
            pack(network.state_dict(), network.spec),
            str(network.spec),
            labels=train.classes,
            preprocessing=Preprocessing(size=train.size[0], mean=stated.mean, std=stated.std),
            dataset=str(network.spec.tag),
            dataset_note=printable(without_folders(f"trained on {train.origin}; measured on {val.origin}")),
            recipe=printable("; ".join((self._recipe_text, *self.start.notes))),
            epochs=recipe.epochs,
            seed=recipe.seed,
            control=self.start.control,
            started_from=self.start.name,
            metrics={} if evaluation is None else rounded(evaluation, tops_alone=True),
        )

    def _write_model(self, evaluation: Evaluation) -> StoredWeight:
        made = self._make_model(evaluation)
        made.write(self.folder, overwrite=True)
        return made.weight

    def _write_run(self, result: TrainingResult | None = None) -> None:
        """Write run.json: what was asked for, from the beginning on, and the result, at the end."""
        training, accelerator = self.training, self.training.accelerator
        content = {
            "asked": dict(self.asked),
            "settings": training.recipe.model_dump(mode="json"),
            "identity": training.identity,
            "processes": accelerator.num_processes,
            "accumulated_batches": accelerator.gradient_accumulation_steps,
            "device": str(accelerator.device),
            "threads": torch.get_num_threads(),
            "versions": {name: metadata.version(name) for name in ("has8-zoo", "torch", "timm", "accelerate")},
        }
        if result is not None:
            content["result"] = result.to_json()
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
        # A path may hold bytes of another encoding, as lone surrogates; written as \\udc…, they are JSON.
        replace_bytes(self.folder / RUN, text.encode("utf-8", "backslashreplace"))

    @property
    def _recipe_text(self) -> str:
        """`modern (epochs=3)`."""
        changed = ", ".join(f"{key}={value}" for key, value in self.asked["changes"].items())
        return self.asked["recipe"] + (f" ({changed})" if changed else "")

    def _notes(self) -> list[str]:
        recipe, plan, splits = self.training.recipe, self.training.plan, self.splits
        notes = [f"images of {splits.train.size[0]} pixels a side", *self.start.notes]
        notes += splits.train.damage_notes("training") + splits.val.damage_notes("validation")
        if plan.batch_size < recipe.batch_size:
            notes.append(
                f"{plan.images} images make one step of {plan.batch_size} an epoch, not of {recipe.batch_size}"
            )
        if self.asked["validate_every"]:
            notes.append("the validation split was measured more than once: the best of these figures is too high")
        return notes
