"""timm's own tests/test_models.py passes on our models, in a process where timm lists no others.

TorchScript is left out: it is deprecated in torch, and the networks have no scripted form.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from zoo.registry.components import default_registry, parse_name, providers_of

HERE = Path(__file__).parent
SMALL = (
    "has8_resnet_b8_m2_d4_ste_bpd",
    "has8_vgg_b4_m2_d4_fourier_bpd",
    "has8_resnet50_b1_m2_d4_ste_rate",
    "has8_resnetsmall_b8_m2_d4_ste_bpd",
    "has8_resnetfull_b4_m2_d4_ste_bpd",
    "has8_vgg_b1_m2_d2_sigmoid_bpd_lif",
    "has8_vgg_b1_m2_d2_tanh_rate_plif",
    "has8_vgg_b1_m2_d2_sigmoidraw_bpd",
    "has8_vgg_b1_m2_d2_tanhraw_bpd",
    "has8_vgg_b1_m2_d2_fourierraw_bpd",
    "snn_vgg_b1_m2_d2_ste_bpd",
    "ann_vgg_b1_m2_d2",
    "dual_vgg_b1_m2_d2",
    "timm_test_resnet",
)
"""Every decoder, neuron, bit-plane encoder and backbone shape, and families with a small network.

The first has published weights."""

LARGE = (
    "has8_resnet_b32_m2_d4_fourier_bpd",
    "has8_vgg_b16_m2_d4_fourier_bpd",
    "has8_resnet50_b16_m2_d4_ste_bpd",
    "has8_resnet34_b8_m2_d4_fourier_bpd",
    "has8_resnet101_b4_m2_d4_ste_bpd",
    "has8_resnet152_b2_m2_d4_ste_bpd",
    "sew_resnet18_direct",
    "sew_resnet18_phase",
    "sew_resnet18_rate_lif",
    "sew_resnet18_ttfs_plif",
    "ann_resnet18",
)
"""The paper's sizes, the deep backbones, and the baselines with the other encoders."""

EVERY_MODEL = {
    "test_model_forward",
    "test_model_backward",
    "test_model_default_cfgs",
    "test_model_forward_features",
    "test_model_forward_intermediates_features",
    "test_model_forward_intermediates",
    "test_prune_intermediate_layers_contract",
    "test_model_forward_fx",
    "test_model_backward_fx",
}
"""Tests that must have run on every model, so that none can vanish unnoticed."""

WITH_WEIGHTS = {"test_model_load_pretrained", "test_model_features_pretrained"}
"""Tests that must have run on every model with published weights."""


@pytest.fixture(scope="module")
def timms_tests(request: pytest.FixtureRequest) -> Path:
    """test_models.py of the installed version, downloaded once into pytest's cache; without a registry this fails."""
    assert request.config.cache is not None
    cache, version = request.config.cache.mkdir("timm-tests"), importlib.metadata.version("timm")
    folder = cache / f"timm-{version}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as beside:
            only_source = ("--quiet", "--no-deps", "--no-binary", "timm", "--dest", beside)
            command = (sys.executable, "-m", "pip", "download", *only_source, f"timm=={version}")
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"pip could not download timm's tests, so nothing was tested:\n{done.stderr}"
            with tarfile.open(Path(beside, f"timm-{version}.tar.gz")) as archive:
                # Not timm itself: the installed one is tested.
                inside = [each for each in archive if Path(each.name).parts[1:2] in (("tests",), ("pyproject.toml",))]
                archive.extractall(beside, members=inside, filter="data")
            Path(beside, folder.name).rename(folder)
    return folder / "tests" / "test_models.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("models", [SMALL, *((model,) for model in LARGE)], ids=lambda models: models[-1])
def test_timms_tests_pass(models: tuple[str, ...], timms_tests: Path, tmp_path: Path) -> None:
    # timm leaves tests out on GitHub, and changes timeouts and devices by these.
    dropped = ("GITHUB_ACTIONS", "TIMEOUT", "TORCH_DEVICE", "TORCH_BACKEND", "PYTEST_ADDOPTS")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"TIMM_CONTRACT_MODELS": " ".join(models), "PYTHONPATH": str(HERE)}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    plugins = ("-p", "timm_narrowing", "-p", "no:cacheprovider", "--timeout=0")
    chosen = ("-k", f"({' or '.join(models)}) and not torchscript", f"--junitxml={tmp_path / 'report.xml'}")
    command = (sys.executable, "-m", "pytest", *plugins, *chosen, "-q", "--tb=short", str(timms_tests))
    root = timms_tests.parent.parent
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-3000:]}"
    ran = set()
    for case in ElementTree.parse(tmp_path / "report.xml").iter("testcase"):
        function, _, parameters = case.attrib["name"].partition("[")
        assert not [child.attrib for child in case if child.tag == "skipped"], case.attrib  # nor expected to fail
        ran.add((function, next(model for model in models if model in parameters)))
    expected = {(function, model) for function in EVERY_MODEL for model in models}
    assert ran >= expected | {(function, SMALL[0]) for function in WITH_WEIGHTS if SMALL[0] in models}


def test_every_component_of_the_zoos_own_is_in_one_of_the_models() -> None:
    kinds = ("family", "backbone", "encoder", "decoder", "neuron")
    components = default_registry().components()
    ours = {(c.kind, c.name) for c in components if c.distribution == "has8-zoo" and c.kind in kinds}
    used = {(c.kind, c.name) for model in (*SMALL, *LARGE) for c in providers_of(parse_name(model))}
    assert len(ours) > 20
    # timm's tests are of still images, and digits have tests of their own
    assert ours - used == {("encoder", "frames"), ("neuron", "radix")}
