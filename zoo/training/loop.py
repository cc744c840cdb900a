"""The training loop: epochs of steps, in one process or in several by accelerate."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self, TypeVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.backbones.layers import unguarded_convolutions
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import AUTO, usable_device
from zoo.data import ImageSplit
from zoo.data.images import Transform
from zoo.errors import DivergenceError, InputError, MemoryLimitError, TrainingStoppedError, missing_extra
from zoo.families.thresholds import QuantisedReLU
from zoo.inference.evaluate import is_shortage, reason_of
from zoo.profiling.counting import NEURONS, NORMS
from zoo.training.batches import LEAST, Feeder, MicroBatch, make_plan
from zoo.training.checkpoint import CHECKPOINT, Checkpoint, Identity, identify, read_checkpoint, unfit, write_checkpoint
from zoo.training.hooks import find_fault, layer_rates, scaled_surrogates, spike_counts
from zoo.training.observers import EpochRow, Observer, RunFacts, StepFigures, Totals
from zoo.training.recipe import Recipe, build_augmentation, build_mixup, build_optimizer, build_schedule
from zoo.weights import stated_preprocessing

try:
    from accelerate import Accelerator, PartialState
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import broadcast_object_list, patch_environment, set_seed
    from timm.utils import ModelEmaV3
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error

Shared = TypeVar("Shared")
_MOST_SKIPPED = 40
"""Steps in a row that fp16's loss scaling may skip: it halves the scale each time, from 65,536."""


