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
class HubFile:
    """A published checkpoint on the Hugging Face Hub.

    Attributes:
        repo_id: `org/name`.
        filename: inside it, a .safetensors.
        revision: its commit of 40 hexadecimal digits; None for the newest.
    """

    repo_id: str
    filename: str
    revision: str | None = None


@final
@dataclass(frozen=True)
class Stated:
    """What is known of a checkpoint beside its tensors; the defaults stand for what its publisher does not state.

    Attributes:
        license: of the weights.
        labels: a name for every class, in the order of the logits.
        dataset: what it was trained on.
        image_size: pixels a side that it was trained with.
        interpolation, crop_pct, mean, std: how images are prepared, as in `zoo.catalog.Preprocessing`.
        note: what a user must know of this.
    """

    license: str = ""
    labels: tuple[str, ...] = ()
    dataset: str = ""
    image_size: int | None = None
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    note: str = ""


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

    It sees tensors alone: the file is read by `zoo.saving`, which runs no code that a checkpoint holds.

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

    def locate(self, name: str) -> HubFile | None:
        """Where the checkpoint lies that its publisher calls `name`; asked where there is no file of that name.

        Returns:
            None for what is not such a name, which is then taken for a file.

        Raises:
            InputError: it is like one, but the publisher has no such checkpoint.
        """
        return None

    def check_name(self, called: str) -> None:
        """Refuse by its name what the tensors do not tell apart; by default nothing is refused.

        Args:
            called: the name of the file without its ending, what the checkpoint itself says under `arch`, or what
                `locate` was given.

        Raises:
            WeightError: it names a network with the keys and shapes of one that is converted, and another forward.
        """
        return None

    def describe(self, converted: Converted, name: str) -> Stated:
        """What is known of the checkpoint beside its tensors.

        Args:
            converted: what `convert` made of it.
            name: as `locate` was given it; '' for a file.

        Raises:
            InputError, WeightError: an option or the name does not fit the tensors.
        """
        return Stated()
