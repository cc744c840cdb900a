"""The picture of where spikes would pay: its lines are what the profile says, and one command draws it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import energy_break_even
from benchmarks.common.break_even_picture import IN_WORDS, STYLES, equal_rate, equal_timesteps, ratio_at
from benchmarks.common.reporting import RESULTS

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
BY_HAND: dict[str, Any] = {"network": {"total": 100.0, "spikes": 60.0, "timesteps": 80.0}, "control_pj": 50.0}
"""20 are spent once; of 80 in 4 timesteps 60 are spikes, at a rate of 0.3."""


def kept() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / "energy_break_even.json").read_text(encoding="utf-8"))
    return content


def test_lines_by_hand() -> None:
    assert ratio_at(BY_HAND, 0.3, 0.3) == pytest.approx(2)
    assert ratio_at(BY_HAND, 0.15, 0.3) == pytest.approx((100 - 30) / 50)
    assert equal_rate(BY_HAND, 4, 0.3, 4) == pytest.approx(0.3 * (50 - 20 - 20) / 60)
    assert equal_rate(BY_HAND, 2, 0.3, 4) == pytest.approx(0.3 * (60 - 20) / 60)  # 30 left for 2 timesteps, 60 for 4
    assert equal_timesteps(BY_HAND, 4) == pytest.approx(4 * 30 / 80)
    still = BY_HAND | {"network": BY_HAND["network"] | {"spikes": 0.0}}
    assert equal_rate(still, 4, 0.3, 4) is None


def test_the_lines_meet_the_break_even_of_the_profile() -> None:
    spiking = [network for network in kept()["networks"] if not network["contains_control"]]
    assert len(spiking) == 2
    for network in spiking:
        points = {point["model"]: point for point in network["break_even"]}
        for model in network["models"]:
            point = points[model["name"]]
            rate = equal_rate(model, network["timesteps"], network["spike_rate"], network["timesteps"])
            assert point["timesteps"] == pytest.approx(equal_timesteps(model, network["timesteps"]))
            if point["spike_rate"] is not None:
                assert point["spike_rate"] == pytest.approx(rate)


def test_the_hybrid_is_above_its_control_even_without_a_spike() -> None:
    (hybrid,) = (network for network in kept()["networks"] if network["contains_control"])
    assert {model["name"] for model in hybrid["models"]} == STYLES.keys() == IN_WORDS.keys()
    assert all(ratio_at(model, 0, hybrid["spike_rate"]) >= 1 for model in hybrid["models"])


def test_one_command_draws_the_kept_figures(tmp_path: Path) -> None:
    missing = CliRunner().invoke(energy_break_even.app, ["--kept", "--out", str(tmp_path)], env=PLAIN)
    assert missing.exit_code != 0
    assert "run this with --data DIR first" in str(missing.exception)
    (tmp_path / "energy_break_even.json").write_text(json.dumps(kept()), encoding="utf-8")
    result = CliRunner().invoke(energy_break_even.app, ["--kept", "--out", str(tmp_path)], env=PLAIN)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "energy_break_even.png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(energy_break_even.app, ["--out", str(tmp_path)], env=PLAIN).exit_code == 2
