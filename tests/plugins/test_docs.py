"""plugins/README.md tells the truth: blocks run in order in a fresh environment, quotations are of real files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import zoo
from zoo import testing
from zoo.cli import app
from zoo.contracts import API_VERSION
from zoo.errors import MissingPluginError
from zoo.registry import GROUPS
from zoo.scaffold import KINDS, draft

ROOT = Path(__file__).parents[2]
README = ROOT / "plugins" / "README.md"
TEXT = README.read_text(encoding="utf-8")
NEW = "zoo-sparkle"
_BLOCK = re.compile(r"^(?:<!-- quote: (?P<quote>\S+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the file that it is quoted from."""

    language: str
    text: str
    quote: str | None


BLOCKS = [Block(found["language"], found["text"], found["quote"]) for found in _BLOCK.finditer(TEXT)]


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the zoo's wheel, and the folder in which a reader types."""

    bin: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, env=self.variables, timeout=250
        )

    @property
    def variables(self) -> Mapping[str, str]:
        """As an activated environment has them, without a network."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ZOO_", "PIP_"))}
        return inherited | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.bin.parent),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
        }


@pytest.fixture(scope="module")
def environment(build_wheel: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Its dependencies are the parent's, by a .pth; so is pip, which builds with the parent's hatchling."""
    venv = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python"]
    pip += ["--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--no-compile", build_wheel(ROOT)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    sources = [folder.parent for folder in README.parent.glob("*/pyproject.toml")]  # some are installed editable
    lines = [sysconfig.get_paths()["purelib"], *map(str, sources)]
    (site / "zz_parent.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    script = venv / "bin" / "pip"
    command = f'command=$1; shift\nexec "{venv}/bin/python" -m pip "$command" --no-build-isolation "$@"'
    script.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    script.chmod(0o755)
    return Environment(venv / "bin", tmp_path_factory.mktemp("reader"))


@pytest.mark.slow
def test_every_block_runs_in_order(environment: Environment) -> None:
    ran = [block for block in BLOCKS if block.quote is None]
    for block in ran:
        _RUNNERS[block.language](environment, block.text)
    assert [block.language for block in ran].count("bash") >= 5
    home = environment.run("python", "-c", "import zoo; print(zoo.__file__)").stdout.strip()
    assert Path(home).is_relative_to(environment.bin.parent)
    with pytest.raises(MissingPluginError, match=f"pip install .*{NEW}"):  # here the plugin is not installed
        zoo.create_model(f"local-dir:{environment.folder / 'published'}")


def _succeeds(environment: Environment, *command: str) -> None:
    done = environment.run(*command)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"


def _bash(environment: Environment, text: str) -> None:
    _succeeds(environment, "bash", "-euc", text)


def _python(environment: Environment, text: str) -> None:
    _succeeds(environment, "python", "-c", text)


def _console(environment: Environment, text: str) -> None:
    """Each command prints what stands below it; behind a line `…`, its last lines are these."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        done = environment.run("bash", "-c", command)
        printed = done.stdout + done.stderr
        dots, _, end = expected.partition("…\n")
        if dots == "":
            assert printed.endswith(end), f"{command}\n{printed}"
        else:
            assert printed == expected, f"{command}\n{printed}"
        assert (done.returncode == 0) == ("rror: " not in expected), command


_RUNNERS = {"bash": _bash, "python": _python, "console": _console}


def _source(path: str) -> str:
    """The text of a file in plugins/, or of what `zoo plugins new zoo-sparkle` writes."""
    folder, _, inside = path.partition("/")
    return draft(NEW).files()[inside] if folder == NEW else (README.parent / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.quote], ids=lambda block: block.quote)
def test_quotations_are_of_the_file(block: Block) -> None:
    assert block.text in _source(str(block.quote))


def test_what_writes_a_plugin_prints_what_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ((command, printed),) = re.findall(r"^\$ zoo (plugins new \S+ --kind \S+)\n((?:(?!\$ |```).*\n)+)", TEXT, re.M)
    assert CliRunner().invoke(app, command.split()).output == printed


def test_blocks_are_run_or_quoted() -> None:
    assert {block.language for block in BLOCKS if block.quote is None} == _RUNNERS.keys()
    assert TEXT.count("```") % 2 == 0
    assert len(re.findall(r"^ *```\w", TEXT, re.M)) == len(BLOCKS)


def test_the_page_names_all_that_there_is() -> None:
    assert set(re.findall(r"^\| `(zoo\.\w+)` \|", TEXT, re.M)) == set(GROUPS.values())
    assert f"`api_version = {API_VERSION}`" in TEXT
    assert all(f"`{suite}`" in TEXT for suite in testing.__all__ if suite not in ("ComponentTests", "suites_of"))
    assert all(f"`{kind}`" in TEXT for kind in KINDS)
    listed = set(re.findall(r"^\| \[(zoo-[\w-]+)\]", TEXT, re.M))
    assert listed == {folder.name for folder in README.parent.iterdir() if (folder / "pyproject.toml").is_file()}
