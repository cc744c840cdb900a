"""The training loop: epochs of steps, in one process or in several by accelerate."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self, TypeVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import AUTO, usable_device
from zoo.data import ImageSplit
from zoo.data.images import Transform
from zoo.errors import DivergenceError, InputError, TrainingStoppedError, missing_extra
from zoo.inference.evaluate import telling_shortage
from zoo.profiling.counting import NORMS
from zoo.training.batches import MicroBatch, make_plan, read_steps
from zoo.training.checkpoint import CHECKPOINT, Checkpoint, Identity, identify, read_checkpoint, unfit, write_checkpoint
from zoo.training.hooks import find_fault, mean_rate, scaled_surrogates, spike_rates
from zoo.training.observers import EpochRow, Observer, StepFigures, Totals
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
LOSS_LIMIT = 1e4
"""A loss above it has exploded: the run stops."""


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
        accelerator: by `make_accelerator`; a plain one by default.
        workers: threads that read ahead; 0 for none.
        observers: told of the progress, in the first process.
        stop: checked between two steps.
        begun_with: what else the result depends on, by name; a part of the run's identity.
        teacher: in eval mode; its outputs are the recipe's `distillation` part of the target.

    Attributes:
        epoch, step: whole epochs done, and steps done in the next one.
        rows: one for each epoch done.
        plan: the steps of an epoch.
        identity: all that the result depends on.
        checkpoint: the file from which the run can be resumed.

    Raises:
        InputError: batches that cannot be split.
        CatalogError: an optimiser that timm does not have.
    """

    def __init__(
        self,
        model: ImageClassifier,
        data: ImageSplit,
        recipe: Recipe,
        out: Path,
        *,
        accelerator: Accelerator | None = None,
        workers: int = 1,
        observers: Sequence[Observer] = (),
        stop: StopRequest | None = None,
        begun_with: Identity | None = None,
        teacher: ImageClassifier | None = None,
    ) -> None:
        self._model, self.data, self.recipe, self._workers = model, data, recipe, workers
        self.accelerator = accelerator or make_accelerator(recipe.precision)
        self._observers = observers if self.accelerator.is_main_process else ()
        self._stop = stop or StopRequest()
        accumulated, first = self.accelerator.gradient_accumulation_steps, self.accelerator.process_index
        micro_batches = self.accelerator.num_processes * accumulated
        self._own = range(first * accumulated, (first + 1) * accumulated)
        self.plan = make_plan(len(data), recipe.batch_size, micro_batches, recipe.seed)
        self.identity = {**identify(model, data, recipe, micro_batches), **(begun_with or {})}
        self.checkpoint = out / CHECKPOINT
        self._transform = Transform(stated_preprocessing(model))
        self._augment, self._mix = build_augmentation(recipe, data.size), build_mixup(recipe, model.num_classes)
        self._format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = build_optimizer(model, recipe)
        self.schedule = build_schedule(optimizer, recipe, self.plan.steps)
        self._average = ModelEmaV3(model, recipe.ema, device=self.accelerator.device) if recipe.ema else None
        self._teacher = None if teacher is None else teacher.to(self.accelerator.device)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self._fast = cast(nn.Module, torch.compile(self.model) if recipe.compile else self.model)
        self.epoch, self.step, self.rows, self._totals = 0, 0, list[EpochRow](), Totals()

    @property
    def network(self) -> ImageClassifier:
        """The model that is measured and saved: the moving average of the weights if the recipe has one."""
        return self._model if self._average is None else cast(ImageClassifier, self._average.module)

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self, look: Callable[[], object] | None = None, look_every: int = 0) -> None:
        """Train for all epochs that are left, with a checkpoint after each.

        Args:
            look: measures the network, and writes the figures into the last row.
            look_every: epochs between two looks; 0 for none. The last epoch has none: the end of a run measures it.

        Raises:
            DivergenceError: the loss exploded, or a gradient is not finite; the last checkpoint is from before that.
            TrainingStoppedError: a signal came; the checkpoint is of the last step.
            MemoryLimitError: a step needs more memory than there is.
            InputError: too many images are damaged, or a penalty on spikes for a network without any.
        """
        while self.epoch < self.recipe.epochs:
            due = look_every and self.epoch and self.step == 0 and self.epoch % look_every == 0
            if look and due and not self.rows[-1].val:
                look()
                self.save()
            self.run_epoch()
            if self.epoch < self.recipe.epochs and self._add_up(0, 0, 0)[3]:
                self._end_early()

    def run_epoch(self) -> None:
        """Take the steps that are left of one epoch, then save."""
        self.model.train()
        for norm in self.model.modules() if self.recipe.frozen_norms else ():
            if isinstance(norm, NORMS):
                norm.eval()
        clock = time.monotonic()
        batches = read_steps(self.data, self.plan, self.recipe, self._own, (self.epoch, self.step), self._workers)
        shortage = telling_shortage(self._model, self.plan.part, self.data.size, "--batch-size")
        with shortage, scaled_surrogates(self._model, self.recipe.surrogate_scale):
            for of_step in batches:
                self.schedule.step_update(self.epoch * self.plan.steps + self.step + 1)
                last = self.step + 1 == self.plan.steps
                figures, rate, stopping = self._take_step(of_step, last)
                self.step += 1
                clock, before = time.monotonic(), clock
                self._totals.add(figures, clock - before)
                for observer in self._observers:
                    observer.stepped(self.epoch + 1, self.step, figures)
                if stopping and not last:
                    self._end_early()
        self.epoch, self.step = self.epoch + 1, 0
        place = self.epoch * self.plan.steps
        self.rows.append(EpochRow(self.epoch, place, lr=figures.lr, spike_rate=rate, **self._totals.figures()))
        self._totals = Totals()
        self.save()
        for observer in self._observers:
            observer.epoch_ended(self.rows[-1], self.rows)

    def _take_step(self, batches: Sequence[MicroBatch], last: bool) -> tuple[StepFigures, float | None, bool]:
        """Take a step; returns its figures, its spike rate if it is the `last`, and True if any process must stop."""
        loss, hits, images, rates = 0.0, 0.0, 0.0, list[tuple[Tensor, int]]()
        for batch in batches:
            with self.accelerator.accumulate(self.model), spike_rates(self._model, last) as of_batch:
                part, logits, labels = self._loss(batch, self.model if last else self._fast)
                self.accelerator.backward(part)
            rates += of_batch
            loss += float(part.detach()) / len(batches)
            hits += int((logits.argmax(1) == labels).sum())
            images += len(labels)
        loss, hits, images, stops = self._add_up(loss, hits, images)
        if not loss <= LOSS_LIMIT:
            self._fail(f"the loss is {loss:.4g}", batches)
        norm = self._update(batches)
        lr = float(self.optimizer.param_groups[0]["lr"])
        return StepFigures(loss, norm, int(hits), int(images), lr), mean_rate(rates) if last else None, bool(stops)

    def _loss(self, batch: MicroBatch, model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, logits and labels of a micro-batch; all that is random in them follows from its seed."""
        recipe, device = self.recipe, self.accelerator.device
        pixels, labels = batch.pixels.to(device), batch.labels.to(device)
        set_seed(batch.seed)
        if self._augment is not None:
            pixels = torch.stack([self._augment(image) for image in pixels])
        x = self._transform.scale(pixels).contiguous(memory_format=self._format)
        targets, smoothing = labels, recipe.label_smoothing
        if self._mix is not None:
            x, labels = x[: len(x) // 2 * 2], labels[: len(x) // 2 * 2]  # images are mixed in pairs
            (x, targets), smoothing = self._mix(x, labels), 0.0  # the targets are smooth already
        with spike_rates(self._model, recipe.spike_penalty > 0) as rates:
            logits = model(x).float()
        loss = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        if self._teacher is not None:
            with torch.no_grad(), self.accelerator.autocast():
                probabilities = self._teacher(x).float().softmax(1)
            loss = torch.lerp(loss, functional.cross_entropy(logits, probabilities), recipe.distillation)
        if recipe.spike_penalty and not rates:
            raise InputError(f"{self._model.spec} has no spiking neurons; leave spike_penalty at 0")
        if recipe.spike_penalty:
            loss = loss + recipe.spike_penalty * torch.stack([rate for rate, _ in rates]).mean()
        return loss, logits, labels

    def _update(self, batches: Sequence[MicroBatch]) -> float:
        """Clip and step; returns the gradient's norm before clipping."""
        norm = clip_gradient(list(self._model.parameters()), self.recipe.clip_norm)
        if not math.isfinite(norm):
            self._fail(f"the gradient's norm is {norm}", batches)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._average is not None:
            self._average.update(self._model)
        return norm

    def _add_up(self, loss: float, hits: float, images: float) -> list[float]:
        """Mean loss, and sums of hits, images and requests to stop, over all processes."""
        own = [loss / self.accelerator.num_processes, hits, images, self._stop.signal is not None]
        if self.accelerator.num_processes == 1:
            return own
        values = torch.tensor(own, device=self.accelerator.device)
        total: Tensor = self.accelerator.reduce(values, reduction="sum")
        return total.tolist()

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
        saved = f"The last checkpoint is {self.checkpoint}" if self.checkpoint.is_file() else "Nothing was saved yet"
        layer = find_fault(self._model, (self._loss(batch, self._model)[0] for batch in batches))
        raise DivergenceError(
            f"epoch {self.epoch + 1}, step {self.step + 1} of {self.plan.steps}: {what}; {layer}. "
            f"{saved}. Try a lower --learning-rate, --set clip_norm=1 or less, or an encoder with a smaller "
            "gradient, such as ste"
        )

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Replace the checkpoint, in the first process; the others wait."""
        if self.accelerator.is_main_process:
            checkpoint = Checkpoint(
                identity=self.identity,
                epoch=self.epoch,
                step=self.step,
                model=self._model.state_dict(),
                averaged=None if self._average is None else self._average.module.state_dict(),
                optimizer=self.optimizer.state_dict(),
                totals=self._totals,
                rows=self.rows,
            )
            write_checkpoint(self.checkpoint, checkpoint)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one; all processes take the first one's.

        Raises:
            InputError: it belongs to another run; the message names the settings that differ.
            WeightError: it is damaged, or does not fit the model.
        """
        reads = self.accelerator.is_main_process and self.checkpoint.is_file()
        read = broadcast(self.accelerator, read_checkpoint(self.checkpoint, self.identity) if reads else None)
        if read is None:
            return
        try:
            self._model.load_state_dict(read.model, strict=True)
            if self._average is not None:
                self._average.module.load_state_dict(read.averaged or {}, strict=True)
            self.optimizer.load_state_dict(read.optimizer)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise unfit(self.checkpoint, error) from error
        self.epoch, self.step, self._totals, self.rows = read.epoch, read.step, read.totals, read.rows

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


# Processes ------------------------------------------------------------------------------------------------------------


def make_accelerator(
    precision: str, accumulate: int = 1, device: str = AUTO, trackers: Sequence[str] = (), out: Path | None = None
) -> Accelerator:
    """Make accelerate's engine for this process; raises `InputError` if the machine lacks the device or a tracker.

    accelerate keeps the precision and device of its first engine; each run has its own, so these are reset, and the
    processes stay connected. Of `cuda` each process takes a GPU of its own; `cuda:1` is for one process.
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
    for name in set(trackers) - set(map(str, accelerator.log_with)):
        raise InputError(f"the tracker {name} needs its package; install it with: pip install {name}")
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

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Catch the first signal; a second one acts as usual. Outside the main thread none is caught."""
        with ExitStack() as stack:

            def handle(number: int, frame: FrameType | None) -> None:
                self.signal = signal.Signals(number)
                stack.close()

            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    stack.callback(signal.signal, number, signal.signal(number, handle))
            yield self
