"""From names to files: the templates of a kind, rendered, written beside and renamed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import final

import jinja2

import zoo
from zoo.contracts import API_VERSION
from zoo.errors import InputError, UnknownComponentError, shorten, suggest
from zoo.files import write_folder
from zoo.registry import GROUPS, Registry, default_registry
from zoo.scaffold.names import component_name, distribution_name, package_name

KINDS = ("neuron", "encoder", "decoder", "backbone", "family")
"""What a new plugin can offer."""

COMMON = {
    ".github/workflows/test.yml": "common/test.yml.jinja",
    ".gitignore": "common/gitignore.jinja",
    "LICENSE": "common/LICENSE.jinja",
    "README.md": "common/README.md.jinja",
    "pyproject.toml": "common/pyproject.toml.jinja",
}
"""Path → template of what every plugin has."""

MODELS = {
    "neuron": "has8_resnet_b8_m2_d4_ste_bpd_{component}",
    "encoder": "has8_resnet_b8_m2_d4_{component}_bpd",
    "decoder": "has8_resnet_b8_m2_d4_ste_{component}",
    "backbone": "has8_{component}_b8_m2_d2_ste_bpd",
    "family": "{component}_b8_ste",
}
"""Kind → a model that uses the component."""


@final
@dataclass(frozen=True)
class PluginDraft:
    """A distribution that is not written yet; `draft` makes one of valid names.

    Attributes:
        distribution: normalised name (`zoo-sparkle`), also of the folder.
        package: import package (`zoo_sparkle`).
        kind: one of `KINDS`.
        component: as it stands in a model's name (`sparkle`).
    """

    distribution: str
    package: str
    kind: str
    component: str

    @property
    def class_name(self) -> str:
        """The component's class: `SparkleNeuron`."""
        return self.component.capitalize() + self.kind.capitalize()

    @property
    def model(self) -> str:
        """The name of a model that uses the component."""
        return MODELS[self.kind].format(component=self.component)

    def files(self) -> dict[str, str]:
        """Path inside the distribution → text."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("zoo.scaffold"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        templates = COMMON | {
            self._path(name): name for name in environment.list_templates() if name.startswith(f"{self.kind}/")
        }
        rendered = {
            path: environment.get_template(template).render(
                plugin=self,
                group=GROUPS[self.kind],
                api_version=API_VERSION,
                requirement=zoo_requirement(zoo.__version__),
            )
            for path, template in templates.items()
        }
        return dict(sorted({**rendered, f"{self.package}/py.typed": ""}.items()))

    def _path(self, template: str) -> str:
        """Where a kind's own template goes: tests into tests/, all else into the package."""
        file = Path(template).stem
        return f"tests/{file}" if file.startswith("test_") else f"{self.package}/{file}"

    def write(self, folder: Path) -> Path:
        """Write everything to `folder`/`distribution`, or nothing.

        Returns:
            The new folder.

        Raises:
            InputError: there is something already, or it cannot be written.
        """
        target = folder / self.distribution
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; make it first, or name one that there is")
        try:
            if target.exists() and not (target.is_dir() and not any(target.iterdir())):
                raise InputError(f"{target} exists and is not empty; nothing is written over: move it, or rename yours")
            write_folder(target, {path: text.encode() for path, text in self.files().items()})
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error}") from error
        return target

    def next_commands(self, written: Path) -> tuple[str, str, str]:
        """What to type next: install it, test it, see a model that uses it.

        Args:
            written: what `write` returned.
        """
        place = str(written) if written.is_absolute() else f"./{written}"
        return (
            f"pip install -e {shlex.quote(f'{place}[test]')}",
            f"python -m pytest {shlex.quote(place)}",
            f"zoo profile {self.model}",
        )


def zoo_requirement(version: str) -> str:
    """has8-zoo from this version's minor release up to the next major one."""
    major, minor = version.split(".")[:2]
    return f"has8-zoo>={major}.{minor},<{int(major) + 1}"


def draft(
    name: str, kind: str = "neuron", component: str | None = None, *, registry: Registry | None = None
) -> PluginDraft:
    """A new plugin's names, checked; nothing is written.

    Args:
        name: of the distribution, such as `zoo-sparkle`.
        kind: one of `KINDS`.
        component: None for the distribution's name without `zoo-`.
        registry: components whose names are taken; the installed ones by default.

    Raises:
        InputError: the name is not a distribution's, or taken.
        UnknownComponentError: no such kind.
        ComponentError, ComponentClashError: the component's name is not valid, or is taken.
    """
    if kind not in KINDS:
        near = suggest(str(kind), KINDS, cutoff=0.8)  # whoever asks for a converter does not mean an encoder
        raise UnknownComponentError(f"no plugin of kind {shorten(str(kind))} can be made{near}")
    distribution = distribution_name(name)
    word = component_name(component, distribution, registry or default_registry())
    return PluginDraft(distribution, package_name(distribution), kind, word)


def create(name: str, folder: Path, kind: str = "neuron", component: str | None = None) -> Path:
    """Write a complete distribution with one working component to `folder`/`name`; raises as `draft` and `write`.

    Returns:
        The new folder.
    """
    return draft(name, kind, component).write(folder)
