"""What the run.json of a training says of its data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from zoo.data.in_hand import ImagesInHand
from zoo.errors import InputError
from zoo.weights import RUN


def identify_data(data: object) -> str:
    """What run.json calls the data: a whole path, the name of a data set, or the kind and hash of images in memory.

    It is '' for splits that were loaded before.
    """
    if isinstance(data, ImagesInHand):
        return data.identity
    if not isinstance(data, str | Path):
        return ""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


def trained_on(folder: Path) -> str | None:
    """`identify_data` of what the run in that folder was trained on; None where the folder holds no run.

    Raises:
        InputError: its run.json cannot be read.
    """
    data = _read_run(folder, lambda run: run["asked"]["data"])
    return None if data is None else str(data) or None


def measured_with(folder: Path) -> int | None:
    """Images that the run in that folder was measured with at once; None where no finished run says it.

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
        load: what `create_model` takes for it on the machine of the run; '' where it was converted for the run alone.
    """

    sha256: str
    load: str


def started_from(folder: Path) -> StartedFrom | None:
    """What the run in that folder began with; None where that was no weight, or the folder holds no run.

    Raises:
        InputError: its run.json cannot be read.
    """
    content = _read_run(folder, lambda run: run.get("started_from"))
    if not content:
        return None
    if not (isinstance(content, dict) and all(isinstance(content.get(key), str) for key in ("sha256", "load"))):
        raise InputError(f"{folder / RUN} does not say what its run started from as `zoo train` does")
    return StartedFrom(content["sha256"], content["load"])


def _read_run(folder: Path, pick: Callable[[dict[str, Any]], Any]) -> Any:
    """What `pick` takes of the folder's run.json; None where there is none."""
    file = folder / RUN
    if not file.is_file():
        return None
    try:
        return pick(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}); `zoo train` writes it anew") from error
