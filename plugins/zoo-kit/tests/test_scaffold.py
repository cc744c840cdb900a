"""`zoo plugins new`: everything or nothing, valid at every name; what it writes passes its own tests as a wheel."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from zoo_kit.installed import run_python
from zoo_kit.scaffold import KINDS, MAX_COMPONENT, MAX_DISTRIBUTION, draft
from zoo_kit.wheels import build_wheel, install

import zoo
from zoo.errors import ComponentError, InputError, UnknownComponentError
from zoo.registry.components import GROUPS
from zoo.training import train

__all__ = ["build_wheel", "install"]

ROOT = Path(__file__).parents[3]
KIT = ROOT / "plugins" / "zoo-kit"
NAMES = st.from_regex(r"[Zz]{2}([A-Za-z0-9._-]{0,40}[A-Za-z0-9])?", fullmatch=True)
COMPONENTS = st.from_regex(r"zz[a-z0-9]{0,22}", fullmatch=True)


@settings(max_examples=10, deadline=None)
@given(NAMES, COMPONENTS, st.sampled_from(KINDS))
def test_every_valid_name_makes_a_valid_distribution(name: str, component: str, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = draft(name, kind, component).write(Path(folder))
        assert [made] == list(Path(folder).iterdir())
        assert made.name == canonicalize_name(name, validate=True)
        project = tomllib.loads((made / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        requirement = Requirement(project["dependencies"][0])
        assert requirement.name == "has8-zoo"
        assert requirement.specifier.contains(zoo.__version__)
        ((group, points),) = project["entry-points"].items()
        assert group == GROUPS["catalog" if kind == "weights" else kind]
        assert points.keys() == {component}
        for file in made.rglob("*"):
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
            assert "{%" not in text
            if file.suffix == ".py":
                ast.parse(text)
        yaml.safe_load((made / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["", "-a", "a b", "../x", "1zoo", "a" * (MAX_DISTRIBUTION + 1), "torch", "lambda"])
def test_what_is_no_name_writes_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reserved" if name == "lambda" else None):
        draft(name).write(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "component", "error"),
    [
        ("nuron", None, UnknownComponentError),
        ("neuron", "lif", ComponentError),
        ("neuron", "Up_per", ComponentError),
        ("neuron", "z" * (MAX_COMPONENT + 1), ComponentError),
    ],
)
def test_what_is_no_component_writes_nothing(
    kind: str, component: str | None, error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        draft("zoo-shimmer", kind, component).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    made = draft("zoo-shimmer").write(tmp_path)
    file = made / "zoo_shimmer" / "__init__.py"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="zoo-shimmer"):
        draft("zoo-shimmer", "encoder").write(tmp_path)
    assert file.read_text(encoding="utf-8") == "mine"
    assert [made] == list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", [Path("two words"), Path("/tmp/it's")])
def test_the_next_commands_name_the_folder(folder: Path) -> None:
    commands = [shlex.split(each) for each in draft("zoo-shimmer", "encoder").next_commands(folder / "zoo-shimmer")]
    place = str(folder / "zoo-shimmer") if folder.is_absolute() else f"./{folder / 'zoo-shimmer'}"
    assert commands[:2] == [["pip", "install", "-e", f"{place}[test]"], ["python", "-m", "pytest", place]]


# As wheels ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_pass(
    kind: str, build_wheel: Callable[[Path], Path], install: Callable[..., Path], tmp_path: Path
) -> None:
    plugin = draft(f"zoo-shimmer-{kind}", kind)
    source = plugin.write(tmp_path)
    site = install([build_wheel(ROOT), build_wheel(KIT), build_wheel(source)], tmp_path / "site")
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", source / "tests"], site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    if plugin.model:
        code = f"import zoo, torch; zoo.create_model({plugin.model!r}, num_classes=2)(torch.rand(2, 3, 32, 32))"
        done = run_python(code, site)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_plugins_are_tested_in_one_run(tmp_path: Path) -> None:
    for name in ("zoo-shimmer", "zoo-glitter"):
        draft(name).write(tmp_path)
    site = os.pathsep.join(str(tmp_path / name) for name in ("zoo-shimmer", "zoo-glitter"))
    command: list[str | Path] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", tmp_path]
    done = run_python(command, tmp_path, {"PYTHONPATH": site})
    assert done.returncode == 0, done.stdout
    assert "zoo_shimmer" in done.stdout
    assert "zoo_glitter" in done.stdout


@pytest.mark.slow
def test_a_weight_that_is_added_as_its_readme_says_passes(
    build_wheel: Callable[[Path], Path], install: Callable[..., Path], tmp_path: Path
) -> None:
    source = draft("zoo-shimmer", "weights").write(tmp_path)
    changes = {"epochs": 4, "batch_size": 8, "precision": "no"}
    labels = np.arange(20) % 2
    data = (np.repeat(255 * labels, 16 * 16 * 3).reshape(20, 16, 16, 3).astype(np.uint8), labels, ("dark", "bright"))
    train("ann_resnet_b1_m1_d1", data, changes=changes, out=source / "runs" / "mine", trackers=())
    (block,) = re.findall(r"^```python\n(.*?)^```", (source / "README.md").read_text("utf-8"), re.M | re.S)
    done = run_python(block, source)
    assert done.returncode == 0, done.stderr
    site = install([build_wheel(source)], tmp_path / "site")
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", source / "tests"], site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_linters_find_nothing(kind: str, tmp_path: Path) -> None:
    made = draft("zoo-shimmer", kind).write(tmp_path)
    long = draft("z" * MAX_DISTRIBUTION, kind, "z" * MAX_COMPONENT).write(tmp_path)
    checks = [(made, ["mypy", "--cache-dir", str(tmp_path.parent / "mypy")])]  # torch's types, once for all kinds
    checks += [(each, ["ruff", *words]) for each in (made, long) for words in (["check"], ["format", "--check"])]
    for place, command in checks:
        done = subprocess.run([sys.executable, "-m", *command], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
