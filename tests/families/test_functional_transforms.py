"""torch.func on networks of the zoo: answers image by image, and gradients of every image by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jacrev, vmap

import zoo

NAMES = (
    "has8_resnet_b2_m2_d1_fourier_rate_lif",
    "has8_vgg_b2_m2_d1_tanhraw_bpd_plif",
    "ann_resnet_b2_m2_d2",
)


def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def near(found: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, want, rtol=0, atol=tolerance * float(want.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_vmap_answers_as_the_batch_does(name: str) -> None:
    model, x = zoo.create_model(name, num_classes=4).eval(), images()
    with torch.no_grad():
        near(vmap(lambda image: model(image[None])[0])(x), model(x))


@pytest.mark.parametrize("name", NAMES)
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
    model, x = zoo.create_model(NAMES[0], num_classes=4).eval(), images()[:1]
    found = jacrev(model)(x)
    leaf = x.clone().requires_grad_()
    for logit in range(4):
        (want,) = torch.autograd.grad(model(leaf)[0, logit], leaf)
        near(found[0, logit], want)
