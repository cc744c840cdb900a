"""What `zoo plugins new` writes, of every kind, as wheels beside the zoo's own: its tests pass, and its name works."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import pytest

from tests.plugins.child_process import RunPython
from zoo.scaffold import KINDS, draft
from zoo.scaffold.names import MAX_COMPONENT, MAX_DISTRIBUTION

ROOT = Path(__file__).parents[2]
PLUGINS = {kind: draft(f"zoo-sparkle-{kind}", kind) for kind in KINDS}
IMPORTS = "importing_it_does_nothing_else"
"""A check that starts a process; here all five packages are imported in one, by a test of their own."""

BuildWheel = Callable[[Path], Path]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the five distributions, as they were written."""
    folder = tmp_path_factory.mktemp("sources")
    for plugin in PLUGINS.values():
        plugin.write(folder)
    return folder


@pytest.fixture(scope="module")
def kinds(request: pytest.FixtureRequest) -> Iterable[str]:
    """Which of the five are installed; all unless a test says otherwise."""
    return cast("Iterable[str]", getattr(request, "param", KINDS))


@pytest.fixture(scope="module")
def target(
    kinds: Iterable[str],
    sources: Path,
    build_wheel: BuildWheel,
    install: Callable[[Iterable[Path], Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folders = [ROOT, *(sources / PLUGINS[kind].distribution for kind in kinds)]
    return install([build_wheel(folder) for folder in folders], tmp_path_factory.mktemp("site"))


def _printed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.slow
def test_their_own_tests_pass(sources: Path, target: Path, run_python: RunPython) -> None:
    flags = ["-q", "-rs", "-p", "no:cacheprovider", "--import-mode=importlib", "-k", f"not {IMPORTS}"]
    out = _printed(run_python(["-m", "pytest", *flags, "."], target, cwd=sources))
    assert "5 deselected" in out
    skipped = [line for line in out.splitlines() if line.startswith("SKIPPED")]
    reasons = ("it has no parameters", "no single-step form", "no decoder declared", "no control")
    assert all(any(reason in line for reason in reasons) for line in skipped), skipped


@pytest.mark.slow
def test_importing_them_does_nothing_else(target: Path, run_python: RunPython) -> None:
    modules = tuple(plugin.package for plugin in PLUGINS.values())
    code = f"from zoo.testing.imports import probe_imports; assert not any(probe_imports({modules}).values())"
    _printed(run_python(code, target))


@pytest.mark.parametrize("kinds", [("encoder",), pytest.param(KINDS, marks=pytest.mark.slow)], indirect=True)
def test_their_names_work_everywhere(kinds: Iterable[str], target: Path, run_python: RunPython, tmp_path: Path) -> None:
    plugins = [PLUGINS[kind] for kind in kinds]
    code = (
        "import sys, torch, zoo; from safetensors.torch import save_file; from zoo.cli import app\n"
        "torch.set_num_threads(1); zoo_command = lambda *words: app(words, standalone_mode=False)\n"
        "zoo_command('list', '--components', '--json', 'sparkle*')\n"
        "for name in sys.argv[1:]:\n"
        "    model = zoo.create_model(name, num_classes=2).eval()\n"
        "    assert torch.isfinite(model(torch.rand(2, 3, 32, 32))).all()\n"
        "    save_file(model.state_dict(), f'{name}.safetensors')\n"
        "    zoo_command('info', name, '--json')\n"
        "    zoo_command('profile', name, '--json', '--image-size', '32', '--num-classes', '2')\n"
        "    stated = '--license MIT --labels cat,dog --image-size 32 --dataset pets'.split()\n"
        "    file = ('--checkpoint', f'{name}.safetensors')\n"
        "    zoo_command('publish', f'{name}.tag', *file, *stated, '--dry-run', '--json')\n"
        "    again = zoo.create_model(f'local-dir:{name}.tag').eval()\n"
        "    assert torch.equal(again(x := torch.rand(2, 3, 32, 32)), model(x))\n"
    )
    names = [plugin.model.replace("_m2_d4", "_m1_d1") for plugin in plugins]
    done = run_python(["-c", code, *names], target, cwd=tmp_path)
    rows = [json.loads(line) for line in _printed(done).splitlines()]
    listed, answers = rows[: len(plugins)], rows[len(plugins) :]
    assert {(row["kind"], row["name"]) for row in listed} == {(p.kind, p.component) for p in plugins}
    reports = zip(answers[::3], answers[1::3], answers[2::3], strict=True)
    for plugin, name, (info, cost, published) in zip(plugins, names, reports, strict=True):
        assert info["name"] == name
        assert plugin.distribution in {component["distribution"] for component in info["components"]}
        assert cost["macs"] > cost["macs_per_timestep"] > 0
        assert published["state"] == "written"
        config = json.loads((tmp_path / published["folder"] / "config.json").read_text(encoding="utf-8"))
        assert config["zoo"]["weight"]["figures"]["params"] == cost["params"]
        assert config["zoo"]["weight"]["providers"][plugin.distribution] == "0.1.0"


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torch is analysed once, not for every kind."""
    return tmp_path_factory.mktemp("mypy")


def _run(folder: Path, *command: str | Path) -> None:
    words = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_clean(kind: str, tmp_path: Path, mypy_cache: Path) -> None:
    """By the linters that CI installs, with the settings that they bring along; at the longest names too."""
    longest = draft("z" * MAX_DISTRIBUTION, kind, "z" * MAX_COMPONENT)
    for plugin in (PLUGINS[kind], longest):
        made = plugin.write(tmp_path)
        _run(made, "ruff", "check")
        _run(made, "ruff", "format", "--check")
    _run(tmp_path / PLUGINS[kind].distribution, "mypy", "--cache-dir", mypy_cache)
