"""Without a name that torch keeps private, torch's plain path runs and answers the same."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from zoo.cpu.private import parts_of, weight_and_bias

_GONE = {
    "functorch": "del torch._C._functorch.is_functorch_wrapped_tensor",
    "batched": "del torch._C._functorch.is_legacy_batchedtensor",
    "hooks": "del torch.nn.modules.module._has_any_global_hook",
    "enabled": "del torch._C._get_mkldnn_enabled",
    "modes": "del torch._C._len_torch_dispatch_stack",
    "reorder": "hidden.add('_reorder_convolution_weight')",
    "pointwise": "hidden.add('_convolution_pointwise')",
    "version": "torch.Tensor._version = property(lambda tensor: tensor.no_such_name)",
}
_ANSWERS = """
import json, sys, torch
hidden, operators = set(), type(torch.ops.mkldnn)
look_up = operators.__getattr__
def without(self, name):
    if name in hidden:
        raise AttributeError(name)
    return look_up(self, name)
operators.__getattr__ = without
exec(sys.argv[1])
import zoo
torch.manual_seed(0)
model = zoo.create_model("ann_resnet_b4_m2_d4", pretrained=False, num_classes=3)
x = torch.rand(5, 3, 32, 32)
model(x).square().sum().backward()
gradients = [float(each.grad.norm()) for each in model.parameters()]
model.eval()
answers = [gradients]
with torch.no_grad():
    answers += [model(x).flatten().tolist(), model(x[:1]).flatten().tolist()]
    fused = model.fuse()
    answers += [fused(x).flatten().tolist(), fused(x[:1]).flatten().tolist()]
    fused.get_submodule("stages.0.0.analog.conv").weight.mul_(2)
    answers += [fused(x).flatten().tolist()]
hybrid = zoo.create_model("has8_resnet_b4_m2_d2_ste_bpd", pretrained=False, num_classes=3)
hybrid(x).sum().backward()
assert all(bool(each.grad.isfinite().all()) for each in hybrid.parameters())
answers += [torch.func.vmap(model)(x[:, None]).flatten().tolist()]
print(json.dumps(answers))
"""


@cache
def answers(gone: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", _ANSWERS, gone], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_without_any_of_them_fusing_changes_no_answer() -> None:
    _, logits, alone, fused, fused_alone, doubled, _ = map(torch.tensor, answers("; ".join(_GONE.values())))
    torch.testing.assert_close(fused, logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(alone, logits[:3], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fused_alone, logits[:3], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(doubled, fused)


def test_parts_of_a_module_are_found_without_their_private_places() -> None:
    body, conv = nn.Identity(), nn.Conv2d(1, 1, 1)
    plain: Any = SimpleNamespace(named_children=lambda: [("body", body)], weight=conv.weight, bias=None)
    assert parts_of(plain) == {"body": body} == parts_of(nn.ModuleDict({"body": body}))
    assert weight_and_bias(plain) == (conv.weight, None)
    assert weight_and_bias(conv) == (conv.weight, conv.bias)
