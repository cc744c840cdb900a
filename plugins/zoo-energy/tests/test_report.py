"""A profile as one page, and as tables for a paper."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn
from zoo_energy.report import methods, to_csv, to_html, to_latex

from zoo.profiling import Profile, profile


@pytest.fixture(scope="module")
def counted() -> Profile:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), neuron.IFNode(), nn.Flatten(), nn.Linear(144, 10))
    return profile(network, images=torch.rand(2, 1, 8, 8) * 5, reset=functional.reset_net)


def test_the_report_is_one_page_with_every_layer_and_model(counted: Profile) -> None:
    page = to_html(counted)
    assert page.startswith("<!DOCTYPE html>")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert counted.activity is not None
    for name in [each.name for each in counted.activity.synapses] + [each.name for each in counted.estimates]:
        assert name in page
    assert f"{counted.activity.total.macs / 2:,.0f} MACs" in methods(counted)
    assert methods(counted).split(" (T = ")[0] in page


def test_the_table_is_written_as_csv_and_latex(counted: Profile) -> None:
    lines = to_csv(counted).splitlines()
    assert counted.activity is not None
    assert len(lines) == 1 + len(counted.activity.synapses)
    assert lines[0].startswith("layer,input,nonzero")
    latex = to_latex(counted)
    assert latex.count(r"\\") == len(lines)
    assert r"\%" in latex
