"""Makes the runs that the ledger lacks, until all are there or a signal comes."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.configurations import Configuration
from benchmarks.accuracy.progress import RunLine
from benchmarks.accuracy.runs import Budget, Ledger, Run, count, make_runs, run_folder, train_one
from zoo.errors import TrainingStoppedError
from zoo.training.signals import StopRequest


class MissingRuns:
    """The runs of one call.

    Args:
        chosen: what to train.
        budget: of every run.
        ledger: of the finished ones.
        macs_size: pixels a side that MACs are counted at.
        work: keeps the runs' folders; None for one beside the records, which loses each that is recorded.
    """

    def __init__(
        self, chosen: Sequence[Configuration], budget: Budget, ledger: Ledger, macs_size: int, work: Path | None
    ) -> None:
        self._chosen = chosen
        self._budget, self._ledger, self._macs_size = budget, ledger, macs_size
        self._folder = work or ledger.path.parent / "runs"
        self._keeps = work is not None
        self._stop = StopRequest()
        self._line = RunLine(sum(len(each.seeds) for each in chosen))

    def make(self) -> tuple[dict[str, str], int]:
        """Make them; returns why some are refused, and the number of a signal that came, or 0."""
        refused: dict[str, str] = {}
        try:
            with self._line.shown(), self._stop.listening():
                for each, seed, outcome in make_runs(
                    self._chosen, self._budget, self._ledger, self._train, self._clean
                ):
                    self._line.ended(each, seed, outcome)
                    if isinstance(outcome, str):
                        refused[each.name] = outcome
        except TrainingStoppedError as error:
            return refused, error.signal
        except KeyboardInterrupt:
            return refused, signal.SIGINT
        return refused, self._stop.signal or 0

    def _train(self, name: str, seed: int) -> Run:
        self._line.begin(name, seed)
        count(name, len(self._budget.data.train.classes), self._macs_size, self._ledger)
        if self._stop.signal is not None:
            came = self._stop.signal
            raise TrainingStoppedError(f"stopped by {came.name} before {name}, seed {seed}", came)
        return train_one(name, seed, self._budget, self._folder, self._line)

    def _clean(self, name: str, seed: int) -> None:
        made = run_folder(self._folder, name, seed, self._budget.key)
        if not self._keeps and made.is_dir():
            shutil.rmtree(made)
