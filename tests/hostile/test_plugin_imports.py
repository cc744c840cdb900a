"""Plugins whose import ends the process, hangs or crashes: real wheels in real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.child_process import run_python
from tests.plugins.made_wheels import WORKS, write_wheel

NEURON = """
from zoo.neurons.nodes import IFNeuron as Base
from zoo.contracts import Neuron

class Thing(Neuron):
    api_version = 1

    def __init__(self, tau):
        super().__init__()

    def forward(self, x):
        return x
"""
WAITS = "import time\ntime.sleep(10**6)\n"
FORKS = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
ENDS = {
    "exitseven": ("import os\nos._exit(7)", "ended the process with status 7"),
    "exitzero": ("import os\nos._exit(0)", "ended the process with status 0"),
    "aborts": ("import os\nos.abort()", "ended the process with signal SIGABRT"),
    "crashes": ("import ctypes\nctypes.string_at(0)", "ended the process with signal SIGSEGV"),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "ended the process with signal SIGKILL"),
    "waits": (WAITS, "takes over 4 s"),
    "leaves": (FORKS + WAITS, "takes over 4 s"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt was raised by the import itself"),
    "quits": ("import sys\nsys.exit('bye')", "SystemExit: bye"),
}
FINE = "has8_resnet_b2_m1_d1_fourier_bpd"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors are those of POSIX")


def add_plugin(
    site: Path, name: str, modules: Mapping[str, str], points: Mapping[str, Mapping[str, str]] | None = None
) -> Path:
    """A wheel with these modules, unpacked as pip does; one encoder a module unless `points` says otherwise."""
    site.mkdir(exist_ok=True)
    listed = points or {"zoo.encoders": {module.removeprefix("zoo_"): f"{module}:Thing" for module in modules}}
    files = {f"{module}.py": text for module, text in modules.items()}
    wheel = write_wheel(site.parent, name, files, listed)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    wheel.unlink()
    return site


def cli(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "zoo", *arguments], site, {"COLUMNS": "200"}, site.parent)


def plugin_rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Name → row, of what is not the zoo's own."""
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row for row in rows if row["target"].partition(".")[0] != "zoo"}


@posix
def test_an_import_that_ends_the_process_is_named_and_the_rest_is_listed(tmp_path: Path) -> None:
    modules = {"zoo_first": WORKS, "zoo_crashes": ENDS["crashes"][0], "zoo_last": WORKS}
    found = _listed(add_plugin(tmp_path / "site", "zoo-several", modules))
    assert (found["crashes"]["state"], found["crashes"]["distribution"]) == ("broken", "zoo-several")
    assert "zoo_crashes.py" in found["crashes"]["error"], "the place of the crash"
    assert ENDS["crashes"][1] in found["crashes"]["error"].splitlines()[-1]
    assert {found[name]["state"] for name in ("first", "last")} == {"loaded"}
    assert not list(tmp_path.rglob("core*"))


@pytest.mark.slow
@posix
def test_several_imports_that_end_the_process_beside_a_healthy_distribution(tmp_path: Path) -> None:
    names = ("exitseven", "crashes", "interrupts")
    site = add_plugin(tmp_path / "site", "zoo-several", {f"zoo_{name}": ENDS[name][0] for name in names})
    found = _listed(add_plugin(site, "zoo-healthy", {"zoo_healthy": WORKS}))
    for name in names:
        assert found[name]["state"] == "broken"
        assert ENDS[name][1] in found[name]["error"].splitlines()[-1]
    assert found["healthy"]["state"] == "loaded"


def _listed(site: Path) -> dict[str, dict[str, Any]]:
    done = cli(site, "plugins", "--json")
    assert done.returncode == 1, done.stderr
    return plugin_rows(done)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("name", ENDS)
def test_each_way_to_end(tmp_path: Path, name: str) -> None:
    code, said = ENDS[name]
    site = add_plugin(tmp_path / "site", f"zoo-{name}", {f"zoo_{name}": code, "zoo_healthy": WORKS})
    before = time.monotonic()
    done = cli(site, "plugins", "--timeout", "4")
    assert time.monotonic() - before < 60
    assert done.returncode == 1, done.stderr
    assert f"encoder {name} of zoo-{name} 1.0 (zoo_{name}:Thing):" in done.stdout
    assert said in done.stdout.splitlines()[-1]
    assert any("healthy" in line and "loaded" in line for line in done.stdout.splitlines())


