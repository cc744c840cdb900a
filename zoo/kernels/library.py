"""Load the compiled kernels; no torch, so that `zoo --version` can tell of them."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import ClassVar, final

from zoo import kernels

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


_INTERFACE = 5
"""`zoo_interface` of kernels.c. A library of another one was built before the sources changed."""

_TENSOR, _SIZE = c_void_p, c_int64
_FUNCTIONS = {
    "zoo_planes": [_TENSOR, c_int, _SIZE, _SIZE, _TENSOR, _TENSOR, c_int],
    "zoo_planes_backward": [*(_TENSOR, c_int, _SIZE, _SIZE, c_int, c_int, _TENSOR, _TENSOR, _SIZE, _TENSOR, c_int)],
    "zoo_fire": [_TENSOR, c_int, _SIZE, _SIZE, _SIZE, POINTER(NeuronSettings), _TENSOR, c_int],
    "zoo_fire_backward": [
        *(_TENSOR, c_int, _SIZE, _SIZE, _SIZE, POINTER(NeuronSettings), _TENSOR, _TENSOR, c_int, POINTER(c_double)),
        c_int,
    ],
    "zoo_sum": [_TENSOR, c_int, _SIZE, _SIZE, POINTER(c_float), c_float, _TENSOR, c_int],
    "zoo_pool": [_TENSOR, c_int, _SIZE, POINTER(Window), _TENSOR, c_int, c_int],
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None if they were not built, were built for other sources, or are switched off."""
    if os.environ.get(SWITCH) == "0":
        return None
    built = [file for folder in kernels.__path__ for file in sorted(Path(folder).glob("_kernels.*"))]
    if not built:
        return None
    loaded = ctypes.CDLL(str(built[0]))
    interface = getattr(loaded, "zoo_interface", None)
    if interface is None or interface() != _INTERFACE:
        return None
    for name, arguments in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, c_int
    return loaded


def describe() -> str:
    """Describe the kernels for `zoo --version`."""
    if library() is not None:
        return "compiled kernels"
    if os.environ.get(SWITCH) == "0":
        return f"no compiled kernels: {SWITCH}=0"
    return "no compiled kernels: none was built for this version"
