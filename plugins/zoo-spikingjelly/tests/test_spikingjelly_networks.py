"""Every network is spikingjelly's: the same logits and gradients from the same values, and nothing kept in between."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn
from zoo_spikingjelly.networks import stateless
from zoo_spikingjelly.published import PUBLISHED, Published

import zoo
from zoo.errors import CompositionError, ModelNameError, OptionError
from zoo.profiling import count_cost, profile

CLASSES = 5
COMPARED = (
    "sewresnet18",
    "spikingresnet18",
    "msresnet18",
    "maxresnet18",
    "attmsresnet18",
    "spikformerti",
    "sdt8384",
    "qkformer10384",
    "maxformercifar",
)
PARAMETERS = {
    "sewresnet18": 11_689_512,
    "sewresnet50": 25_557_032,
    "sewresnet152": 60_192_808,
    "spikingresnet50": 25_557_032,
    "msresnet18": 11_693_736,
    "msresnet34": 21_801_896,
    "maxresnet18": 13_009_960,
    "attmsresnet18": 11_867_960,
    "spikformerti": 4_400_392,
    "spikformers": 13_244_824,
    "spikformercifar10": 9_692_056,
    "spikformer2384": 6_139_288,
    "spikformer4384": 9_692_056,
    "spikformer8384h6": 16_797_592,
    "spikformer8384h8": 16_797_592,
    "spikformer8384h12": 16_797_592,
    "spikformer6512": 23_354_920,
    "spikformer8512": 29_664_808,
    "spikformer10512": 35_974_696,
    "spikformer8768": 66_301_768,
    "sdt8384": 16_816_744,
    "sdt6512": 23_374_312,
    "sdt8512": 29_690_344,
    "sdt10512": 36_006_376,
    "sdt8768": 66_340_072,
    "sdt2512step": 10_742_248,
    "qkformer10384": 16_472_584,
    "qkformer10512": 29_077_864,
    "qkformer10768": 64_960_552,
    "maxformer10384": 16_236_616,
    "maxformercifar": 6_949_432,
}
"""With 3 channels and 1000 classes."""


def _function(network: Published) -> Callable[..., nn.Module]:
    module, _, name = network.builder.partition(":")
    function: Callable[..., nn.Module] = getattr(
        importlib.import_module(f"spikingjelly.activation_based.model.{module}"), name
    )
    return function


def _theirs(network: Published) -> nn.Module:
    """spikingjelly's network as its documentation builds it."""
    arguments: dict[str, Any] = {"T": network.timesteps}
    if "T" not in network.arguments:
        arguments = {"spiking_neuron": neuron.IFNode, "surrogate_function": surrogate.ATan(), "detach_reset": True}
    if network.builder.startswith("sew"):
        arguments["cnf"] = "ADD"
    published = _function(network)(num_classes=CLASSES, **arguments).eval()
    functional.set_step_mode(published, "m")
    for module in published.modules():  # untrained statistics let some of these networks fall silent
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.0005, 0.01)  # type: ignore[union-attr]
    return published


def _blocks(path: str, module: nn.Module) -> list[str]:
    """Paths of the blocks that a level's module holds."""
    if isinstance(module, (nn.Sequential, nn.ModuleList)):
        return [f"{path}.{name}" for name, _ in module.named_children()]
    return [path]


def _our_keys(network: Published, theirs: nn.Module) -> dict[str, Tensor]:
    """Their state under our keys: blocks are counted through within a level, the last layer is head.fc."""
    places: dict[str, str] = {}
    for i, level in enumerate(network.levels):
        blocks = [block for path in level.modules for block in _blocks(path, theirs.get_submodule(path))]
        places |= {f"{block}.": f"stages.{i}.{j}." for j, block in enumerate(blocks)}
    state = {}
    for key, value in theirs.state_dict().items():
        start = next((start for start in places if key.startswith(start)), None)
        if start is None:
            state["head.fc." + key.rpartition(".")[2]] = value
            continue
        state[places[start] + key.removeprefix(start)] = value
    return state


def _logits_and_gradient(model: nn.Module, x: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    logits = model(x if timesteps == 0 else x.expand(timesteps, *x.shape))
    logits = logits.mean(0) if logits.dim() == 3 else logits
    logits.pow(2).sum().backward()
    assert x.grad is not None
    return logits.detach(), x.grad


@pytest.mark.parametrize("name", COMPARED)
def test_the_network_is_spikingjellys_to_the_last_bit_of_its_spikes(name: str) -> None:
    network = PUBLISHED[name]
    theirs = _theirs(network)
    ours = zoo.create_model(f"sj_{name}", num_classes=CLASSES, device="meta").to_empty(device="cpu").eval()
    ours.load_state_dict(_our_keys(network, theirs))
    x = torch.rand(2, 3, *[32 if network.levels[-1].reduction > 4 else 8] * 2)
    expected, slope = _logits_and_gradient(theirs, x, 0 if "T" in network.arguments else network.timesteps)
    assert expected.std() > 1e-3  # it fires
    for _ in range(2):  # theirs would need reset_net here
        logits, gradient = _logits_and_gradient(ours, x, 0)
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-5 * float(slope.abs().max()))
    assert any(isinstance(module.v, Tensor) for module in theirs.modules() if isinstance(module, neuron.BaseNode))
    assert all(module.v == 0.0 for module in ours.modules() if isinstance(module, neuron.BaseNode))


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_and_feature_maps(name: str) -> None:
    model = zoo.create_model(f"sj_{name}", device="meta").eval()
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert sum(tensor.numel() for tensor in model.parameters()) == PARAMETERS[name]
    assert model(torch.empty(2, 3, 5, 8, device="meta")).shape == (2, 1000)
    maps = model.forward_stages(torch.empty(1, 3, 64, 64, device="meta"), len(model.feature_info) - 1)
    for info, level in zip(model.feature_info, maps, strict=True):
        side = 64 // info["reduction"]
        assert level.shape == (1, info["num_chs"], side, side)


