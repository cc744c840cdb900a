"""The tutorial and the contract tell the truth: blocks run in a fresh environment, quotations are of real files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import zoo_kit
from typer.testing import CliRunner
from zoo_kit.scaffold import KINDS, draft
from zoo_kit.wheels import build_wheel

import zoo
from zoo.cli import app
from zoo.contracts import API_VERSION
from zoo.errors import MissingPluginError
from zoo.registry.components import GROUPS

__all__ = ["build_wheel"]

ROOT = Path(__file__).parents[3]
PLUGINS = ROOT / "plugins"
PAGES = (ROOT / "docs" / "tutorials" / "neuron.md", PLUGINS / "CONTRACT.md")
TEXT = "".join(page.read_text(encoding="utf-8") for page in PAGES)
NEW = "zoo-sparkle"
_BLOCK = re.compile(r"^(?:<!-- quote: (?P<quote>\S+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


BLOCKS = list(_BLOCK.finditer(TEXT))
COMMANDS = {"bash": ("bash", "-euc"), "python": ("python", "-c"), "console": ("bash", "-c")}


class Environment(NamedTuple):
    """A virtual environment with the zoo's wheel, and the folder in which a reader types."""

    bin: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as in the activated environment, without a network."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ZOO_", "PIP_"))}
        variables = inherited | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.bin.parent),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
        }
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, env=variables, timeout=250
        )


@pytest.fixture(scope="module")
def environment(build_wheel: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Its dependencies are the parent's, by a .pth; so is pip, which builds with the parent's hatchling."""
    venv = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python"]
    pip += ["--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--no-compile", build_wheel(ROOT)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    sources = [folder.parent for folder in PLUGINS.glob("*/pyproject.toml")]  # some are installed editable
    lines = [sysconfig.get_paths()["purelib"], *map(str, sources)]
    (site / "zz_parent.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    script = venv / "bin" / "pip"
    command = f'command=$1; shift\nexec "{venv}/bin/python" -m pip "$command" --no-build-isolation "$@"'
    script.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    script.chmod(0o755)
    folder = tmp_path_factory.mktemp("reader")
    shutil.copy(ROOT / "zoo" / "photographs" / "cat_chelsea.png", folder / "photo.png")  # a picture of the reader's own
    return Environment(venv / "bin", folder)


@pytest.mark.slow
def test_every_block_runs_in_order(environment: Environment) -> None:
    """Each command of a console prints what stands below it; behind a line `…`, its last lines are these."""
    ran = [block for block in BLOCKS if block["quote"] is None]
    for block in ran:
        program = COMMANDS[block["language"]]
        if block["language"] != "console":
            done = environment.run(*program, block["text"])
            assert done.returncode == 0, f"{block['text']}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
            continue
        for part in re.split(r"^\$ ", block["text"], flags=re.M)[1:]:
            command, _, expected = part.partition("\n")
            done = environment.run(*program, command)
            printed = done.stdout + done.stderr
            dots, _, end = expected.partition("…\n")
            assert printed.endswith(end) if dots == "" else printed == expected, f"{command}\n{printed}"
            assert (done.returncode == 0) == ("rror: " not in expected), command
    assert [block["language"] for block in ran].count("bash") >= 5
    home = environment.run("python", "-c", "import zoo; print(zoo.__file__)").stdout.strip()
    assert Path(home).is_relative_to(environment.bin.parent)
    with pytest.raises(MissingPluginError, match=f"pip install .*{NEW}"):  # here the plugin is not installed
        zoo.create_model(f"local-dir:{environment.folder / 'published'}")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block["quote"]], ids=lambda block: block["quote"])
def test_quotations_are_of_the_file(block: re.Match[str]) -> None:
    """Of a file in plugins/, or of one that `zoo plugins new zoo-sparkle` writes."""
    folder, _, inside = block["quote"].partition("/")
    if folder == NEW:  # drafted by another name of that length, since a reader of the page has it installed
        files = draft("zoo-shimmer").files()
        text = files[inside.replace("sparkle", "shimmer")].replace("shimmer", "sparkle").replace("Shimmer", "Sparkle")
    else:
        text = (PLUGINS / block["quote"]).read_text("utf-8")
    assert block["text"] in text


def test_what_writes_a_plugin_prints_what_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ((command, printed),) = re.findall(r"^\$ zoo (plugins new \S+ --kind \S+)\n((?:(?!\$ |```).*\n)+)", TEXT, re.M)
    assert CliRunner().invoke(app, command.split()).output == printed


def test_blocks_are_run_or_quoted() -> None:
    assert {block["language"] for block in BLOCKS if block["quote"] is None} == COMMANDS.keys()
    assert TEXT.count("```") % 2 == 0
    assert len(re.findall(r"^ *```\w", TEXT, re.M)) == len(BLOCKS)


def test_the_page_names_all_that_there_is() -> None:
    assert set(re.findall(r"^\| `(zoo\.\w+)` \|", TEXT, re.M)) == set(GROUPS.values())
    assert f"`api_version = {API_VERSION}`" in TEXT
    assert all(f"`{suite}`" in TEXT for suite in zoo_kit.__all__ if suite not in ("ComponentTests", "suites_of"))
    assert all(f"`{kind}`" in TEXT for kind in KINDS)
    listed = set(re.findall(r"^\| \[(zoo-[\w-]+)\]", (PLUGINS / "README.md").read_text(encoding="utf-8"), re.M))
    assert listed == {folder.name for folder in PLUGINS.iterdir() if (folder / "pyproject.toml").is_file()}
