"""`zoo train` as a function: from a name, data and a recipe to a folder that loads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from os.path import abspath
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from zoo.backbones.fast import whiten
from zoo.catalog import Preprocessing, StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import AUTO
from zoo.data import DataOptions, DataSplits, ImageSplit
from zoo.data.datasets import InHand, open_in_hand
from zoo.data.images import Transform
from zoo.data.load import identify_data, load_data
from zoo.data.splits import limit_images
from zoo.errors import DivergenceError, InputError, ModelNameError, TrainingError, printable
from zoo.factory import OpenedModel, open_model
from zoo.families.thresholds import calibrate
from zoo.files import locked, remove_parts, replace_bytes
from zoo.inference.evaluate import Evaluation, evaluate, rounded
from zoo.names import Options
from zoo.saving import ModelFolder, check_tag, fold_built, without_folders
from zoo.training.loop import CHECKPOINT, Training, make_accelerator
from zoo.training.observers import Display, EpochRow, MetricsFile, Observer, Trackers
from zoo.training.recipe import Recipe, change_recipe, load_recipe
from zoo.weights import CONFIG, MODEL, RUN, pack, stated_preprocessing

WHITENED = 5000
"""Images from which a new network's whitening layer is set."""


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
    trackers: Sequence[str] = ("tensorboard",),
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
        trackers: by accelerate's names: `tensorboard`, `wandb`, `mlflow`, ….
        endpoint, cache_dir: of the model and of its control, as for `create_model`.

    Returns:
        The folder, the record of the weight, the figures. Python's, numpy's and torch's random generators are seeded
        in every step.

    Raises:
        ModelNameError, CompositionError, WeightError, HubError: as `create_model` does.
        CatalogError: the recipe is unknown or malformed.
        InputError: the data cannot be used, the folder holds another run, or this machine lacks the device.
        DivergenceError: the loss or the gradient exploded; the message names step and layer.
        TrainingError, MemoryLimitError: a file cannot be written, or memory is short; what was saved stays.
    """
    opened = open_model(name, endpoint=endpoint, cache_dir=cache_dir, options=model_options)
    changes = dict(changes or {})
    if isinstance(recipe, Recipe):
        label, settings = "custom", change_recipe("custom", recipe.model_dump(), changes)
    else:
        label = str(recipe or ("finetune" if opened.weight_name else "modern"))
        settings = load_recipe(label, changes)
    given = data if isinstance(data, str | Path | DataSplits) else open_in_hand(data)
    dataset = check_tag(tag or default_tag(given))
    tag = _choose_tag(dataset, opened, asked=tag is not None)
    folder = Path(out or Path("runs", re.sub(r"[^\w.-]+", "-", f"{opened.spec.text}.{tag}-{Path(label).stem}")))
    _check_folder(folder, resume, given)
    accelerator = make_accelerator(settings.precision, accumulate, device, trackers, folder)
    with accelerator.local_main_process_first():  # which downloads, if needed
        splits = _load_data(given, options or DataOptions(), opened)
    classes = splits.train.classes
    axes = splits.train.data.axes
    opened = _fit_frames(opened, axes)
    start = build(opened, classes, settings.seed, open_model(control, **opened.places) if control else None, axes[-1])
    start.model.check_image(torch.empty(1, *axes, *splits.train.size, device="meta"))
    if not start.name:
        whiten(start.model, sample_images(start.model, splits.train, WHITENED))
    calibrate_scales(start.model, splits.train, settings.calibration)
    start.model.spec = start.model.spec.tagged(tag)  # of the weight that it becomes
    teacher = find_teacher(settings.teacher, opened, classes, axes[-1])
    shown = [Display()] if observers is None else observers
    observing = [MetricsFile(folder), Trackers(accelerator), *shown] if accelerator.is_main_process else []
    asked = {
        "begin": name,
        "control": control,
        "data": identify_data(given),
        "dataset": dataset,
        "recipe": label,
        "changes": changes,
        "validate_every": validate_every,
    }
    training = Training(
        start.model,
        splits.train,
        settings,
        folder,
        accelerator=accelerator,
        observers=observing,
        begun_with={"initial weights": start.sha256, "validation data fingerprint": splits.val.fingerprint()},
        teacher=teacher,
    )
    try:
        with _locked(folder) if accelerator.is_main_process else nullcontext():
            if accelerator.is_main_process:
                _check_folder(folder, resume, given)  # again: another run may have ended in the meantime
            if resume:
                training.resume()
            return _Run(training, start, splits, folder, observing, asked).go()
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written ({error}); make room, continue with --resume") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a run; raises `InputError` if another process trains in it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except BlockingIOError as error:
            raise InputError(
                f"another process is training in {folder}; choose another folder (--out), or wait until it has ended "
                "and continue with --resume"
            ) from error
        yield


def _choose_tag(wanted: str, opened: OpenedModel, asked: bool) -> str:
    """Choose the tag of the weight that a run makes: the wanted one, or with a number if an ancestor has it.

    Raises `ModelNameError` for a tag that was asked for and cannot be had.
    """
    ancestors = {opened.weight_name, *(opened.weight.recipe.split() if opened.weight else ())}
    free, number = wanted, 1
    while f"{opened.spec.text}.{free}" in ancestors:
        number += 1
        free = f"{wanted}-{number}"
    if asked and free != wanted:
        name = f"{opened.spec.text}.{wanted}"
        raise ModelNameError(f"{name} is what the run starts from, or began with; choose another tag (--tag {free})")
    return free


def _load_data(given: str | Path | InHand | DataSplits, options: DataOptions, opened: OpenedModel) -> DataSplits:
    """Load the data of a run; its images get the size of the weight that it begins with, if there is one."""
    if isinstance(given, DataSplits):
        return replace(given, train=limit_images(given.train, options.limit))
    size = opened.preprocessing().size if opened.weight_name and options.image_size is None else None
    return load_data(given, replace(options, image_size=size or options.image_size))


def _fit_frames(opened: OpenedModel, axes: tuple[int, ...]) -> OpenedModel:
    """Give an untrained network of frames as many timesteps as the frames of its data, if no option says otherwise."""
    options = opened.spec.options
    stated = any("timesteps" in options.get(kind, {}) for kind in ("family", "encoder"))
    if len(axes) == 1 or stated or opened.weight_name or opened.spec.get("encoder") != "frames":
        return opened
    return replace(opened, spec=opened.spec.with_options({"encoder": {"timesteps": axes[0]}}))


@final
@dataclass(frozen=True, repr=False)
class TrainingResult:
    """A finished run.

    Attributes:
        folder: with model.safetensors, config.json, run.json, metrics.csv and the checkpoint.
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
        """The name by which `create_model` and all commands load the weight."""
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
        few = f"training steps: {steps}, too few to learn from"
        poor = f"its top-1 of {top1:.2f} % is not above the {guessed:.2f} % of always naming the most frequent class"
        return (few,) * (steps < 10) + (poor,) * (top1 <= guessed)

    def to_json(self) -> dict[str, Any]:
        """Return what `zoo train --json` prints."""
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