def test_names_are_looked_at_but_for_more_sizes_of_a_kind() -> None:
    rest = {"sewresnet34", "sewresnet101", *(f"spikingresnet{size}" for size in (18, 34, 101, 152))}
    assert PUBLISHED.keys() - PARAMETERS.keys() == rest


@pytest.mark.parametrize("name", ["spikingresnet18", "attmsresnet18", "sdt8384", "qkformer10384", "maxformer10384"])
def test_the_first_convolution_sees_the_image(name: str) -> None:
    model = zoo.create_model(f"sj_{name}", num_classes=CLASSES, in_chans=2, device="meta").eval()
    (first,) = model.first_conv_names
    assert model.get_submodule(first).in_channels == 2
    assert model(torch.empty(1, 2, 8, 8, device="meta")).shape == (1, CLASSES)


@pytest.mark.parametrize("name", [name for name, network in PUBLISHED.items() if "T" in network.arguments])
def test_the_number_of_timesteps_is_spikingjellys_default(name: str) -> None:
    default = inspect.signature(_function(PUBLISHED[name])).parameters["T"].default
    assert zoo.create_model(f"sj_{name}", device="meta").timesteps == default


@pytest.mark.parametrize("name", ["sewresnet18", "attmsresnet18", "maxformercifar"])
def test_another_number_of_timesteps(name: str) -> None:
    model = zoo.create_model(f"sj_{name}", num_classes=CLASSES, timesteps=3).eval()
    assert model.timesteps == 3
    shapes: list[tuple[int, ...]] = []
    handle = model.get_submodule("stages.0.0").register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape)))
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, CLASSES)
    handle.remove()
    assert shapes[0][:2] == (3, 2)
    for wrong, error in ((0, CompositionError), (1025, CompositionError), (2.5, OptionError)):
        with pytest.raises(error, match="timesteps"):
            zoo.create_model(f"sj_{name}", timesteps=wrong, device="meta")
    with pytest.raises(OptionError, match="timesteps"):
        zoo.create_model(f"sj_{name}", timestep=3, device="meta")


def test_a_last_map_with_all_timesteps_gives_the_logits() -> None:
    model = zoo.create_model("sj_maxformercifar", num_classes=CLASSES).eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        final, maps = model.forward_intermediates(x, [-1])
        assert final.shape == (2, 4 * 384, 2, 2)
        assert torch.equal(final, maps[0])
        assert torch.equal(model.forward_head(final), model(x))
        model.reset_classifier(0, "")
        assert torch.equal(model(x), final)


@pytest.mark.parametrize("name", ["sewresnet18", "spikformercifar10"])
def test_more_image_channels_start_as_spikingjelly_starts_them(name: str) -> None:
    weights = []
    for channels in (3, 12):
        model = zoo.create_model(f"sj_{name}", in_chans=channels)
        conv = model.get_submodule(model.first_conv_names[0])
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is None
        weights.append(conv.weight.std())
    torch.testing.assert_close(weights[0], weights[1], rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sj_spikformer", "did you mean 'spikformers'"),
        ("sj_qkformer_10_384", "did you mean 'qkformer10"),
        ("sj", "the form is network"),
        ("sj_msresnet18_lif", "unexpected 'lif'"),
    ],
)
def test_wrong_names_say_what_there_is(name: str, message: str) -> None:
    with pytest.raises(ModelNameError, match=message):
        zoo.parse_name(name)


def test_a_node_that_nobody_knows_how_to_reset_is_refused() -> None:
    for node in (neuron.ParametricLIFNode(), neuron.LIFNode(v_reset=None)):
        with pytest.raises(CompositionError, match=type(node).__name__):
            stateless(node)


def test_cost_is_that_of_the_network_without_spikes_at_every_timestep() -> None:
    model = zoo.create_model("sj_sewresnet18", num_classes=CLASSES)
    cost, control = (
        count_cost(network, 32) for network in (model, zoo.create_model("ann_resnet18", num_classes=CLASSES))
    )
    assert cost.timesteps == 4
    assert cost.macs_per_timestep == control.macs
    assert cost.macs_spiking == 4 * (control.macs - 512 * CLASSES)
    assert cost.params == control.params


def test_a_profile_with_images_counts_attention() -> None:
    profiled = profile("sj_spikformerti", num_classes=CLASSES, images=torch.rand(2, 3, 16, 16))
    assert profiled.activity is not None
    assert not profiled.activity.uncounted
    assert {"aten::max_pool2d", "aten::rsub"} <= profiled.unsupported.keys()  # rsub: in the neuron's definition
    assert not any(operation.startswith("sj_") for operation in profiled.unsupported)
    assert profiled.control is None


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_operation_has_a_price(name: str) -> None:
    found = profile(zoo.create_model(f"sj_{name}", num_classes=CLASSES), images=torch.rand(1, 3, 32, 32)).activity
    assert found is not None
    assert found.uncounted == {}
