"""The training loop and its checkpoint: epochs of steps, in one process or in several by accelerate."""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast, final

import torch
from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt
from torch import Tensor, nn
from torch.nn import functional

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import AUTO, usable_device
from zoo.data import ImageSplit
from zoo.data.images import Transform
from zoo.errors import DivergenceError, InputError, WeightError
from zoo.files import replace_bytes
from zoo.inference.evaluate import telling_shortage
from zoo.installing import missing_extra
from zoo.profiling.prices import NORMS
from zoo.training.batches import MicroBatch, make_plan, read_epoch
from zoo.training.hooks import Rates, find_fault, mean_rate, scaled_surrogates, spike_rates
from zoo.training.observers import EpochRow, Observer, StepFigures, summarise
from zoo.training.recipe import Recipe, build_augmentation, build_mixup, build_optimizer, build_schedule
from zoo.weights import stated_preprocessing

try:
    from accelerate import Accelerator, PartialState
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import broadcast, broadcast_object_list, patch_environment, set_seed
    from timm.utils import ModelEmaV3
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error

Shared = TypeVar("Shared")
LOSS_LIMIT = 1e4
"""A loss above it has exploded: the run stops."""
CHECKPOINT = "checkpoint.pt"
Identity = Mapping[str, JsonValue]
"""All that the result of a run depends on, by the names that messages use."""


# The checkpoint -------------------------------------------------------------------------------------------------------