@pytest.mark.slow
@posix
def test_an_import_that_never_ends_is_named_and_leaves_no_process(tmp_path: Path) -> None:
    marked = FORKS.replace("time.sleep(600)", f"time.sleep(600) # {tmp_path.name}") + WAITS
    site = add_plugin(tmp_path / "site", "zoo-leaves", {"zoo_leaves": marked})
    done = cli(site, "plugins", "--json", "--timeout", "1")
    assert done.returncode == 1, done.stderr
    assert plugin_rows(done)["leaves"]["error"].endswith("importing zoo_leaves takes over 1 s")
    processes = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _command(path).endswith(f"# {tmp_path.name}")]
    assert processes == []


def _command(path: Path) -> str:
    try:
        return path.read_text().rstrip("\0")
    except OSError:  # it has ended
        return ""


@pytest.mark.slow
def test_an_exit_is_an_error_on_use_and_so_are_lines_and_arguments(tmp_path: Path) -> None:
    site = tmp_path / "site"
    broken = "x = 1\n\ndef thing(:\n"
    add_plugin(site, "zoo-quits", {"zoo_quits": ENDS["quits"][0], "zoo_typo": broken})
    add_plugin(site, "zoo-needy", {"zoo_needy": NEURON}, {"zoo.neurons": {"needy": "zoo_needy:Thing"}})
    lines = "raise RuntimeError('first line\\nsecond line')"
    add_plugin(site, "zoo-lines", {"zoo_lines": lines})
    code = (
        "import json, zoo\nfound = {}\n"
        "for name in ('quits_bpd', 'typo_bpd', 'ste_bpd_needy', 'lines_bpd'):\n"
        "    try: zoo.create_model('has8_resnet_b2_m1_d1_' + name)\n"
        "    except zoo.errors.BrokenComponentError as error: found[name] = str(error)\n"
        f"zoo.create_model({FINE!r})\nprint(json.dumps(found))"
    )
    done = run_python(code, site)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["quits_bpd"].endswith("SystemExit: bye")
    assert found["typo_bpd"].splitlines()[-1] == f"SyntaxError: invalid syntax ({site / 'zoo_typo.py'}, line 3)"
    assert found["lines_bpd"].splitlines()[-1] == "RuntimeError: first line second line"
    told = cli(site, "info", "has8_resnet_b2_m1_d1_ste_bpd_needy")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        "error: neuron 'needy' of zoo-needy 1.0 (zoo_needy:Thing) cannot be used: zoo_needy:Thing cannot be "
        "constructed: missing a required argument: 'tau'. the zoo constructs every neuron with no argument; "
        "give every further argument a default\n"
    )
    listed = cli(site, "plugins")
    assert listed.returncode == 1
    assert f"(zoo_typo:Thing):\nSyntaxError: invalid syntax ({site / 'zoo_typo.py'}, line 3)" in listed.stdout


# check ----------------------------------------------------------------------------------------------------------------

_DEMANDING = """
from zoo.contracts import Neuron
class Thing(Neuron):
    api_version = 1

    def forward(self, x, threshold):
        return x
"""


@pytest.mark.slow
@posix
def test_check_names_a_plugin_that_hangs_and_still_checks_the_others(tmp_path: Path) -> None:
    neurons = {"zoo.neurons": {"waits": "zoo_waits:Thing", "demanding": "zoo_demanding:Thing"}}
    site = add_plugin(tmp_path / "site", "zoo-odd", {"zoo_waits": WAITS, "zoo_demanding": _DEMANDING}, neurons)
    done = cli(site, "plugins", "check", "zoo-odd", "--timeout", "4")
    assert done.returncode == 1
    assert "takes over 4 s" in done.stdout
    assert (
        " ".join(done.stdout.split()).count("missing 1 required positional argument: 'threshold'") == 1
    )  # of every check's failures
    assert re.search(r"^  \d+ more checks fail for the same cause$", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert re.search(r"^2 components: \d+ passed, \d\d failed, \d+ skipped$", done.stdout, re.MULTILINE)


@pytest.mark.slow
@posix
def test_check_names_a_check_that_ends_its_process(tmp_path: Path) -> None:
    ends = _DEMANDING.replace("return x", "import os; os._exit(5)").replace(", threshold", "")
    site = add_plugin(tmp_path / "site", "zoo-ends", {"zoo_ends": ends}, {"zoo.neurons": {"ends": "zoo_ends:Thing"}})
    done = cli(site, "plugins", "check", "zoo-ends")
    assert "the check ended the process with status 5; the checks behind it were not run" in " ".join(
        done.stdout.split()
    )
    assert "\n1 component: " in done.stdout
    assert done.returncode == 1
