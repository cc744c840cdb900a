"""Every composed model: it builds, learns, keeps no state, and offers what timm's users expect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError

BIT_PLANES = ("sigmoid", "tanh", "fourier", "sigmoidraw", "tanhraw", "fourierraw", "ste")
SIZES = ("vgg_b16", "vgg_b24", "resnet_b32", "resnet_b64")
HYBRID, LEAKY = "has8_resnet_b4_m2_d2_ste_bpd", "has8_vgg_b2_m2_d2_fourier_rate_lif"
SMALL = (
    HYBRID,
    LEAKY,
    "snn_resnet_b4_m2_d2_ste_bpd",
    "ann_vgg_b2_m2_d2",
    "dual_resnet_b4_m2_d2",
    "sew_resnetsmall_b4_m2_d2_direct",
    pytest.param("ann_resnet18", marks=pytest.mark.slow),
    pytest.param("sew_resnet18_phase_lif", marks=pytest.mark.slow),
    pytest.param("has8_resnet50_b2_m2_d4_tanh_bpd_plif", marks=pytest.mark.slow),
)


def small(name: str, classes: int = 7) -> ImageClassifier:
    return zoo.create_model(name, num_classes=classes)


@pytest.mark.parametrize("name", SMALL)
def test_logits_do_not_depend_on_batch_mates(name: str) -> None:
    model, x = small(name).eval(), torch.rand(8, 3, 32, 32)
    x[3] = x[3] * 5 - 2  # a mate far outside [0, 1]
    with torch.no_grad():
        whole, others = model(x), model(torch.cat((x[:1], torch.rand(7, 3, 32, 32) * 3)))
        assert torch.equal(whole[:1], others[:1])
        for size in (1, 2):
            # Linear layers round by their number of rows; a flipped bit plane would show as far more.
            torch.testing.assert_close(model(x[:size]), whole[:size], rtol=0, atol=1e-6)


def test_a_single_small_image_has_the_features_it_has_in_a_batch() -> None:
    model, x = small("has8_resnet_b8_m2_d4_ste_bpd").eval(), torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        together = model.forward_features(x)
        for i, image in enumerate(x):
            assert torch.equal(model.forward_features(image[None])[0], together[i])


@pytest.mark.parametrize("encoder", ["sigmoid", "tanh", "fourier", "ste"])
@pytest.mark.parametrize("form", ["resnet_b4_m2_d4_{}_rate_plif", "vgg_b4_m2_d4_{}_bpd_lif"])
def test_scaled_gradients_are_finite_in_every_parameter(form: str, encoder: str) -> None:
    model = small("has8_" + form.format(encoder)).train()
    functional.cross_entropy(model(torch.rand(3, 3, 32, 32)), torch.arange(3)).backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name  # type: ignore[arg-type]


def _losses(name: str, steps: int, rate: float) -> list[float]:
    """Losses over 32 images. Adam without clipping: one exploding layer must not silence the others."""
    model = zoo.create_model(name, num_classes=10).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    x, y = torch.rand(32, 3, 32, 32), torch.arange(32) % 10
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [encoder for encoder in BIT_PLANES if encoder != "ste"])
def test_the_loss_of_every_other_encoder_falls(encoder: str) -> None:
    """In the mean over seeds: gradients without γ are so large that a single run follows the last bit of a sum."""
    shares = []
    for seed in range(3):
        torch.manual_seed(seed)
        losses = _losses(f"has8_resnet_b8_m2_d4_{encoder}_bpd", steps=18, rate=1e-3)
        shares.append(sum(losses[-3:]) / 3 / losses[0])
    assert sum(shares) / len(shares) < 0.8, shares


@pytest.mark.parametrize("name", SMALL)
def test_the_methods_that_timms_users_expect(name: str) -> None:
    model, x = small(name).eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(x)
        hidden = model.forward_head(features, pre_logits=True)
        assert torch.equal(model.forward_head(features), model(x))
        for global_pool, expected in (("avg", hidden), ("", features)):
            model.reset_classifier(0, global_pool)
            assert torch.equal(model(x), expected)
        model.reset_classifier(5, "avg")
        assert model(x).shape == (2, 5)
    state, cfg = model.state_dict(), model.pretrained_cfg
    assert (cfg["num_classes"], cfg["architecture"], cfg["mean"], cfg["std"]) == (7, name, (0.0,) * 3, (1.0,) * 3)
    named = [(cfg[key],) if isinstance(cfg[key], str) else tuple(cfg[key]) for key in ("classifier", "first_conv")]
    assert named == [model.classifier_names, model.first_conv_names]
    assert all(f"{layer}.weight" in state for layers in named for layer in layers)
    assert {id(p) for p in model.get_classifier().parameters()} <= {id(p) for p in model.parameters()}


@pytest.mark.parametrize("name", SMALL)
def test_intermediates_are_those_that_were_chosen(name: str) -> None:
    model, x = small(name).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        final, maps = model.forward_intermediates(x)
        some = model.forward_intermediates(x, indices=2, intermediates_only=True)
        low = model.forward_intermediates(x, indices=[0, -3], intermediates_only=True, stop_early=True)
    assert torch.equal(final, maps[-1])
    assert torch.equal(some[0], maps[-2])
    assert isinstance(low[1], Tensor)
    assert torch.equal(low[1], maps[-3])
    count = len(model.feature_info)
    with torch.no_grad():
        assert len(model.forward_intermediates(x, indices=count, intermediates_only=True)) == count
    for indices in ([99], [count], [-count - 1], count + 1, 0, -1, [], "12", [1.0]):
        with pytest.raises(InputError, match="outside"):
            model.forward_intermediates(x, indices=indices)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'NCHW'"):
        model.forward_intermediates(x, output_fmt="NLC")


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_autocast_and_parameters(name: str) -> None:
    model, x = small(name).eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model(x)).all()
    half = zoo.create_model(name, num_classes=7, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        assert half(x.bfloat16()).dtype is torch.bfloat16


@pytest.mark.parametrize("name", SMALL[:4])
def test_gradients_reach_the_input(name: str) -> None:
    model, x = small(name).train(), torch.rand(2, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    assert gradient.shape == x.shape
    assert gradient.abs().sum() > 0
    gradient.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(model.get_parameter(f"{conv}.weight").grad.norm() > 0 for conv in model.first_conv_names)


@pytest.mark.parametrize("name", SMALL)
def test_a_new_classifier_has_the_dtype_and_bad_ones_change_nothing(name: str) -> None:
    model = zoo.create_model(name, num_classes=7, dtype=torch.bfloat16).eval()
    model.reset_classifier(3)
    with torch.no_grad():
        assert model(torch.rand(1, 3, 32, 32, dtype=torch.bfloat16)).shape == (1, 3)
    for arguments in ((-1,), ("3",), (True,), (10**9,), (3, "max"), (3, "")):
        with pytest.raises((ValueError, TypeError), match=r"num_classes|pool"):
            model.reset_classifier(*arguments)
        assert model.num_classes == 3
    assert model(torch.rand(1, 3, 32, 32, dtype=torch.bfloat16)).shape == (1, 3)


@pytest.mark.parametrize("name", SMALL)
def test_spikingjellys_reset_net_does_no_harm(name: str) -> None:
    from spikingjelly.activation_based import functional as spikingjelly

    model, x = small(name).eval(), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = model(x)
        spikingjelly.reset_net(model)
        assert torch.equal(model(x), before)


def test_numpy_integers_count_and_pixels_are_floats() -> None:
    classes: Any = np.int64(3)
    assert zoo.create_model(HYBRID, num_classes=classes).num_classes == 3
    for wrong in (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), np.zeros((1, 3, 32, 32), np.float32)):
        with pytest.raises(InputError, match="floating-point"):
            small(HYBRID)(wrong)


def test_an_empty_batch_gives_no_logits() -> None:
    assert small(HYBRID).eval()(torch.rand(0, 3, 32, 32)).shape == (0, 7)


def test_the_hybrid_is_the_sum_of_its_branches() -> None:
    hybrid = small("has8_vgg_b2_m2_d2_ste_bpd").eval()
    block, x = hybrid.get_submodule("stages.1.0"), torch.rand(2, 6, 16, 16)
    with torch.no_grad():
        spiking = block.decoder(block.spiking(block.encoder(x)))
        assert torch.equal(block(x), spiking + block.analog(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.list_models())
def test_every_listed_model_classifies_and_learns(name: str) -> None:
    model = zoo.create_model(name, num_classes=10)
    x = torch.rand(2, *model.input_axes, 32, 32)
    with torch.no_grad():
        assert torch.isfinite(model.eval()(x)).all()
    functional.cross_entropy(model.train()(x), torch.tensor([0, 1])).backward()
    without = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    frozen = {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    assert without == frozen
    assert not frozen or "_fast_" in name  # its norms' weights stay 1


def test_a_dual_network_adds_up_two_controls_block_by_block() -> None:
    dual = zoo.create_model("dual_vgg_b2_m2_d2", num_classes=7).eval()
    tensors = dual.state_dict()
    once = {key: value for key, value in tensors.items() if ".second." not in key}
    control = zoo.create_model("ann_vgg_b2_m2_d2", num_classes=7).eval()
    control.load_state_dict(once)
    silent = {key: torch.zeros_like(value) if ".second." in key else value for key, value in tensors.items()}
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        both = dual(x)
        dual.load_state_dict(silent)
        assert torch.equal(dual(x), control(x))
    assert not torch.allclose(both, control(x))
    unheard = zoo.create_model("dual_vgg_b2_m2_d2", num_classes=7, gain=0.0).eval()
    unheard.load_state_dict(unheard.state_dict() | tensors)  # its gains stay 0
    with torch.no_grad():
        assert torch.equal(unheard(x), control(x))
    hybrid = zoo.create_model("has8_vgg_b2_m2_d2_ste_bpd", num_classes=7)
    assert sum(p.numel() for p in dual.parameters()) == sum(p.numel() for p in hybrid.parameters())
