"""The loop: a step's arithmetic, its penalty on spikes, its random changes, and the runs that it refuses or stops."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import zoo
from tests.training.made_runs import NAME, Losses, assert_same, finish, states, training
from zoo.data import ImageSplit
from zoo.data.splits import limit_images
from zoo.encoders.bitplanes import straight_through_planes
from zoo.errors import DivergenceError, InputError, MemoryLimitError
from zoo.families.over_time import NetworkOverTime
from zoo.training import evaluate
from zoo.training.batches import make_plan, shift
from zoo.training.figures import StepFigures, summarise
from zoo.training.loop import Training

STILL: dict[str, Any] = {"flip": False, "max_shift": 0}


def originals(data: ImageSplit) -> torch.Tensor:
    return data.read(torch.arange(len(data)))[0].float() / 255


def seen_by(network: nn.Module) -> list[torch.Tensor]:
    """The inputs of the network, as they come."""
    seen: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    return seen


# A step ---------------------------------------------------------------------------------------------------------------


def test_a_step_is_that_of_plain_torch(data: ImageSplit, tmp_path: Path) -> None:
    """The mean over micro-batches, clipped, with the schedule's rate."""
    few, losses = limit_images(data, 8), Losses()
    changes: dict[str, Any] = {"optimizer": "momentum", "momentum": 0.0, "clip_norm": 0.1, "warmup_epochs": 0, **STILL}
    run = training(few, tmp_path, accumulate=2, observers=[losses], **changes)
    twin = zoo.create_model(NAME, num_classes=2).train()
    twin.load_state_dict(run.network.state_dict())
    decays = {id(p): group["weight_decay"] for group in run.engine.optimizer.param_groups for p in group["params"]}
    expected = []
    for micro in range(2):
        pixels, labels = few.read(run.plan.order(0)[0, micro])
        loss = functional.cross_entropy(twin(pixels.float() / 255), labels)
        (loss / 2).backward()
        expected.append(float(loss.detach()))
    norm = float(nn.utils.clip_grad_norm_(twin.parameters(), 0.1))
    run.run_epoch()
    [step] = losses.steps
    with torch.no_grad():
        for own, theirs in zip(twin.parameters(), run.network.parameters(), strict=True):
            assert own.grad is not None
            own.sub_(step.lr * (own.grad + decays[id(theirs)] * own))
    assert step.images == 8
    assert step.loss == pytest.approx(sum(expected) / 2, rel=1e-6)
    assert step.grad_norm == pytest.approx(norm, rel=1e-5)
    assert math.hypot(*step.block_norms.values()) == pytest.approx(norm, rel=1e-5)
    assert step.lr == pytest.approx(2e-3 * (1 + math.cos(math.pi / 3)) / 2)
    for name, own in twin.named_parameters():
        assert torch.allclose(own, run.network.get_parameter(name), atol=1e-7), name


def test_an_epoch_may_have_steps_that_an_earlier_version_took() -> None:
    before = StepFigures(1.0, 2.0, 1, 2, 0.1, None)
    row = summarise(1, [before, replace(before, block_norms={"head": 2.0})], 1.0)
    assert row.block_norms == {"head": 2.0}
    assert summarise(1, [before], 1.0).block_norms == {}


def test_epochs_take_every_image_in_another_order() -> None:
    plan = make_plan(24, 8, 2, seed=3)
    orders = [plan.order(epoch) for epoch in (0, 1, 0)]
    assert [order.shape for order in orders] == [(3, 2, 4)] * 3
    assert [order.flatten().sort().values.tolist() for order in orders] == [list(range(24))] * 3
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


def test_training_learns(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, "ann_resnet_b2_m2_d1", epochs=8, max_shift=2)
    finish(run)
    assert run.rows[-1].train_loss < run.rows[0].train_loss
    assert (run.rows[-1].epoch, run.rows[-1].step) == (8, 24)


def test_a_trained_model_is_measured_in_float32_and_eval_mode(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, epochs=2, precision="bf16", channels_last=True)
    seen: list[tuple[torch.dtype, bool]] = []
    conv = run.network.get_submodule("stages.0.0.analog.conv")
    conv.register_forward_hook(lambda module, args, out: seen.append((out.dtype, module.training)))
    run.run_epoch()
    assert set(seen) == {(torch.bfloat16, True)}
    seen.clear()
    evaluate(run.network, data)
    assert set(seen) == {(torch.float32, False)}
    seen.clear()
    run.run_epoch()
    assert set(seen) == {(torch.bfloat16, True)}


def test_the_spike_rate_is_that_of_the_last_step(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, epochs=1, learning_rate=1e-12)  # the weights stay
    inputs, counted = seen_by(run.network), list[tuple[int, int]]()
    finish(run)
    for module in run.network.modules():
        if isinstance(module, zoo.contracts.Neuron):
            module.register_forward_hook(lambda m, args, out: counted.append((int(out.sum()), out.numel())))
    run.network.train()(inputs[-1])
    expected = sum(spikes for spikes, _ in counted) / sum(values for _, values in counted)
    assert run.rows[0].spike_rate == pytest.approx(expected, rel=1e-3)
    analog = training(data, tmp_path / "ann", "ann_resnet_b2_m2_d1", epochs=1)
    finish(analog)
    assert analog.rows[0].spike_rate is None


