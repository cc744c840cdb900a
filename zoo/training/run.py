"""`zoo train` as a function: from a name, data and a recipe to a folder that loads."""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import torch
from filelock import FileLock, Timeout

from zoo.catalog import Catalog, Preprocessing, StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import AUTO
from zoo.data import DataOptions, DataSplits, ImageSplit
from zoo.data.datasets import InHand, open_in_hand
from zoo.data.images import Transform
from zoo.data.load import identify_data, load_data
from zoo.data.splits import limit_images
from zoo.errors import (
    DivergenceError,
    InputError,
    MemoryLimitError,
    SaveError,
    TrainingError,
    TrainingStoppedError,
    WeightError,
    missing_extra,
    printable,
)
from zoo.factory import OpenedModel, open_model
from zoo.families.thresholds import calibrate
from zoo.files import remove_parts
from zoo.inference.evaluate import Evaluation, check_batch, evaluate, rounded
from zoo.names import LocalFolder, Options
from zoo.profiling.counting import branch_of
from zoo.registry import Registry, default_registry
from zoo.saving import (
    NOT_STATED,
    ModelFolder,
    Statement,
    check_tag,
    convert_checkpoint,
    fold_built,
    make_config,
    without_folders,
)
from zoo.training.checkpoint import CHECKPOINT
from zoo.training.loop import StopRequest, Training, broadcast, make_accelerator
from zoo.training.observers import (
    CURVES,
    Display,
    EpochRow,
    MetricsFile,
    Observer,
    Trackers,
    check_trackers,
    draw_curves,
    write_file,
)
from zoo.training.recipe import Recipe, change_recipe, load_recipe
from zoo.weights import CONFIG, MODEL, RUN, pack, read_config, stated_preprocessing

