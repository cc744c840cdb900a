"""Names that torch keeps private, here alone. Each is looked up once; without one, torch's plain path runs.

- `_C._functorch.is_functorch_wrapped_tensor`, `_C._functorch.is_legacy_batchedtensor`: without them no kernel serves;
- `nn.modules.module._has_any_global_hook`, `Module._forward_hooks` and its kin: without them neurons scale by torch;
- `_C._get_mkldnn_enabled`, `_C._len_torch_dispatch_stack`: without them nothing goes to oneDNN by its name;
- `ops.mkldnn._reorder_convolution_weight`, `ops.mkldnn._convolution_pointwise`, `Tensor._version`: without them no
  weight is packed;
- `Module._modules`, `Module._parameters`: without them attributes are read the slow way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def _find(path: str) -> Any:
    """What lies at a dotted path of torch; None if there is no such name."""
    named: Any = torch
    for name in path.split("."):
        named = getattr(named, name, None)
    return named


_is_wrapped = _find("_C._functorch.is_functorch_wrapped_tensor")
_is_batched = _find("_C._functorch.is_legacy_batchedtensor")
_has_global_hooks = _find("nn.modules.module._has_any_global_hook")
_onednn_is_enabled = _find("_C._get_mkldnn_enabled")
_count_dispatch_modes = _find("_C._len_torch_dispatch_stack")
_reorder_weight = _find("ops.mkldnn._reorder_convolution_weight")
_convolve_packed = _find("ops.mkldnn._convolution_pointwise.default")

CAN_PACK = None not in (_reorder_weight, _convolve_packed, getattr(torch.empty(0), "_version", None))
"""True if a convolution takes a weight in oneDNN's own order, and a change of the weight is seen."""

_ONEDNN = torch.backends.mkldnn.is_available() and None not in (_onednn_is_enabled, _count_dispatch_modes)


def is_transformed(x: Tensor) -> bool:
    """True if a transform of torch.func or a batch of gradients wraps x, or if that cannot be told."""
    if _is_wrapped is None or _is_batched is None:
        return True
    return bool(_is_wrapped(x) or _is_batched(x))


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_hooks(module: nn.Module) -> bool:
    """True if calling the module runs more than its forward, or if that cannot be told."""
    if _has_global_hooks is None or _has_global_hooks():
        return True
    return any(module.__dict__.get(name, True) for name in _HOOKS)


def onednn_is_on() -> bool:
    """True if torch uses oneDNN, and no mode watches operations: FlopCounterMode knows no convolution by its name."""
    return _ONEDNN and _onednn_is_enabled() and not _count_dispatch_modes()


def pack(weight: Tensor, *settings: Any) -> Tensor:
    """The weight in oneDNN's order for maps of a shape; `settings`: padding, stride, dilation, groups, shape."""
    return _reorder_weight(weight, *settings)


def convolve_packed(x: Tensor, packed: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    """Convolve by a packed weight; `settings`: padding, stride, dilation, groups."""
    return _convolve_packed(x, packed, bias, *settings, "none", [], "")


def version_of(weight: Tensor) -> int:
    """The number of changes in place that torch has counted."""
    return weight._version


def parts_of(module: nn.Module) -> Mapping[str, Any]:
    """Submodules by name; as attributes they take thirty times as long, which small maps feel."""
    parts: Mapping[str, Any] | None = module.__dict__.get("_modules")
    return dict(module.named_children()) if parts is None else parts


def weight_and_bias(conv: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """Read both, which takes as long as submodules do."""
    parameters: Mapping[str, Any] = conv.__dict__.get("_parameters", {})
    weight = parameters.get("weight")
    if weight is None or "bias" not in parameters:  # pruned, or reparametrised
        return conv.weight, conv.bias
    return weight, parameters["bias"]
