"""`zoo train` as a function: from a name, data and a recipe to a folder that loads."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, final

import torch

from zoo.catalog.records import Preprocessing, StoredWeight
from zoo.data import DataOptions, DataSplits
from zoo.data.datasets import InMemory, open_in_memory
from zoo.data.load import identify_data, load_data
from zoo.data.splits import limit_images
from zoo.device import AUTO
from zoo.errors import DivergenceError, InputError, TrainingError, printable
from zoo.inference.evaluate import Evaluation, evaluate, rounded
from zoo.models.factory import OpenedModel, open_model
from zoo.names import LocalFolder, Options, parse_reference
from zoo.processes import (
    compare,
    connect,
    count_processes,
    in_turns,
    is_first,
    is_lost,
    share_first,
    together,
)
from zoo.publishing.saving import ModelFolder, build_folder, check_tag, make_config, without_folders
from zoo.training.engine import Engine, make_accelerator
from zoo.training.figures import EpochRow
from zoo.training.folder import RunConfig, RunFolder, default_tag
from zoo.training.loop import Training
from zoo.training.observers import Display, MetricsFile, Observer, Trackers
from zoo.training.recipe import Recipe, change_recipe, load_recipe
from zoo.training.setup import Setup
from zoo.training.start import Start, begin, choose_tag, find_teacher
from zoo.training.stopping import StopRequest
from zoo.weights.load import CONFIG, LATEST, MODEL, RUN, pack, stated_preprocessing

CUSTOM = "custom"
"""What run.json calls a recipe that came as an object."""


def train(
    name: str,
    data: str | Path | InMemory | DataSplits,
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
    minutes: float | None = None,
    observers: Sequence[Observer] | None = None,
    trackers: Sequence[str] = ("tensorboard",),
) -> TrainingResult:
    """Train a model, measure it once on the validation split, and write it as a folder that the zoo loads.

    Args:
        name: of the model; with a tag, or as `local-dir:` or `hf-hub:`, the run starts from that weight.
        data: as for `zoo.data.load_data`: a folder, a packed file, the name of a data set, a reference, arrays or a
            torch Dataset; or splits that are loaded already.
        recipe: by name, as the path of a YAML file, or itself; by default `modern`, and `finetune` from a checkpoint.
        changes: settings of the recipe to replace, such as `{"epochs": 3}`.
        out: folder of the run; by default runs/NAME.TAG-RECIPE.
        resume: continue the run in `out`, or start it if there is none. It may be given more epochs: if the learning
            rates so far are those of the longer run, as of a constant schedule, the result is that of the longer run;
            otherwise the run must be finished, and its schedule starts again.
        tag: of the resulting weight; by default the data's name.
        control: a checkpoint of the network without spikes, by name or reference, to start from: a hybrid
            takes its analog branches and head, a `sew` or `snn` network its layers.
        model_options: of the model's components by their kind, and of its family: `{"neuron": {"tau": 4.0}}`.
        options: for reading the data; of splits, the limits alone count.
        accumulate: micro-batches of a process in one step.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` for a GPU with CUDA if there is one.
        validate_every: epochs between two measurements on the validation split; 0 measures once, at the end.
        minutes: from now, after which the run is saved and ended by a `TrainingStoppedError`; None for no limit.
        observers: receive the progress; None for a display on stderr.
        trackers: by accelerate's names: `tensorboard`, `wandb`, `mlflow`, ….

    Returns:
        The folder, the checkpoint's record, the figures. Python's, numpy's and torch's random generators are seeded
        in every step.

    Raises:
        ModelNameError, CompositionError, WeightError, HubError: as `create_model` does.
        CatalogError: the recipe is unknown or malformed.
        InputError: the data cannot be used, the folder holds another run, or this machine lacks the device.
        DivergenceError: the loss or the gradient exploded; the message names step and layer.
        TrainingStoppedError: the minutes are over. SIGINT and SIGTERM act after the step at hand is taken and saved.
        TrainingError, MemoryLimitError: a file cannot be written, or memory is short; what was saved stays.
    """
    stop = StopRequest(minutes)
    connect()
    opened = in_turns(lambda: open_model(name, options=model_options))
    with together():
        label, settings = _choose_recipe(recipe, changes or {}, bool(opened.weight_name))
        options = options or DataOptions()
        source = data if isinstance(data, str | Path | DataSplits) else open_in_memory(data)
        config = RunConfig(
            begin=_absolute(name),
            data=identify_data(source),
            dataset=check_tag(tag or default_tag(source)),
            recipe=label,
            changes=dict(changes or {}),
            tag=tag,
            control=None if control is None else _absolute(control),
            model_options={kind: dict(values) for kind, values in (model_options or {}).items()},
            image_size=options.image_size,
            data_root=None if options.root is None else options.root.absolute(),
            limit_images=options.limit,
            in_memory_bytes=options.in_memory_bytes,
            accumulate=accumulate,
            device=device,
            validate_every=validate_every,
            trackers=tuple(trackers),
        )
        chosen = choose_tag(config.dataset, opened, is_asked=tag is not None)
        plain = re.sub(r"[^\w.-]+", "-", f"{opened.spec.text}.{chosen}-{Path(label).stem}")
        folder = RunFolder(Path(out or Path("runs", plain)))
    return _run(config, settings, source, folder, resume, stop, observers)


def resume(
    out: Path | str,
    *,
    changes: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    device: str | None = None,
    accumulate: int | None = None,
    observers: Sequence[Observer] | None = None,
) -> TrainingResult:
    """Continue the run in a folder as it was asked for; takes and raises what `train` does.

    `changes` may give it more epochs: `{"epochs": 10}`. A run of several processes goes on in fewer if `accumulate`
    makes up for them, though not to the last bit, since processes average the statistics of batch norms. Raises
    `InputError` if there is no run, or if its data were in memory: then give them to `train`, with `resume=True`.
    """
    stop, folder = StopRequest(minutes), RunFolder(Path(out))
    connect()
    stored = share_first(folder.read_run)
    config = stored.asked
    if not config.is_nameable:
        raise InputError(f"the data of {out} were in memory; {folder.continuation(config)}")
    replaced = {"changes": config.changes | dict(changes or {}), "device": device, "accumulate": accumulate}
    config = config.model_copy(update={key: value for key, value in replaced.items() if value is not None})
    recipe = Recipe.model_validate(stored.settings) if config.recipe == CUSTOM else config.recipe
    with together():
        _, settings = _choose_recipe(recipe, config.changes)
    return _run(config, settings, config.data, folder, True, stop, observers)


def _choose_recipe(
    recipe: str | Path | Recipe | None, changes: Mapping[str, Any], starts_from_weight: bool = False
) -> tuple[str, Recipe]:
    """Return what run.json calls the recipe, and its settings."""
    if isinstance(recipe, Recipe):
        return CUSTOM, change_recipe(CUSTOM, recipe.model_dump(), changes)
    label = str(recipe or ("finetune" if starts_from_weight else "modern"))
    return label, load_recipe(label, changes)


def _run(
    config: RunConfig,
    settings: Recipe,
    source: str | Path | InMemory | DataSplits,
    folder: RunFolder,
    resuming: bool,
    stop: StopRequest,
    observers: Sequence[Observer] | None,
) -> TrainingResult:
    """Carry out a run in all of its processes; the first one's folder counts."""

    def check_folder() -> None:
        folder.check(resuming, source)
        if resuming and (folder.path / RUN).exists():
            folder.check_processes(folder.read_run(), count_processes(), config.accumulate)

    share_first(check_folder)
    with together():
        accelerator = make_accelerator(
            settings.precision, config.accumulate, config.device, config.trackers, folder.path
        )
    start, splits, setup = in_turns(lambda: _prepare(config, settings, source))
    if count_processes() > 1:  # own copies of the data have other times, and maybe other images
        data = {"data fingerprint": splits.train, "validation data fingerprint": splits.val}
        copies = {name: split.fingerprint(times=False) for name, split in data.items()}
        compare({**setup.identity, **copies, "validation images": len(splits.val), "versions": _versions()})
    engine = Engine(start.model, settings, accelerator)
    shown = [Display()] if observers is None else observers
    observing = [MetricsFile(folder.path), Trackers(accelerator), *shown] if is_first() else []
    continuation = folder.continuation(config)
    training = Training(setup, engine, folder, observers=observing, stop=stop, continuation=continuation)
    try:
        with ExitStack() as stack:

            def hold_folder() -> None:
                stack.enter_context(folder.locked())
                folder.check(resuming)  # again: another run may have ended in the meantime

            share_first(hold_folder)
            if resuming:
                training.resume()
            return _Run(training, start, splits, observing, config).go()
    except OSError as error:
        raise TrainingError(f"{folder.path} cannot be written ({error}); make room, {continuation}") from error
    except RuntimeError as error:
        if not is_lost(error):
            raise
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"another process of this run ended, or does not answer ({reason}); {continuation}"
        ) from error


def _prepare(
    config: RunConfig, settings: Recipe, source: str | Path | InMemory | DataSplits
) -> tuple[Start, DataSplits, Setup]:
    """Load the data of a run, and build its network."""
    opened = open_model(config.begin, options=config.model_options)
    tag = choose_tag(config.dataset, opened, is_asked=config.tag is not None)
    splits = _load_data(source, config.data_options, opened)
    start = begin(opened, splits.train, settings, tag, config.control)
    teacher = find_teacher(settings.teacher, opened, splits.train.classes, start.model.in_chans)
    begun_with = {"initial weights": start.sha256, "validation data fingerprint": splits.val.fingerprint()}
    micro_batches = count_processes() * config.accumulate
    return start, splits, Setup(start.model, splits.train, settings, micro_batches, teacher, begun_with)


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("has8-zoo", "torch", "torchvision", "timm", "accelerate")}


def _absolute(name: str) -> str:
    """Return the name of a model as it is found from any folder."""
    reference = parse_reference(name)
    return f"local-dir:{reference.path.absolute()}" if isinstance(reference, LocalFolder) else name


def _load_data(source: str | Path | InMemory | DataSplits, options: DataOptions, opened: OpenedModel) -> DataSplits:
    """Load the data of a run; its images get the size of the checkpoint that it begins with, if there is one."""
    if isinstance(source, DataSplits):
        return replace(source, train=limit_images(source.train, options.limit))
    size = opened.preprocessing().size if opened.weight_name and options.image_size is None else None
    return load_data(source, replace(options, image_size=size or options.image_size))


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
        """The name by which `create_model` and all commands load the checkpoint."""
        return f"local-dir:{self.folder}"

    @property
    def metrics(self) -> dict[str, float]:
        """`top1`, `top5` if there are more than five classes, in percent, and `loss`."""
        return self.evaluation.top | {"loss": self.evaluation.loss}

    @property
    def missing(self) -> tuple[str, ...]:
        """Reasons not to publish the checkpoint yet; empty for one that learned something."""
        steps, top1 = self.rows[-1].step, self.evaluation.top["top1"]
        guessed = 100 * int(self.evaluation.confusion.sum(1).max()) / self.evaluation.images
        reasons = []
        if steps < 10:
            reasons.append(f"training steps: {steps}, too few to learn from")
        if top1 <= guessed:
            always = f"the {guessed:.2f} % of always naming the most frequent class"
            reasons.append(f"its top-1 of {top1:.2f} % is not above {always}")
        return tuple(reasons)

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


# The run --------------------------------------------------------------------------------------------------------------


@final
@dataclass
class _Run:
    """A training with its data, and what was asked for."""

    training: Training
    start: Start
    splits: DataSplits
    observers: Sequence[Observer]
    config: RunConfig

    def go(self) -> TrainingResult:
        training, engine, folder = self.training, self.training.engine, self.training.folder
        with together():  # a network that cannot be saved fails here, before it is trained
            initial = self._make_model().weight
            self._write_run()
        with ExitStack() as stack:
            for observer in self.observers:
                observer.started(training, self._notes())
                stack.callback(observer.closed)
            every = self.config.validate_every
            evaluation = training.run(self._measure, every, lambda: self._write_latest(initial))
        if not math.isfinite(evaluation.loss):
            raise DivergenceError(
                f"the loss on the validation split is {evaluation.loss}: training exploded, and no weight is written; "
                "start again with a lower `learning_rate`, or `clip_norm=1` or less"
            )
        for split in (self.splits.train, self.splits.val):
            split.gather_damaged()
        model = self._make_model(evaluation)
        result = TrainingResult(folder.path, model.weight, evaluation, tuple(training.rows), tuple(self._notes()))
        if is_first():
            model.write(folder.path, overwrite=True)
            self._write_run(result)
            shutil.rmtree(folder.path / LATEST, ignore_errors=True)
        engine.accelerator.wait_for_everyone()
        return result

    def _measure(self) -> Evaluation:
        """Measure the network on the validation split, and write the figures into the last row."""
        training, engine = self.training, self.training.engine
        evaluation = evaluate(engine.network, self.splits.val, share=connect())
        training.rows[-1].val.update(rounded(evaluation))
        return evaluation

    def _make_model(self, evaluation: Evaluation | None = None) -> ModelFolder:
        network, recipe, rows = self.training.network, self.training.recipe, self.training.rows
        train, val, preprocessing = self.splits.train, self.splits.val, stated_preprocessing(network)
        facts = {
            "labels": train.classes,
            "preprocessing": Preprocessing(size=train.size[0], mean=preprocessing.mean, std=preprocessing.std),
            "dataset": self.config.dataset,
            "dataset_note": printable(without_folders(f"trained on {train.origin}; measured on {val.origin}")),
            "recipe": self._describe_recipe(),
            "epochs": recipe.epochs,
            "seed": recipe.seed,
            "control": self.start.control,
            "started_from": self.start.name,
            "spike_rate": rows[-1].spike_rate if rows else None,
            "metrics": {} if evaluation is None else rounded(evaluation, tops_alone=True),
        }
        return build_folder(network, pack(network.state_dict(), network.spec), facts)

    def _write_latest(self, initial: StoredWeight) -> None:
        """Write the network so far, in the first process, as a folder that loads while the run is unfinished."""
        training, network = self.training, self.training.network
        if not is_first():
            return
        data, epochs = pack(network.state_dict(), network.spec), training.recipe.epochs
        facts = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "epochs": training.epoch,
            "recipe": f"{initial.recipe}; unfinished: {training.epoch} of {epochs} epochs",
        }
        weight = initial.model_copy(update=facts)
        model = ModelFolder(weight, {MODEL: data, CONFIG: make_config(network, weight)})
        model.write(training.folder.path / LATEST, overwrite=True)

    def _describe_recipe(self) -> str:
        """Describe how the weight came to be, with the weights before it."""
        followed = self.config.recipe
        if self.config.changes:
            followed += f" ({', '.join(f'{key}={value}' for key, value in self.config.changes.items())})"
        parts = [followed, *self.training.notes, *self.start.notes]
        if self.start.ancestry:
            parts.append(self.start.ancestry)
        return printable("; ".join(parts))

    def _write_run(self, result: TrainingResult | None = None) -> None:
        """Write run.json, in the first process: what was asked for, and at the end the result."""
        training, engine = self.training, self.training.engine
        if not is_first():
            return
        content = {
            "asked": self.config.model_dump(mode="json"),
            "settings": training.recipe.model_dump(mode="json"),
            "identity": training.setup.identity,
            "processes": count_processes(),
            "accumulated_batches": engine.accelerator.gradient_accumulation_steps,
            "device": str(engine.device),
            "threads": torch.get_num_threads(),
            "versions": _versions(),
        }
        if result is not None:
            content["result"] = result.to_json()
        training.folder.write_run(content)

    def _notes(self) -> list[str]:
        training, splits, engine = self.training, self.splits, self.training.engine
        recipe, plan, processes = training.recipe, training.plan, count_processes()
        notes = [f"images of {splits.train.size[0]} pixels a side", *self.start.notes, *training.notes]
        notes += splits.train.damage_notes("training") + splits.val.damage_notes("validation")
        if plan.batch_size < recipe.batch_size:
            notes.append(f"{plan.images} images make one step of {plan.batch_size} an epoch")
        cpu, on_cpu = torch.backends.cpu.get_cpu_capability(), engine.device.type == "cpu"
        if recipe.precision == "bf16" and on_cpu and "AVX512" not in cpu:
            notes.append(f"bfloat16 may be ten times slower than float32 without AVX-512 ({cpu}): try float32")
        if processes > 1 and Path(self.config.data).is_dir():
            notes.append(f"each of {processes} processes reads all files; `zoo pack` makes one file of them")
        if self.config.validate_every:
            notes.append("the validation split was measured more than once: the best of these figures is too high")
        return notes
