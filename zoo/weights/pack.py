"""Tensors as the bytes of a model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor

from zoo.names import Spec


def pack(state: Mapping[str, Tensor], spec: Spec) -> bytes:
    """The bytes of a model.safetensors."""
    # Copies: safetensors takes no two tensors of one storage, which a network that shares layers has.
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    return save(copies, metadata={"spec": json.dumps(spec.untagged().to_json())})
