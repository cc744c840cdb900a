"""The training engine: accelerate's processes and precision around micro-batches whose order the seed alone decides."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn, final

import torch
from torch import Tensor
from torch.nn import functional

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.errors import DivergenceError, TrainingStoppedError, missing_extra
from zoo.training.checkpoint import Checkpoint, Identity, identify, read_checkpoint, write_checkpoint
from zoo.training.hooks import SpikeMeter, find_fault, layer_rates, scaled_surrogates
from zoo.training.loader import Feeder, MicroBatch
from zoo.training.observers.base import EpochRow, Observer, RunFacts, StepFigures, Totals
from zoo.training.optim import build_optimizer, build_schedule, clip_gradient
from zoo.training.plan import make_plan
from zoo.training.processes import broadcast, make_accelerator
from zoo.training.recipes import Recipe
from zoo.training.requirements import check_fit, check_maps, check_spikes
from zoo.training.shortage import telling_step_shortage
from zoo.training.signals import StopRequest
from zoo.training.start import Beginning
from zoo.weights import CHECKPOINT, stated_preprocessing, unfit

try:
    from accelerate import Accelerator
    from accelerate.utils import set_seed
    from timm.data.mixup import Mixup
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error

_MOST_SKIPPED = 40
"""Steps in a row that fp16's loss scaling may skip: it halves the scale each time, from 65,536."""


