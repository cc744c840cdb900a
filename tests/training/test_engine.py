"""The engine: what a step does, where a run goes on, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import zoo
from tests.training.made_runs import NAME, assert_same, states, training
from zoo.data import ImageSplit
from zoo.data.splits import limit_images
from zoo.errors import InputError
from zoo.training import evaluate
from zoo.training.engine import Training
from zoo.training.observers.base import EpochRow, Observer, StepFigures, Totals


class Losses(Observer):
    """Keeps every step's."""

    def __init__(self) -> None:
        self.steps: list[StepFigures] = []

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        self.steps.append(figures)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(data: ImageSplit, tmp_path: Path) -> None:
    finals = []
    for stops in ((3,), (1, 1, 1)):
        out = tmp_path / str(len(stops))
        for epochs in stops:
            run = training(data, out)
            assert run.resume() == (out / "checkpoint.pt").exists()
            for _ in range(epochs):
                run.run_epoch()
        assert run.epoch == 3
        assert not list(out.glob("*.tmp"))
        assert [row.epoch for row in run.rows] == [1, 2, 3]
        finals.append(states(run))
    assert_same(*finals)


@pytest.mark.parametrize("workers", [0, 3])
def test_threads_that_read_ahead_change_nothing(data: ImageSplit, tmp_path: Path, workers: int) -> None:
    finals = []
    for number in (1, workers):
        run = training(data, tmp_path / str(number), max_shift=2)
        run._feeder._workers = number
        run.run_epoch()
        finals.append(states(run))
    assert_same(*finals)


def test_every_setting_that_differs_is_named(data: ImageSplit, tmp_path: Path) -> None:
    training(data, tmp_path).save()
    with pytest.raises(InputError, match=r"made with other settings: epochs \(3, now 9\), seed \(3407, now 1\)"):
        training(data, tmp_path, epochs=9, seed=1).resume()
    with pytest.raises(
        InputError, match=r"made with other settings: model \(has8_\w+, now has8_resnet_b2_m2_d1_fourier_rate\)"
    ):
        training(data, tmp_path, NAME.replace("ste_bpd", "fourier_rate")).resume()
    with pytest.raises(InputError, match="made with other settings: number of micro-batches"):
        training(data, tmp_path, accumulate=2).resume()
    with pytest.raises(InputError, match=r"made with other settings: images .*, data fingerprint"):
        training(limit_images(data, 16), tmp_path).resume()


def test_batches_that_cannot_be(data: ImageSplit, tmp_path: Path) -> None:
    assert training(data, tmp_path, batch_size=64).plan.batch_size == 24  # all images are one step
    with pytest.raises(InputError, match=r"cannot be split into 3 equal parts.*--batch-size 6"):
        training(data, tmp_path, accumulate=3)
    with pytest.raises(InputError, match="micro-batches of fewer than 2 images"):
        training(data, tmp_path, accumulate=8)
    with pytest.raises(InputError, match=r"needs 32 pixels a side or more, the images have 16×16; .*--image-size 32"):
        training(data, tmp_path, "has8_vgg_b1_m1_d4_ste_bpd")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch errs on the CPU alone")
