"""`zoo plugins new`: a complete distribution with one working component, its tests on the kit, and a CI file."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import final

import jinja2

import zoo
from zoo.contracts import API_VERSION
from zoo.errors import ComponentError, InputError, UnknownComponentError, shorten, suggest
from zoo.files import write_folder
from zoo.registry.components import GROUPS, NAME, default_registry

MODELS = {
    "neuron": "has8_resnet_b8_m2_d4_ste_bpd_{component}",
    "encoder": "has8_resnet_b8_m2_d4_{component}_bpd",
    "decoder": "has8_resnet_b8_m2_d4_ste_{component}",
    "backbone": "has8_{component}_b8_m2_d2_ste_bpd",
    "family": "{component}_b8_ste",
    "converter": "",
    "weights": "",
}
"""Kind → a model that uses the component, if its name stands in one."""

KINDS = tuple(MODELS)
"""Kinds of plugins that can be made."""

COMMON = {"test.yml": ".github/workflows/test.yml", "gitignore": ".gitignore"}
"""Paths of files that every plugin has, if they are not the template's name."""

MAX_DISTRIBUTION = 64
MAX_COMPONENT = 24
"""A model's name has up to seven parts and 200 characters."""

_DISTRIBUTION = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@final
@dataclass(frozen=True)
class PluginDraft:
    """A distribution that is not written yet, of the kind `kind`, whose component is called `component` in names."""

    distribution: str
    kind: str
    component: str

    @property
    def package(self) -> str:
        """Import package: `zoo_sparkle`."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Name of the component's class: `SparkleNeuron`."""
        return self.component.capitalize() + self.kind.capitalize()

    @property
    def group(self) -> str:
        """Its group of entry points: `zoo.neurons`."""
        return GROUPS["catalog" if self.kind == "weights" else self.kind]

    @property
    def target(self) -> str:
        """Value of its entry point: `zoo_sparkle:SparkleNeuron`; of weights the package."""
        return self.package if self.kind == "weights" else f"{self.package}:{self.class_name}"

    @property
    def model(self) -> str:
        """Name of a model that uses the component; empty for converters and weights."""
        return MODELS[self.kind].format(component=self.component)

    def files(self) -> dict[str, str]:
        """Render the distribution: path inside it → text."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("zoo_kit.scaffold"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        major, minor = zoo.__version__.split(".")[:2]
        given = {
            "plugin": self,
            "group": self.group,
            "api_version": API_VERSION,
            "requirement": f"has8-zoo>={major}.{minor},<{int(major) + 1}",
            "example": "ann_resnet_b8_m2_d4",
        }
        files = {f"{self.package}/py.typed": ""}
        for template in environment.list_templates():
            folder, _, file = template.removesuffix(".jinja").partition("/")
            if folder in ("common", self.kind):
                path = COMMON.get(file, file) if folder == "common" else self._path(file)
                files[path] = environment.get_template(template).render(given)
        return dict(sorted(files.items()))

    def _path(self, file: str) -> str:
        """Return the place of a kind's file; pytest cannot run two test files of one name together."""
        return f"tests/test_{self.package}.py" if file.startswith("test_") else f"{self.package}/{file}"

    def write(self, folder: Path) -> Path:
        """Write everything to `folder`/`distribution`, or nothing, and return the new folder.

        Raises:
            InputError: there is something already, or it cannot be written.
        """
        target = folder / self.distribution
        try:
            write_folder(target, {path: text.encode() for path, text in self.files().items()})
        except OSError as error:
            raise InputError(f"{target} cannot be written; nothing is written over: {error}") from error
        return target

    def next_commands(self, written: Path) -> list[str]:
        """List commands to type next, for the folder that `write` returned: install it, test it, see it."""
        place = str(written) if written.is_absolute() else f"./{written}"
        return [
            f"pip install -e {shlex.quote(f'{place}[test]')}",
            f"python -m pytest {shlex.quote(place)}",
            f"zoo profile {self.model}" if self.model else f"zoo plugins check {self.distribution}",
        ]


def draft(name: str, kind: str = "neuron", component: str | None = None) -> PluginDraft:
    """Check a new plugin's names; nothing is written.

    Args:
        name: of the distribution, such as `zoo-sparkle`.
        kind: one of `KINDS`.
        component: None for the distribution's name without `zoo-`.

    Raises:
        InputError: the name is not a package's, or taken.
        UnknownComponentError: no such kind.
        ComponentError: the component's name is not valid, or is taken.
    """
    if kind not in KINDS:
        raise UnknownComponentError(f"no plugin of kind {shorten(kind)} can be made{suggest(kind, KINDS)}")
    distribution = _distribution_name(name)
    return PluginDraft(distribution, kind, _component_name(component, distribution))


def _distribution_name(text: str) -> str:
    """Normalise (PEP 503) the name of a package, if it is one (PEP 508) and free here."""
    name = re.sub(r"[-_.]+", "-", text).lower()
    if not (_DISTRIBUTION.fullmatch(text) and len(name) <= MAX_DISTRIBUTION):
        raise InputError(
            f"{shorten(text)} is not the name of a plugin; valid: letters, digits and hyphens, a letter first and no "
            f"hyphen last, up to {MAX_DISTRIBUTION}, such as 'zoo-sparkle'"
        )
    package = name.replace("-", "_")
    taken = package in ("build", "dist", "tests") or importlib.util.find_spec(package) is not None
    if taken or keyword.iskeyword(package):
        raise InputError(f"package {package!r} is there already or reserved; choose a name such as 'zoo-my-{name}'")
    return name


def _component_name(wanted: str | None, distribution: str) -> str:
    """Return the component's name, or the one that goes with a package; free among all kinds."""
    own = re.sub(r"^(has8-)?(zoo-)?(weights-)?", "", distribution).replace("-", "")
    name = own if wanted is None else wanted
    advice = "name it by `component`" if wanted is None else "choose another"
    if not (NAME.fullmatch(name) and len(name) <= MAX_COMPONENT):
        valid = f"lower-case letters and digits, a letter first, up to {MAX_COMPONENT}, such as 'sparkle'"
        raise ComponentError(f"{shorten(name)} is not a component name; {advice}; valid: {valid}")
    for rival in default_registry().components():
        if rival.name == name:
            raise ComponentError(f"{name!r} is the {rival.kind} of {rival.origin} already; {advice}")
    return name
