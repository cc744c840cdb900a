"""torch.hub: `torch.hub.load(CLONE, "create_model", NAME, source="local")`, or ORG/REPOSITORY without it.

torch.hub imports this file from a clone, which need not be installed. The zoo finds its components by the entry points
of distributions; those of a clone are read from its pyproject.toml.
"""

import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
NAME = "has8-zoo"


class Clone(metadata.Distribution):
    """The distribution that an install of this folder would give."""

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            from zoo import __version__

            return f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {__version__}\n"
        if filename == "entry_points.txt":
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            lines = []
            for group, points in project["entry-points"].items():
                lines.append(f"[{group}]")
                lines += [f"{name} = {target}" for name, target in points.items()]
            return "\n".join(lines)
        return None

    def locate_file(self, path: Any) -> Path:
        return ROOT / path


class CloneFinder(metadata.DistributionFinder):
    """Finds the distribution above, and no module."""

    def find_distributions(self, context: Any = None) -> Iterator[Clone]:
        if context is None or context.name in (None, NAME):
            yield Clone()

    def find_spec(self, *asked: Any) -> None:
        return None


if not list(metadata.distributions(name=NAME)):
    sys.meta_path.append(CloneFinder())

from zoo import create_model, list_models  # noqa: E402

__all__ = ["create_model", "list_models"]

dependencies = [
    *("torch", "torchvision", "spikingjelly", "safetensors", "huggingface_hub", "httpx2"),
    *("pydantic", "yaml", "bracex"),
]
