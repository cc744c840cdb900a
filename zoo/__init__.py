"""has8-zoo: hybrid analog–spiking image classifiers, composed by name.

    import zoo
    model = zoo.create_model("has8_resnet_b32_m2_d4_fourier_bpd")

`import zoo` loads neither torch nor a plugin; each public name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo import contracts as contracts
    from zoo import errors as errors
    from zoo.catalog.queries import list_models as list_models
    from zoo.cpu.memory import keep_freed_memory as keep_freed_memory
    from zoo.inference.predict import predict as predict
    from zoo.inference.predict import transform as transform
    from zoo.models.describe import model_info as model_info
    from zoo.models.factory import create_model as create_model
    from zoo.names import Spec as Spec
    from zoo.profiling import profile as profile
    from zoo.publishing.publish import push as push
    from zoo.publishing.saving import save as save
    from zoo.registry.components import list_components as list_components
    from zoo.registry.components import parse_name as parse_name
    from zoo.registry.components import register as register

_HOMES = {
    "Spec": "zoo.names",
    "contracts": "zoo.contracts",
    "create_model": "zoo.models.factory",
    "errors": "zoo.errors",
    "keep_freed_memory": "zoo.cpu.memory",
    "list_components": "zoo.registry.components",
    "list_models": "zoo.catalog.queries",
    "model_info": "zoo.models.describe",
    "parse_name": "zoo.registry.components",
    "predict": "zoo.inference.predict",
    "profile": "zoo.profiling",
    "push": "zoo.publishing.publish",
    "register": "zoo.registry.components",
    "save": "zoo.publishing.saving",
    "transform": "zoo.inference.predict",
}

__version__ = "0.1.0"
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    return module if _HOMES[name] == f"zoo.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
