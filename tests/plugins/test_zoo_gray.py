"""zoo-gray as its users get it: a wheel, beside the zoo's own wheel, in a folder of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.child_process import RunPython

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugins" / "zoo-gray"
NAME = "has8_resnet_b2_m1_d2_gray_gray"


def _printed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_alone(build_wheel: Callable[[Path], Path]) -> None:
    names = zipfile.ZipFile(build_wheel(PLUGIN)).namelist()
    assert {"zoo_gray/__init__.py", "zoo_gray/py.typed"} <= set(names)
    assert all(name.startswith(("zoo_gray/", "zoo_gray-")) for name in names)


@pytest.mark.slow
def test_its_own_tests_pass_on_the_wheel(target: Path, run_python: RunPython, tmp_path: Path) -> None:
    shutil.copytree(PLUGIN / "tests", tmp_path / "tests")  # away from the source tree
    out = _printed(run_python(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests"], target, cwd=tmp_path))
    assert "passed" in out
    assert "skipped" not in out  # references and inverses are given, so every check has its object


@pytest.mark.slow
def test_its_name_works_everywhere(target: Path, run_python: RunPython) -> None:
    code = (
        "import json, sys, zoo, torch\n"
        "from zoo.cli import app\n"
        "assert 'gray' in zoo.list_components('encoder') and 'zoo_gray' not in sys.modules\n"
        f"model = zoo.create_model({NAME!r}, num_classes=10)\n"
        "model(torch.rand(2, 3, 32, 32)).logsumexp(1).sum().backward()\n"
        "grads = [p.grad for p in model.parameters()]\n"
        "assert all(g is not None and g.isfinite().all() for g in grads) and any(g.any() for g in grads)\n"
        "assert zoo.create_model('has8_resnet_b2_m1_d2_zoo-gray:gray_zoo-gray:gray', device='meta').timesteps == 8\n"
        "print(json.dumps([zoo.__file__, zoo.model_info(model.spec.text)]))\n"
        f"app(['info', {NAME!r}, '--json'], standalone_mode=False)\n"
        f"for name in ({NAME!r}, {NAME.replace('gray_gray', 'ste_bpd')!r}):\n"
        "    app(['profile', name, '--image-size', '32', '--num-classes', '10', '--json'], standalone_mode=False)\n"
    )
    (home, info), told, ours, usual = map(json.loads, _printed(run_python(code, target)).splitlines())
    assert Path(home).is_relative_to(target)
    assert info == told
    theirs = {(c["kind"], c["name"], c["version"]) for c in info["components"] if c["distribution"] == "zoo-gray"}
    assert theirs == {("encoder", "gray", "0.1.0"), ("decoder", "gray", "0.1.0")}
    assert ours["macs"] == usual["macs"] > ours["macs_per_timestep"] > 0


def test_the_list_of_models_says_where_its_parts_go(target: Path, run_python: RunPython) -> None:
    every = map(json.loads, _printed(run_python(["-m", "zoo", "list", "--json"], target)).splitlines())
    patterns = {(row["kind"], row["pattern"]) for row in every if row.get("distribution") == "zoo-gray"}
    assert patterns == {("encoder", "*_gray_*"), ("decoder", "*_gray")}
    hinted = run_python(["-m", "zoo", "list", "gray"], target).stderr
    assert "the encoder gray builds names that no catalog lists: *_gray_* (zoo-gray)" in hinted


def test_the_list_of_components_knows_it(target: Path, run_python: RunPython) -> None:
    listed = _printed(run_python(["-m", "zoo", "list", "gray", "--components"], target)).splitlines()
    assert sorted(line.split("\t")[:4] for line in listed) == [
        ["decoder", "gray", "zoo-gray", "0.1.0"],
        ["encoder", "gray", "zoo-gray", "0.1.0"],
    ]


def _snippets(language: str) -> list[str]:
    """The README's code, out of the lists that it stands in."""
    found = re.findall(
        rf"^ *```{language}\n(.*?)^ *```", (PLUGIN / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    return [textwrap.dedent(each) for each in found]


def test_the_readme_shows_what_is_there() -> None:
    declared = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    (shown,) = _snippets("toml")
    groups = tomllib.loads(shown)["project"]["entry-points"]
    assert groups == {group: declared[group] for group in groups}
    links = re.findall(r"\]\(([^)]+)\)", (PLUGIN / "README.md").read_text(encoding="utf-8").replace("\\_", "_"))
    assert links
    assert [link for link in links if not (PLUGIN / link).exists()] == []


@pytest.mark.slow
def test_the_readme_runs_and_the_kit_needs_no_test_file(target: Path, run_python: RunPython) -> None:
    snippets = _snippets("python")
    assert len(snippets) == 2
    code = (
        "\n".join(snippets)
        + "\n"
        + (
            "TestGrayEncoder().test_round_trip()\n"
            "import json, sys\n"
            "from zoo.testing import check_distribution\n"
            "results = check_distribution('zoo-gray')\n"
            "assert 'pytest' not in sys.modules\n"
            "print(json.dumps([r.to_json() for r in results]))\n"
        )
    )
    results = json.loads(_printed(run_python(code, target)).splitlines()[-1])
    assert {(r["kind"], r["name"]) for r in results} == {("encoder", "zoo-gray:gray"), ("decoder", "zoo-gray:gray")}
    assert [r for r in results if r["outcome"] == "failed"] == []
    # Even unasked, the decoder finds the encoder of its own distribution to learn with.
    learns = [r["outcome"] for r in results if r["check"] == "it_learns_in_a_model"]
    assert learns == ["passed", "passed"]