@final
class Training:
    """One run: model, optimiser, schedule and position.

    Every step takes `batch_size` images, in micro-batches: processes × accumulated ones. Batch norm takes its
    statistics in each of them; gradients are averaged over all.

    Args:
        model: as many classes as the data; it is trained in place.
        data: the training split.
        recipe: all settings.
        out: folder of the checkpoint.
        validation: the split that the run is measured on, a part of its identity.
        accelerator: by `make_accelerator`; a plain one by default.
        workers: threads that read ahead; 0 for none.
        observers: told of the progress, in the first process.
        stop: checked between two steps.
        initial_sha256: of the weight that the model begins with.
        teacher: in eval mode; its outputs are the recipe's `distillation` part of the target.

    Attributes:
        epoch, step: whole epochs done, and steps done in the next one.
        rows: one for each epoch done.
        finished: numbers of epochs after which the run had finished before it was extended.
        notes: for the reader.

    Raises:
        InputError: batches that cannot be split, images too small for the model or the precision, or a penalty on
            spikes for a network without any.
        CatalogError: an optimiser that timm does not have.
    """

    def __init__(
        self,
        model: ImageClassifier,
        data: ImageSplit,
        recipe: Recipe,
        out: Path,
        *,
        validation: ImageSplit | None = None,
        accelerator: Accelerator | None = None,
        workers: int = 1,
        observers: Sequence[Observer] = (),
        stop: StopRequest | None = None,
        initial_sha256: str = "",
        teacher: ImageClassifier | None = None,
    ) -> None:
        self._network, self.data, self.recipe, self.out = model, data, recipe, out
        self.accelerator = accelerator or make_accelerator(recipe.precision)
        _check(model, data, recipe, on_cpu=self.accelerator.device.type == "cpu")
        self._validation, self._initial_sha256 = validation, initial_sha256
        self._observers = observers if self.accelerator.is_main_process else ()
        self._stop = stop or StopRequest()
        accumulated = self.accelerator.gradient_accumulation_steps
        self.plan = make_plan(len(data), recipe.batch_size, self.accelerator.num_processes * accumulated, recipe.seed)
        first = self.accelerator.process_index * accumulated
        pinned = self.accelerator.device.type == "cuda"
        own = range(first, first + accumulated)
        self._feeder = Feeder(data, self.plan, own, recipe.flip, recipe.max_shift, workers, pinned)
        self._format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._transform = Transform(stated_preprocessing(model))
        self._augment, self._mix = build_augmentation(recipe, data.size), build_mixup(recipe, model.num_classes)
        optimizer = build_optimizer(model, recipe)
        self.schedule = build_schedule(optimizer, recipe, self.plan.steps)
        self._average = ModelEmaV3(model, recipe.ema, device=self.accelerator.device) if recipe.ema else None
        self._teacher = None if teacher is None else teacher.to(self.accelerator.device)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self._fast = cast(nn.Module, torch.compile(self.model) if recipe.compile else self.model)
        self.epoch, self.step, self.rows = 0, 0, list[EpochRow]()
        self.finished, self.notes = list[int](), list[str]()
        self._totals, self._skipped = Totals(), 0

    @property
    def network(self) -> ImageClassifier:
        """The model that is measured and saved: the moving average of the weights if the recipe has one."""
        return self._network if self._average is None else cast(ImageClassifier, self._average.module)

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self, look: Callable[[], object] | None = None, look_every: int = 0) -> None:
        """Train for all epochs that are left, with a checkpoint after each.

        Args:
            look: measures the network, and writes the figures into the last row.
            look_every: epochs between two looks; 0 for none. The last epoch has none: the end of a run measures it.

        Raises:
            DivergenceError: the loss or the gradient is not a number any more, or the loss exploded; the last
                checkpoint is from before that.
            TrainingStoppedError: a signal came; the checkpoint is of the last step.
            MemoryLimitError: a step needs more memory than there is.
            InputError: too many images are damaged.
        """
        while self.epoch < self.recipe.epochs:
            if look and self._owes_look(look_every):
                look()
                self.save()
            self.run_epoch()
            if self.epoch < self.recipe.epochs and self._add_up(0, 0, 0)[3]:
                self._end_early()

    def run_epoch(self) -> None:
        """Take the steps that are left of one epoch, then save."""
        self.model.train()
        if self.recipe.frozen_norms:
            for norm in (module for module in self.model.modules() if isinstance(module, NORMS)):
                norm.eval()
        clock = time.monotonic()
        rate = None
        with self._memory_errors(), scaled_surrogates(self._network, self.recipe.surrogate_scale):
            for batches in self._feeder.steps(self.epoch, self.step):
                self.schedule.step_update(self.epoch * self.plan.steps + self.step + 1)
                last = self.step + 1 == self.plan.steps
                with spike_counts(self._network, last) as counts:
                    figures, stopping = self._take_step(batches, self.model if last else self._fast)
                rate = _rate(counts)
                self.step += 1
                clock, before = time.monotonic(), clock
                self._totals.add(figures, clock - before)
                for observer in self._observers:
                    observer.stepped(self.epoch + 1, self.step, figures, self._totals)
                if stopping and not last:
                    self._end_early()
        self.epoch, self.step = self.epoch + 1, 0
        place = self.epoch * self.plan.steps
        self.rows.append(self._totals.row(self.epoch, place, figures.lr, rate))
        self._totals = Totals()
        self.save()
        for observer in self._observers:
            observer.epoch_ended(self.rows[-1], self.rows)

    def _take_step(self, batches: Sequence[MicroBatch], model: nn.Module) -> tuple[StepFigures, bool]:
        """Take one optimiser step; returns its figures, and True if a process was asked to stop."""
        loss, hits, images = 0.0, 0.0, 0.0
        for batch in batches:
            with self.accelerator.accumulate(self.model):
                logits, labels, part = self._loss(batch, model)
                self.accelerator.backward(part)
            loss += float(part.detach()) / len(batches)
            hits += int((logits.argmax(1) == labels).sum())
            images += len(labels)
        loss, hits, images, stops = self._add_up(loss, hits, images)
        if not loss <= self.recipe.loss_limit:
            self._fail(f"the loss is {loss:.4g}", batches)
        norm = self._update(batches)
        lr = float(self.optimizer.param_groups[0]["lr"])
        return StepFigures(loss, norm, int(hits), int(images), lr), bool(stops)

    def _loss(self, batch: MicroBatch, model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, labels and loss of a micro-batch; whatever is random in it follows from its seed."""
        recipe = self.recipe
        x, labels = self._prepare(batch)
        targets, smoothing = labels, recipe.label_smoothing
        if self._mix is not None:
            x, labels = x[: len(x) // 2 * 2], labels[: len(x) // 2 * 2]  # images are mixed in pairs
            (x, targets), smoothing = self._mix(x, labels), 0.0  # the targets are smooth already
        with layer_rates(self._network, recipe.spike_penalty > 0) as rates:
            logits = model(x).float()
        loss = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        if self._teacher is not None:
            with torch.no_grad(), self.accelerator.autocast():
                probabilities = self._teacher(x).float().softmax(1)
            loss = torch.lerp(loss, functional.cross_entropy(logits, probabilities), recipe.distillation)
        if rates:
            loss = loss + recipe.spike_penalty * torch.stack(rates).mean()
        return logits, labels, loss

    def _prepare(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """The images as the network takes them, and their labels, on its device."""
        device = self.accelerator.device
        pixels, labels = batch.pixels.to(device, non_blocking=True), batch.labels.to(device, non_blocking=True)
        set_seed(batch.seed)
        if self._augment is not None:
            pixels = torch.stack([self._augment(image) for image in pixels])
        return self._transform.scale(pixels).contiguous(memory_format=self._format), labels

    def _update(self, batches: Sequence[MicroBatch]) -> float:
        """Clip and step; returns the norm before clipping, NaN if fp16's loss scaling skips the step."""
        self.accelerator.unscale_gradients()
        norm = clip_gradient(list(self._network.parameters()), self.recipe.clip_norm)
        if not math.isfinite(norm):
            self._skipped += 1
            if self.accelerator.scaler is None or self._skipped > _MOST_SKIPPED:
                self._fail(f"the gradient's norm is {norm}", batches)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if not math.isfinite(norm):
            return math.nan
        self._skipped = 0
        if self._average is not None:
            self._average.update(self._network)
        return norm

    def _add_up(self, loss: float, hits: float, images: float) -> list[float]:
        """Mean loss, and sums of hits, images and requests to stop, over all processes."""
        own = [loss / self.accelerator.num_processes, hits, images, self._stop.signal is not None]
        if self.accelerator.num_processes == 1:
            return own
        values = torch.tensor(own, dtype=torch.float64, device=self.accelerator.device)
        total: Tensor = self.accelerator.reduce(values, reduction="sum")
        return total.tolist()

    def _owes_look(self, every: int) -> bool:
        between = every > 0 and self.epoch > 0 and self.step == 0
        return between and self.epoch % every == 0 and not self.rows[-1].val

    # Ends -------------------------------------------------------------------------------------------------------------

    def _end_early(self) -> NoReturn:
        self.save()
        number = self._stop.signal or signal.SIGTERM  # of another process
        place = f"epoch {self.epoch + 1}, step {self.step}" if self.step else f"epoch {self.epoch}"
        raise TrainingStoppedError(
            f"stopped by {number.name} after {place}; saved, the same command with --resume continues", number
        )

    def _fail(self, what: str, batches: Sequence[MicroBatch]) -> NoReturn:
        """Raise `DivergenceError` with the layer at fault; nothing is saved."""
        for batch in batches:
            fault = find_fault(self._network, partial(self._plain_loss, batch))
            if fault.certain:
                break
        raise DivergenceError(
            f"epoch {self.epoch + 1}, step {self.step + 1} of {self.plan.steps}: {what}; {fault.text}. "
            f"{self._saved()}. Try a lower --learning-rate, --set clip_norm=1 or less, or an encoder with a smaller "
            "gradient, such as ste"
        )

    def _plain_loss(self, batch: MicroBatch) -> Tensor:
        return self._loss(batch, self._network)[2]

    def _saved(self) -> str:
        return f"The last checkpoint is {self.checkpoint}" if self.checkpoint.is_file() else "Nothing was saved yet"

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        """Turn a lack of memory into a `MemoryLimitError` that says how a step takes less."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryLimitError) or not is_shortage(error):
                raise
            height, width = self.data.size
            advice = "smaller images (--image-size)"
            if self.plan.part >= 2 * LEAST:
                advice = f"--batch-size {self.plan.batch_size // 2} or less, or --accumulate 2 or more, or {advice}"
            raise MemoryLimitError(
                f"a training step on {self.plan.part} images of {width}×{height} pixels at once needs more memory than "
                f"there is ({reason_of(error)}); choose {advice}. {self._saved()}; other settings need another --out"
            ) from error

    # Checkpoints ------------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        """The file from which the run can be resumed."""
        return self.out / CHECKPOINT

    @cached_property
    def identity(self) -> Identity:
        """The settings that the result depends on; computing it may read all images."""
        micro_batches, sha256 = self.plan.micro_batches, self._initial_sha256
        return identify(self._network, self.data, self._validation, self.recipe, micro_batches, sha256)

    def save(self) -> None:
        """Replace the checkpoint, in the first process; the others wait."""
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            checkpoint = Checkpoint(
                identity=dict(self.identity),
                epoch=self.epoch,
                step=self.step,
                model=self._network.state_dict(),
                averaged=None if self._average is None else self._average.module.state_dict(),
                optimizer=self.optimizer.state_dict(),
                scaler=None if scaler is None else scaler.state_dict(),
                totals=self._totals,
                rows=self.rows,
                finished=self.finished,
            )
            write_checkpoint(self.checkpoint, checkpoint)
        self.accelerator.wait_for_everyone()

    def resume(self, further: bool = False) -> bool:
        """Continue from the checkpoint, if there is one; all processes take the first one's.

        Args:
            further: extend a finished run to the epochs of this recipe. Weights, optimiser and position are those of
                its end; the schedule is computed over all epochs.

        Raises:
            InputError: it belongs to another run; the message names the settings that differ.
            WeightError: it is damaged, or does not fit the model.
        """
        reads = self.accelerator.is_main_process and self.checkpoint.is_file()
        read = broadcast(self.accelerator, read_checkpoint(self.checkpoint, self.identity, further) if reads else None)
        if read is None:
            return False
        try:
            self._network.load_state_dict(read.model, strict=True)
            if self._average is not None:
                self._average.module.load_state_dict(read.averaged or {}, strict=True)
            self.optimizer.load_state_dict(read.optimizer)
            if self.accelerator.scaler is not None and read.scaler is not None:
                self.accelerator.scaler.load_state_dict(read.scaler)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise unfit(self.checkpoint, error) from error
        self.epoch, self.step = read.epoch, read.step
        self._totals, self.rows, self.finished = read.totals, read.rows, read.finished
        if read.ended and self.epoch < self.recipe.epochs:
            self.finished.append(self.epoch)
            self.schedule.step_update(self.epoch * self.plan.steps + 1)
            self.notes.append(
                f"the run had finished after {self.epoch} epochs and is extended to {self.recipe.epochs}, over which "
                f"its schedule is computed again: lr goes from {self.rows[-1].lr:.3g} to "
                f"{float(self.optimizer.param_groups[0]['lr']):.3g}"
            )
        return True

    # For the run's end ------------------------------------------------------------------------------------------------

    def facts(self, images: str = "", notes: Sequence[str] = ()) -> RunFacts:
        """Describe the run before the next step."""
        plan = self.plan
        name = str(self._network.spec)
        return RunFacts(name, self.recipe.epochs, plan.steps, plan.batch_size, self.epoch, self.step, images, notes)

    def share_statistics(self) -> None:
        """Give every process the first one's batch norm statistics, which are saved, and so to be measured."""
        if self.accelerator.num_processes > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)


