"""torch.compile sees no graph break in any composed model; torch.export takes components for any number of images."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.registry.components import default_registry

SIDE = 16
MODELS = (
    "has8_resnet_b1_m1_d1_fourier_bpd",
    "has8_vgg_b1_m1_d1_ste_rate_plif",
    "snn_vgg_b1_m1_d1_tanh_bpd_lif",
    "ann_resnet50",
    "sew_resnet18_phase",
    "timm_resnet10t",
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Compiled code is kept by code object, and a limit counts how often that was compiled."""
    yield
    torch.compiler.reset()


def tiny(name: str) -> ImageClassifier:
    options: dict[str, Any] = {"timesteps": 2} if name.startswith("sew") else {}
    return zoo.create_model(name, num_classes=3, **options)


def compiled(module: nn.Module) -> Any:
    return torch.compile(module, fullgraph=True, backend="eager")


def assert_steps_alike(module: nn.Module, x: Tensor) -> None:
    """The same outputs and, to rounding, gradients, in the mode in which the module is."""
    other = copy.deepcopy(module)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [network(each) for network, each in zip((module, compiled(other)), inputs, strict=True)]
    assert torch.equal(*outputs)
    if outputs[0].requires_grad:
        weights = torch.linspace(-1, 2, outputs[0].numel()).reshape(outputs[0].shape)
        for output in outputs:
            (output * weights).sum().backward()
        found, expected = (
            [source.grad for source in (*network.parameters(), each) if source.grad is not None]
            for network, each in zip((other, module), reversed(inputs), strict=True)
        )
        largest = max(float(each.abs().max()) for each in expected)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize(
    "name",
    ["ste", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fourier", "tanhraw", "rate", "ttfs", "phase"))],
)
def test_encoders_compile(name: str) -> None:
    encoder = default_registry().load("encoder", name)().train(name != "rate")
    x = torch.rand(2, 3, 5) * 1.5 - 0.25
    assert_steps_alike(encoder, x)
    exported = torch.export.export(encoder, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for count in (1, 4):
        more = torch.rand(count, 3, 5) * 3 - 1
        assert torch.equal(exported(more), encoder(more))


@pytest.mark.parametrize("name", ["lif", *(pytest.param(name, marks=pytest.mark.slow) for name in ("if", "plif"))])
def test_neurons_compile_and_export_as_a_plain_loop(name: str) -> None:
    neuron, x = default_registry().load("neuron", name)(), torch.rand(4, 2, 6) * 2
    assert_steps_alike(neuron, x)
    exported = torch.export.export(neuron, (x,), dynamic_shapes=({1: torch.export.Dim("batch")},))
    operations = {node.target for node in exported.graph.nodes if node.op == "call_function"}
    assert all(each is operator.getitem or str(each).startswith("aten.") for each in operations)
    more = torch.rand(4, 5, 6) * 2
    assert torch.equal(exported.module()(more), neuron(more))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_training_steps_compile_without_graph_breaks(name: str) -> None:
    """At 64 pixels no map has one pixel, of which compiled code takes a longer way that rounds differently."""
    assert_steps_alike(tiny(name).train(), torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize(
    "name", ["ann_resnet_b1_m1_d1", *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS)]
)
def test_networks_export_for_any_number_of_images(name: str) -> None:
    network = tiny(name).eval()
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.enable_grad():
        program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.rand(5, 3, SIDE, SIDE)
    torch.testing.assert_close(program.module()(more), network(more), rtol=0, atol=1e-4)
