"""`zoo plugins check`: the kit on installed components, without a test file."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner
from zoo_kit.installed import WORKS, put, run_python
from zoo_kit.scaffold import draft

from zoo.cli import app


@pytest.mark.slow
def test_the_kit_runs_without_a_test_file(tmp_path: Path) -> None:
    """`zoo plugins check` prints every check that fails, with its cause."""
    works = WORKS.format(power=1)
    files = {"zoo_mine.py": works, "zoo_theirs.py": works.replace("return straight", "return 2 * straight")}
    files["zoo_needs.py"] = f"{works}\n    def __init__(self, planes):\n        super().__init__()\n"
    points = "[zoo.encoders]\nworks = zoo_mine:Thing\nspoiled = zoo_theirs:Thing\ngone = zoo_gone:Thing\n"
    points += "needs = zoo_needs:Thing\n"
    points += "[zoo.neurons]\nspoiled = zoo_gone:Thing\n"
    done = run_python(["-m", "zoo", "plugins", "check", "zoo-mine"], put(tmp_path / "site", "zoo-mine", points, files))
    assert done.returncode == 1, done.stderr
    assert "encoder zoo-mine:spoiled fails" in done.stdout
    for name in ("gone", "needs"):  # once, not for every check
        assert f"encoder zoo-mine:{name} fails it_loads" in done.stdout
        assert done.stdout.count(f"zoo-mine:{name} fails") == 1
    assert "needs planes" in done.stdout
    assert "zoo_gone" in done.stdout
    assert "zoo-mine:works fails" not in done.stdout
    assert "5 components: " in done.stdout


COUNTED = """
import json, numpy, torch, zoo
from zoo_sparkle import {name}
torch.manual_seed(0)
first, last = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 5, 3, padding=1, bias=False)
network = torch.nn.Sequential(first, {name}(), last).eval()
network[0].weight.data.mul_(8)
images = torch.rand(2, 3, 12, 12)
spikes = network[1](network[0](images)).detach().numpy()
padded = numpy.pad(numpy.abs(spikes), ((0, 0), (0, 0), (1, 1), (1, 1)))
windows = numpy.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
profiled = zoo.profile(network, images=images)
print(json.dumps([numpy.unique(spikes).tolist(), 5 * float(windows.sum()), profiled.activity.synaptic.acs]))
"""
"""Pairs of a nonzero spike and a weight of the last layer, counted by numpy, and the additions of the profile."""


@pytest.mark.slow
def test_a_ternary_neuron_passes_and_its_spikes_are_additions(tmp_path: Path) -> None:
    plugin = draft("zoo-sparkle", "neuron")
    made = plugin.write(tmp_path)
    source = (made / "zoo_sparkle" / "__init__.py").read_text("utf-8")
    ternary = source.replace("import Neuron, Price", "import SIGNED, Neuron, Price").replace(
        "    api_version", "    code = SIGNED\n    api_version"
    )
    fires = "spike = self.surrogate(potential - 1 - rise)"
    ternary = ternary.replace(fires, f"{fires} - self.surrogate(-potential - 1 - rise)")
    ternary = ternary.replace("(1 - spike)", "(1 - spike.abs())").replace("BETA * spike", "BETA * spike.abs()")
    assert ternary.count(".abs()") == ternary.count("SIGNED") == 2
    ((group, points),) = tomllib.loads((made / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"].items()
    lines = "\n".join(f"{name} = {target}" for name, target in points.items())
    site = put(tmp_path / "site", "zoo-sparkle", f"[{group}]\n{lines}\n", {"zoo_sparkle/__init__.py": ternary})
    checked = run_python(["-m", "zoo", "plugins", "check", "zoo-sparkle"], site)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (target,) = points.values()
    done = run_python(COUNTED.format(name=target.partition(":")[2]), site)
    assert done.returncode == 0, done.stderr
    values, pairs, additions = json.loads(done.stdout.splitlines()[-1])
    assert values == [-1.0, 0.0, 1.0]
    assert additions == pairs > 0


@pytest.mark.slow
def test_basic_failures_come_first_and_skips_are_listed(tmp_path: Path) -> None:
    files = {"zoo_theirs.py": WORKS.format(power=1) + "    timesteps = 3\n"}
    site = put(tmp_path, "zoo-theirs", "[zoo.encoders]\nwrong = zoo_theirs:Thing\n", files)
    done = run_python(["-m", "zoo", "plugins", "check", "zoo-theirs", "--json"], site)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [row for row in rows if row["outcome"] == "failed"]
    assert failed[0]["check"] == "planes_have_the_declared_shape"
    assert [row["consequence_of"] for row in failed] == ["", *["planes_have_the_declared_shape"] * (len(failed) - 1)]
    shown = run_python(["-m", "zoo", "plugins", "check", "zoo-theirs"], site).stdout
    assert shown.count(" fails ") == 1
    assert "skips round_trip" in shown


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 3])
def test_a_plugin_that_ends_the_process_fails_its_check(status: int, tmp_path: Path) -> None:
    files = {"zoo_ends.py": f"import os\nos._exit({status})"}
    site = put(tmp_path, "zoo-ends", "[zoo.encoders]\nends = zoo_ends:Thing\n", files)
    done = run_python(["-m", "zoo", "plugins", "check", "zoo-ends", "--json"], site)
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == ["failed"], done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", [("check", "has8-zoo"), ("new", "zoo-sparkle")])
def test_without_this_plugin_the_commands_say_what_to_install(
    arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zoo.registry.installing.is_installed", lambda distribution: False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["plugins", *arguments])
    assert (result.exit_code, result.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert re.search(r"pip install .*zoo-kit", result.stderr)
