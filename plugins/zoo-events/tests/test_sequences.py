"""Networks whose layers keep a state from frame to frame, and their rivals without spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner
from zoo_events.family import CELLS
from zoo_events.sequences import BY_MEANS, ChangeSpikes, GatedUnits, LeakyUnits, SequenceNetwork, run_steps

import zoo
from zoo.cli import app
from zoo.data import DataOptions
from zoo.errors import CompositionError, InputError, ModelNameError
from zoo.inference.compare import compare_models
from zoo.profiling.rates import mean_rate, spike_rates
from zoo.training import Observer, TrainingResult, train

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


LENGTHS = (9, 1, 4)


def made_sequences(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Sequences of several lengths, none of which is the network's T."""
    draw = torch.Generator().manual_seed(2)
    return [torch.rand(length, 3, 16, 16, generator=draw).to(dtype) for length in LENGTHS]


def padded(sequences: Sequence[Tensor], value: float) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=value)


@every_cell
@pytest.mark.parametrize("padding", [0.0, 1.0, float("nan")])
def test_a_padded_sequence_is_answered_as_if_alone(cell: str, padding: float) -> None:
    model, sequences = made_network(cell), made_sequences()
    together = model(padded(sequences, padding), lengths=LENGTHS)
    alone = [model(each[None], lengths=torch.tensor([len(each)])) for each in sequences]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)


@every_cell
@pytest.mark.parametrize("truncate", [None, 2])
def test_gradients_of_padded_sequences_are_those_alone(cell: str, truncate: int | None) -> None:
    model, sequences = made_network(cell, truncate=truncate).double(), made_sequences(torch.float64)
    together = padded(sequences, 1.0).requires_grad_()
    weights = tuple(model.parameters())
    found = torch.autograd.grad(model(together, LENGTHS).square().sum(), (together, *weights))
    loss = torch.stack([model(each[None], [len(each)]).square().sum() for each in sequences]).sum()
    torch.testing.assert_close(found[1:], torch.autograd.grad(loss, weights))
    for gradient, length in zip(found[0], LENGTHS, strict=True):
        assert gradient[:length].any()
        assert not gradient[length:].any()


@every_cell
@pytest.mark.parametrize("checkpointing", [False, True])
def test_norms_in_training_see_no_padding(cell: str, checkpointing: bool) -> None:
    found = []
    for padding in (0.0, 1.0):
        model = made_network(cell).train()
        model.set_grad_checkpointing(checkpointing)
        answers = model(padded(made_sequences(), padding), LENGTHS)
        answers.sum().backward()
        found.append((answers, *model.buffers(), *(weight.grad for weight in model.parameters())))
    torch.testing.assert_close(*found)
    model = made_network(cell)
    model.train()(padded(made_sequences(), 1.0), LENGTHS)
    conv, norm = (model.get_submodule(f"stages.0.0.{name}") for name in ("conv", "bn"))
    currents = [conv(each[None])[0] for each in made_sequences()]
    if cell in BY_MEANS:  # a sequence counts once, however long it is
        currents = [each.mean(0, keepdim=True) for each in currents]
    torch.testing.assert_close(norm.running_mean, torch.cat(currents).mean((0, 2, 3)))


@every_cell
def test_sequences_without_padding_need_no_lengths(cell: str) -> None:
    model, frames = made_network(cell), made_frames()
    torch.testing.assert_close(model(frames, [TIMESTEPS] * 2), model(frames), rtol=1e-6, atol=1e-6)
    model.train()
    torch.testing.assert_close(model(frames, [TIMESTEPS] * 2), model(frames))


