"""plugins/zoo-has8-reference as a user gets it: a wheel beside an installed zoo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *flags, str(PLUGIN)], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    target = tmp_path_factory.mktemp("site")
    flags = ("--no-deps", "--no-index", "--quiet", "--no-compile", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, str(wheel)], check=True)
    return target


def _python(site: Path, cwd: Path, *arguments: str | Path) -> str:
    """Standard output of this Python with `site` on its path."""
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"zoo_has8_reference/converter.py", "zoo_has8_reference/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.startswith(("zoo_has8_reference/", "zoo_has8_reference-")) for name in names)


def test_its_own_tests_pass_on_the_wheel(site: Path, tmp_path: Path) -> None:
    out = _python(site, tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "-q", PLUGIN / "tests")
    assert re.search(r"\d+ passed", out), out
    where = _python(site, tmp_path, "-c", "import zoo_has8_reference as z; print(z.__file__)").strip()
    assert Path(where).is_relative_to(site)


def test_its_components_are_listed(site: Path, tmp_path: Path) -> None:
    code = (
        "import json; from zoo.registry import default_registry\n"
        "print(json.dumps([[c.kind, c.name, c.state] for c in default_registry().check()"
        " if c.distribution == 'zoo-has8-reference']))"
    )
    listed = json.loads(_python(site, tmp_path, "-c", code))
    assert {(kind, name) for kind, name, _ in listed} == COMPONENTS
    assert {state for *_, state in listed} == {"loaded"}


def test_the_readme_converts_a_checkpoint(site: Path, tmp_path: Path) -> None:
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
    logits = json.loads(_python(site, tmp_path, "-c", f"{snippet}\n{classify}"))
    np.testing.assert_allclose(logits, want, rtol=0, atol=1e-5)


@pytest.mark.skipif("fourierref" in zoo.list_components("encoder"), reason="the plugin is installed here")
def test_without_it_its_names_are_unknown() -> None:
    with pytest.raises(UnknownComponentError, match="unknown backbone 'resnetref'; did you mean 'resnet'"):
        zoo.parse_name("has8_resnetref_b4_m2_d4_fourierref_bpdref_lifref")