def clip_gradient(parameters: Sequence[nn.Parameter], limit: float | None) -> float:
    """Scale the gradient down to the norm `limit`; returns its norm before that, over all parameters.

    A norm too large for float32, as the published surrogates can have, is computed in float64. It is infinite or NaN
    only if a gradient is not finite, and nothing is scaled then.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm: Tensor = get_total_norm(gradients)
    if not math.isfinite(float(norm)):
        norm = get_total_norm([gradient.double() for gradient in gradients])
    if limit is not None and math.isfinite(float(norm)):
        clip_grads_with_norm_([p for p in parameters if p.grad is not None], limit, norm)
    return float(norm)


def _rate(counts: Sequence[tuple[int, int]]) -> float | None:
    """Spikes per neuron and timestep; None without neurons."""
    values = sum(count for _, count in counts)
    return sum(spikes for spikes, _ in counts) / values if values else None


def _check(model: ImageClassifier, data: ImageSplit, recipe: Recipe, on_cpu: bool) -> None:
    """Raise `InputError` if the model cannot be trained on these data by this recipe."""
    height, width = data.size
    if model.num_classes != len(data.classes):
        raise InputError(
            f"{model.spec} has {model.num_classes} classes, the data {len(data.classes)}; "
            f"build it with num_classes={len(data.classes)}"
        )
    if min(data.size) < model.min_image_size:
        raise InputError(
            f"{model.spec} needs {model.min_image_size} pixels a side or more, the images have "
            f"{width}×{height}; choose --image-size {model.min_image_size} or more"
        )
    if recipe.spike_penalty and not any(isinstance(module, (*NEURONS, QuantisedReLU)) for module in model.modules()):
        raise InputError(
            f"spike_penalty={recipe.spike_penalty:g} is a weight on spikes, and {model.spec} has no spiking neurons; "
            "leave it at 0"
        )
    if on_cpu and recipe.precision == "bf16" and unguarded_convolutions(model):
        reductions = [level["reduction"] for level in model.feature_info]
        strided = [before for before, after in pairwise(reductions) if after > before and max(data.size) <= before]
        if strided:
            raise InputError(
                f"{model.spec} strides over a map of a single pixel if images have {width}×{height}, and torch "
                "computes the gradient of that incorrectly in bf16 on a CPU; choose --precision no, or "
                f"--image-size {strided[-1] + 1} or more"
            )


# Processes ------------------------------------------------------------------------------------------------------------


def make_accelerator(
    precision: str, accumulate: int = 1, device: str = AUTO, trackers: Sequence[str] = (), out: Path | None = None
) -> Accelerator:
    """Make accelerate's engine for this process.

    accelerate keeps the precision and device of its first engine; each run has its own, so these are reset, and the
    processes stay connected.

    Args:
        precision: of a recipe.
        accumulate: micro-batches of a process in one step.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; each of several processes takes a GPU of its own.
        trackers: names of experiment trackers.
        out: folder of their files.

    Raises:
        InputError: this machine lacks that precision or device.
    """
    chosen = torch.device(usable_device(device))
    on_cpu = chosen.type == "cpu"
    if on_cpu and precision == "fp16":
        raise InputError("precision fp16 needs a GPU; on a CPU choose bf16 or no")
    AcceleratorState._reset_state()
    GradientState._reset_state()
    if PartialState._shared_state and PartialState().num_processes == 1:
        PartialState._reset_state()
    numbered = chosen.index is not None and not on_cpu
    with patch_environment(ACCELERATE_TORCH_DEVICE=chosen) if numbered else nullcontext():
        accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_steps=accumulate,
            cpu=on_cpu,
            log_with=list(trackers) or None,
            project_dir=out,
        )
    if numbered and accelerator.num_processes > 1:
        raise InputError(
            f"--device {device} is one GPU for {accelerator.num_processes} processes, which take one each; "
            f"choose --device {chosen.type}"
        )
    return accelerator


def broadcast(accelerator: Accelerator, value: Shared) -> Shared:
    """The first process's value, in all of them."""
    values = [value]
    if accelerator.num_processes > 1:
        broadcast_object_list(values)
    return values[0]


@final
class StopRequest:
    """A request to stop between two steps, by SIGINT or SIGTERM.

    Attributes:
        signal: the one that came; None so far.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def ask(self, number: int) -> None:
        """Ask for an end, as that signal does."""
        self.signal = signal.Signals(number)

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Catch the first signal; a second one acts as usual. Outside the main thread none is caught."""
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():

                def handle(number: int, frame: FrameType | None) -> None:
                    self.ask(number)
                    stack.close()

                for number in (signal.SIGINT, signal.SIGTERM):
                    stack.callback(signal.signal, number, signal.signal(number, handle))
            yield self
