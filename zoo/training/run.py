"""`train`: from a name, data and a recipe to a folder that loads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from zoo.catalog.catalog import Catalog
from zoo.catalog.schema import StoredWeight
from zoo.contracts.device import AUTO
from zoo.data import DataOptions, DataSplits
from zoo.data.datasets import InHand, open_in_hand
from zoo.data.load import identify_data, prepare_data
from zoo.errors import DivergenceError, MemoryLimitError, TrainingStoppedError, missing_extra
from zoo.factory import OpenedModel
from zoo.files import remove_parts
from zoo.inference.evaluate import Evaluation, check_batch, evaluate, rounded
from zoo.names import Options
from zoo.registry import Registry
from zoo.saving import check_tag, fold
from zoo.training.description import Asked, Description
from zoo.training.engine import Training
from zoo.training.observers.base import Observer
from zoo.training.observers.files import CURVES, MetricsFile, TensorBoard, draw_curves
from zoo.training.processes import broadcast, make_accelerator
from zoo.training.recipes import Recipe, change_recipe, load_recipe
from zoo.training.result import (
    TrainingResult,
    remove_weights,
    write_metrics,
    write_run,
    write_weights,
)
from zoo.training.signals import StopRequest
from zoo.training.start import (
    build,
    check_apart,
    check_folder,
    check_names,
    claim_folder,
    default_folder,
    default_tag,
    find_beginning,
    opened_control,
)

DEFAULT_RECIPE, FINE_TUNING_RECIPE = "modern", "finetune"


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
    observers: Sequence[Observer] = (),
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> TrainingResult:
    """Train a model, write it as a folder that the zoo loads, and measure it once on the validation split.

    The weight is written before it is measured, so that what happens meanwhile costs no training.

    Args:
        name: of the model; with a tag, or as `local-dir:` or `hf-hub:`, the run starts from that weight.
        data: what `zoo.data.load_data` takes: a folder, a packed file, the name of a data set, a reference, arrays or a
            torch Dataset; or splits that are loaded already.
        recipe: by name, as the path of a YAML file, or itself; by default `modern`, and `finetune` from a weight.
        changes: settings of the recipe to replace, such as `{"epochs": 3}`.
        out: folder of the run; by default runs/NAME.TAG-RECIPE.
        resume: go on with the run in `out`, or start it where there is none yet. A finished run goes on where `changes`
            or a `Recipe` has more epochs: from its weights and its optimiser, its schedule laid anew over all epochs.
        tag: of the resulting weight; by default the data's name.
        control: a weight of the network without spikes, by name or reference, that the network starts from: a hybrid
            with its analog branches and head, a `sew` network with its layers; also what a converter takes, such as
            `timm:resnet18.a1_in1k` or `torchvision:resnet18.pth`.
        model_options: of the model's components by their kind, and of its family: `{"neuron": {"tau": 4.0}}`.
        options: how the data are read; of splits, the limits alone count.
        accumulate: micro-batches of a process in one step.
        device: where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` for a GPU with CUDA where there is one.
        workers: threads that read and augment ahead; 0 for none.
        validate_every: epochs between two looks at the validation split; 0 looks once, at the end.
        eval_batch_size: validation images at once; None for 250, or of large images as many as fit: see
            `zoo.inference.evaluate.choose_batch`.
        observers: who is told of the progress, beside metrics.csv and TensorBoard.
        endpoint, cache_dir, token, registry, catalog: of the model and of its control, as for `create_model`.

    Returns:
        The folder, the record of the weight, the figures. Python's, numpy's and torch's random generators are seeded
        anew in every step.

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
    _check_extras()
    check_batch(eval_batch_size)
    opened = find_beginning(
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
    accelerator = make_accelerator(settings.precision, accumulate, device)
    with accelerator.local_main_process_first():  # which downloads, where there is something to download
        splits = prepare_data(given, options or DataOptions(), opened)
    check_names(splits.train.classes)
    with opened_control(control, opened) as begun_by:
        beginning = build(opened, splits.train.classes, settings.seed, begun_by)
    result = f"{opened.spec.untagged()}.{tag}"
    asked = Asked(
        name,
        control,
        opened.spec.options,
        identify_data(given),
        result,
        label,
        dict(changes or {}),
        validate_every,
        eval_batch_size,
    )
    further = isinstance(recipe, Recipe) or "epochs" in (changes or {})  # and not because a default has more of them
    with ExitStack() as stack:
        observing: list[Observer] = []
        if accelerator.is_main_process:
            stack.callback(claim_folder(folder, resume).release)
            remove_parts(folder)  # of a run that was killed while it saved
            observing = [MetricsFile(folder), TensorBoard(folder), *observers]
        accelerator.wait_for_everyone()
        for observer in observing:
            stack.callback(observer.closed)
        stop = stack.enter_context(StopRequest().listening())
        training = Training(
            beginning,
            splits.train,
            settings,
            folder,
            accelerator=accelerator,
            workers=workers,
            observers=observing,
            stop=stop,
            measured_on=splits.val,
        )
        return _Run(training, splits, stop, observing, asked, registry).go(resume, further)


def _settle(recipe: str | Path | Recipe | None, opened: OpenedModel, changes: Mapping[str, Any]) -> tuple[str, Recipe]:
    """What a recipe is called, and its settings with the changes."""
    if recipe is None:
        recipe = FINE_TUNING_RECIPE if opened.weight_name else DEFAULT_RECIPE
    if isinstance(recipe, Recipe):
        return "custom", change_recipe("custom", recipe.model_dump(), changes)
    return str(recipe), load_recipe(recipe, changes)


def _check_extras() -> None:
    """Raise `MissingExtraError` now for what only the end of a run needs."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(error, CURVES, "train") from error


@final
@dataclass(frozen=True)
class _Run:
    """A training with its data and its folder, ready to go."""

    training: Training
    splits: DataSplits
    stop: StopRequest
    observers: Sequence[Observer]
    asked: Asked
    registry: Registry | None = None

    @property
    def description(self) -> Description:
        """The run in words."""
        return Description(self.training, self.splits, self.asked)

    def go(self, resume: bool, further: bool) -> TrainingResult:
        """Train, write, measure, write the figures."""
        training, description = self.training, self.description
        main = training.accelerator.is_main_process
        if resume:
            training.resume(further)
        # The network is folded once before it is trained, so that one which could not be saved costs no training.
        draft = fold(training.network, self.asked.name, description.statement(), self.registry).weight if main else None
        if draft is not None:
            write_run(training.out, description.to_json(draft))
        for observer in self.observers:
            observer.started(training.facts(description.images(), description.notes()), training.rows)
        training.run(self._look, self.asked.validate_every)
        unmeasured = self._write() if main else None
        evaluation = self._look()
        if not math.isfinite(evaluation.loss):
            if main:
                remove_weights(training.out)
            raise DivergenceError(
                f"the loss on the validation split is {evaluation.loss}: training exploded, and no weight is written; "
                "start again with a lower --learning-rate, or --set clip_norm=1 or less"
            )
        weight = broadcast(training.accelerator, self._complete(unmeasured, evaluation) if unmeasured else None)
        assert weight is not None  # the first process wrote it
        result = TrainingResult(training.out, weight, evaluation, tuple(training.rows), tuple(description.notes()))
        if draft is not None:
            write_run(training.out, description.to_json(draft) | {"result": result.to_json()})
        return result

    def _look(self) -> Evaluation:
        """Measure the network on the validation split, into the last row."""
        rows = self.training.rows
        for observer in self.observers:
            observer.measuring(len(self.splits.val))
        self.training.share_statistics()
        try:
            evaluation = self._evaluate()
        except MemoryLimitError as error:
            raise MemoryLimitError(f"{error}. {self._kept()}, and with --resume it is only measured") from error
        rows[-1].val.update(rounded(evaluation))
        for observer in self.observers:
            observer.validated(rows[-1], rows)
        return evaluation

    def _evaluate(self) -> Evaluation:
        accelerator, plan = self.training.accelerator, self.training.plan
        return evaluate(
            self.training.network,
            self.splits.val,
            batch_size=self.asked.eval_batch_size,
            trained=plan.batch_size // plan.micro_batches,
            share=(accelerator.process_index, accelerator.num_processes),
            after_batch=self._after_batch,
        )

    def _kept(self) -> str:
        """What is safe while the network is measured."""
        training = self.training
        if training.epoch < training.recipe.epochs:
            return f"What epoch {training.epoch} learned is safe in {training.checkpoint}"
        return f"The weight is safe in {training.out}"

    def _after_batch(self, images: int) -> None:
        if self.stop.signal is not None:
            raise TrainingStoppedError(
                f"stopped by {self.stop.signal.name} while validating. {self._kept()}; "
                "the same command with --resume goes on",
                self.stop.signal,
            )
        for observer in self.observers:
            observer.measured(images)

    def _write(self) -> StoredWeight:
        """The folder's weight, not measured yet."""
        training, statement = self.training, self.description.statement()
        return write_weights(training.network, self.asked.name, statement, training.out, self.registry)

    def _complete(self, weight: StoredWeight, evaluation: Evaluation) -> StoredWeight:
        """The weight's figures, and the picture."""
        training, asked = self.training, self.asked
        draw_curves(training.rows, f"{asked.name}, {asked.recipe_text}", training.out / CURVES)
        return write_metrics(weight, rounded(evaluation, tops_alone=True), training.out, self.registry)
