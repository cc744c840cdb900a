"""The contract of a converter of foreign checkpoints. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Converted:
    """A checkpoint in the zoo's terms.

    Attributes:
        spec_name: the name of the model that it is of, without tag.
        num_classes: logits.
        in_chans: image channels.
        state: the whole state dict under that model's own keys.
        note: what a user must know of the result, such as a difference of arithmetic; '' for nothing.
    """

    spec_name: str
    num_classes: int
    in_chans: int
    state: Mapping[str, Tensor]
    note: str = ""


class Converter(ABC):
    """Renames the state dict of somebody else's model.

    It sees tensors alone: the file is read by `zoo.saving.convert`, which runs no code that a checkpoint holds.

    Attributes:
        options: names of the keyword arguments that its constructor takes; all are strings, none is required.
    """

    api_version: ClassVar[int]
    options: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The same values under the zoo's keys.

        Args:
            state: key → tensor, without a common `module.` prefix.

        Raises:
            WeightError: it is not a checkpoint of the kind that it reads; the message names what is missing.
            InputError: an option has a value that it cannot have.
        """