@final
class Checkpoint(BaseModel):
    """The state of a run after `epoch` whole epochs; `averaged` is the moving average of the weights.

    What is random in a step follows from (seed, epoch, step, micro-batch), and the schedule from the recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    identity: dict[str, JsonValue]
    epoch: NonNegativeInt
    model: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    rows: list[EpochRow]


def read_checkpoint(path: Path, identity: Identity) -> Checkpoint:
    """Read the checkpoint of this run, without running any code in it; raises what `Training.resume` does."""
    try:
        content = BytesIO(path.read_bytes())
        with zipfile.ZipFile(content) as archive:
            damaged = archive.testzip()  # torch does not compare the sums of what it reads
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} has another checksum than when it was written")
        content.seek(0)
        checkpoint = Checkpoint.model_validate(torch.load(content, map_location="cpu", weights_only=True))
    except Exception as error:  # torch's reader raises errors of any type on bytes that it did not write
        raise _unfit(path, error) from error
    before = checkpoint.identity
    changed = [
        f"{key} ({before.get(key)!s:.40}, now {identity.get(key)!s:.40})"
        for key in {**identity, **before}
        if before.get(key) != identity.get(key)
    ]
    if changed:
        raise InputError(
            f"{path} was made with other settings: {', '.join(changed)}; use those again, or choose another folder "
            "(--out). A new run starts from the weight of a finished one if its folder is given as the model"
        )
    return checkpoint


def _unfit(path: Path, error: Exception) -> WeightError:
    reason = str(error).strip().partition("\n")[0]
    return WeightError(
        f"{path} is damaged, or not a checkpoint of this version of `zoo train` ({type(error).__name__}: {reason}); "
        "restore the file, or start in another folder (--out)"
    )


# The loop -------------------------------------------------------------------------------------------------------------


@final
class Training:
    """One run: model, optimiser, schedule and position.

    Every step takes `batch_size` images, in micro-batches: processes × accumulated ones. Batch norm takes its
    statistics in each of them; gradients are averaged over all. Raises `InputError` for batches that cannot be split.

    `begun_with` is what else the result depends on; outputs of `teacher`, in eval mode, are a part of the target.

    Attributes:
        epoch, rows: whole epochs done, and their figures.
        plan: the steps of an epoch.
        checkpoint: the file from which the run can be resumed.
    """

    def __init__(
        self,
        model: ImageClassifier,
        data: ImageSplit,
        recipe: Recipe,
        out: Path,
        *,
        accelerator: Accelerator | None = None,
        observers: Sequence[Observer] = (),
        begun_with: Identity | None = None,
        teacher: ImageClassifier | None = None,
    ) -> None:
        self._model, self.data, self.recipe = model, data, recipe
        self.accelerator = accelerator or make_accelerator(recipe.precision)
        self._observers = observers if self.accelerator.is_main_process else ()
        accumulated, first = self.accelerator.gradient_accumulation_steps, self.accelerator.process_index
        micro_batches = self.accelerator.num_processes * accumulated
        self._own = range(first * accumulated, (first + 1) * accumulated)
        self.plan = make_plan(len(data), recipe.batch_size, micro_batches, recipe.seed)
        self.identity: Identity = {
            **recipe.model_dump(mode="json"),
            "model": str(model.spec.untagged()),
            "options": json.dumps(model.spec.options, sort_keys=True),
            "classes": list(data.classes),
            "images": len(data),
            "image size": list(data.size),
            "data fingerprint": data.fingerprint(),
            "number of micro-batches": micro_batches,
            "teacher's weights": None if teacher is None else teacher.pretrained_cfg.get("sha256"),
            **(begun_with or {}),
        }
        self.checkpoint = out / CHECKPOINT
        self._transform = Transform(stated_preprocessing(model))
        own, theirs = (stated_preprocessing(each).of_channels(model.in_chans) for each in (model, teacher or model))
        if own != theirs:
            told = f"takes pixels of mean and std {theirs}, the network of {own}; both must be the same"
            raise InputError(f"teacher {recipe.teacher} {told}")
        self._augment, self._mix = (
            build_augmentation(recipe, data.size, data.data.axes),
            build_mixup(recipe, model.num_classes),
        )
        self._format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = build_optimizer(model, recipe)
        self._schedule = build_schedule(optimizer, recipe, self.plan.steps)
        self._average = ModelEmaV3(model, recipe.ema, device=self.accelerator.device) if recipe.ema else None
        self._teacher = None if teacher is None else teacher.to(self.accelerator.device)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self._fast = cast(nn.Module, torch.compile(self.model) if recipe.compile else self.model)
        self.epoch, self.rows = 0, list[EpochRow]()

    @property
    def network(self) -> ImageClassifier:
        """The model that is measured and saved: the moving average of the weights if the recipe has one."""
        return self._model if self._average is None else cast(ImageClassifier, self._average.module)

    def run(self, measure: Callable[[], Shared], every: int = 0) -> Shared:
        """Train for all epochs that are left, with a checkpoint after each; returns what is measured at the end.

        `measure` writes the figures into the last row, each time that `every` epochs have passed; 0: at the end alone.
        """
        while self.epoch < self.recipe.epochs:
            self.run_epoch()
            last = self.epoch == self.recipe.epochs  # measured below, also if the run is resumed after its last epoch
            if every and self.epoch % every == 0 and not last:
                measure()
            self.save()
            if not last:
                self._tell()
        measured = measure()
        self._tell()
        return measured

    def run_epoch(self) -> None:
        """Take the steps of one epoch."""
        self.model.train()
        for norm in self.model.modules() if self.recipe.frozen_norms else ():
            if isinstance(norm, NORMS):
                norm.eval()
        steps, begin = list[StepFigures](), time.monotonic()
        shortage = telling_shortage(self._model, self.recipe.batch_size, self.data.size, "--batch-size")
        with shortage, scaled_surrogates(self._model, self.recipe.surrogate_scale):
            for batches in read_epoch(self.data, self.plan, self.recipe, self._own, self.epoch):
                self._schedule.step_update(self.epoch * self.plan.steps + len(steps) + 1)
                steps.append(self._take_step(batches, len(steps) + 1))
                for observer in self._observers:
                    observer.stepped(self.epoch + 1, len(steps), steps[-1])
        self.epoch += 1
        self.rows.append(summarise(self.epoch, steps, time.monotonic() - begin))

    def _take_step(self, batches: Sequence[MicroBatch], step: int) -> StepFigures:
        """Take one step, over all processes; spikes are counted in the last one of an epoch."""
        loss, hits, images, rates = 0.0, 0.0, 0.0, Rates()
        last = step == self.plan.steps
        for batch in batches:
            with self.accelerator.accumulate(self.model):
                part, logits, labels, counted = self._loss(batch, self.model if last else self._fast, last)
                self.accelerator.backward(part)
            rates += counted if last else ()
            loss += float(part.detach()) / len(batches)
            hits += int((logits.argmax(1) == labels).sum())
            images += len(labels)
        if (processes := self.accelerator.num_processes) > 1:
            own = torch.tensor([loss / processes, hits, images], device=self.accelerator.device)
            loss, hits, images = self.accelerator.reduce(own, reduction="sum").tolist()
        if not loss <= LOSS_LIMIT:
            self._fail(step, f"the loss is {loss:.4g}", batches)
        norm = float(nn.utils.clip_grad_norm_(self._model.parameters(), self.recipe.clip_norm or math.inf))
        if not math.isfinite(norm):
            self._fail(step, f"the gradient's norm is {norm}", batches)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._average is not None:
            self._average.update(self._model)
        rate = float(self.optimizer.param_groups[0]["lr"])
        return StepFigures(loss, norm, int(hits), int(images), rate, mean_rate(rates))

    def _loss(self, batch: MicroBatch, model: nn.Module, counting: bool) -> tuple[Tensor, Tensor, Tensor, Rates]:
        """Loss, logits, labels and spike rates of a micro-batch; all that is random in them follows from its seed."""
        recipe, device = self.recipe, self.accelerator.device
        pixels, labels = batch.pixels.to(device), batch.labels.to(device)
        set_seed(batch.seed)
        if self._augment is not None:
            pixels = torch.stack([self._augment(image) for image in pixels])
        x = self._transform.scale(pixels)
        axes = x.shape[1:-2]
        x = x.flatten(1, -3).contiguous(memory_format=self._format)  # of frames, all timesteps are mixed alike
        targets, smoothing = labels, recipe.label_smoothing
        if self._mix is not None:
            x, labels = x[: len(x) // 2 * 2], labels[: len(x) // 2 * 2]  # images are mixed in pairs
            (x, targets), smoothing = self._mix(x, labels), 0.0  # the targets are smooth already
        x = x.unflatten(1, axes)
        with spike_rates(self._model, counting or recipe.spike_penalty > 0) as rates:
            logits = model(x).float()
        loss = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        if self._teacher is not None:
            with torch.no_grad(), self.accelerator.autocast():
                probabilities = self._teacher(x).float().softmax(1)
            loss = torch.lerp(loss, functional.cross_entropy(logits, probabilities), recipe.distillation)
        if recipe.spike_penalty:
            if not rates:
                raise InputError(f"{self._model.spec} has no spiking neurons; leave spike_penalty at 0")
            loss = loss + recipe.spike_penalty * torch.stack([rate for rate, _ in rates]).mean()
        return loss, logits, labels, rates

    def _fail(self, step: int, what: str, batches: Sequence[MicroBatch]) -> NoReturn:
        saved = f"The last checkpoint is {self.checkpoint}" if self.checkpoint.is_file() else "Nothing was saved yet"
        layer = find_fault(self._model, (self._loss(batch, self._model, False)[0] for batch in batches))
        raise DivergenceError(
            f"epoch {self.epoch + 1}, step {step} of {self.plan.steps}: {what}; {layer}. {saved}. Try a lower "
            "--learning-rate, --set clip_norm=1 or less, or an encoder with a smaller gradient, such as ste"
        )

    def _tell(self) -> None:
        for observer in self._observers:
            observer.epoch_ended(self.rows[-1], self.rows)

    def save(self) -> None:
        """Replace the checkpoint, in the first process; the others wait."""
        if self.accelerator.is_main_process:
            state = {
                "identity": self.identity,
                "epoch": self.epoch,
                "model": self._model.state_dict(),
                "averaged": None if self._average is None else self._average.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rows": [asdict(row) for row in self.rows],
            }
            buffer = BytesIO()  # torch.save hides the reason if a file cannot be written
            torch.save(state, buffer)
            replace_bytes(self.checkpoint, buffer.getvalue())
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one; all processes take the first one's.

        Raises `InputError` if it belongs to a run of other settings, which are named, `WeightError` if it is damaged.
        """
        reads = self.accelerator.is_main_process and self.checkpoint.is_file()
        [read] = broadcast_object_list([read_checkpoint(self.checkpoint, self.identity) if reads else None])
        if read is None:
            return
        try:
            self._model.load_state_dict(read.model, strict=True)
            if self._average is not None:
                self._average.module.load_state_dict(read.averaged or {}, strict=True)
            self.optimizer.load_state_dict(read.optimizer)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _unfit(self.checkpoint, error) from error
        self.epoch, self.rows = read.epoch, read.rows

    def share_statistics(self) -> None:
        """Give every process the first one's batch norm statistics, which are saved, and so to be measured."""
        broadcast([*self.network.buffers()])


def make_accelerator(
    precision: str, accumulate: int = 1, device: str = AUTO, trackers: Sequence[str] = (), out: Path | None = None
) -> Accelerator:
    """Make accelerate's engine for this process; raises `InputError` if the machine lacks the device or a tracker.

    accelerate keeps the precision and device of its first engine, so these are reset; the processes stay connected.
    """
    chosen = torch.device(usable_device(device))
    on_cpu = chosen.type == "cpu"
    AcceleratorState._reset_state()
    GradientState._reset_state()
    if PartialState._shared_state and PartialState().num_processes == 1:
        PartialState._reset_state()
    with nullcontext() if on_cpu or chosen.index is None else patch_environment(ACCELERATE_TORCH_DEVICE=chosen):
        try:
            accelerator = Accelerator(
                mixed_precision=precision,
                gradient_accumulation_steps=accumulate,
                cpu=on_cpu,
                log_with=list(trackers) or None,
                project_dir=out,
            )
        except ValueError as error:  # of a tracker that accelerate does not know
            raise InputError(str(error)) from error
    for name in set(trackers) - {"all", *map(str, accelerator.log_with)}:
        raise InputError(f"the tracker {name} needs its package; install it with: pip install {name}")
    return accelerator
