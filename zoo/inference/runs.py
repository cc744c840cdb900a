"""The run.json of a training run, which evaluation and comparison of its weight look into."""

from __future__ import annotations

import json
from typing import Any

from zoo.errors import InputError
from zoo.factory import OpenedModel
from zoo.names import LocalFolder
from zoo.weights import RUN


def read_run(opened: OpenedModel) -> dict[str, Any]:
    """Return the run.json of the folder that a model was opened from; {} without one.

    Raises:
        InputError: it cannot be read.
    """
    if not isinstance(opened.source, LocalFolder):
        return {}
    file = opened.source.path / RUN
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}); `zoo train` writes it again") from error