DEFAULT_RECIPE, FINE_TUNING_RECIPE = "modern", "finetune"
RUNS = Path("runs")
TENSORBOARD = ("tensorboard",)
_FEW_STEPS = 10
_CONVERTED = "zoo-control-"
_SPLIT_NAMES = ("train", "training", "data", "images")


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
    workers: int = 1,
    validate_every: int = 0,
    eval_batch_size: int | None = None,
    observers: Sequence[Observer] | None = None,
    trackers: Sequence[str] = TENSORBOARD,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> TrainingResult:
    """Train a model, write it as a folder that the zoo loads, and measure it once on the validation split.

    The weight is written before it is measured, so a failure while measuring costs no training.

    Args:
        name: of the model; with a tag, or as `local-dir:` or `hf-hub:`, the run starts from that weight.
        data: as for `zoo.data.load_data`: a folder, a packed file, the name of a data set, a reference, arrays or a
            torch Dataset; or splits that are loaded already.
        recipe: by name, as the path of a YAML file, or itself; by default `modern`, and `finetune` from a weight.
        changes: settings of the recipe to replace, such as `{"epochs": 3}`.
        out: folder of the run; by default runs/NAME.TAG-RECIPE.
        resume: continue the run in `out`, or start it if there is none. A finished run is extended if `changes` or a
            `Recipe` has more epochs: from its weights and optimiser, its schedule computed over all epochs.
        tag: of the resulting weight; by default the data's name.
        control: a weight of the network without spikes, by name or reference, that the network starts from: a hybrid
            takes its analog branches and head, a `sew` network its layers; also the input of a converter, such as
            `timm:resnet18.a1_in1k` or `torchvision:resnet18.pth`.
        model_options: of the model's components by their kind, and of its family: `{"neuron": {"tau": 4.0}}`.
        options: for reading the data; of splits, the limits alone count.
        accumulate: micro-batches of a process in one step.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` for a GPU with CUDA if there is one.
        workers: threads that read ahead; 0 for none.
        validate_every: epochs between two measurements on the validation split; 0 measures once, at the end.
        eval_batch_size: validation images at once; None for 250, fewer if they are larger than 64×64 pixels.
        observers: told of the progress; None for a display on stderr.
        trackers: experiment trackers, by accelerate's names: `tensorboard`, `wandb`, `mlflow`, ….
        endpoint, cache_dir, token, registry, catalog: of the model and of its control, as for `create_model`.

    Returns:
        The folder, the record of the weight, the figures. Python's, numpy's and torch's random generators are seeded
        in every step.

    Raises:
        ModelNameError, CompositionError, WeightError, HubError: as `create_model` does.
        CatalogError: the recipe is unknown or malformed.
        InputError: the data cannot be used, the folder holds another run, or this machine lacks the device.
        DivergenceError: the loss or the gradient exploded; the message names step and layer.
        TrainingError: a file cannot be written.
        TrainingStoppedError: SIGINT or SIGTERM came; all is saved.
        MemoryLimitError: a step or validation needs more memory than there is; what was saved stays.
        MissingExtraError: something of `pip install 'has8-zoo[train]'` is missing.
    """
    _check_extras(trackers)
    check_batch(eval_batch_size)
    opened = open_model(
        name,
        endpoint=endpoint,
        cache_dir=cache_dir,
        token=token,
        registry=registry,
        catalog=catalog,
        options=model_options,
    )
    label, settings = _settle(recipe, opened, changes or {})
    given = data if isinstance(data, str | Path | DataSplits) else open_in_hand(data)
    tag = check_tag(tag or (default_tag(given) if isinstance(given, str | Path) else "trained"))
    folder = Path(out) if out is not None else default_folder(opened.spec.text, tag, label)
    check_apart(folder, given)
    check_folder(folder, resume)
    accelerator = make_accelerator(settings.precision, accumulate, device, trackers, folder)
    with accelerator.local_main_process_first():  # which downloads, if needed
        splits = _load(given, options or DataOptions(), opened)
    check_names(splits.train.classes)
    with opened_control(control, opened) as begun_by:
        beginning = build(opened, splits.train.classes, settings.seed, begun_by)
    asked = {
        "begin": name,
        "control": control,
        "model_options": opened.spec.options,
        "data": identify_data(given),
        "name": f"{opened.spec.untagged()}.{tag}",
        "recipe": label,
        "changes": dict(changes or {}),
        "validate_every": validate_every,
        "eval_batch_size": eval_batch_size,
    }
    calibrate_scales(beginning.model, splits.train, settings.calibration)
    teacher = find_teacher(settings.teacher, opened, splits.train.classes)
    beginning.model.spec = beginning.model.spec.tagged(tag)  # of the weight that it becomes
    with ExitStack() as stack:
        observing: list[Observer] = []
        if accelerator.is_main_process:
            stack.callback(claim_folder(folder, resume).release)
            remove_parts(folder)  # of a run that was killed while it saved
            shown = [Display()] if observers is None else observers
            observing = [MetricsFile(folder), Trackers(accelerator, settings.model_dump(mode="json")), *shown]
        accelerator.wait_for_everyone()
        for observer in observing:
            stack.callback(observer.closed)
        stop = stack.enter_context(StopRequest().listening())
        training = Training(
            beginning.model,
            splits.train,
            settings,
            folder,
            validation=splits.val,
            accelerator=accelerator,
            workers=workers,
            observers=observing,
            stop=stop,
            initial_sha256=beginning.sha256,
            teacher=teacher,
        )
        if resume:  # a default of more epochs does not extend a finished run
            training.resume(further=isinstance(recipe, Recipe) or "epochs" in (changes or {}))
        return _Run(training, beginning, splits, stop, observing, asked, registry).go()


def _load(given: str | Path | InHand | DataSplits, options: DataOptions, opened: OpenedModel) -> DataSplits:
    """Load the data of a run; its images get the size of the weight that it begins with, if there is one."""
    if isinstance(given, DataSplits):
        return replace(given, train=limit_images(given.train, options.limit))
    size = opened.preprocessing().size if opened.weight_name and options.image_size is None else None
    splits = load_data(given, options, image_size=size or options.image_size)
    return splits if size is None else replace(splits, size_reason=f"that of {opened.weight_name}, its beginning")


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
        steps, confusion, top1 = self.rows[-1].step, self.evaluation.confusion, self.evaluation.top["top1"]
        reasons = []
        if steps < _FEW_STEPS:
            counted = "1 training step is" if steps == 1 else f"{steps} training steps are"
            reasons.append(f"{counted} too few to learn from; take more epochs, or more images")
        guessed = 100 * int(confusion.sum(1).max()) / self.evaluation.images
        if top1 <= guessed:
            reasons.append(
                f"its top-1 of {top1:.2f} % is not above the {guessed:.2f} % of always naming the most frequent class; "
                "train longer, or on more images"
            )
        return tuple(reasons)

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