def test_a_network_that_pays_for_spikes_fires_less(data: ImageSplit, tmp_path: Path) -> None:
    rows = []
    for penalty in (0.0, 20.0):
        run = training(data, tmp_path / str(penalty), epochs=5, spike_penalty=penalty, learning_rate=0.01)
        finish(run)
        rows.append(run.rows)
    free, paying = rows
    assert free[-1].spike_rate is not None
    assert paying[-1].spike_rate is not None
    assert paying[-1].spike_rate < 0.8 * free[-1].spike_rate
    assert paying[0].train_loss > free[0].train_loss  # the penalty is in the loss that is shown


def test_a_teacher_and_a_moving_average(data: ImageSplit, tmp_path: Path) -> None:
    """The loss is the cross-entropy with the teacher's answers; the network is the average, also after a resumption."""
    teacher, losses = zoo.create_model("ann_resnet_b2_m2_d1", num_classes=2).eval(), Losses()

    def started(out: Path) -> Training:
        changes: dict[str, Any] = {"ema": 0.5, "distillation": 1.0, **STILL}
        return training(data, out, observers=[losses], teacher=teacher, **changes)

    whole = started(tmp_path / "whole")
    inputs = seen_by(whole.engine.parallel)
    twin = copy.deepcopy(whole.network).train()
    for _ in range(2):
        whole.run_epoch()
    with torch.no_grad():
        expected = functional.cross_entropy(twin(inputs[0]), teacher(inputs[0]).softmax(1))
    assert losses.steps[0].loss == pytest.approx(float(expected), rel=1e-5)
    raw, average = whole.engine.parallel.state_dict(), whole.network.state_dict()
    assert raw.keys() == average.keys()
    assert not torch.equal(raw["head.fc.weight"], average["head.fc.weight"])
    part = started(tmp_path / "parts")
    part.run_epoch()
    part.save()
    resumed = started(tmp_path / "parts")
    resumed.resume()
    resumed.run_epoch()
    assert_same(states(resumed), states(whole))


def test_early_answers_have_their_part_of_the_loss(data: ImageSplit, tmp_path: Path) -> None:
    """The mean over timesteps of the cross-entropies with labels and with the teacher's answers."""
    teacher, losses = zoo.create_model("ann_resnet_b2_m2_d1", num_classes=2).eval(), Losses()
    changes: dict[str, Any] = {"timestep_loss": 0.75, "distillation": 0.5, **STILL}
    run = training(data, tmp_path, "sew_resnet_b2_m2_d1_direct", observers=[losses], teacher=teacher, **changes)
    inputs, twin = seen_by(run.engine.parallel), copy.deepcopy(run.network).train()
    run.run_epoch()
    labels = data.read(run.plan.order(0)[0, 0])[1]
    assert isinstance(twin, NetworkOverTime)
    with torch.no_grad():
        targets = 0.5 * functional.one_hot(labels, 2) + 0.5 * teacher(inputs[0]).softmax(1)
        answers = twin.answers_over_time(inputs[0])
    early = [float(functional.cross_entropy(answer, targets)) for answer in answers]
    assert max(early) > early[-1] * 1.001
    assert losses.steps[0].loss == pytest.approx(0.25 * early[-1] + 0.75 * sum(early) / len(early), rel=1e-5)
    with pytest.raises(InputError, match="timestep_loss"):
        training(data, tmp_path, "has8_resnet_b2_m2_d1_ste_bpd", timestep_loss=0.5).run_epoch()


def test_the_average_of_a_few_steps_has_left_the_untrained_weights(data: ImageSplit, tmp_path: Path) -> None:
    """At a decay of 0.999 all the way it would be 99 % of them: a short trial would seem to have learned nothing."""
    run = training(data, tmp_path, ema=0.999, epochs=3)
    untrained = copy.deepcopy(run.network.state_dict()["head.fc.weight"])
    for _ in range(3):
        run.run_epoch()
    average, last = (network.state_dict()["head.fc.weight"] for network in (run.network, run.engine.model))
    assert (average - last).norm() < (untrained - last).norm() / 2


