"""The README says the truth: its Python runs, its commands exist, its figures are the catalog's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.catalog import default_catalog
from zoo.registry import parse_name

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.mark.slow
def test_the_python_of_the_readme_runs_in_one_go() -> None:
    blocks = _blocks("python")
    assert len(blocks) >= 3
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5226409984 1161426432" in done.stdout


def test_there_are_two_set_up_commands_and_ci_runs_the_second() -> None:
    commands = _blocks("bash")
    assert len(commands) == 2
    assert commands[0].rstrip().endswith("zoo predict")
    assert f"<!-- test-command -->\n```bash\n{commands[1]}```" in README


def test_the_error_shown_is_the_error_raised() -> None:
    with pytest.raises(ValueError, match="fourrier") as caught:
        zoo.parse_name("has8_resnet_b32_m2_d4_fourrier_bpd")
    assert f"{caught.type.__name__}: {caught.value}" in README


def test_what_the_readme_says_of_the_spikes_is_what_the_catalog_says() -> None:
    names = ("has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10")
    hybrid, control = (default_catalog().weight(parse_name(name)) for name in names)
    gain = hybrid.metrics["top1"] - control.metrics["top1"]
    assert f"the hybrid is {gain:.2f} points ahead" in README
    assert (hybrid.recipe, hybrid.seed, hybrid.epochs) == (control.recipe, control.seed, control.epochs)


def test_no_page_asks_an_index_for_a_distribution_that_is_not_released() -> None:
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")):
        asked = re.findall(r"pip install '?((?:has8-zoo|zoo-)[\w-]*)", page.read_text(encoding="utf-8"))
        assert asked == [], page