@final
class Training:
    """One run: model, optimiser, schedule and position, of one process or of several together.

    Every step takes `batch_size` images, in micro-batches: processes × accumulated ones. Batch norm takes its
    statistics in each of them; gradients are averaged over all. What is random in a step comes from (seed, epoch,
    step, micro-batch), so the position is all of the random state that a checkpoint needs.

    Attributes:
        start: what it began with.
        epoch: whole epochs done.
        step: steps done in the epoch after those.
        rows: one for each epoch done.
        notes: how the data were compared with those of a checkpoint, and how a finished run went on.
        finished: epochs after which the run had finished once, and then went on.
    """

    def __init__(
        self,
        start: Beginning,
        data: ImageSplit,
        recipe: Recipe,
        out: Path,
        *,
        accelerator: Accelerator | None = None,
        workers: int = 1,
        observers: Sequence[Observer] = (),
        stop: StopRequest | None = None,
        measured_on: ImageSplit | None = None,
    ) -> None:
        """Args:
        start: the model, with as many classes as the data; it is trained in place.
        data: the training split.
        recipe: all settings.
        out: folder of the checkpoint.
        accelerator: of `make_accelerator`; a plain one by default.
        workers: threads that read and augment ahead; 0 for none.
        observers: who is told of the progress, in the first process.
        stop: asked between two steps.
        measured_on: the validation split, which is a part of what the run is.

        Raises:
            InputError: batches that cannot be split so, images too small for the model or the precision, or a penalty
                on spikes for a network without any.
            CatalogError: an optimiser that timm does not know.
        """
        model = start.model
        check_fit(model, data)
        check_spikes(model, recipe.spike_penalty)
        self.start, self.recipe, self.data, self.out = start, recipe, data, out
        self.accelerator = accelerator or make_accelerator(recipe.precision)
        if self.accelerator.device.type == "cpu" and recipe.precision == "bf16":
            check_maps(model, data)
        processes, accumulated = self.accelerator.num_processes, self.accelerator.gradient_accumulation_steps
        self.plan = make_plan(len(data), recipe.batch_size, processes * accumulated, recipe.seed)
        first = self.accelerator.process_index * accumulated
        pinned = self.accelerator.device.type == "cuda"
        own = range(first, first + accumulated)
        self._feeder = Feeder(data, self.plan, recipe, own, workers, pinned, stated_preprocessing(model))
        self._network, self._observers = model, observers if self.accelerator.is_main_process else ()
        self._stop = stop or StopRequest()
        self._measured_on, self.notes = measured_on, list[str]()
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = build_optimizer(model, recipe)
        self.schedule = build_schedule(optimizer, recipe, self.plan.steps)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        mixing = recipe.mixup or recipe.cutmix
        self._mix = _mixup(recipe, model.num_classes) if mixing else None
        self._spikes = SpikeMeter(model)
        self.epoch, self.step, self.rows = 0, 0, list[EpochRow]()
        self.finished = list[int]()
        self._totals, self._skipped = Totals(), 0

    @cached_property
    def identity(self) -> Identity:
        """What the run is; the process that reads and writes checkpoints asks for it, for it may read all the data."""
        return identify(
            self._network,
            self.data,
            self._measured_on,
            self.recipe,
            self.plan.micro_batches,
            self.start.initial_sha256,
        )

    @property
    def checkpoint(self) -> Path:
        """Where the run can go on from."""
        return self.out / CHECKPOINT

    @property
    def network(self) -> ImageClassifier:
        """The model, without what accelerate puts around it for several processes."""
        return self._network

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Replace the checkpoint, in the first process; the others wait."""
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            checkpoint = Checkpoint(
                identity=dict(self.identity),
                epoch=self.epoch,
                step=self.step,
                model=self._network.state_dict(),
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
                its end; the schedule is computed anew over all epochs.

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
            self.optimizer.load_state_dict(read.optimizer)
            if self.accelerator.scaler is not None and read.scaler is not None:
                self.accelerator.scaler.load_state_dict(read.scaler)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise unfit(self.checkpoint, error) from error
        self.epoch, self.step = read.epoch, read.step
        self._totals, self.rows, self.finished = read.totals, read.rows, read.finished
        if read.ended and self.epoch < self.recipe.epochs:
            self.finished.append(self.epoch)
            self.notes.append(self._describe_extension(self.epoch))
        return True

    def _describe_extension(self, finished: int) -> str:
        """What the schedule does where a finished run goes on."""
        self.schedule.step_update(self.epoch * self.plan.steps + 1)
        last, upcoming = self.rows[-1].lr, float(self.optimizer.param_groups[0]["lr"])
        verb = "stays" if math.isclose(last, upcoming) else "rises to" if upcoming > last else "falls to"
        epochs = self.recipe.epochs
        return (
            f"the run had finished after {finished} epochs and goes on to {epochs}: its {self.recipe.schedule} "
            f"schedule is laid anew over all {epochs}, so that lr, {last:.3g} at the end of epoch {finished}, {verb} "
            f"{upcoming:.3g} at the beginning of epoch {finished + 1}"
        )

    # Steps ------------------------------------------------------------------------------------------------------------

    def run(self, look: Callable[[], object] | None = None, look_every: int = 0) -> None:
        """All steps that are left, with a checkpoint after every epoch.

        Args:
            look: measures the network, and writes that into the last of the rows.
            look_every: epochs between two such looks; 0 for none. The last epoch has none: the run's end measures it.
                A look that was broken off is made first.

        Raises:
            DivergenceError: the loss or the gradient is not a number any more, or the loss exploded; the last
                checkpoint is from before that.
            TrainingStoppedError: somebody asked for an end; the checkpoint is of the last step.
            InputError: too many images are damaged.
        """
        while self.epoch < self.recipe.epochs:
            if look and self._owes_look(look_every):
                look()
                self.save()
            with scaled_surrogates(self._network, self.recipe.surrogate_scale):
                self.run_epoch()
            if self._asked_to_stop() and self.epoch < self.recipe.epochs:
                self._end_early()

    def run_epoch(self) -> None:
        """The steps that are left of one epoch, then a checkpoint."""
        with telling_step_shortage(self.plan, self.data, self.checkpoint):
            figures = self._run_steps()
        self._end_epoch(figures)

    def _run_steps(self) -> StepFigures:
        """The figures of the last of them."""
        self.model.train()
        start = time.monotonic()
        for batches in self._feeder.steps(self.epoch, self.step):
            self.schedule.step_update(self.epoch * self.plan.steps + self.step + 1)
            with self._spikes.counting(self.step + 1 == self.plan.steps):
                figures, stopping = self._update(batches)
            self.step += 1
            now = time.monotonic()
            self._totals.add(figures, now - start)
            start = now
            for observer in self._observers:
                observer.stepped(self.epoch + 1, self.step, figures, self._totals)
            if stopping and self.step < self.plan.steps:
                self._end_early()
        return figures

    def facts(self, images: str = "", notes: Sequence[str] = ()) -> RunFacts:
        """What there is to know before the next step."""
        name, epochs = str(self._network.spec), self.recipe.epochs
        return RunFacts(name, epochs, self.plan.steps, self.plan.batch_size, self.epoch, self.step, images, notes)

    def _end_epoch(self, figures: StepFigures) -> None:
        self.epoch, self.step = self.epoch + 1, 0
        place = self.epoch * self.plan.steps
        means: dict[str, Any] = {**self._totals.figures()}
        row = EpochRow(self.epoch, place, lr=figures.lr, spike_rate=self._spikes.rate, **means)
        self.rows.append(row)
        self._totals = Totals()
        self.save()
        for observer in self._observers:
            observer.epoch_ended(row, self.rows)

    def _end_early(self) -> None:
        self.save()
        signum = self._stop.signal or signal.SIGTERM  # of another process
        place = f"epoch {self.epoch + 1}, step {self.step}" if self.step else f"epoch {self.epoch}"
        raise TrainingStoppedError(
            f"stopped by {signum.name} after {place}; saved, the same command with --resume goes on", signum
        )

    def _owes_look(self, every: int) -> bool:
        """Whether the epoch that ended last is to be measured, and was not."""
        between = every > 0 and self.epoch > 0 and self.step == 0
        return between and self.epoch % every == 0 and not self.rows[-1].val

    def _asked_to_stop(self) -> bool:
        """Whether any process was."""
        return bool(self._add_up(0, 0, 0)[3])

    def _update(self, batches: Sequence[MicroBatch]) -> tuple[StepFigures, bool]:
        """One optimiser step; what came of it, and whether any process was asked to stop."""
        own_loss, own_hits, own_images = 0.0, 0, 0
        for batch in batches:
            with self.accelerator.accumulate(self.model):
                logits, labels, loss = self._loss(batch, self.model)
                self.accelerator.backward(loss)
            own_loss += float(loss.detach()) / len(batches)
            own_hits += int((logits.argmax(1) == labels).sum())
            own_images += len(labels)
        mean, hits, images, stops = self._add_up(own_loss, own_hits, own_images)
        if not mean <= self.recipe.loss_limit:
            self._fail(f"the loss is {mean:.4g}", batches)
        norm = self._apply(batches)
        rate = float(self.optimizer.param_groups[0]["lr"])
        return StepFigures(mean, norm, int(hits), int(images), rate), bool(stops)

    def _loss(self, batch: MicroBatch, model: torch.nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, labels and loss of a micro-batch, the recipe's penalty on spikes in it."""
        if not self.recipe.spike_penalty:
            return self._plain_loss(batch, model)
        with layer_rates(self._network) as rates:
            logits, labels, loss = self._plain_loss(batch, model)
        return logits, labels, loss + self.recipe.spike_penalty * torch.stack(rates).mean()

    def _plain_loss(self, batch: MicroBatch, model: torch.nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """The same without the penalty, with the seed of what is drawn in the batch."""
        device = self.accelerator.device
        x, labels = batch.x.to(device, non_blocking=True), batch.labels.to(device, non_blocking=True)
        set_seed(batch.seed)
        if self._mix is None:
            logits = model(x).float()
            return logits, labels, functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        x, labels = x[: len(x) // 2 * 2], labels[: len(x) // 2 * 2]  # images are mixed in pairs
        mixed, targets = self._mix(x.clone(), labels)
        logits = model(mixed).float()
        return logits, labels, functional.cross_entropy(logits, targets)

    def _loss_alone(self, batch: MicroBatch) -> Tensor:
        return self._loss(batch, self._network)[2]

    def _add_up(self, loss: float, hits: int, images: int) -> list[float]:
        """Mean loss, and sums of hits, images and stop requests, over all processes."""
        local_sums = [loss / self.accelerator.num_processes, hits, images, self._stop.signal is not None]
        if self.accelerator.num_processes == 1:
            return local_sums
        values = torch.tensor(local_sums, dtype=torch.float64, device=self.accelerator.device)
        total: Tensor = self.accelerator.reduce(values, reduction="sum")
        return total.tolist()

    def share_statistics(self) -> None:
        """Give every process the first one's batch norm statistics: those that are saved, and so to be measured."""
        if self.accelerator.num_processes > 1:
            for buffer in self._network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _apply(self, batches: Sequence[MicroBatch]) -> float:
        """Clip and step; the norm of the gradient before, NaN where fp16's loss scaling skips the step."""
        self.accelerator.unscale_gradients()
        norm = clip_gradient(self._network.parameters(), self.recipe.clip_norm)
        scaled = self.accelerator.scaler is not None
        if not math.isfinite(norm) and not scaled:
            self._fail(f"the gradient's norm is {norm}", batches)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if math.isfinite(norm):
            self._skipped = 0
            return norm
        self._skipped += 1
        if self._skipped > _MOST_SKIPPED:
            self._fail(f"the gradient was not finite in {self._skipped} steps in a row", batches)
        return math.nan

    def _fail(self, what: str, batches: Sequence[MicroBatch]) -> NoReturn:
        """Raise `DivergenceError`, having looked for the layer at fault; nothing is saved."""
        place = f"epoch {self.epoch + 1}, step {self.step + 1} of {self.plan.steps}"
        for batch in batches:
            fault = find_fault(self._network, partial(self._loss_alone, batch))
            if fault.certain:
                break
        saved = f"What was saved last: {self.checkpoint}" if self.checkpoint.is_file() else "Nothing was saved yet"
        raise DivergenceError(
            f"{place}: {what}; {fault.text}. {saved}. "
            "Try a lower --learning-rate, --set clip_norm=1 or less, or an encoder with a smaller gradient, such as ste"
        )


def _mixup(recipe: Recipe, classes: int) -> Mixup:
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=recipe.mix_share,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
    )