# What a run begins with -----------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Beginning:
    """A network before its first step.

    Attributes:
        model: the network.
        sha256: of the weight that it began with; '' for none.
        notes: for the reader.
        started_from: name of that weight, `variant.tag`; '' for none.
        loads: its reference for `create_model` on this machine; '' if it was converted for this run alone.
        control: the same name if it is a weight of the network without spikes; '' for none.
        control_size: pixels a side that the control was trained at.
    """

    model: ImageClassifier
    sha256: str = ""
    notes: tuple[str, ...] = ()
    started_from: str = ""
    loads: str = ""
    control: str = ""
    control_size: int | None = None


def build(opened: OpenedModel, classes: Sequence[str], seed: int, control: OpenedModel | None = None) -> Beginning:
    """Build the network for these classes: freshly initialised, or the weight's body with a new head.

    If the classes are the weight's own, in its order, the head is kept.

    Args:
        opened: the model or weight.
        classes: of the data.
        seed: of the initialisation.
        control: a weight of the network without spikes, whose tensors are taken: those of the analog branches and the
            head, or all of them if both networks have the same layers.
    """
    torch.manual_seed(seed)
    if not opened.weight_name:
        model = opened.build(num_classes=len(classes), in_chans=3)
        return Beginning(model) if control is None else _take_over(model, control, classes, seed)
    if control is not None:
        raise InputError(f"{opened.weight_name} is a weight already, and --control is for networks that start afresh")
    model = opened.build(pretrained=True, num_classes=len(classes), in_chans=3)
    if opened.labels == tuple(classes):
        note = f"starts from {opened.weight_name} with its head, for the classes are its own"
    else:
        if len(opened.labels) == len(classes):
            model.reset_classifier(len(classes))
        note = f"starts from {opened.weight_name} with a new head for {len(classes)} classes"
    digest = opened.weight.sha256 if opened.weight else str(model.pretrained_cfg["sha256"])
    return Beginning(model, digest, (note,), opened.weight_name, _loads(opened))


def _take_over(model: ImageClassifier, control: OpenedModel, classes: Sequence[str], seed: int) -> Beginning:
    """Replace the network's tensors by those of its control's weight, by name."""
    begun = build(control, classes, seed)
    if not begun.sha256:
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
    beside = model.spiking_module_names and all(branch_of(key, model) == "analog" for key in taken)
    part = "its analog branches and head" if beside else "its layers"
    file = control.weight.converted if control.weight is not None else None
    converted = "" if file is None else f", converted from {file.name}"
    notes = [f"{part} {begun.notes[0].replace('starts', 'start')}{converted}"]
    family = (control.registry or default_registry()).load("family", model.spec.family)()
    if "gain" in family.options and "gain" not in model.spec.options.get("family", {}):
        notes.append(
            f"its spiking branches start at random and are added to the analog ones, so that it does not begin as "
            f"{control.spec}; with --set-family gain=0 it would"
        )
    size = control.preprocessing().size
    return replace(begun, model=model, notes=tuple(notes), control=begun.started_from, control_size=size)


@contextmanager
def opened_control(control: str | None, opened: OpenedModel) -> Iterator[OpenedModel | None]:
    """Open the weight of a network without spikes that a spiking one starts from; None for none.

    Args:
        control: a name with its tag, `local-dir:` or `hf-hub:`; or a converter and its input, such as
            `timm:resnet18.a1_in1k` or `torchvision:resnet18.pth`, whose result lies in a temporary folder meanwhile.
        opened: the spiking network.

    Raises:
        ModelNameError, WeightError, HubError: as `create_model` does, and `convert`.
    """
    registry = opened.registry or default_registry()
    converter, colon, checkpoint = (control or "").partition(":")
    known = {component.name for component in registry.components() if component.kind == "converter"}
    if control is None:
        yield None
    elif colon and converter in known:
        made = convert_checkpoint(converter, checkpoint, opened.stock.hub, registry=registry)
        with TemporaryDirectory(prefix=_CONVERTED) as folder:
            made.folder.write(Path(folder))
            yield opened.stock.open(f"local-dir:{folder}")
    else:
        yield opened.stock.open(control)


