"""What a forward pass costs: parameters, and multiply-accumulates as fvcore counts them, by branch.

Conventions (paper, table 3): eval mode, batch 1; `macs` covers all T timesteps, `macs_per_timestep` is
analog + spiking / T. What lies in neither branch counts as analog.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis

from zoo.contracts.modules import ImageClassifier
from zoo.errors import InputError


@dataclass(frozen=True)
class Cost:
    """Raw integers; `unsupported` lists the operations that fvcore left out, with their counts."""

    params: int
    image_size: int
    timesteps: int
    macs: int
    macs_analog: int
    macs_spiking: int
    macs_per_timestep: int
    unsupported: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return asdict(self)


def count_cost(model: ImageClassifier, image_size: int = 224) -> Cost:
    """Count one image of `image_size` pixels a side; every module's mode is restored afterwards.

    Raises:
        InputError: the model is on the meta device, or needs a larger image.
    """
    weights = next(model.parameters())
    if weights.is_meta:
        raise InputError(f"{model.spec} is on the meta device, where nothing can be traced; build it on 'cpu'")
    image = torch.zeros(1, model.in_chans, image_size, image_size, dtype=weights.dtype, device=weights.device)
    with model.evaluating():
        analysis = FlopCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_module, unsupported = analysis.by_module(), dict(analysis.unsupported_ops())
    total = int(by_module[""])
    spiking = sum(int(by_module[name]) for name in model.spiking_module_names)
    return Cost(
        params=sum(p.numel() for p in model.parameters()),
        image_size=image_size,
        timesteps=model.timesteps,
        macs=total,
        macs_analog=total - spiking,
        macs_spiking=spiking,
        macs_per_timestep=round(total - spiking + spiking / model.timesteps),
        unsupported=unsupported,
    )
