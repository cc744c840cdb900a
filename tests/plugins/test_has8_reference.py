"""plugins/zoo-has8-reference as a user gets it: a wheel beside an installed zoo."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from tests.plugins.child_process import RunPython
from zoo.errors import UnknownComponentError

PLUGIN = Path(__file__).parents[2] / "plugins" / "zoo-has8-reference"
COMPONENTS = {
    ("backbone", "resnetref"),
    ("backbone", "vggref"),
    ("converter", "has8"),
    ("decoder", "bpdref"),
    ("encoder", "fourierref"),
    ("encoder", "sigmoidref"),
    ("encoder", "tanhref"),
    ("neuron", "lifref"),
}


BuildWheel = Callable[[Path], Path]


@pytest.fixture(scope="module")
def site(
    build_wheel: BuildWheel,
    install: Callable[[Iterable[Path], Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder that holds the installed plugin and nothing else."""
    return install([build_wheel(PLUGIN)], tmp_path_factory.mktemp("site"))


def _printed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_the_wheel_holds_the_package_alone(build_wheel: BuildWheel) -> None:
    names = zipfile.ZipFile(build_wheel(PLUGIN)).namelist()
    assert {"zoo_has8_reference/converter.py", "zoo_has8_reference/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.startswith(("zoo_has8_reference/", "zoo_has8_reference-")) for name in names)


@pytest.mark.slow
def test_its_own_tests_pass_on_the_wheel(site: Path, run_python: RunPython) -> None:
    out = _printed(run_python(["-m", "pytest", "-p", "no:cacheprovider", "-q", PLUGIN / "tests"], site))
    assert re.search(r"\d+ passed", out), out
    where = _printed(run_python("import zoo_has8_reference as z; print(z.__file__)", site)).strip()
    assert Path(where).is_relative_to(site)


@pytest.mark.slow
def test_its_components_are_listed(site: Path, run_python: RunPython) -> None:
    code = (
        "import json; from zoo.registry import default_registry\n"
        "print(json.dumps([[c.kind, c.name, c.state] for c in default_registry().check()"
        " if c.distribution == 'zoo-has8-reference']))"
    )
    listed = json.loads(_printed(run_python(code, site)))
    assert {(kind, name) for kind, name, _ in listed} == COMPONENTS
    assert {state for *_, state in listed} == {"loaded"}


@pytest.mark.slow
def test_the_readme_converts_a_checkpoint(site: Path, run_python: RunPython, tmp_path: Path) -> None:
    with np.load(PLUGIN / "tests" / "data" / "resnet_b4_m2_d4_fourier_bpd.npz") as golden:
        state = {key[6:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith("state/")}
        images, want = golden["input"], golden["eval_logits"]
    torch.save(state, tmp_path / "best.pth")
    np.save(tmp_path / "images.npy", images)
    (snippet,) = re.findall(r"```python\n(.*?)```", (PLUGIN / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    classify = (
        "import json, numpy, torch\ntorch.set_num_threads(1)\nwith torch.no_grad():\n"
        "    print(json.dumps(model.eval()(torch.from_numpy(numpy.load('images.npy'))).tolist()))"
    )
    logits = json.loads(_printed(run_python(f"{snippet}\n{classify}", site, cwd=tmp_path)))
    np.testing.assert_allclose(logits, want, rtol=0, atol=1e-5)


@pytest.mark.skipif("fourierref" in zoo.list_components("encoder"), reason="the plugin is installed here")
def test_without_it_its_names_are_unknown() -> None:
    with pytest.raises(UnknownComponentError, match="unknown backbone 'resnetref': it is in zoo-has8-reference"):
        zoo.parse_name("has8_resnetref_b4_m2_d4_fourierref_bpdref_lifref")
