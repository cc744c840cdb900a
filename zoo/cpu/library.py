"""Load the compiled kernels; no torch, so that `zoo --version` can report them.

A library says how its functions and structures are declared in C, and which source it was built from.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from ctypes import POINTER, Structure, c_float, c_int, c_int64, c_void_p
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, final

from zoo import cpu
from zoo.errors import InputError

SWITCH = "ZOO_KERNELS"
"""Environment variable; 0 switches the kernels off."""


@final
class NeuronSettings(Structure):
    """`neuron_t` of kernels.c."""

    _fields_: ClassVar = [
        *((name, c_int) for name in ("charge", "soft", "detached", "waits", "by_rate")),
        *((name, c_float) for name in ("gain", "threshold", "initial", "alpha", "scale")),
    ]


@final
class Window(Structure):
    """`window_t` of kernels.c."""

    _fields_: ClassVar = [
        (name, c_int64)
        for name in ("channels", "height", "width", "out_height", "out_width", "kernel", "stride", "padding")
    ]


_NUMBERS = {"int": c_int, "index_t": c_int64, "float": c_float}
_STRUCTURES = {"neuron_t": NeuronSettings, "window_t": Window}
_FUNCTIONS = (
    *("zoo_planes", "zoo_planes_backward", "zoo_fire", "zoo_fire_backward"),
    *("zoo_quantise", "zoo_quantise_backward", "zoo_digits", "zoo_sum", "zoo_pool"),
)


def _text(loaded: ctypes.CDLL, name: str) -> str:
    """A string constant of a library; raises `ValueError` if there is none of that name."""
    first = ctypes.c_char.in_dll(loaded, name)
    return ctypes.string_at(ctypes.addressof(first)).decode("ascii")


def _declared(text: str, separator: str) -> list[tuple[str, Any]]:
    """Names and ctypes of C declarations, as of `const float *weights, int type`."""
    members = []
    for declaration in text.strip(f"{separator} ").split(separator):
        *words, name = declaration.replace("const ", "").replace("*", " * ").split()
        kind: Any = _NUMBERS.get(words[0])
        if "*" in words:
            kind = POINTER(_STRUCTURES[words[0]]) if words[0] in _STRUCTURES else c_void_p
        members.append((name, kind))
    return members


def _load(file: Path) -> ctypes.CDLL:
    """Load a library.

    Raises:
        OSError: it cannot be read: empty, a folder, of another architecture.
        ValueError: it does not fit the source or the Python beside it.
    """
    loaded = ctypes.CDLL(str(file))
    built_from = _text(loaded, "zoo_source")
    sources = [Path(folder) / "kernels.c" for folder in cpu.__path__]  # an installed wheel has none
    if any(source.is_file() and sha256(source.read_bytes()).hexdigest() != built_from for source in sources):
        raise ValueError(f"{file} was built from another kernels.c; build it again: pip install -e .")
    for name, structure in _STRUCTURES.items():
        if _declared(_text(loaded, f"{name}_declared"), ";") != structure._fields_:
            raise ValueError(f"{file} declares {name} otherwise than {__name__}.{structure.__name__}")
    for name in _FUNCTIONS:
        function = getattr(loaded, name)
        function.argtypes = [kind for _, kind in _declared(_text(loaded, f"{name}_declared"), ",")]
        function.restype = c_int
    return loaded


def _is_switched_off() -> bool:
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise InputError(f"{SWITCH}={value!r} is neither 0 (no compiled kernels) nor 1; set one of them, or unset it")
    return value == "0"


def _built() -> Iterator[Path]:
    for folder in cpu.__path__:
        for suffix in ("so", "dylib", "dll"):
            file = Path(folder) / f"_kernels.compiled.{suffix}"
            if file.exists():
                yield file


@cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None; and what `zoo --version` says of it."""
    if _is_switched_off():
        return None, f"no compiled kernels: {SWITCH}=0"
    reason = "none was built"
    for file in _built():
        try:
            return _load(file), "compiled kernels"
        except (OSError, ValueError) as error:
            reason = str(error)
    return None, f"no compiled kernels: {reason}"


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None if they were not built, cannot be read, are of other sources, or are switched off.

    Raises:
        InputError: `SWITCH` is neither 0 nor 1.
    """
    return _find()[0]


def describe() -> str:
    """Describe the kernels for `zoo --version`; raises as `library` does."""
    return _find()[1]