def test_strides_on_a_single_pixel_are_gone_around_where_torch_errs(data: ImageSplit, tmp_path: Path) -> None:
    deep = "has8_resnet_b2_m2_d4_ste_bpd"  # at 16 pixels its maps are 4, 4, 2, 1 and 1 pixels wide
    run = training(data, tmp_path, deep, precision="bf16")
    run.run()
    assert all(torch.isfinite(parameter).all() for parameter in run.network.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch errs on the CPU alone")
def test_layers_of_another_package_that_stride_over_a_single_pixel_are_refused_in_bf16(
    data: ImageSplit, tmp_path: Path
) -> None:
    foreign = "timm_tf_efficientnetv2_b0"  # 32 times coarser than its images, by a class of convolutions of its own
    with pytest.raises(InputError, match=r"16×16.*--precision no, or --image-size 17 or more"):
        training(data, tmp_path, foreign, precision="bf16")
    training(data, tmp_path, foreign, precision="no")


def test_training_learns(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, "has8_resnet_b8_m2_d1_ste_bpd", epochs=12, learning_rate=0.01)
    run.run()
    assert run.rows[-1].train_loss < run.rows[0].train_loss
    assert run.rows[-1].epoch == 12
    assert run.rows[-1].step == 36
    assert evaluate(run.network, data).top["top1"] > 90


def test_a_step_is_what_it_says(data: ImageSplit, tmp_path: Path) -> None:
    """One step against plain torch: the mean over micro-batches, clipped, with the schedule's rate."""
    plain: dict[str, Any] = {"optimizer": "momentum", "momentum": 0.0, "flip": False, "max_shift": 0}
    run = training(data, tmp_path, accumulate=2, clip_norm=0.1, **plain)
    twin = zoo.create_model(NAME, num_classes=2).train()
    twin.load_state_dict(run.network.state_dict())
    losses = []
    for micro in range(2):
        rows = run.plan.rows(0, 0, micro)
        pixels, labels = data.read(rows)
        loss = functional.cross_entropy(twin(pixels.float() / 255), labels)
        (loss / 2).backward()
        losses.append(float(loss.detach()))
    norm = float(nn.utils.clip_grad_norm_(twin.parameters(), 0.1))
    run.schedule.step_update(1)
    rate = run.optimizer.param_groups[0]["lr"]
    decays = {id(p): group["weight_decay"] for group in run.optimizer.param_groups for p in group["params"]}
    with torch.no_grad():
        for own, theirs in zip(twin.parameters(), run.network.parameters(), strict=True):
            assert own.grad is not None
            own.sub_(rate * (own.grad + decays[id(theirs)] * own))
    figures, stopping = run._update(next(run._feeder.steps(0, 0)))
    assert figures.loss == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert figures.grad_norm == pytest.approx(norm, rel=1e-5)
    assert (figures.images, stopping, figures.lr) == (8, False, rate)
    for name, own in twin.named_parameters():
        assert torch.allclose(own, run.network.get_parameter(name), atol=1e-7), name


def test_epochs_see_every_image_in_another_order(data: ImageSplit, tmp_path: Path) -> None:
    plan = training(data, tmp_path, accumulate=2).plan
    orders = [torch.cat([plan.rows(epoch, s, m) for s in range(plan.steps) for m in range(2)]) for epoch in (0, 1, 0)]
    assert [order.sort().values.tolist() for order in orders] == [list(range(24))] * 3
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


def test_the_spike_rate_is_that_of_the_last_step(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, epochs=1, learning_rate=1e-12)  # the weights stay
    rows = run.plan.rows(0, run.plan.steps - 1, 0)
    batch = next(run._feeder.steps(0, run.plan.steps - 1))[0]
    assert len(rows) == len(batch.x)
    spikes, values = 0, 0

    def count(module: nn.Module, args: object, output: torch.Tensor) -> None:
        nonlocal spikes, values
        spikes, values = spikes + int(output.sum()), values + output.numel()

    run.run()
    for module in run.network.modules():
        if isinstance(module, zoo.contracts.Neuron):
            module.register_forward_hook(count)
    run.network.train()(batch.x)
    assert run.rows[0].spike_rate == pytest.approx(spikes / values, rel=1e-3)
    assert training(data, tmp_path / "ann", "ann_resnet_b2_m2_d1").network.timesteps == 1


def test_a_network_without_neurons_has_no_spike_rate(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, "ann_resnet_b2_m2_d1", epochs=1)
    run.run()
    assert run.rows[0].spike_rate is None


def test_a_trained_model_is_measured_in_float32(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, epochs=1, precision="bf16")
    seen: list[torch.dtype] = []
    conv = run.network.get_submodule("stages.0.0.analog.conv")
    conv.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    run.run()
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    evaluate(run.network, data)
    assert set(seen) == {torch.float32}
    seen.clear()
    run.run_epoch()
    assert set(seen) == {torch.bfloat16}  # and the engine's precision is back


@pytest.mark.parametrize("mixing", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_mixed_images_are_timms_and_the_same_again(data: ImageSplit, tmp_path: Path, mixing: dict[str, Any]) -> None:
    seen: list[torch.Tensor] = []
    finals = []
    for number in range(2):
        run = training(data, tmp_path / str(number), epochs=1, max_shift=0, label_smoothing=0.1, **mixing)
        run.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        run.run()
        finals.append(states(run))
    assert_same(*finals)
    originals = data.read(torch.arange(len(data)))[0].float() / 255
    both = torch.cat([originals, originals.flip(3)])
    assert all(
        float((both - image).abs().amax((1, 2, 3)).min()) > 0 for image in seen[0]
    )  # none is an image of the data
    plain = training(data, tmp_path / "plain", epochs=1, max_shift=0, label_smoothing=0.1)
    plain.run()
    assert not torch.equal(states(plain)["head.fc.weight"], finals[0]["head.fc.weight"])


def test_a_share_of_the_batches_is_mixed(data: ImageSplit, tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []
    run = training(data, tmp_path, epochs=12, flip=False, max_shift=0, cutmix=1.0, mix_share=0.5)
    run.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    run.run()
    originals = data.read(torch.arange(len(data)))[0].float() / 255
    unmixed = [all((originals == image).all((1, 2, 3)).any() for image in batch) for batch in seen]
    assert 0.2 < sum(unmixed) / len(unmixed) < 0.8


def test_fp16_needs_a_gpu(data: ImageSplit, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision fp16 needs a GPU; on a CPU choose bf16 or no"):
        training(data, tmp_path, precision="fp16")


# Schedules ------------------------------------------------------------------------------------------------------------


def _rates(run: Training) -> list[float]:
    rates = []
    for step in range(1, run.recipe.epochs * run.plan.steps + 1):
        run.schedule.step_update(step)
        rates.append(run.optimizer.param_groups[0]["lr"])
    return rates


def test_settings_reach_the_optimiser_and_the_schedule(data: ImageSplit, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "learning_rate": 0.01,
        "weight_decay": 0.5,
        "optimizer": "sgd",
        "epochs": 5,
        "warmup_epochs": 1,
    }
    run = training(data, tmp_path, **settings)
    assert {group["weight_decay"] for group in run.optimizer.param_groups} == {0.5, 0.0}  # norms and biases are spared
    rates = _rates(run)
    # Half a cosine over the whole run, its first epoch replaced by a linear rise.
    assert rates.index(max(rates)) == run.plan.steps - 1
    for step in range(run.plan.steps, 5 * run.plan.steps):
        expected = 0.01 * (1 + math.cos(math.pi * step / (5 * run.plan.steps))) / 2
        assert rates[step - 1] == pytest.approx(expected, rel=1e-6)


def test_a_short_run_warms_up_for_a_fifth_of_it_at_most(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, epochs=1, warmup_epochs=1, batch_size=2)
    assert run.recipe.warmup == 0.2
    rates = _rates(run)
    assert rates.index(max(rates)) == 2  # of 12 steps
    assert rates[-1] == 0


def test_rows_of_a_run_that_goes_on_are_whole(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path)
    run.run_epoch()
    again = training(data, tmp_path)
    again.resume()
    assert again.rows == run.rows
    assert isinstance(again.rows[0], EpochRow)
