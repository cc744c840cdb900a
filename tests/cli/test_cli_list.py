"""`zoo list` as a reader sees it, in a terminal of 80 columns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import in_terminal
from zoo.catalog import default_catalog, list_models
from zoo.registry import OURS, default_registry, parse_name

SNAPSHOT = Path(__file__).parent / "snapshots" / "list.txt"


def shown_list(*options: str) -> str:
    """Lines without the blanks that fill them up to the terminal's width."""
    shown, _ = in_terminal([sys.executable, "-m", "zoo", "list", *options], columns=80)
    return "".join(f"{line.rstrip()}\n" for line in shown.splitlines())


def test_the_list_of_a_plain_install_is_the_one_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = {component.distribution for component in default_registry().components()} - {OURS}
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", ",".join(plugins))
    shown = shown_list()
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(shown, encoding="utf-8")
        pytest.fail(f"{SNAPSHOT} was not there and has been written; read it, and keep it")
    assert shown == SNAPSHOT.read_text(encoding="utf-8"), f"delete {SNAPSHOT} and run this again, if that is better"
    assert max(map(len, shown.splitlines())) <= 80


def test_the_longest_name_of_a_weight_and_its_figures_share_a_line_of_80_columns() -> None:
    for name in list_models(pretrained=True):
        (line,) = (line for line in shown_list("--pretrained", name).splitlines() if line.startswith(name))
        assert re.fullmatch(r"(  +[\d.]+[kMG]?){5}", line.removeprefix(name))


def test_the_json_of_a_weight_says_what_it_was_trained_on_and_what_it_is_to_be_compared_with() -> None:
    name = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "list", "--pretrained", "--json", name],
        check=True,
        capture_output=True,
        text=True,
    )
    (weight,) = json.loads(done.stdout)["weights"]
    record = default_catalog().weight(parse_name(name))
    assert weight == {key: getattr(record, key) for key in weight}
    assert {"dataset", "recipe", "epochs", "seed", "control", "started_from", "sha256"} < weight.keys()
    assert (weight["dataset"], weight["control"]) == ("CIFAR-10", "ann_resnet_b8_m2_d4.cifar10")


def test_the_particulars_that_the_list_points_to_are_in_info() -> None:
    name = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
    done = subprocess.run([sys.executable, "-m", "zoo", "info", name], check=True, capture_output=True, text=True)
    record = default_catalog().weight(parse_name(name))
    training = f"{record.recipe}, {record.epochs} epochs, seed {record.seed}"
    for label, value in (("recipe", training), ("control", record.control), ("sha256", record.sha256)):
        assert re.search(rf"^  {label} +{re.escape(value)}$", done.stdout, re.M)
    assert re.search(rf"^  dataset +{re.escape(record.dataset)} ", done.stdout, re.M)
    assert "started from" not in done.stdout


def test_info_says_what_a_weight_is_not_good_for() -> None:
    name = "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10"
    done = subprocess.run([sys.executable, "-m", "zoo", "info", name], check=True, capture_output=True, text=True)
    assert re.search(rf"^  limits +{re.escape(default_catalog().weight(parse_name(name)).limits)}$", done.stdout, re.M)
