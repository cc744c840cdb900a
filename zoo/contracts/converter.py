"""Contract of a converter of foreign checkpoints. Imports no torch."""

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
    """A published .safetensors file on the Hugging Face Hub.

    Attributes:
        repo_id: `org/name`.
        filename: inside it.
        revision: its commit, 40 hexadecimal digits; None for the newest.
    """

    repo_id: str
    filename: str
    revision: str | None = None


@final
@dataclass(frozen=True)
class CheckpointFacts:
    """Facts of a checkpoint beside its tensors; the defaults stand for those that its publisher does not state.

    Attributes:
        license: of the checkpoint.
        labels: a name for every class, in the order of the logits.
        dataset: that it was trained on.
        image_size: pixels a side that it was trained with.
        interpolation, crop_pct, mean, std: preparation of images, as in `zoo.catalog.records.Preprocessing`.
        note: for users.
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


Stated = CheckpointFacts  # its former name


@final
@dataclass(frozen=True)
class Converted:
    """A checkpoint in the zoo's terms.

    Attributes:
        spec_name: name of its model, without tag.
        num_classes: logits.
        in_chans: image channels.
        state: the whole state dict under that model's keys.
        note: for users, such as a difference of arithmetic; '' for none.
    """

    spec_name: str
    num_classes: int
    in_chans: int
    state: Mapping[str, Tensor]
    note: str = ""


class Converter(ABC):
    """Renames the keys of a state dict that other code wrote.

    It sees tensors alone: zoo-convert reads the file, without running code that a checkpoint may hold.

    Attributes:
        options: keyword arguments of its constructor; all are strings, none is required.
    """

    api_version: ClassVar[int]
    options: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """Return the same values under the zoo's keys.

        Args:
            state: key → tensor, without a common `module.` prefix.

        Raises:
            WeightError: it is a checkpoint of another kind; the message names what is missing.
            InputError: an option has an invalid value.
        """

    def locate(self, name: str) -> HubFile | None:
        """Find a checkpoint by its publisher's name; called if there is no file of that name.

        Returns:
            None if it is no such name; it is then taken for a file.

        Raises:
            InputError: it resembles one, but the publisher has no such checkpoint.
        """
        return None

    def check_name(self, called: str) -> None:  # noqa: B027  # most kinds need none
        """Refuse by its name a checkpoint that its tensors do not tell apart; by default none.

        Args:
            called: name of the file without its ending, the checkpoint's own `arch`, or the name given to `locate`.

        Raises:
            WeightError: it is a network with these keys and shapes, but another forward pass.
        """

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """State the facts of a checkpoint beside its tensors.

        Args:
            converted: result of `convert`.
            name: as given to `locate`; '' for a file.

        Raises:
            InputError, WeightError: an option or the name does not fit the tensors.
        """
        return CheckpointFacts()
