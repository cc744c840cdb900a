"""Which faults of torch's convolutions the installed torch has: `python -m tools.torch_faults`.

zoo/cpu/conv.py goes around them. One that no supported torch has any more is a guard to remove.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

_STRIDED = """
import torch
sizes = [1 << power for power in range(8, 21)]
blocks = [torch.full((size // 4,), 0.5) for _ in range(24) for size in sizes for _ in range(2)]
torch.set_num_threads(1)
kept = blocks[1::2]
del blocks  # what is allocated next lies in the gaps between those that are kept
x = torch.randn(5, 8, 56, 56).to(memory_format=torch.channels_last)
torch.nn.Conv2d(8, 16, 1, 2, bias=False)(x).sum().backward()
assert all(bool((block == 0.5).all()) for block in kept)
"""


def writes_behind_its_buffer() -> bool:
    """A 1×1 kernel with a stride, 8 channels in, pixels last: memory beside the gradient is written."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 30)}  # large blocks come from the heap too
    done = subprocess.run([sys.executable, "-c", _STRIDED], env=environment, capture_output=True, check=False)
    return done.returncode != 0


def leaves_a_gradient_unwritten() -> bool:
    """A 3×3 kernel with stride 2 on one pixel in bfloat16: parts of the weight's gradient are what was there before."""
    for _ in range(20):
        litter = [torch.full((size,), float("nan"), dtype=torch.bfloat16) for size in (1 << 10, 1 << 13, 1 << 16) * 4]
        del litter
        conv = nn.Conv2d(8, 16, 3, 2, 1, bias=False, dtype=torch.bfloat16)
        conv(torch.ones(4, 8, 1, 1, dtype=torch.bfloat16)).sum().backward()
        gradient = conv.weight.grad
        assert gradient is not None
        expected = torch.zeros_like(gradient)
        expected[:, :, 1, 1] = 4
        if not torch.equal(gradient, expected):
            return True
    return False


def rounds_a_single_image_otherwise() -> bool:
    """A single small image goes to another kernel than a batch."""
    x, weight = torch.randn(4, 8, 8, 8), torch.randn(16, 8, 3, 3)
    return not torch.equal(conv2d(x[:1], weight, padding=1), conv2d(x, weight, padding=1)[:1])


def _seconds(step: Callable[[], Any]) -> float:
    taken = []
    for _ in range(20):
        start = time.process_time()
        step()
        taken.append(time.process_time() - start)
    return min(taken)


def multiplies_zeros() -> bool:
    """On one pixel a 3×3 kernel takes over 1.2 times as long as its centre."""
    x, weight = torch.randn(512, 256, 1, 1), torch.randn(256, 256, 3, 3)
    centre = weight[:, :, 1:2, 1:2].contiguous()
    return _seconds(lambda: conv2d(x, weight, padding=1)) > 1.2 * _seconds(lambda: conv2d(x, centre))


def is_slow_on_small_maps() -> bool:
    """Going backward on maps of 2×2 pixels takes over 1.2 times as long as two products of the same size."""
    x = torch.randn(512, 128, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(128, 128, 3, 3, requires_grad=True)
    y = conv2d(x, weight, padding=1)
    rows, dense, gradient = torch.randn(512, 512), torch.randn(512, 512), torch.randn_like(y)

    def products() -> tuple[Tensor, Tensor]:
        return rows @ dense, rows.t() @ rows

    backward = _seconds(lambda: torch.autograd.grad(y, (x, weight), gradient, retain_graph=True))
    return backward > 1.2 * _seconds(products)


PROBES = (
    writes_behind_its_buffer,
    leaves_a_gradient_unwritten,
    rounds_a_single_image_otherwise,
    multiplies_zeros,
    is_slow_on_small_maps,
)


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    for probe in PROBES:
        print(f"{'still there' if probe() else 'not seen'}: {probe.__name__}: {probe.__doc__}")


if __name__ == "__main__":
    main()
