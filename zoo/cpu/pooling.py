"""Average pooling whose backward pass needs the input's shape alone, and on the CPU sums half precision in float32."""

from __future__ import annotations

from typing import Any, cast, final

import torch
from torch import Tensor
from torch.nn import functional

from zoo.cpu.chunks import CHUNK

_AT_ONCE = 4 * CHUNK
"""Values summed at once in float32, which stay in a core's cache."""

_avg_pool2d_backward = torch.ops.aten.avg_pool2d_backward


def average_pool(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The mean over square windows; zeros around the image count.

    Args:
        x: (N, C, H, W) on a CPU or GPU, for which `runs_eagerly` holds.
        kernel: pixels of a window's side.
        stride: pixels from window to window.
        padding: zeros on every side, at most half of the kernel.

    Returns:
        (N, C, H', W'), as torch's avg_pool2d gives it.
    """
    return cast(Tensor, _AveragePool.apply(x, kernel, stride, padding))


@final
class _AveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.memory_format = torch.channels_last if last else torch.contiguous_format
        ctx.shape, ctx.window = x.shape, ([kernel] * 2, [stride] * 2, [padding] * 2, False, True, None)
        return functional.avg_pool2d(x, kernel, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = grads
        gradient = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=ctx.memory_format)
        # With create_graph=True: gradients of gradients. A GPU's own kernel sums half precision in float32.
        if torch.is_grad_enabled() or grad.dtype == torch.float32 or grad.device.type != "cpu":
            return _avg_pool2d_backward(grad, gradient, *ctx.window), None, None, None
        images = max(1, _AT_ONCE // gradient[0].numel())
        for part, grad_part in zip(gradient.split(images), grad.split(images), strict=True):
            shaped = torch.empty(part.shape, dtype=torch.float32, memory_format=ctx.memory_format)
            part.copy_(_avg_pool2d_backward(grad_part.float(), shaped, *ctx.window))
        return gradient, None, None, None
