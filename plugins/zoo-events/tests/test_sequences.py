"""Networks whose layers keep a state from frame to frame, and their rivals without spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner
from zoo_events.family import CELLS
from zoo_events.sequences import GatedUnits, LeakyUnits, SequenceNetwork, run_steps

import zoo
from zoo.cli import app
from zoo.errors import CompositionError, ModelNameError

TIMESTEPS = 6
every_cell = pytest.mark.parametrize("cell", CELLS)


def made_network(cell: str, **options: Any) -> SequenceNetwork:
    """Build a network whose norms know the currents of frames, so that its cells fire."""
    torch.manual_seed(0)
    model = zoo.create_model(f"seq_{cell}_b4_d2", num_classes=3, timesteps=TIMESTEPS, **options)
    assert isinstance(model, SequenceNetwork)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(made_frames())
    return model.eval()


def made_frames() -> Tensor:
    return torch.rand(2, TIMESTEPS, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@every_cell
def test_a_stream_equals_the_whole_sequence(cell: str) -> None:
    model, frames = made_network(cell), made_frames()
    with model.streaming() as stream:
        answers = [stream(frame) for frame in frames.unbind(1)]
    assert torch.equal(answers[-1], model(frames))
    torch.testing.assert_close(torch.stack(answers), model.answers_over_time(frames))


@every_cell
def test_an_answer_depends_on_the_order_of_frames(cell: str) -> None:
    model, frames = made_network(cell), made_frames()
    assert not torch.allclose(model(frames), model(frames.flip(1)))


@every_cell
def test_gradients_go_back_over_truncated_timesteps_alone(cell: str) -> None:
    frames = made_frames().requires_grad_()
    whole, cut = made_network(cell), made_network(cell, truncate=4)
    torch.testing.assert_close(cut(frames), whole(frames))
    reached = []
    for model in (whole, cut):
        (gradient,) = torch.autograd.grad(model.features_over_time(frames)[-1].sum(), frames)
        reached.append(gradient.flatten(2).ne(0).any(2).any(0).tolist())
    assert reached == [[True] * 6, [False] * 4 + [True] * 2]


def test_leaky_units_round_what_is_left_of_their_state() -> None:
    currents = torch.tensor([1.2, 3.0, -9.0, 0.0, 20.0, 0.6]).view(-1, 1, 1)
    expected, h = [], 0.0
    for current in currents.flatten().tolist():
        h = 0.5 * h + current
        expected.append(min(max(round(h), 0), 4))
    assert LeakyUnits()(currents).flatten().tolist() == expected


def test_leaky_units_learn_through_rounding() -> None:
    units, currents = LeakyUnits(), torch.full((3, 1, 2), 0.8).requires_grad_()
    units(currents)[-1].sum().backward()
    assert currents.grad is not None
    assert currents.grad[:, 0, 0].tolist() == [0.25, 0.5, 1.0]  # the leak to the power of the timesteps between
    assert units.w.grad is not None
    assert units.w.grad != 0


def test_gated_units_are_those_of_torch() -> None:
    cell, reference = GatedUnits(5), nn.GRUCell(15, 5, bias=False)
    with torch.no_grad():
        reference.weight_ih.copy_(torch.eye(15))
        reference.weight_hh.copy_(cell.recurrent.weight.flatten(1))
    currents, h, expected = torch.randn(4, 3, 15), torch.zeros(3, 5), []
    for current in currents:
        h = reference(current, h)
        expected.append(h)
    torch.testing.assert_close(run_steps(cell, currents[..., None, None])[..., 0, 0], torch.stack(expected))


@every_cell
def test_it_trains_on_scans_and_loads(cell: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", images=pixels, labels=np.arange(20) % 2)
    out = tmp_path / "out"
    asked = ["--data", f"scan:{tmp_path / 'noise.npz'}", "--out", str(out), "--set-family", "truncate=3"]
    asked += ["--set", "epochs=1", "--batch-size", "8", "--precision", "float32"]
    done = CliRunner().invoke(app, ["train", f"seq_{cell}_b2_d1", *asked])
    assert done.exit_code == 0, done.output
    model = zoo.create_model(f"local-dir:{out}")
    assert (model.timesteps, model.spec.options["family"]["truncate"]) == (8, 3)


def test_wrong_cells_and_options_are_named() -> None:
    with pytest.raises(ModelNameError, match="leaky"):
        zoo.create_model("seq_lstm_b4_d2")
    with pytest.raises(CompositionError, match="truncate"):
        made_network("gru", truncate=0)
