"""What a step that found no memory says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.data import ImageSplit
from zoo.errors import MemoryLimitError
from zoo.inference.evaluate import is_shortage, reason_of
from zoo.training.plan import LEAST, Plan


@contextmanager
def telling_step_shortage(plan: Plan, data: ImageSplit, checkpoint: Path) -> Iterator[None]:
    """Inside, running out of memory is a `MemoryLimitError` that says how a step takes less.

    Args:
        plan: of the steps.
        data: that they take.
        checkpoint: where the run saves itself.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryLimitError) or not is_shortage(error):
            raise
        height, width = data.size
        part = plan.batch_size // plan.micro_batches
        advice = ["smaller images (--image-size)"]
        if part >= 2 * LEAST:
            advice = [f"--batch-size {plan.batch_size // 2} or less, or --accumulate 2 or more,", "or", *advice]
        raise MemoryLimitError(
            f"a training step on {part} images of {width}×{height} pixels at once needs more memory than there is "
            f"({reason_of(error)}); choose {' '.join(advice)}. {_saved(checkpoint)}"
        ) from error


def _saved(checkpoint: Path) -> str:
    if not checkpoint.is_file():
        return "Nothing was saved yet; the same folder is used again with --resume"
    return (
        f"What was saved last is whole: {checkpoint}. With the same settings --resume goes on from it where there is "
        "more memory; with others start in another folder (--out)"
    )
