"""The table of the README is the table of the code."""

from __future__ import annotations

import re
from pathlib import Path

from zoo_spikingjelly.published import PUBLISHED

README = Path(__file__).parents[1] / "README.md"


def _rows() -> list[list[str]]:
    text = README.read_text(encoding="utf-8").partition("<!-- models:start -->")[2].partition("<!-- models:end -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]


def test_every_network_is_listed_with_its_paper_and_timesteps() -> None:
    networks = {}
    for names, paper, timesteps, _ in _rows():
        first, *sizes = re.findall(r"`(\w+)`", names)
        stem = first.removeprefix("sj_").rstrip("0123456789") if sizes else ""
        for name in [first.removeprefix("sj_"), *(stem + size for size in sizes)]:
            networks[name] = (paper.partition(",")[0], int(timesteps))
    assert networks == {name: (network.paper, network.timesteps) for name, network in PUBLISHED.items()}
