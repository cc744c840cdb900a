"""Say what to install for a component, a weight or a library that is missing."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zoo.errors import MissingExtraError, MissingPluginError, UnknownComponentError, shorten, suggest


def missing_extra(error: ImportError, what: str, extra: str) -> MissingExtraError:
    """Make the error that names the extra of has8-zoo without which `what` could not be imported."""
    module = error.name or "a module"
    if not isinstance(error, ModuleNotFoundError):  # it is there, and is too old or damaged
        module = f"{module} ({error})"
    return MissingExtraError(f"{what} needs {module}; install it with: {install_extra(extra)}", name=error.name)


def install_extra(extra: str) -> str:
    """Return the command that installs an extra of this zoo, from its source tree if it was installed from one."""
    tree, is_editable = _source_tree()
    wanted = shlex.quote(f"{tree or 'has8-zoo'}[{extra}]")
    return f"pip install {'-e ' if is_editable else ''}{wanted}"


def install_plugin(distribution: str) -> str:
    """Return the command that installs a plugin and those it needs, from this zoo's source tree if it is there."""
    tree, _ = _source_tree()
    folder = None if tree is None else tree / "plugins" / distribution
    if folder is None or not folder.is_dir():
        return f"pip install {distribution}"
    return f"pip install {shlex.join(map(str, with_dependencies(folder)))}"


def with_dependencies(folder: Path) -> list[Path]:
    """List the plugins beside a plugin that it needs, those that they need before them, and the plugin itself."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    beside = [folder.with_name(re.split(r"[^\w.-]", line)[0]) for line in project["dependencies"]]
    needed = [each for direct in beside if direct.is_dir() for each in with_dependencies(direct)]
    return list(dict.fromkeys([*needed, folder]))


def _source_tree() -> tuple[Path | None, bool]:
    """Return the folder that pip installed has8-zoo from, None if it came from an index; and if it is editable."""
    stored = json.loads(importlib.metadata.distribution("has8-zoo").read_text("direct_url.json") or "{}")
    tree = Path(url2pathname(urlsplit(stored.get("url", "file:///")).path))
    is_editable = stored.get("dir_info", {}).get("editable", False)
    return (tree, is_editable) if (tree / "registry.yaml").is_file() else (None, False)


@functools.cache
def known_plugins() -> Mapping[str, list[str]]:
    """Read what each known distribution brings: components as `kind name`, weights as `variant.tag`."""
    table: dict[str, list[str]] = json.loads(Path(__file__).with_name("known_plugins.json").read_bytes())
    return table


def unknown_component(kind: str, name: str, registered: Iterable[str]) -> UnknownComponentError:
    """Make the error for a name that is not registered: `MissingPluginError` if a known plugin would bring it."""
    owner, _, plain = name.rpartition(":")
    for known, brings in known_plugins().items():
        if f"{kind} {plain}" in brings and owner in ("", known) and not is_installed(known):
            return MissingPluginError(f"unknown {kind} {shorten(name)}: it is in {_missing(known)}")
    of_that_form = [valid for valid in registered if (":" in valid) == (":" in name)]
    return UnknownComponentError(f"unknown {kind} {shorten(name)}{suggest(name, of_that_form)}")


def missing_weight(variant: str, tag: str | None) -> str | None:
    """Return `NAME is in zoo-…, which is not installed; …` if a known plugin brings that weight; tag None is any."""
    for known, brings in known_plugins().items():
        for weight in brings:
            is_wanted = weight.startswith(f"{variant}.") if tag is None else weight == f"{variant}.{tag}"
            if is_wanted and not is_installed(known):
                return f"{weight} is in {_missing(known)}"
    return None


def import_plugin(distribution: str, module: str, feature: str) -> ModuleType:
    """Import a module of a known plugin that an option of the zoo needs; raises `MissingPluginError`."""
    if not is_installed(distribution):
        raise MissingPluginError(f"{feature} is in {_missing(distribution)}")
    return importlib.import_module(module)


def _missing(distribution: str) -> str:
    return f"{distribution}, which is not installed; install it with: {install_plugin(distribution)}"


def is_installed(distribution: str) -> bool:
    """Return True if a distribution of that name is installed."""
    return next(iter(importlib.metadata.distributions(name=distribution)), None) is not None