def find_teacher(name: str | None, opened: OpenedModel, classes: Sequence[str]) -> ImageClassifier | None:
    """Build the weight that a recipe names as teacher, in eval mode; raises `InputError` if it has other classes."""
    if name is None:
        return None
    teacher = opened.stock.open(name)
    if teacher.labels != tuple(classes):
        raise InputError(f"the teacher {name} has other classes than the data: {', '.join(teacher.labels[:5])}, …")
    return teacher.build(pretrained=True, in_chans=3).eval().requires_grad_(False)


def calibrate_scales(model: ImageClassifier, data: ImageSplit, images: int) -> None:
    """Set the scales of quantised and spiking activations by so many images, evenly spread over the split."""
    rows = torch.linspace(0, len(data) - 1, min(images, len(data))).long()
    if images and not calibrate(model, Transform(stated_preprocessing(model)).scale(data.read(rows)[0])):
        raise InputError(f"calibration sets scales, and {model.spec} has none; it is for --set-family levels=…")


def _loads(opened: OpenedModel) -> str:
    if not isinstance(opened.source, LocalFolder):
        return opened.loads
    folder = opened.source.path.resolve()
    return "" if folder.name.startswith(_CONVERTED) else f"local-dir:{folder}"


def _settle(recipe: str | Path | Recipe | None, opened: OpenedModel, changes: Mapping[str, Any]) -> tuple[str, Recipe]:
    """Name and settings of the recipe, with the changes."""
    if recipe is None:
        recipe = FINE_TUNING_RECIPE if opened.weight_name else DEFAULT_RECIPE
    if isinstance(recipe, Recipe):
        return "custom", change_recipe("custom", recipe.model_dump(), changes)
    return str(recipe), load_recipe(recipe, changes)


def _check_extras(trackers: Sequence[str]) -> None:
    """Raise `MissingExtraError` now for what only the end of a run needs."""
    check_trackers(trackers)
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(error, CURVES, "train") from error


# The folder -----------------------------------------------------------------------------------------------------------


def default_tag(source: object) -> str:
    """A tag for weights that were trained on `source`: the name of its folder, file or data set."""
    path = Path(str(source))
    name = (
        path.stem
        if path.suffix in (".npz", ".tar", ".parquet")
        else path.resolve().name
        if path.exists()
        else path.name
    )
    if name.lower() in _SPLIT_NAMES:
        name = path.resolve().parent.name
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "trained"


def default_folder(variant: str, tag: str, recipe: str) -> Path:
    """runs/VARIANT.TAG-RECIPE."""
    return RUNS / re.sub(r"[^\w.-]+", "-", f"{variant}.{tag}-{Path(recipe).stem}")


def check_apart(out: Path, data: object) -> None:
    """Raise `InputError` if a run would lie among the class folders of its own images, and become one of them."""
    if not isinstance(data, str | Path) or not Path(data).is_dir() or any(Path(data).glob("train*")):
        return
    if out.resolve().is_relative_to(Path(data).resolve()):
        raise InputError(f"{out} lies in {data}, where every folder is a class; choose a folder elsewhere (--out)")


def check_names(classes: Sequence[str]) -> None:
    """Raise `InputError` for a class whose name is not text."""
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError as error:  # bytes of another encoding, as Python keeps them
            raise InputError(f"the class {name!a} is not named in UTF-8; rename its folder") from error


def check_folder(out: Path, resume: bool) -> None:
    """Raise `InputError` if `out` holds a run that is not to be resumed, or something else; writes nothing."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another folder (--out)")
    present = [name for name in (CHECKPOINT, RUN, MODEL, CONFIG) if (out / name).exists()]
    if present and RUN not in present:
        raise InputError(
            f"{out} holds {', '.join(present)}, which is not a run of `zoo train`; choose another folder (--out)"
        )
    if present and not resume:
        raise InputError(f"{out} holds a run already; continue it with --resume, or choose another folder (--out)")


def claim_folder(out: Path, resume: bool) -> FileLock:
    """Lock the folder for this process until `release`, or the process's end.

    Raises:
        InputError: as `check_folder` does, or another process trains in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process is training in {out}; wait for it, or choose another folder") from error
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}; choose another folder (--out)") from error
    check_folder(out, resume)  # again: another process may have finished a run in it meanwhile
    return lock


