"""The zoo as one of timm's modules of models: `timm.list_models(module="has8_zoo")`.

timm looks for both attributes by these names; `zoo.timm.models` fills them, and adds the entry points beside them.
"""

from __future__ import annotations

from typing import Any

default_cfgs: dict[str, Any] = {}
__all__: list[str] = []
