"""Memory that networks keep for the backward pass, and torch.func: gradients of every image by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn import functional

import zoo
from tests.allocations import kept_memory, saved
from zoo.contracts.classifier import ImageClassifier

NAMES = ("has8_resnet_b4_m2_d3_fourier_bpd", "has8_vgg_b2_m2_d2_ste_rate_plif", "snn_resnet_b4_m2_d3_tanh_bpd_lif")


def kept_bytes(model: ImageClassifier) -> int:
    """Bytes kept, but for parameters and statistics, which are there anyway."""
    return kept_memory(lambda: step(model), *model.parameters(), *model.buffers())


def step(model: ImageClassifier) -> torch.Tensor:
    return functional.cross_entropy(model(torch.rand(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize("name", [*NAMES, "sew_resnet18_phase"])
def test_without_gradients_nothing_is_kept(name: str) -> None:
    options: dict[str, Any] = {"timesteps": 2} if name.startswith("sew") else {}
    model = zoo.create_model(name, num_classes=3, **options)
    with torch.no_grad():
        assert saved(lambda: step(model)) == []
    model.requires_grad_(False)
    assert saved(lambda: step(model)) == []


@pytest.mark.parametrize("name", NAMES)
def test_recomputed_blocks_keep_nothing_of_what_is_inside_them(name: str) -> None:
    model = zoo.create_model(name, num_classes=3).train()
    whole = kept_bytes(model)
    model.set_grad_checkpointing()
    assert kept_bytes(model) < whole / 4
    model.set_grad_checkpointing(False)
    assert kept_bytes(model) == whole


# torch.func ----------------------------------------------------------------------------------------------------------

TRANSFORMED = ("has8_resnet_b2_m2_d1_fourier_rate_lif", "has8_vgg_b2_m2_d1_tanhraw_bpd_plif", "ann_resnet_b2_m2_d2")


def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def near(found: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, want, rtol=0, atol=tolerance * float(want.abs().max()))


@pytest.mark.parametrize("name", TRANSFORMED)
def test_vmap_answers_as_the_batch_does(name: str) -> None:
    model, x = zoo.create_model(name, num_classes=4).eval(), images()
    with torch.no_grad():
        near(vmap(lambda image: model(image[None])[0])(x), model(x))


@pytest.mark.parametrize("name", TRANSFORMED)
def test_gradients_of_every_image_by_itself(name: str) -> None:
    model, x = zoo.create_model(name, num_classes=4).eval(), images()
    parameters: dict[str, Tensor] = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, parameters, (image[None],)).square().sum()

    found = vmap(grad(loss), (None, 0))(parameters, x)
    for i in range(len(x)):
        wanted = torch.autograd.grad(model(x[i : i + 1]).square().sum(), list(parameters.values()))
        for key, want in zip(parameters, wanted, strict=True):
            near(found[key][i], want, 1e-4)


def test_the_jacobian_of_the_logits() -> None:
    model, x = zoo.create_model(TRANSFORMED[0], num_classes=4).eval(), images()[:1]
    found = jacrev(model)(x)
    leaf = x.clone().requires_grad_()
    for logit in range(4):
        (want,) = torch.autograd.grad(model(leaf)[0, logit], leaf)
        near(found[0, logit], want)
