"""The network inside torch's wrappers."""

from __future__ import annotations

import sys

from torch import nn


def unwrap(module: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel and torch.compile, in any order; else itself."""
    dynamo = sys.modules.get("torch._dynamo")  # nothing is compiled before that is imported
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrap(module.module)
    if dynamo is not None and isinstance(module, dynamo.OptimizedModule):
        return unwrap(module._orig_mod)
    return module