# The network that a run starts from ----------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Start:
    """A network before its first step.

    Attributes:
        model: the network.
        notes: for the reader.
        name, sha256: of the weight in it; '' for none.
        ancestry: the data and recipe of that weight, in words, and of those before it.
        control: its name, if it is a control's weight.
    """

    model: ImageClassifier
    notes: tuple[str, ...] = ()
    name: str = ""
    sha256: str = ""
    ancestry: str = ""
    control: str = ""


def build(
    opened: OpenedModel, classes: Sequence[str], seed: int, control: OpenedModel | None = None, in_chans: int = 3
) -> Start:
    """Build the network for these classes: freshly initialised, the weight's body with a new head, or from a control.

    The head is kept if the classes are the weight's own, in its order. Of a weight of the network without spikes, the
    analog branches and the head are taken, or all layers if both networks have the same; of any other weight, or if
    `opened` is a weight itself, it raises `InputError`.
    """
    torch.manual_seed(seed)
    if not opened.weight_name:
        model = opened.build(num_classes=len(classes), in_chans=in_chans)
        return Start(model) if control is None else _take_over(model, control, classes, seed)
    if control is not None:
        raise InputError(f"{opened.weight_name} is a weight already, and --control is for networks that start afresh")
    model = opened.build(pretrained=True, num_classes=len(classes), in_chans=in_chans)
    head = "its head"
    if opened.labels != tuple(classes):
        head = f"a new head for {len(classes)} classes"
        if len(opened.labels) == len(classes):
            model.reset_classifier(len(classes))
    notes = (f"starts from {opened.weight_name} with {head}",)
    if opened.weight is None:
        return Start(model, notes, opened.weight_name, str(model.pretrained_cfg["sha256"]))
    before = opened.weight
    ancestry = f"{before.name} was trained on {before.dataset} by {before.recipe or 'a recipe that is not stated'}"
    return Start(model, notes, before.name, before.sha256, ancestry)


def _take_over(model: ImageClassifier, control: OpenedModel, classes: Sequence[str], seed: int) -> Start:
    """Replace the network's tensors by those of its control's weight, by name."""
    begun = build(control, classes, seed, in_chans=model.in_chans)
    if not begun.name:
        raise InputError(f"{control.spec} has no weight to start from; name one with its tag, or as local-dir:DIR")
    own, theirs = model.state_dict(), begun.model.state_dict()
    # A network of spikes alone has spiking layers in the place of the analog ones.
    taken = {key if key in own else key.replace(".analog.", ".spiking."): value for key, value in theirs.items()}
    strange = sorted(key for key, value in taken.items() if key not in own or own[key].shape != value.shape)
    if strange:
        raise InputError(
            f"{control.spec} is not a control of {model.spec}, which has no {strange[0]} of that shape; "
            "the control is named by `zoo profile`"
        )
    model.load_state_dict(own | taken, strict=True)
    model.pretrained_cfg |= {key: begun.model.pretrained_cfg[key] for key in ("mean", "std")}
    return replace(begun, model=model, control=begun.name)


