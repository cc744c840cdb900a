"""A foreign checkpoint, as a file or by its publisher's name: its tensors, read without running code, and its hash."""

from __future__ import annotations

import hashlib
import re
import warnings
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from zoo.catalog.schema import Conversion
from zoo.catalog.sources import HubRepository, check_repository, check_revision
from zoo.contracts.converter import HubFile
from zoo.errors import WeightError
from zoo.weights import HubAccess, parse_weight, read_plain_file

MAX_BYTES = 1 << 30
"""Of a checkpoint that is downloaded: twice as much as a ResNet-152 in double precision."""

_PREFIX = "module."
_ENTRIES = ("state_dict", "model")
"""Where training scripts put the state dict, beside the optimiser and whatever else."""

_NETWORK = "arch"
"""Where timm's and torchvision's training scripts save the name of the network."""

_FORBIDDEN = re.compile(r"Unsupported global: GLOBAL (\S+)")
"""What torch's restricted reader says of a name that is not on its list."""


@final
@dataclass(frozen=True)
class Checkpoint:
    """What is converted.

    Attributes:
        state: its tensors by key.
        origin: what errors call it.
        file: which file it is, for the record of the weight.
        name: as its publisher calls it; '' for a file.
        called: the name of its file without the ending, and what it says of itself under `arch`.
    """

    state: Mapping[str, Tensor]
    origin: str
    file: Conversion
    name: str = ""
    called: tuple[str, ...] = ()


def open_checkpoint(place: Path | str, located: HubFile | None, access: HubAccess) -> Checkpoint:
    """The checkpoint of a file, or of a name.

    Args:
        place: the file, or the name.
        located: where what is named lies; None for a file.
        access: how the Hub is reached.

    Raises:
        WeightError: no such file, unreadable, holding anything but tensors, or needing code to be read.
        SourceError: the name has a revision that is not a commit.
        HubError: the Hub cannot be reached, or refuses.
    """
    if located is not None:
        return _download(located, str(place), access)
    path = Path(place)
    content = _read(path)
    state = _state_of(content, str(path))
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    said = content.get(_NETWORK)
    called = (path.stem, said) if isinstance(said, str) else (path.stem,)
    return Checkpoint(state, str(path), Conversion(name=path.name, sha256=digest), called=called)


def _download(file: HubFile, name: str, access: HubAccess) -> Checkpoint:
    revision = None if file.revision is None else check_revision(file.revision)
    pinned = access.pin(HubRepository(check_repository(file.repo_id), revision))
    data = access.fetch(pinned, file.filename, MAX_BYTES)
    origin = f"{file.filename} of {pinned}"
    record = Conversion(name=f"{pinned}/{file.filename}", sha256=hashlib.sha256(data).hexdigest())
    return Checkpoint(_state_of(parse_weight(data, origin), origin), origin, record, name, (name,))


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, without a common `module.` prefix; no code in it is ever run.

    Raises:
        WeightError: no such file, unreadable, holding anything but tensors, or needing code to be read.
    """
    return _state_of(_read(path), str(path))


def _read(path: Path) -> Any:
    """What a checkpoint holds, of whatever type."""
    if not path.is_file():
        raise WeightError(f"{path} is not a file; name a checkpoint (.pt, .pth, .safetensors)")
    return read_plain_file(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _state_of(content: Any, origin: str) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        nested = (content[entry] for entry in _ENTRIES if isinstance(content.get(entry), Mapping))
        content = next(nested, content)
    if not isinstance(content, Mapping) or not content:
        raise WeightError(
            f"{origin} holds {_describe(content)}, which is not a state dict; save model.state_dict() and convert that"
        )
    for key, value in content.items():
        if not (isinstance(key, str) and isinstance(value, Tensor) and value.layout is torch.strided):
            raise WeightError(
                f"{origin} is not a state dict: its entry {key!r} is {_describe(value)}; valid: tensors alone, "
                f"or such a dict under {' or '.join(map(repr, _ENTRIES))}"
            )
    prefix = _PREFIX if all(key.startswith(_PREFIX) for key in content) else ""
    return {key.removeprefix(prefix): value.detach() for key, value in content.items()}


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):
            # Training scripts save the arguments of their command line beside the tensors: a Namespace holds values.
            warnings.simplefilter("ignore")  # of other pickle protocols and of TorchScript, which both end below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted reader raise anything at all
        asked = _FORBIDDEN.search(str(error))
        reason = f"it asks for {asked[1]}" if asked else type(error).__name__
        raise WeightError(
            f"{path} is damaged, or needs code to be run, which the zoo refuses ({reason}); "
            "where it was made, save the tensors alone: torch.save(model.state_dict(), path)"
        ) from error


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor ({value.layout})"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(sorted(map(str, value))[:5]) or 'nothing'}"
    return type(value).__name__
