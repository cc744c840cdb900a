"""The README says the truth: its Python runs, its commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

README = Path(__file__).parent.parent / "README.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


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
    marked = re.search(r"<!-- test-command -->\n```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert marked is not None
    assert marked.group(1) == commands[1]


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (README.parent / link).exists(), link


def test_the_error_shown_is_the_error_raised() -> None:
    with pytest.raises(ValueError, match="fourrier") as caught:
        zoo.create_model("has8_resnet_b32_m2_d4_fourrier_bpd")
    assert f"{caught.type.__name__}: {caught.value}" in README.read_text(encoding="utf-8")


def test_what_the_readme_says_of_the_spikes_is_what_the_catalog_says() -> None:
    from zoo.catalog import default_catalog
    from zoo.registry import parse_name

    names = ("has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10")
    hybrid, control = (default_catalog().weight(parse_name(name)) for name in names)
    gain = hybrid.metrics["top1"] - control.metrics["top1"]
    assert f"the hybrid is {gain:.2f} points ahead" in README.read_text(encoding="utf-8")
    assert round(hybrid.figures.macs / control.figures.macs) == 9
    assert (hybrid.recipe, hybrid.seed, hybrid.epochs) == (control.recipe, control.seed, control.epochs)


def test_what_is_to_be_installed_exists_before_a_release() -> None:
    """No line of the documentation asks an index for a distribution of this repository; model cards do, later."""
    root = README.parent
    for page in (README, *root.glob("docs/*.md"), *root.glob("plugins/*/README.md")):
        asked = re.findall(r"pip install '?((?:has8-zoo|zoo-)[\w-]*)", page.read_text(encoding="utf-8"))
        assert asked == [], page
