"""Every plugin of this repository as a wheel beside the zoo's."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from zoo_kit.installed import run_python

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
WITHOUT_COMPONENTS = {"zoo-kit", "zoo-nir"}
_NO_NETWORK = "http://127.0.0.1:9"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "http_proxy": _NO_NETWORK,
    "https_proxy": _NO_NETWORK,
    "no_proxy": "127.0.0.1,localhost",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_wheel_works_and_passes_its_own_tests(
    plugin: Path, build_wheel: Callable[[Path], Path], install: Callable[[list[Path], Path], Path], tmp_path: Path
) -> None:
    wheel, package = build_wheel(plugin), plugin.name.replace("-", "_")
    assert wheel.stat().st_size <= 95e6
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith((f"{package}/", f"{package}-")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    site = install([build_wheel(ROOT), wheel], tmp_path / "site")
    done = run_python(["-m", "zoo", "plugins", "--json"], site, OFFLINE)
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row["distribution"] == plugin.name]
    assert {row["state"] for row in rows} == (set() if plugin.name in WITHOUT_COMPONENTS else {"loaded"})
    for weight in sorted((site / package).glob("*.safetensors"))[:1]:
        done = run_python(["-m", "zoo", "predict", "--model", weight.stem, "--json"], site, OFFLINE)
        if plugin.name == "zoo-events":
            assert "in_chans=2" in done.stderr  # it loads, and takes no photographs
        else:
            assert '"cat"' in done.stdout, done.stderr
    arguments: list[str | Path] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", plugin / "tests"]
    done = run_python(arguments, site, OFFLINE, tmp_path, timeout=600)  # away from the source tree
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
