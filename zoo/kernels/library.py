"""Load the compiled kernels, and decide when they serve.

They compute what the definitions in zoo.encoders, zoo.neurons and zoo.decoders compute. The definitions run everywhere
else: without a compiled library, on a GPU, in float64, under the transforms of torch.func, and while torch compiles,
exports or traces.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from zoo import kernels

SWITCH = "ZOO_KERNELS"
"""Environment variable; 0 switches the kernels off."""

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
"""Types that the kernels read, as they number them."""

MOST_TIMESTEPS = 32
"""A backward pass holds every timestep of a block."""


@final
class NeuronSettings(Structure):
    """`neuron_t` of kernels.c."""

    _fields_: ClassVar = [
        ("kind", c_int),
        ("soft", c_int),
        ("gain", c_float),
        ("threshold", c_float),
        ("start", c_float),
        ("alpha", c_float),
    ]


@final
class Window(Structure):
    """`window_t` of kernels.c."""

    _fields_: ClassVar = [
        (name, c_int64)
        for name in ("channels", "height", "width", "out_height", "out_width", "kernel", "stride", "padding")
    ]


_NEURON, _TENSOR, _SIZE = POINTER(NeuronSettings), c_void_p, c_int64
_FUNCTIONS = {
    "zoo_planes": [_TENSOR, c_int, _SIZE, _SIZE, _TENSOR, _TENSOR, c_int],
    "zoo_planes_backward": [
        *(_TENSOR, c_int, _SIZE, _SIZE, c_int, c_int, _TENSOR, _TENSOR, _SIZE, _TENSOR, c_int),
    ],
    "zoo_fire": [_TENSOR, c_int, _SIZE, _SIZE, _NEURON, _TENSOR, c_int],
    "zoo_fire_backward": [
        *(_TENSOR, c_int, _SIZE, _SIZE, _NEURON, _TENSOR, _SIZE, POINTER(c_float), _TENSOR, POINTER(c_double), c_int),
    ],
    "zoo_sum": [
        *(_TENSOR, _NEURON, _TENSOR, _NEURON, c_int, c_int, _SIZE, _SIZE, POINTER(c_float), c_float, _TENSOR, c_int),
    ],
    "zoo_pool": [_TENSOR, c_int, _SIZE, POINTER(Window), _TENSOR, c_int, c_int],
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None if they were not built, or are switched off."""
    if os.environ.get(SWITCH) == "0":
        return None
    # An editable install keeps what is compiled beside its metadata, not beside the sources.
    built = [file for folder in kernels.__path__ for file in sorted(Path(folder).glob("_kernels.*"))]
    if not built:
        return None
    loaded = ctypes.CDLL(str(built[0]))
    for name, arguments in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, c_int
    return loaded


def describe() -> str:
    """What `zoo --version` says of them."""
    if library() is not None:
        return "compiled kernels"
    if os.environ.get(SWITCH) == "0":
        return f"no compiled kernels: {SWITCH}=0"
    return "no compiled kernels: none was built"


def serves(x: Tensor) -> bool:
    """Whether x is a plain, non-empty CPU tensor of a type that the kernels read, and nothing but results is asked."""
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.dtype in TYPES
        and x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and library() is not None
        and x.numel() > 0
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not is_functorch_wrapped_tensor(x)
    )


def serves_over_time(x: Tensor) -> bool:
    """The same of (T, N, …) x."""
    return serves(x) and len(x) <= MOST_TIMESTEPS


def call(name: str, work: int, *arguments: object) -> None:
    """Run a kernel over `work` values, on torch's threads if they are worth it.

    Raises:
        MemoryError: no memory was left for scratch.
    """
    threads = torch.get_num_threads() if work >= _WORTH_THREADS else 1
    if getattr(library(), name)(*arguments, threads):
        raise MemoryError(f"no memory is left for the scratch of {name}")


_WORTH_THREADS = 1 << 15
