"""Facts of a training run, read from its run.json: the data, the images at once, the weight that it began with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from zoo.errors import InputError
from zoo.weights import RUN


def trained_on(folder: Path) -> str | None:
    """Return `identify_data` of what the run in a folder was trained on; None without a run.

    Raises:
        InputError: its run.json cannot be read.
    """
    data = _read_run(folder, lambda run: run["asked"]["data"])
    return None if data is None else str(data) or None


def measured_with(folder: Path) -> int | None:
    """Return the images at once that the run in a folder was measured with; None unless a finished run says it.

    Raises:
        InputError: its run.json cannot be read.
    """
    images = _read_run(folder, lambda run: run.get("result", {}).get("eval_batch_size"))
    return images if isinstance(images, int) and images > 0 else None


@final
@dataclass(frozen=True)
class StartedFrom:
    """The weight that a run began with.

    Attributes:
        sha256: of its bytes.
        load: what `create_model` takes for it on the machine of the run; '' if it was converted for the run alone.
    """

    sha256: str
    load: str


def started_from(folder: Path) -> StartedFrom | None:
    """Return what the run in a folder began with; None if that was no weight, or without a run.

    Raises:
        InputError: its run.json cannot be read.
    """
    begun = _read_run(folder, lambda run: run.get("started_from") or None)
    return None if begun is None else _read_run(folder, lambda run: StartedFrom(begun["sha256"], begun["load"]))


def _read_run(folder: Path, pick: Callable[[dict[str, Any]], Any]) -> Any:
    """Return what `pick` takes of the folder's run.json; None if there is none."""
    file = folder / RUN
    if not file.is_file():
        return None
    try:
        return pick(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}); `zoo train` writes it again") from error
