"""The wheel, installed in an environment of its own: catalog, weight and photograph travel inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def _run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=os.environ | dict(env or {})
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _build(folder: Path, **environment: str) -> Path:
    flags = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    _run(sys.executable, "-m", "pip", "wheel", *flags, ROOT, cwd=folder, env=environment)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_what_it_needs_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith(f"has8_zoo-{zoo.__version__}-")
    assert {
        "zoo/registry.yaml",
        "zoo/registry/known_plugins.json",
        "zoo/py.typed",
        "zoo/photographs/SOURCES.md",
    } <= set(names)
    assert any(name.startswith("zoo/pretrained/") and name.endswith(".safetensors") for name in names)
    assert all(name.startswith(("zoo/", "has8_zoo-")) for name in names)
    assert not any(name.endswith((".pt", ".npz", ".pyc")) for name in names)
    assert "zoo/cpu/_kernels.compiled.so" in names or sys.platform != "linux"  # this environment has a compiler
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 12_000_000  # 9.4 MB of it are weights


def test_without_a_compiler_a_wheel_of_python_alone_is_built(tmp_path: Path) -> None:
    made = _build(tmp_path, CC="/bin/false")
    assert made.name == f"has8_zoo-{zoo.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(made).namelist()
    assert {"zoo/registry.yaml", "zoo/cpu/functions.py"} <= set(names)
    assert not any("_kernels" in name for name in names)


def test_an_installed_zoo_classifies_its_photograph_offline(wheel: Path, tmp_path: Path) -> None:
    """In a fresh environment that holds this wheel; its dependencies are the parent's, by a .pth."""
    folder = tmp_path / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
    (site,) = folder.glob("lib/python*/site-packages")
    flags = ("--no-deps", "--quiet", "--no-compile", "--target", str(site))
    _run(sys.executable, "-m", "pip", "install", *flags, wheel, cwd=tmp_path)
    (site / "zz_parent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    python = folder / "bin" / "python"
    assert _run(python, "-c", "import zoo; print(zoo.__file__)", cwd=tmp_path).startswith(str(folder))
    (line,) = _run(python, "-m", "zoo", "predict", "--json", cwd=tmp_path).strip().splitlines()
    assert "cat" in [each["label"] for each in json.loads(line)["predictions"]]
    code = "from zoo.registry.installing import install_extra as extra; print(extra('train'))"
    assert _run(python, "-c", code, cwd=tmp_path).strip() == "pip install 'has8-zoo[train]'"
