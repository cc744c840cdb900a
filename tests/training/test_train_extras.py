"""Without the extra `train`: one line that says what to install, before anything is read or written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where that module cannot be imported."""
    code = f"import sys; sys.modules[{module!r}] = None; from zoo.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("module", ["accelerate", "matplotlib"])
def test_train_names_the_extra(module: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = _without(module, "train", "ann_resnet_b1_m1_d1", "--data", str(tmp_path), "--out", str(out))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert f"needs {module}" in done.stderr
    assert "pip install 'has8-zoo[train]'" in done.stderr
    assert not out.exists()


def test_eval_names_the_extra(tmp_path: Path) -> None:
    done = _without("torchmetrics", "eval", "has8_resnet_b8_m2_d4_ste_bpd.cifar10", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == (
        "error: measuring accuracy needs torchmetrics; install it with: pip install 'has8-zoo[train]'\n"
    )
