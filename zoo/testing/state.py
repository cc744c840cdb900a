"""What a module holds: its parameters and buffers, tensors beside them, and what its instances share."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType

import numpy
from torch import Tensor, nn

LEVELS = 5
"""How deep a tensor may hide: containers in objects in containers."""

_OF_MODULES = frozenset(vars(nn.Module()))
_CLOSED = (Tensor, nn.Module, numpy.ndarray, str, bytes, bytearray, range, type, FunctionType, MethodType, ModuleType)
"""What is not looked into: it holds no tensor, or is looked at by itself, or would be iterated for long."""


def inside(value: object) -> Iterator[object]:
    """A value and what it holds, by whatever container and in whatever object, some levels down; each once."""
    members: dict[int, object] = {}  # the objects too, so that no id is given away meanwhile
    level = [value]
    for _ in range(LEVELS):
        fresh = {id(member): member for member in level if id(member) not in members}
        members |= fresh
        yield from fresh.values()
        level = [content for member in fresh.values() for content in _held(member)]


def _held(value: object) -> Iterator[object]:
    """One level down: a container's values and an object's attributes."""
    if isinstance(value, _CLOSED):
        return
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, Collection):
        yield from value
    yield from getattr(value, "__dict__", {}).values()


def held_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Its parameters and buffers by name, those that no state_dict has too."""
    return dict(itertools.chain(module.named_parameters(), module.named_buffers()))


def loose_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that a module keeps outside its parameters and buffers, by attribute."""
    tensors_by_name: dict[str, Tensor] = {}
    for path, child in module.named_modules():
        for name, value in vars(child).items():
            if name not in _OF_MODULES:
                tensors = [item for item in inside(value) if isinstance(item, Tensor)]
                tensors_by_name |= {
                    f"{path}.{name}".strip(".") + f"[{i}]" * bool(i): item for i, item in enumerate(tensors)
                }
    return tensors_by_name


def class_level(module: nn.Module) -> dict[str, str]:
    """Tensors and modules that stand in a class, where all its instances share them, by `Class.name`."""
    return {
        f"{cls.__name__}.{name}": type(value).__name__
        for cls in {cls: None for child in module.modules() for cls in type(child).__mro__}
        for name, value in vars(cls).items()
        if any(isinstance(item, Tensor | nn.Module) for item in inside(value))
    }


def parts(module: nn.Module) -> dict[int, str]:
    """Identities of a module's submodules and of the storages of its tensors, by what they are called."""
    owners = {id(child): f"the module {path or '(itself)'}" for path, child in module.named_modules()}
    named = (held_tensors(module) | loose_tensors(module)).items()
    return owners | {t.untyped_storage().data_ptr(): f"the tensor {name}" for name, t in named if t.numel()}
