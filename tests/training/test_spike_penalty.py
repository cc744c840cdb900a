"""`spike_penalty`: what it adds to the loss, and that a network which pays it fires less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from tests.data.made_data import packed
from zoo.data import ImageSplit, load_split
from zoo.errors import InputError
from zoo.profiling.counting import NEURONS
from zoo.training import load_recipe
from zoo.training.engine import Training
from zoo.training.hooks import layer_rates
from zoo.training.start import Beginning

HYBRID = "has8_resnet_b2_m2_d1_ste_bpd"


@pytest.fixture
def data(tmp_path: Path) -> ImageSplit:
    return load_split(packed(tmp_path / "train.npz", 40), "train")


def run_of(data: ImageSplit, out: Path, penalty: float, name: str = HYBRID) -> Training:
    torch.manual_seed(1)
    changes = {"epochs": 4, "batch_size": 8, "precision": "no", "spike_penalty": penalty}
    return Training(Beginning(zoo.create_model(name, num_classes=2)), data, load_recipe("bundled", changes), out)


def test_the_rate_of_every_layer_is_kept_with_its_gradient() -> None:
    model = zoo.create_model(HYBRID, num_classes=2).train()
    seen: list[float] = []
    neurons = [module for module in model.modules() if isinstance(module, NEURONS)]

    def count(neuron: torch.nn.Module, inputs: tuple[torch.Tensor, ...], spikes: torch.Tensor) -> None:
        seen.append(int(spikes.count_nonzero()) / spikes.numel())

    hooks = [neuron.register_forward_hook(count) for neuron in neurons]
    with layer_rates(model) as rates:
        model(torch.rand(4, 3, 16, 16))
    for hook in hooks:
        hook.remove()
    assert [float(rate) for rate in rates] == pytest.approx(seen)
    assert len(rates) == len(neurons)
    torch.stack(rates).mean().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    model(torch.rand(4, 3, 16, 16))
    assert len(rates) == len(neurons)  # nothing stays hooked


def test_a_network_that_pays_for_spikes_fires_less(data: ImageSplit, tmp_path: Path) -> None:
    rates, losses = [], []
    for penalty in (0.0, 20.0):
        run = run_of(data, tmp_path / str(penalty), penalty)
        run.run()
        rates.append(run.rows[-1].spike_rate)
        losses.append(run.rows[0].train_loss)
    assert rates[0] is not None
    assert rates[1] is not None
    assert rates[1] < 0.8 * rates[0]
    assert losses[1] > losses[0]  # the penalty is in the loss that is shown


def test_none_is_the_default_and_a_network_without_spikes_refuses_it(data: ImageSplit, tmp_path: Path) -> None:
    assert load_recipe("modern").spike_penalty == 0
    with pytest.raises(InputError, match=r"spike_penalty=0.5 is a weight on spikes, and ann_.* has no spiking neurons"):
        run_of(data, tmp_path, 0.5, "ann_resnet_b2_m2_d1")