# The run --------------------------------------------------------------------------------------------------------------


@final
class _Run:
    """A training with its data and its folder."""

    def __init__(
        self,
        training: Training,
        beginning: Beginning,
        splits: DataSplits,
        stop: StopRequest,
        observers: Sequence[Observer],
        asked: Mapping[str, Any],
        registry: Registry | None,
    ) -> None:
        self.training, self.beginning, self.splits = training, beginning, splits
        self.stop, self.observers, self.asked, self.registry = stop, observers, asked, registry

    def go(self) -> TrainingResult:
        """Train, write, measure, write the figures."""
        training = self.training
        main = training.accelerator.is_main_process
        if main:  # before training, so that a network which cannot be saved costs none
            self._write_run()
        for observer in self.observers:
            observer.started(training.facts(self._images(), self._notes()), training.rows)
        training.run(self.measure, self.asked["validate_every"])
        weight = self._write_weights() if main else None
        evaluation = self.measure()
        if not math.isfinite(evaluation.loss):
            if main:
                for file in (CONFIG, MODEL):  # a folder without its config does not load
                    (training.out / file).unlink(missing_ok=True)
            raise DivergenceError(
                f"the loss on the validation split is {evaluation.loss}: training exploded, and no weight is written; "
                "start again with a lower --learning-rate, or --set clip_norm=1 or less"
            )
        if weight is not None:
            weight = weight.model_copy(update={"metrics": rounded(evaluation, tops_alone=True)})
            self._write_folder(weight, {})
            title = f"{weight.name}, {self._recipe_text}"
            draw_curves(training.rows, title, training.out / CURVES, training.recipe.loss_terms)
        weight = broadcast(training.accelerator, weight)
        assert weight is not None  # the first process wrote it
        result = TrainingResult(training.out, weight, evaluation, tuple(training.rows), tuple(self._notes()))
        if main:
            self._write_run(result)
        return result

    def measure(self) -> Evaluation:
        """Measure the network on the validation split, and write the figures into the last row."""
        training, accelerator = self.training, self.training.accelerator
        for observer in self.observers:
            observer.measuring(len(self.splits.val))
        training.share_statistics()
        try:
            evaluation = evaluate(
                training.network,
                self.splits.val,
                batch_size=self.asked["eval_batch_size"],
                share=(accelerator.process_index, accelerator.num_processes),
                after_batch=self._after_batch,
            )
        except MemoryLimitError as error:
            raise MemoryLimitError(f"{error}. {self._kept()}, and with --resume it is only measured") from error
        training.rows[-1].val.update(rounded(evaluation))
        for observer in self.observers:
            observer.validated(training.rows[-1], training.rows)
        return evaluation

    def _after_batch(self, images: int) -> None:
        if self.stop.signal is not None:
            raise TrainingStoppedError(
                f"stopped by {self.stop.signal.name} while validating. {self._kept()}; "
                "the same command with --resume continues",
                self.stop.signal,
            )
        for observer in self.observers:
            observer.measured(images)

    def _kept(self) -> str:
        training = self.training
        if training.epoch < training.recipe.epochs:
            return f"The result of epoch {training.epoch} is safe in {training.checkpoint}"
        return f"The weight is safe in {training.out}"

    @cached_property
    def draft(self) -> StoredWeight:
        """The record of the weight that the run makes, with the hash of the present one and without figures."""
        network, recipe = self.training.network, self.training.recipe
        train, val = self.splits.train, self.splits.val
        stated = stated_preprocessing(network)
        extended = [f"extended after it had finished {epochs} epochs" for epochs in self.training.finished]
        statement = Statement(
            license=NOT_STATED,
            labels=train.classes,
            preprocessing=Preprocessing(size=train.size[0], mean=stated.mean, std=stated.std),
            dataset=str(network.spec.tag),
            dataset_note=printable(without_folders(f"trained on {train.origin}; measured on {val.origin}")),
            recipe=printable("; ".join((self._recipe_text, *extended, *self.beginning.notes))),
            epochs=recipe.epochs,
            seed=recipe.seed,
            control=self.beginning.control,
            started_from=self.beginning.started_from,
        )
        data = pack(network.state_dict(), network.spec)
        return fold_built(network, data, str(network.spec), statement, self.registry).weight

    def _write_weights(self) -> StoredWeight:
        """Write model.safetensors and config.json, unless this weight lies there with its figures."""
        network, config = self.training.network, self.training.out / CONFIG
        data = pack(network.state_dict(), network.spec)
        weight = self.draft.model_copy(update={"sha256": sha256(data).hexdigest(), "size": len(data)})
        if config.is_file():
            try:
                known = read_config(config.read_bytes(), str(config))
            except WeightError:  # it is replaced
                known = None
            if known is not None and known.sha256 == weight.sha256:
                weight = weight.model_copy(update={"metrics": known.metrics})
        self._write_folder(weight, {MODEL: data})
        return weight

    def _write_folder(self, weight: StoredWeight, files: Mapping[str, bytes]) -> None:
        try:
            folder = ModelFolder(weight, {**files, CONFIG: make_config(self.training.network, weight)})
            folder.write(self.training.out, overwrite=True)
        except SaveError as error:
            raise TrainingError(f"{error}; make room if the disk is full, then continue with --resume") from error

    def _write_run(self, result: TrainingResult | None = None) -> None:
        """Write run.json: what was asked for, from the beginning on, and the result, at the end."""
        training, accelerator, splits, beginning = self.training, self.training.accelerator, self.splits, self.beginning
        started_from = {"name": beginning.started_from, "sha256": beginning.sha256, "load": beginning.loads}
        content = {
            "asked": dict(self.asked),
            "settings": training.recipe.model_dump(mode="json"),
            "identity": dict(training.identity),
            "data": {
                "train": splits.train.origin,
                "val": splits.val.origin,
                "image_size": splits.train.size[0],
                "size_reason": splits.size_reason,
            },
            "batch_size": training.plan.batch_size,
            "steps_per_epoch": training.plan.steps,
            "processes": accelerator.num_processes,
            "accumulated_batches": accelerator.gradient_accumulation_steps,
            "device": str(accelerator.device),
            "threads": torch.get_num_threads(),
            "machine": f"{platform.system()} {platform.machine()}",
            "versions": {name: metadata.version(name) for name in ("has8-zoo", "torch", "timm", "accelerate")},
            "started_from": started_from if beginning.sha256 else {},
            "record": self.draft.model_dump(mode="json"),
        }
        if result is not None:
            content["result"] = result.to_json()
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
        # A path may hold bytes of another encoding, as lone surrogates; written as \\udc…, they are JSON.
        write_file(training.out / RUN, text.encode("utf-8", "backslashreplace"))

    @property
    def _recipe_text(self) -> str:
        """`modern (epochs=3)`."""
        changed = ", ".join(f"{key}={value}" for key, value in self.asked["changes"].items())
        return self.asked["recipe"] + (f" ({changed})" if changed else "")

    def _images(self) -> str:
        """The size of the images and the reason for it; one line."""
        height, width = self.splits.train.size
        text = f"images of {width}×{height} pixels: {self.splits.size_reason}"
        trained = self.beginning.control_size
        if trained is not None and trained != height:
            text += f"; its control was trained at {trained} pixels a side"
        return printable(text)

    def _notes(self) -> list[str]:
        recipe, plan = self.training.recipe, self.training.plan
        notes = [
            *self.beginning.notes,
            *self.training.notes,
            *self.splits.train.damage.notes("training"),
            *self.splits.val.damage.notes("validation"),
        ]
        if plan.batch_size < recipe.batch_size:
            notes.append(
                f"{plan.images} images make one step of {plan.batch_size} an epoch, not of {recipe.batch_size}"
            )
        if recipe.epochs * plan.steps == 1 and recipe.schedule == "cosine":
            notes.append("the only step is the schedule's last, whose rate is 0: nothing is learned; take more epochs")
        if self.asked["validate_every"]:
            notes.append("the validation split was measured more than once: the best of these figures is too high")
        return notes
