"""Commands that several processes share: one of them prints, whether an answer or an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from zoo.errors import ZooError, ZooWarning

if TYPE_CHECKING:
    from zoo.inference.processes import Processes


@contextmanager
def sharing(device: str) -> Iterator[Processes]:
    """The processes of torchrun, connected inside; what is an error in all of them is told by one.

    Raises:
        InputError: the environment is not that of torchrun.
        Exit: of status 2, in place of an error that another process tells.
    """
    from zoo.inference.processes import joined

    with joined(device) as processes:
        if not processes.is_first:
            warnings.simplefilter("ignore", ZooWarning)  # the first process shows the same
        try:
            yield processes
        except ZooError as error:
            if processes.tells():
                raise
            raise typer.Exit(2) from error
