"""has8-zoo: hybrid analog–spiking image classifiers, composed by name.

    import zoo
    model = zoo.create_model("has8_resnet_b32_m2_d4_fourier_bpd")

`import zoo` loads neither torch nor a plugin; each public name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo import contracts, errors
    from zoo.catalog import list_models
    from zoo.composition import parse_name
    from zoo.factory import create_model
    from zoo.information import model_info
    from zoo.memory import keep_freed_memory
    from zoo.names import Spec
    from zoo.profiling import profile
    from zoo.registry import list_components, register
    from zoo.saving import save

_HOMES = {
    "Spec": "zoo.names",
    "contracts": "zoo.contracts",
    "create_model": "zoo.factory",
    "errors": "zoo.errors",
    "keep_freed_memory": "zoo.memory",
    "list_components": "zoo.registry",
    "list_models": "zoo.catalog",
    "model_info": "zoo.information",
    "parse_name": "zoo.composition",
    "profile": "zoo.profiling",
    "register": "zoo.registry",
    "save": "zoo.saving",
}

__version__ = "0.1.0"
__all__ = [
    "Spec",
    "contracts",
    "create_model",
    "errors",
    "keep_freed_memory",
    "list_components",
    "list_models",
    "model_info",
    "parse_name",
    "profile",
    "register",
    "save",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    module = importlib.import_module(home)
    return module if home == f"zoo.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
