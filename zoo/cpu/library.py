"""Load the compiled kernels; no torch, so that `zoo --version` can report them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
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


_ROWS = (c_void_p, c_int, c_int64, c_int64)  # x, type, samples or timesteps, values of each
_FUNCTIONS: Mapping[str, tuple[Any, ...]] = {
    "zoo_planes": (*_ROWS, c_int, c_void_p, c_void_p, c_int),
    "zoo_planes_backward": (*_ROWS, c_int, c_int, c_void_p, c_void_p, c_int64, c_void_p, c_int),
    "zoo_fire": (*_ROWS, c_int64, POINTER(NeuronSettings), c_void_p, c_int),
    "zoo_fire_backward": (*_ROWS, c_int64, POINTER(NeuronSettings), c_void_p, c_void_p, c_int, c_void_p, c_int),
    "zoo_quantise": (c_void_p, c_int, c_int64, c_float, c_float, c_void_p, c_int),
    "zoo_quantise_backward": (c_void_p, c_int, c_int64, c_float, c_float, c_void_p, c_void_p, c_void_p, c_int),
    "zoo_digits": (*_ROWS, c_int64, c_void_p, c_float, c_void_p, c_int),
    "zoo_sum": (*_ROWS, c_void_p, c_float, c_void_p, c_int),
    "zoo_pool": (c_void_p, c_int, c_int64, POINTER(Window), c_void_p, c_int, c_int),
}
"""The arguments of each function of kernels.c: ctypes refuses others, or fewer."""


def _load(file: Path) -> ctypes.CDLL:
    """Load a library.

    Raises:
        OSError: it cannot be read: empty, a folder, of another architecture.
        ValueError: it was built from another kernels.c than the one beside it.
    """
    loaded = ctypes.CDLL(str(file))
    built_from = (ctypes.c_char * 64).in_dll(loaded, "zoo_source").value.decode("ascii")
    sources = [Path(folder) / "kernels.c" for folder in cpu.__path__]  # an installed wheel has none
    if any(source.is_file() and sha256(source.read_bytes()).hexdigest() != built_from for source in sources):
        raise ValueError(f"{file} was built from another kernels.c; build it again: pip install -e .")
    for name, arguments in _FUNCTIONS.items():
        getattr(loaded, name).argtypes = arguments
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