@pytest.mark.slow
def test_a_compiled_step_is_an_eager_one(data: ImageSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dynamo's eager backend, which needs no compiler."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **_: compiled(model, backend="eager"))
    finals = []
    for name in ("compiled", "eager"):
        run = training(data, tmp_path / name, epochs=1, compile=name == "compiled")
        finish(run)
        finals.append(states(run))
    for key, value in finals[0].items():
        assert torch.allclose(value, finals[1][key], atol=1e-5), key


class Rounding(nn.Module):
    """Two operations whose result bfloat16 rounds, then bit planes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through_planes(x * x + x)


# Random changes of images ---------------------------------------------------------------------------------------------


def test_moving_moves_whole_images() -> None:
    x = torch.arange(3 * 6 * 6, dtype=torch.float32).reshape(1, 3, 6, 6) + 1
    assert torch.equal(shift(x, 0, torch.Generator()), x)
    padded = functional.pad(x, (1, 1, 1, 1))
    valid = [padded[:, :, dy : dy + 6, dx : dx + 6] for dy in range(3) for dx in range(3)]
    seen = set()
    for seed in range(40):
        moved = shift(x, 1, torch.Generator().manual_seed(seed))
        seen.add([torch.equal(moved, each) for each in valid].index(True))
    assert len(seen) > 5


@pytest.mark.parametrize(
    "changing", [{"mixup": 0.8}, {"cutmix": 1.0}, {"randaugment": 2}, {"crop_share": 0.3}], ids=lambda c: next(iter(c))
)
def test_changed_images_are_drawn_by_the_seed(data: ImageSplit, tmp_path: Path, changing: dict[str, Any]) -> None:
    inputs = []
    for number in range(2):
        run = training(data, tmp_path / str(number), epochs=1, **STILL, **changing)
        inputs.append(seen_by(run.network))
        finish(run)
    assert all(map(torch.equal, *inputs))
    images = torch.cat(inputs[0])
    changed = sum(not (originals(data) == image).all((1, 2, 3)).any() for image in images)
    assert changed > 0.7 * len(images)


def test_a_share_of_the_batches_is_mixed(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, "ann_resnet_b1_m1_d1", epochs=10, cutmix=1.0, mix_share=0.5, **STILL)
    seen = seen_by(run.network)
    finish(run)
    unmixed = [all((originals(data) == image).all((1, 2, 3)).any() for image in batch) for batch in seen]
    assert 0.2 < sum(unmixed) / len(unmixed) < 0.8


def test_a_teacher_of_other_pixels_is_refused(data: ImageSplit, tmp_path: Path) -> None:
    teacher = zoo.create_model("ann_resnet_b2_m2_d1", num_classes=2).eval()
    teacher.pretrained_cfg |= {"mean": (0.4, 0.5, 0.6)}
    with pytest.raises(InputError, match=r"teacher .*0\.6"):
        training(data, tmp_path, teacher=teacher)


# Refused and stopped --------------------------------------------------------------------------------------------------


def test_batches_and_penalties_that_cannot_be(data: ImageSplit, tmp_path: Path) -> None:
    assert training(data, tmp_path, batch_size=64).plan.batch_size == 24  # all images are one step
    with pytest.raises(InputError, match="spike_penalty"):
        training(data, tmp_path, "ann_resnet_b2_m2_d1", spike_penalty=0.5).run_epoch()
    with pytest.raises(InputError, match="batch_size=6"):
        training(data, tmp_path, accumulate=3)
    with pytest.raises(InputError, match="batch_size=16"):
        training(data, tmp_path, accumulate=8)


def test_a_loss_that_is_no_number_names_step_and_layer(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path)
    run.run_epoch()
    run.save()
    good = run.folder.checkpoint.read_bytes()
    with torch.no_grad():
        run.network.get_parameter("stages.0.0.analog.conv.weight").view(-1)[0] = math.nan
    with pytest.raises(DivergenceError, match=r"epoch 2, step 1 .*nan.*stages\.0\.0\.analog\."):
        run.run_epoch()
    assert run.folder.checkpoint.read_bytes() == good


def test_a_gradient_that_is_no_number_names_its_layer(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path)
    module = run.network.get_submodule("stages.1.0.analog")
    module.register_forward_hook(lambda m, args, out: out.register_hook(lambda gradient: gradient * math.inf) and None)
    before = states(run)
    with pytest.raises(DivergenceError, match=r"nan.*stages\.\S+"):
        run.run_epoch()
    for name, parameter in run.network.named_parameters():
        assert torch.equal(parameter, before[name]), name  # no step was taken


def test_a_loss_above_the_limit_has_exploded(data: ImageSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.training.loop.LOSS_LIMIT", 0.01)
    with pytest.raises(DivergenceError, match=r"layer \S+"):
        training(data, tmp_path).run_epoch()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
        MemoryError("no memory is left for the scratch of a kernel"),
    ],
)
def test_a_lack_of_memory_says_how_a_step_takes_less(data: ImageSplit, tmp_path: Path, error: Exception) -> None:
    run = training(data, tmp_path)

    def fail(*_: object) -> None:
        raise error

    run.network.register_forward_hook(fail)
    with pytest.raises(MemoryLimitError, match="`batch_size` of 4"):
        run.run_epoch()


def test_a_lack_of_memory_while_measuring_names_options_that_are_there(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path)

    def fail(*_: object) -> None:
        raise MemoryError

    run.network.register_forward_hook(fail)
    with pytest.raises(MemoryLimitError, match=r"batch_size.*12") as caught:
        evaluate(run.network, data)
    assert "--" not in str(caught.value)
