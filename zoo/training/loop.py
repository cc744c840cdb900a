"""The training loop: epochs of steps, which can be stopped and resumed between any two of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NoReturn, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.contracts.classifier import ImageClassifier
from zoo.errors import DivergenceError, InputError
from zoo.inference.evaluate import translate_memory_errors
from zoo.processes import count_processes, describe_changes, is_first, share_first
from zoo.profiling.prices import NORMS
from zoo.profiling.rates import LayerRate, mean_rate, spike_rates, spiking_layers
from zoo.registry.installing import missing_extra
from zoo.training.batches import MicroBatch, read_epoch
from zoo.training.engine import Engine
from zoo.training.figures import EpochRow, StepFigures, summarise
from zoo.training.folder import Checkpoint, RunFolder
from zoo.training.hooks import find_fault, scaled_surrogates
from zoo.training.observers import Observer
from zoo.training.recipe import Recipe, build_schedule, rates_are_alike
from zoo.training.setup import Setup
from zoo.training.stopping import StopRequest

try:
    from accelerate.utils import set_seed
    from timm.scheduler.scheduler import Scheduler
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error

Shared = TypeVar("Shared")
LOSS_LIMIT = 1e4
"""A loss above it has exploded: the run stops."""


@final
@dataclass(frozen=True)
class Answer:
    """Loss and logits of a micro-batch, the labels of its images, and spike rates if they were counted."""

    loss: Tensor
    logits: Tensor
    labels: Tensor
    rates: list[LayerRate]


@final
class Training:
    """One run: its setup, its engine, its folder, and its position.

    Every step takes `batch_size` images, in micro-batches: processes × accumulated ones. Batch norm takes its
    statistics in each of them; gradients are averaged over all.

    `stop` ends it early; `continuation` then says how it is continued.

    Attributes:
        epoch, rows: whole epochs done, and their figures.
        steps, seconds: figures of the steps after them, and the time that they took.
        restarts: epochs after which the schedule started again.
    """

    def __init__(
        self,
        setup: Setup,
        engine: Engine,
        folder: RunFolder,
        *,
        observers: Sequence[Observer] = (),
        stop: StopRequest | None = None,
        continuation: str = "",
    ) -> None:
        self.setup, self.engine, self.folder = setup, engine, folder
        self.recipe, self.plan = setup.recipe, setup.plan
        self._observers = observers if is_first() else ()
        self._stop = stop or StopRequest()
        self._continuation = continuation
        self.epoch = 0
        self.rows: list[EpochRow] = []
        self.steps: list[StepFigures] = []
        self.seconds = 0.0
        self.restarts: list[int] = []
        self._schedule = self._build_schedule()
        if setup.teacher is not None:
            setup.teacher.to(engine.device)

    @property
    def network(self) -> ImageClassifier:
        """The network that is measured and saved."""
        return self.engine.network

    @property
    def notes(self) -> list[str]:
        """What the recipe does not say of the schedule."""
        return [f"after epoch {epoch} the {self.recipe.schedule} schedule started again" for epoch in self.restarts]

    # Epochs and steps

    def run(self, measure: Callable[[], Shared], every: int = 0, saved: Callable[[], object] = lambda: None) -> Shared:
        """Train for all epochs that are left, with a checkpoint after each; returns what is measured at the end.

        `measure` writes the figures into the last row, each time that `every` epochs have passed; 0: at the end alone.
        `saved` is called after each checkpoint of a whole epoch.
        """
        while self.epoch < self.recipe.epochs:
            with self._stop.listening():
                self.run_epoch()
                last = self.epoch == self.recipe.epochs  # measured below, also if the run is resumed after it
                if every and self.epoch % every == 0 and not last:
                    measure()
                self.save()
                saved()
                if not last:
                    self._tell()
                if self._is_to_stop():
                    self._end_early()
        measured = measure()
        self._tell()
        return measured

    def run_epoch(self) -> None:
        """Take the steps that are left of one epoch."""
        self.engine.parallel.train()
        if self.recipe.frozen_norms:
            for norm in self.engine.model.modules():
                if isinstance(norm, NORMS):
                    norm.eval()
        shortage = translate_memory_errors(
            self.engine.model, self.recipe.batch_size, self.setup.data.size, "`batch_size`"
        )
        with shortage, scaled_surrogates(self.engine.model, self.recipe.surrogate_scale):
            self._take_steps()
        self.epoch += 1
        self.rows.append(summarise(self.epoch, self.steps, self.seconds))
        self.steps, self.seconds = [], 0.0

    def _take_steps(self) -> None:
        begin = time.monotonic() - self.seconds
        done = len(self.steps)
        for batches in read_epoch(self.setup.data, self.plan, self.recipe, self.engine.own, self.epoch, done):
            figures = self._take_step(batches, len(self.steps) + 1)
            self.steps.append(figures)
            self.seconds = time.monotonic() - begin
            for observer in self._observers:
                observer.stepped(self.epoch + 1, len(self.steps), figures)
            if len(self.steps) < self.plan.steps and self._is_to_stop():
                self.save()
                self._end_early()

    def _take_step(self, batches: Sequence[MicroBatch], step: int) -> StepFigures:
        """Take one step, over all processes; spikes are counted in the last one of an epoch."""
        self._schedule.step_update((self.epoch - self._schedule_start) * self.plan.steps + step)
        loss, hits, images = 0.0, 0.0, 0.0
        rates: list[LayerRate] = []
        parts = count_processes()
        last = step == self.plan.steps
        network = self.engine.parallel if last else self.engine.compiled  # hooks are not compiled
        for batch in batches:
            with self.engine.accelerator.accumulate(self.engine.parallel):  # gradients are exchanged in the last one
                answer = self._answer(batch, network, counting=last)
                self.engine.accelerator.backward(answer.loss)
            loss += float(answer.loss.detach()) / len(batches)
            hits += int((answer.logits.argmax(1) == answer.labels).sum())
            images += len(answer.labels)
            if last:
                rates += answer.rates
        own_rate = mean_rate(rates)
        loss, hits, images, spikes = self.engine.add_up(loss / parts, hits, images, (own_rate or 0.0) / parts)
        if not loss <= LOSS_LIMIT:
            self._fail(step, f"the loss is {loss:.4g}", batches)
        norm, block_norms = self.engine.clip(self.recipe.clip_norm)
        if not math.isfinite(norm):
            self._fail(step, f"the gradient's norm is {norm}", batches)
        rate = self.engine.step(self.epoch * self.plan.steps + step)
        return StepFigures(loss, norm, int(hits), int(images), rate, None if own_rate is None else spikes, block_norms)

    def _answer(self, batch: MicroBatch, network: nn.Module, counting: bool) -> Answer:
        """Run a micro-batch through the network; all that is random in it follows from its seed."""
        recipe, model, teacher = self.recipe, self.engine.model, self.setup.teacher
        set_seed(batch.seed)
        x, labels, targets = self.setup.prepare(batch, self.engine.device)
        counted = spiking_layers(model) if counting or recipe.spike_penalty else {}
        with spike_rates(counted) as rates:
            answers = network(x).float()
        answers = answers if recipe.timestep_loss else answers[None]
        logits = answers[-1]
        probabilities = None
        if teacher is not None:
            with torch.no_grad(), self.engine.accelerator.autocast():
                probabilities = teacher(x).float().softmax(1)
        loss = self._loss(logits, targets, probabilities)
        if len(answers) > 1:
            early = torch.stack([self._loss(answer, targets, probabilities) for answer in answers]).mean()
            loss = torch.lerp(loss, early, recipe.timestep_loss)
        if recipe.spike_penalty:
            if not rates:
                raise InputError(f"{model.spec} has no spiking neurons; leave spike_penalty at 0")
            loss = loss + recipe.spike_penalty * torch.stack([call.rate for call in rates]).mean()
        return Answer(loss, logits, labels, rates)

    def _loss(self, logits: Tensor, targets: Tensor, probabilities: Tensor | None) -> Tensor:
        """Return the cross-entropy with the targets and, by its share, with a teacher's probabilities."""
        loss = functional.cross_entropy(logits, targets, label_smoothing=self.setup.smoothing)
        if probabilities is None:
            return loss
        return torch.lerp(loss, functional.cross_entropy(logits, probabilities), self.recipe.distillation)

    def _fail(self, step: int, what: str, batches: Sequence[MicroBatch]) -> NoReturn:
        checkpoint = self.folder.checkpoint
        saved = f"The last checkpoint is {checkpoint}" if checkpoint.is_file() else "Nothing was saved yet"
        model = self.engine.model
        answers = (self._answer(batch, self.engine.trained, counting=False) for batch in batches)
        layer = find_fault(model, (answer.loss for answer in answers))
        raise DivergenceError(
            f"epoch {self.epoch + 1}, step {step} of {self.plan.steps}: {what}; {layer}. {saved}. Try a lower "
            "`learning_rate`, `clip_norm=1` or less, or an encoder with a smaller gradient, such as ste"
        )

    def _tell(self) -> None:
        for observer in self._observers:
            observer.epoch_ended(self.rows[-1], self.rows)

    def _is_to_stop(self) -> bool:
        """Whether any process was asked to."""
        return any(self.engine.add_up(float(self._stop.is_made)))

    def _end_early(self) -> NoReturn:
        epochs = self.recipe.epochs
        place = f"after epoch {self.epoch} of {epochs}"
        if self.steps:
            place = f"in epoch {self.epoch + 1} of {epochs}, after step {len(self.steps)} of {self.plan.steps}"
        message = f"stopped {place}, and saved; {self._continuation}"
        for observer in self._observers:
            observer.stopped(message)
        self._stop.act(message)

    # The schedule

    @property
    def _schedule_start(self) -> int:
        """Epochs before the schedule began."""
        return self.restarts[-1] if self.restarts else 0

    def _build_schedule(self) -> Scheduler:
        return build_schedule(self.engine.optimizer, self._recipe_of(self.recipe.epochs), self.plan.steps)

    def _recipe_of(self, epochs: int) -> Recipe:
        """Return the recipe of the schedule in a run of so many epochs."""
        return self.recipe.model_copy(update={"epochs": epochs - self._schedule_start})

    def _extend(self, before: int) -> None:
        """Go on to the recipe's epochs in a run of fewer.

        The schedule stays if its rates do not depend on the number of epochs. Otherwise it starts again for the
        epochs that are left; raises `InputError` if those before are not finished.
        """
        if rates_are_alike(self._recipe_of(before), self._recipe_of(self.recipe.epochs)):
            return
        if self.epoch < before:
            raise InputError(
                f"{self.folder.path} has done {self.epoch} of {before} epochs of a {self.recipe.schedule} schedule; "
                f"finish it with `epochs={before}`, then go on with `epochs={self.recipe.epochs}`"
            )
        self.restarts.append(before)

    # The checkpoint

    def save(self) -> None:
        """Replace the checkpoint, in the first process; the others wait."""
        if is_first():
            state = {
                "identity": self.setup.identity,
                "epochs": self.recipe.epochs,
                "epoch": self.epoch,
                "steps": [asdict(figures) for figures in self.steps],
                "seconds": self.seconds,
                "rows": [asdict(row) for row in self.rows],
                "restarts": self.restarts,
            }
            self.folder.write_checkpoint(state | self.engine.state())
        self.engine.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one; all processes take the first one's.

        Raises `InputError` if it belongs to a run of other settings, which are named, `WeightError` if it is damaged.
        """
        read = share_first(self._read)
        if read is None:
            return
        try:
            self.engine.load(read.model, read.averaged, read.optimizer)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise self.folder.unfit(error) from error
        self.epoch, self.rows = read.epoch, read.rows
        self.steps, self.seconds = read.steps, read.seconds
        self.restarts = read.restarts
        if read.epochs < self.recipe.epochs:
            self._extend(read.epochs)
        self._schedule = self._build_schedule()

    def _read(self) -> Checkpoint | None:
        """Read the checkpoint of this run; it may have fewer epochs, and lack settings that came later."""
        read = self.folder.read_checkpoint()
        if read is None:
            return None
        defaults = {name: field.default for name, field in Recipe.model_fields.items() if not field.is_required()}
        changes = describe_changes(defaults | read.identity, self.setup.identity)
        if changes.keys() == {"epochs"} and read.epochs > self.recipe.epochs:
            raise InputError(
                f"{self.folder.path} has done {read.epoch} of {read.epochs} epochs, for which its schedule is planned, "
                f"and may be given more, not {self.recipe.epochs}: continue it without `epochs`, or start a run of "
                f"`epochs={self.recipe.epochs}` in another `out`"
            )
        if changes and changes.keys() != {"epochs"}:
            changed = ", ".join(f"{name} ({values})" for name, values in changes.items())
            raise InputError(
                f"{self.folder.checkpoint} was made with other settings: {changed}; use those again, or choose another "
                "`out`. A new run starts from the weight of a finished one if its folder is given as the model"
            )
        return read
