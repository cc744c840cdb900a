"""Without the extra `train`: one line that says what to install, before anything is read or written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zoo.errors import MissingExtraError, install_extra
from zoo.training import train


def _without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where that module cannot be imported."""
    code = f"import sys; sys.modules[{module!r}] = None; from zoo.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_train_names_the_extra(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = _without("accelerate", "train", "ann_resnet_b1_m1_d1", "--data", str(tmp_path), "--out", str(out))
    assert done.returncode == 2
    assert done.stderr == f"error: training needs accelerate; install it with: {install_extra('train')}\n"
    assert not out.exists()


def test_what_only_the_end_of_a_run_needs_is_asked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"curves\.png needs matplotlib.*pip install -e '\.\[train\]' in "):
        train("ann_resnet_b1_m1_d1", tmp_path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_eval_names_the_extra(tmp_path: Path) -> None:
    done = _without("torchmetrics", "eval", "has8_resnet_b8_m2_d4_ste_bpd.cifar10", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"error: measuring accuracy needs torchmetrics; install it with: {install_extra('train')}\n"