@every_cell
def test_a_stream_answers_beyond_the_networks_timesteps(cell: str) -> None:
    model, (frames, *_) = made_network(cell), made_sequences()
    with model.streaming() as stream:
        for count, frame in enumerate(frames, 1):
            answer = stream(frame[None])
            torch.testing.assert_close(answer, model(frames[None, :count], [count]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "lengths", [(6,), (6, 6, 6), 6, (6, 0), (6, 7), (-1, 6), (2.0, 6.0), (True, True), torch.ones(2, 6)]
)
def test_lengths_that_do_not_fit_are_refused(lengths: Any) -> None:
    with pytest.raises(InputError, match="lengths"):
        made_network("leaky")(made_frames(), lengths)


def test_frames_that_do_not_fit_are_refused_with_lengths_too() -> None:
    model = made_network("leaky")
    for frames in (made_frames()[:, :, :2], made_frames()[:, 0], made_frames()[:, :0], made_frames().tolist()):
        with pytest.raises(InputError, match="seq_leaky"):
            model(frames, [1, 1])
    with pytest.raises(InputError, match="timesteps=4"):
        model(made_frames()[:, :4])


@every_cell
def test_an_answer_depends_on_the_order_of_frames(cell: str) -> None:
    model, frames = made_network(cell), made_frames()
    sees_sums = cell == "graded"  # what it has sent in the end follows the sum of all frames
    assert torch.allclose(model(frames), model(frames.flip(1)), atol=1e-5) == sees_sums


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


@pytest.mark.parametrize("w", [-6.0, 0.0, 4.0])
def test_leaky_units_round_what_is_left_of_their_state(w: float) -> None:
    leak = 4 / (1 + math.exp(-w))
    currents = torch.tensor([2.4, 6.0, 1.0, -18.0, 0.0, 40.0, 1.2, 0.0]).view(-1, 1, 1)
    expected, h = [], 0.0
    for current in currents.flatten().tolist():
        h = (1 - leak / 4) * h + max(leak, 1) / 4 * current
        expected.append(min(max(round(h), 0), 4))
    assert LeakyUnits(timesteps=4, w=w)(currents).flatten().tolist() == expected


def test_a_leaky_network_sees_whole_images_as_change_spikes_do() -> None:
    leaky, delta = (zoo.create_model(f"seq_{cell}_b4_d1", num_classes=3, timesteps=1) for cell in ("leaky", "delta"))
    delta.load_state_dict({key: value for key, value in leaky.state_dict().items() if not key.endswith(".w")})
    frames = torch.rand(2, 1, 3, 16, 16)
    assert torch.equal(leaky.eval()(frames), delta.eval()(frames))


def test_leaky_units_learn_through_rounding() -> None:
    units, currents = LeakyUnits(), torch.full((3, 1, 2), 0.8).requires_grad_()
    units(currents)[-1].sum().backward()
    assert currents.grad is not None
    assert currents.grad[:, 0, 0].tolist() == [0.25, 0.5, 1.0]  # what is kept, to the power of the timesteps between
    assert units.w.grad is not None
    assert units.w.grad != 0


def test_change_spikes_sum_to_the_rounded_potential() -> None:
    currents = torch.tensor([5.0, 4.0, -3.0, 0.0, -20.0, 40.0, 0.0, 0.0, 0.0, 0.0]).view(-1, 1, 1)
    spikes = ChangeSpikes(timesteps=5)(currents)
    assert spikes.flatten().tolist() == [1, 1, -1, 0, -1, 1, 1, 1, 1, 0]
    assert ChangeSpikes()(torch.tensor([2.6, -1.0, 9.0])[None]).flatten().tolist() == [3, 0, 4]


def test_spikes_below_zero_count_in_rates() -> None:
    cell = ChangeSpikes(timesteps=4)
    currents = torch.tensor([3.0, 4.0, -90.0, 0.0]).view(-1, 1, 1).requires_grad_()
    with spike_rates({"cell": cell}) as rates:
        spikes = cell(currents)
    assert spikes.flatten().tolist() == [1, 1, -1, -1]
    assert mean_rate(rates) == 1
    (slope,) = torch.autograd.grad(rates[0].rate, spikes)
    assert slope.flatten().tolist() == [0.25, 0.25, -0.25, -0.25]


def test_graded_changes_are_sent_at_once() -> None:
    currents = torch.tensor([15.0, -5.0, 40.0]).view(-1, 1, 1)
    assert ChangeSpikes(timesteps=5, graded=True)(currents).flatten().tolist() == [3, -1, 2]


def test_the_gradient_of_change_spikes_is_that_of_what_changed() -> None:
    currents = torch.tensor([3.0, 4.0, 90.0, -90.0]).view(-1, 1, 1).requires_grad_()
    spikes = ChangeSpikes(timesteps=4)(currents)
    weights = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(-1, 1, 1)
    (spikes * weights).sum().backward()
    assert currents.grad is not None  # potentials: 0.75, 1.75, 24.25 and 1.75; beyond 4 nothing passes
    assert currents.grad.flatten().tolist() == [(1 - 10 + 10 - 100 + 1000) / 4, (10 - 100 + 1000) / 4, 250, 250]


def test_change_spikes_of_lines_answer_as_the_whole_image_does() -> None:
    """The last eight frames are empty, so that every layer sends what it has left to send."""
    images = torch.rand(16, 3, 24, 24, generator=torch.Generator().manual_seed(5))
    lines = torch.stack([images * (torch.arange(24) == row)[:, None] for row in range(32)], 1)
    torch.manual_seed(0)
    still, scanned = (zoo.create_model("seq_delta_b8_d1", num_classes=3, timesteps=count) for count in (1, 32))
    with torch.no_grad():
        for _ in range(100):
            still.train()(images[:, None])
        scanned.load_state_dict(still.state_dict())
        for module in scanned.modules():
            if isinstance(module, nn.BatchNorm2d):  # means over 32 frames
                for statistic, scale in ((module.running_mean, 32), (module.running_var, 32**2)):
                    assert statistic is not None
                    statistic /= scale
        answers, expected = (model.eval()(x) for model, x in ((scanned, lines), (still, images[:, None])))
    torch.testing.assert_close(answers, expected, rtol=0, atol=0.1 * float(expected.std()))


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


class Interrupt(Exception):
    """Ends a run in the middle, as a power cut would."""


class Interrupter(Observer):
    """Breaks a run off after its first epoch."""

    def epoch_ended(self, row: Any, rows: Sequence[Any]) -> None:
        raise Interrupt


@every_cell
def test_it_has_as_many_timesteps_as_the_data_it_trains_on(cell: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", images=pixels, labels=np.arange(20) % 2)
    source, changes = f"scan:4:{tmp_path / 'noise.npz'}", {"epochs": 1, "batch_size": 8, "precision": "no"}
    result = train(f"seq_{cell}_b2_d1", source, changes=changes, out=tmp_path / "out")
    assert zoo.create_model(result.reference).timesteps == 4
    assert (result.weight.spike_rate is None) == (cell == "gru")  # it sends real numbers, also below 0


@pytest.mark.parametrize(
    "cell", ["delta", *(pytest.param(cell, marks=pytest.mark.slow) for cell in CELLS if cell != "delta")]
)
def test_a_resumed_run_is_the_uninterrupted_one(cell: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", images=pixels, labels=np.arange(20) % 2)
    changes = {"epochs": 2, "batch_size": 8, "precision": "no", "ema": 0.5}

    def run(out: str, **more: Any) -> TrainingResult:
        truncated = {"family": {"truncate": 3}}
        source = f"scan:{tmp_path / 'noise.npz'}"
        return train(f"seq_{cell}_b2_d2", source, changes=changes, out=tmp_path / out, model_options=truncated, **more)

    whole = run("whole")
    with pytest.raises(Interrupt):
        run("cut", observers=[Interrupter()])
    resumed = run("cut", resume=True)
    assert resumed.weight.sha256 == whole.weight.sha256
    assert resumed.evaluation.loss == whole.evaluation.loss


def test_wrong_cells_and_options_are_named() -> None:
    with pytest.raises(ModelNameError, match="leaky"):
        zoo.create_model("seq_lstm_b4_d2")
    with pytest.raises(CompositionError, match="truncate"):
        made_network("gru", truncate=0)


def test_sequence_networks_are_compared_on_frames(tmp_path: Path) -> None:
    np.savez(tmp_path / "frames.npz", frames=np.full((4, 8, 3, 8, 8), 90, np.uint8), labels=np.arange(4) % 2)
    data, size = tmp_path / "frames.npz", DataOptions(image_size=8)
    for row in compare_models(["seq_lif_b2_d1", "ann_resnet_b2_m1_d1"], data, data_options=size):
        assert row.figures.activity is not None
        assert row.figures.activity.images == 4
