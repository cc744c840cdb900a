"""Checkpoints of other code as folders of has8-zoo, and what converters are made of.

Each name is imported when it is first used: help of the command takes no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zoo_convert.layouts import RESNET_FORMS as RESNET_FORMS
from zoo_convert.layouts import Layout as Layout
from zoo_convert.layouts import Shape as Shape
from zoo_convert.layouts import choose_layout as choose_layout
from zoo_convert.layouts import norm_shapes as norm_shapes
from zoo_convert.layouts import renamed as renamed
from zoo_convert.layouts import residual_key as residual_key
from zoo_convert.layouts import residual_shapes as residual_shapes

if TYPE_CHECKING:
    from zoo_convert.converting import convert as convert
    from zoo_convert.converting import make_converted as make_converted
    from zoo_convert.converting import read_foreign as read_foreign


def __getattr__(name: str) -> Any:
    """Import what takes torch when it is first used (PEP 562)."""
    if name not in ("convert", "make_converted", "read_foreign"):
        raise AttributeError(f"module 'zoo_convert' has no attribute {name!r}")
    return getattr(importlib.import_module("zoo_convert.converting"), name)