def find_teacher(
    name: str | None, opened: OpenedModel, classes: Sequence[str], in_chans: int = 3
) -> ImageClassifier | None:
    """Build the weight that a recipe names as teacher, in eval mode; raises `InputError` if it has other classes."""
    if name is None:
        return None
    teacher = open_model(name, **opened.places)
    if teacher.labels != tuple(classes):
        raise InputError(f"the teacher {name} has other classes than the data: {', '.join(teacher.labels[:5])}, …")
    return teacher.build(pretrained=True, in_chans=in_chans).eval().requires_grad_(False)


def sample_images(model: ImageClassifier, data: ImageSplit, images: int) -> Tensor:
    """Return so many images, evenly spread over the split, as the network takes them."""
    rows = torch.linspace(0, len(data) - 1, min(images, len(data))).long()
    return Transform(stated_preprocessing(model)).scale(data.read(rows)[0])


def calibrate_scales(model: ImageClassifier, data: ImageSplit, images: int) -> None:
    """Set the scales of quantised and spiking activations by so many images, evenly spread over the split."""
    if images and not calibrate(model, sample_images(model, data, images)):
        raise InputError(f"calibration sets scales, and {model.spec} has none; it is for --set-family levels=…")


# The folder -----------------------------------------------------------------------------------------------------------


def default_tag(source: object) -> str:
    """A tag for weights that were trained on `source`: the name of its folder, file or data set."""
    name = Path(abspath(source)).stem if isinstance(source, str | Path) else ""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "trained"


def _check_folder(out: Path, resume: bool, data: object) -> None:
    """Raise `InputError` if `out` holds what this run must not replace, or is one of the class folders of its data."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose a folder (--out)")
    present = [name for name in (CHECKPOINT, RUN, MODEL, CONFIG) if (out / name).exists()]
    if present and not (resume and RUN in present):
        raise InputError(f"{out} holds {', '.join(present)}; continue a run with --resume, or choose another --out")
    undivided = isinstance(data, str | Path) and Path(data).is_dir() and not any(Path(data).glob("train*"))
    if undivided and out.resolve().is_relative_to(Path(str(data)).resolve()):
        raise InputError(f"{out} lies in {data}, where a folder is a class; choose a folder elsewhere (--out)")


# The run --------------------------------------------------------------------------------------------------------------


@final
@dataclass
class _Run:
    """A training with its data and its folder; `asked` goes into run.json."""

    training: Training
    start: Start
    splits: DataSplits
    folder: Path
    observers: Sequence[Observer]
    asked: Mapping[str, Any]

    def go(self) -> TrainingResult:
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
        made = self._make_model(evaluation)
        result = TrainingResult(self.folder, made.weight, evaluation, tuple(training.rows), tuple(self._notes()))
        if main:
            made.write(self.folder, overwrite=True)
            self._write_run(result)
        training.accelerator.wait_for_everyone()
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
        network, recipe = self.training.network, self.training.recipe
        train, val, stated = self.splits.train, self.splits.val, stated_preprocessing(network)
        changed = ", ".join(f"{key}={value}" for key, value in self.asked["changes"].items())
        followed = self.asked["recipe"] + (f" ({changed})" if changed else "")
        return fold_built(
            network,
            pack(network.state_dict(), network.spec),
            str(network.spec),
            labels=train.classes,
            preprocessing=Preprocessing(size=train.size[0], mean=stated.mean, std=stated.std),
            dataset=self.asked["dataset"],
            dataset_note=printable(without_folders(f"trained on {train.origin}; measured on {val.origin}")),
            recipe=printable("; ".join(filter(None, (followed, *self.start.notes, self.start.ancestry)))),
            epochs=recipe.epochs,
            seed=recipe.seed,
            control=self.start.control,
            started_from=self.start.name,
            metrics={} if evaluation is None else rounded(evaluation, tops_alone=True),
        )

    def _write_run(self, result: TrainingResult | None = None) -> None:
        """Write run.json: what was asked for, and at the end the result."""
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
        replace_bytes(self.folder / RUN, f"{json.dumps(content, indent=1, default=str)}\n".encode())

    def _notes(self) -> list[str]:
        recipe, plan, splits = self.training.recipe, self.training.plan, self.splits
        notes = [f"images of {splits.train.size[0]} pixels a side", *self.start.notes]
        notes += splits.train.damage_notes("training") + splits.val.damage_notes("validation")
        if plan.batch_size < recipe.batch_size:
            notes.append(f"{plan.images} images make one step of {plan.batch_size} an epoch")
        cpu, on_cpu = torch.backends.cpu.get_cpu_capability(), self.training.accelerator.device.type == "cpu"
        if recipe.precision == "bf16" and on_cpu and "AVX512" not in cpu:
            notes.append(f"bfloat16 may be ten times slower than float32 without AVX-512 ({cpu}): try --precision no")
        if self.asked["validate_every"]:
            notes.append("the validation split was measured more than once: the best of these figures is too high")
        return notes
