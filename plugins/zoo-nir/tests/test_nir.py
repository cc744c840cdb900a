"""Spiking blocks as NIR graphs: what a file says, computed from NIR's own equations, is what the block computes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner, Result
from zoo_nir import export_nir, read_block
from zoo_nir.graph import block_graph

import zoo
from zoo.catalog.files import default_catalog
from zoo.cli import app
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError
from zoo.neurons.nodes import IFNeuron, ParametricLIFNeuron

SIDE, DT = 16, 1e-4
NETWORKS = (
    "has8_resnet_b4_m2_d2_ste_bpd",
    "has8_vgg_b2_m2_d1_fourier_rate_lif",
    pytest.param("snn_resnet50_b1_m2_d4_tanh_bpd_plif", marks=pytest.mark.slow),
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def trained(name: str, **options: Any) -> ImageClassifier:
    """A network in training mode, with statistics in its batch norms and leaks of its own, whose neurons fire."""
    model = zoo.create_model(name, num_classes=4, **options).train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ParametricLIFNeuron):
                module.get_parameter("w").fill_(0.37)
            if isinstance(module, nn.BatchNorm2d):  # for neurons that leak to fire at
                nn.init.uniform_(module.weight, 1, 4)
                nn.init.uniform_(module.bias, 0, 2)
            if isinstance(module, nn.Linear):
                module.weight *= 8
                nn.init.uniform_(module.bias, 0, 2)
        for _ in range(3):
            model(torch.rand(4, 3, SIDE, SIDE))
    return model


def called(model: ImageClassifier, names: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Input and output of these modules, in a forward over images that the export has not seen."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _, args, output, name=name: seen.update({name: (args[0].clone(), output.clone())})
        )
    with torch.no_grad():
        model(torch.rand(3, 3, SIDE, SIDE))
    return seen


# NIR's equations ------------------------------------------------------------------------------------------------------


def computed(graph: nir.NIRGraph, spikes: Tensor) -> Tensor:
    """Run a graph on spikes (T, N, …) by the equations of neuroir.org, a step of Euler for each timestep."""
    values: dict[str, Tensor] = {}
    while "output" not in values:
        for name, node in graph.nodes.items():
            before = [a for a, b in graph.edges if b == name]
            if name not in values and all(each in values for each in before):
                values[name] = NODES[type(node)](node, sum((values[each] for each in before), torch.zeros(())), spikes)
    return values["output"]


def by_timestep(operation: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor, Tensor], Tensor]:
    return lambda node, x, _: operation(node, x.flatten(0, 1)).unflatten(0, x.shape[:2])


def convolve(node: nir.Conv2d, x: Tensor) -> Tensor:
    weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
    return functional.conv2d(x, weight, bias, tuple(node.stride), tuple(node.padding), tuple(node.dilation))


def neurons(node: nir.IF | nir.LIF, x: Tensor, _: Tensor) -> Tensor:
    """v̇ = r·i, or τ·v̇ = v_leak − v + r·i; a spike where v ≥ v_threshold, and then v = v_reset."""
    constants = {key: torch.from_numpy(value) for key, value in vars(node).items() if isinstance(value, np.ndarray)}
    r, threshold, reset = constants["r"], constants["v_threshold"], constants["v_reset"]
    v, spikes = torch.zeros_like(x[0], dtype=torch.float64), []
    for current in x.double():
        leak = 0 if isinstance(node, nir.IF) else constants["v_leak"] - v
        v = v + DT * (leak + r * current) / constants.get("tau", torch.ones(()))
        spikes.append((v >= threshold).float())
        v = torch.where(v >= threshold, reset, v)
    return torch.stack(spikes)


NODES: dict[type, Callable[[Any, Tensor, Tensor], Tensor]] = {
    nir.Input: lambda _, __, spikes: spikes,
    nir.Output: lambda _, x, __: x,
    nir.Conv2d: by_timestep(convolve),
    nir.AvgPool2d: by_timestep(
        lambda node, x: functional.avg_pool2d(x, int(node.kernel_size), int(node.stride), int(node.padding))
    ),
    nir.Affine: by_timestep(
        lambda node, x: functional.linear(x, torch.from_numpy(node.weight), torch.from_numpy(node.bias))
    ),
    nir.Flatten: by_timestep(lambda node, x: x.flatten(int(node.start_dim), int(node.end_dim))),
    nir.IF: neurons,
    nir.LIF: neurons,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_computes_by_nirs_equations_what_the_network_computes(name: str, tmp_path: Path) -> None:
    """Exactly, but where a membrane potential at its threshold rounds to either side."""
    model = trained(name)
    exported = export_nir(model, tmp_path / "nir", image_size=SIDE)
    assert {each.block for each in exported.blocks} == set(model.spiking_module_names)
    seen = called(copy.deepcopy(model).eval().fuse(), [each.block for each in exported.blocks])
    for each in exported.blocks:
        spikes, expected = seen[each.block]
        graph = nir.read(tmp_path / "nir" / each.file)
        assert (each.input_shape, each.output_shape) == (spikes.shape[2:], expected.shape[2:])
        assert each.agreement > 0.999
        assert len(graph.nodes) == each.nodes
        assert (computed(graph, spikes) == expected).float().mean() > 0.998, each.block
        assert len(expected.unique()) > 1, each.block


@pytest.mark.parametrize("name", NETWORKS)
def test_reading_back_gives_the_same_spikes(name: str, tmp_path: Path) -> None:
    model = trained(name)
    files = [each.file for each in export_nir(model, tmp_path / "nir", image_size=SIDE).blocks]
    seen = called(copy.deepcopy(model).eval().fuse(), [file.removesuffix(".nir") for file in files])
    with torch.no_grad():
        for file in files:
            spikes, expected = seen[file.removesuffix(".nir")]
            found = read_block(tmp_path / "nir" / file)(spikes)
            # A learned leak is a factor here and a divisor there, which rounds otherwise.
            assert torch.equal(found, expected) or (
                name.endswith("plif") and (found == expected).float().mean() > 0.999
            )


def test_the_stages_of_a_baseline_are_blocks_where_the_stem_cannot_be_one(tmp_path: Path) -> None:
    model = trained("sew_resnet18_phase", timesteps=3)
    with pytest.raises(InputError, match=r"stem\.maxpool \(MaxPool2d\).*Linear"):
        export_nir(model, tmp_path / "nir", image_size=SIDE)
    assert list(tmp_path.iterdir()) == []
    chosen = ["stages.1", "stages.0"]
    exported = export_nir(model, tmp_path / "nir", image_size=SIDE, blocks=chosen)
    assert [each.block for each in exported.blocks] == ["stages.0", "stages.1"]
    seen = called(copy.deepcopy(model).eval().fuse(), chosen)
    for each in exported.blocks:
        spikes, expected = seen[each.block]
        assert len(expected.unique()) > 2  # sums of spikes
        assert (computed(nir.read(tmp_path / "nir" / each.file), spikes) == expected).float().mean() > 0.99


# The folder -----------------------------------------------------------------------------------------------------------


def test_the_folder_says_what_it_holds(tmp_path: Path) -> None:
    name = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
    model, weight = zoo.create_model(name, pretrained=True), default_catalog().weight(zoo.parse_name(name))
    exported = export_nir(model, tmp_path / "nir", weight, image_size=SIDE, blocks=["stages.1.1.spiking"])
    told = json.loads((tmp_path / "nir" / "network.json").read_text(encoding="utf-8"))
    assert (told["name"], told["sha256"], told["license"]) == (name, weight.sha256, "MIT")
    assert (told["timesteps"], told["dt"], told["image_size"]) == (8, DT, SIDE)
    assert told["labels"] == list(weight.labels)
    assert told["preprocessing"]["range"] == [0, 1]
    block = asdict(exported)["blocks"][0]
    assert told["blocks"] == [block | {"input_shape": [8, 4, 4], "output_shape": [8, 4, 4]}]
    assert sorted(path.name for path in (tmp_path / "nir").iterdir()) == ["network.json", "stages.1.1.spiking.nir"]
    graph = nir.read(tmp_path / "nir" / "stages.1.1.spiking.nir")
    read = {key: value.decode() if isinstance(value, bytes) else value for key, value in graph.metadata.items()}
    assert read == {"network": name, "block": "stages.1.1.spiking", "timesteps": 8, "dt": DT}
    assert graph.nodes.keys() == {"x", "body_0", "body_2", "body_3", "body_5", "sum_of_add", "output"}


def test_the_network_is_left_as_it_is_and_narrow_weights_are_widened(tmp_path: Path) -> None:
    model = trained(NETWORKS[0]).to(torch.bfloat16)
    state = copy.deepcopy(model.state_dict())
    export_nir(model, tmp_path / "nir", image_size=SIDE)
    assert all(module.training for module in model.modules())
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    graph = nir.read(tmp_path / "nir" / "stages.0.0.spiking.nir")
    assert graph.nodes["conv"].weight.dtype == np.float32


def test_a_folder_is_replaced_only_if_told_to_and_only_one_of_these(tmp_path: Path) -> None:
    model, out = trained("snn_vgg_b1_m1_d1_ste_bpd"), tmp_path / "nir"
    out.mkdir()
    export_nir(model, out, image_size=SIDE)  # an empty one may be used
    before = sorted(path.name for path in out.iterdir())
    assert len(before) == 4
    with pytest.raises(InputError, match="`force=True`"):
        export_nir(model, out, image_size=SIDE)
    export_nir(model, out, image_size=SIDE, blocks=["head.mlp.spiking"], force=True)
    assert sorted(path.name for path in out.iterdir()) == ["head.mlp.spiking.nir", "network.json"]
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"'thesis\.tex'"):
        export_nir(model, out, image_size=SIDE, force=True)
    (out / "network.json").unlink()
    (out / "thesis.tex").unlink()
    with pytest.raises(InputError, match=r"has no network\.json"):
        export_nir(model, out, image_size=SIDE, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["nir"]
    assert [path.name for path in out.iterdir()] == ["head.mlp.spiking.nir"]


def test_what_fails_halfway_changes_nothing(tmp_path: Path) -> None:
    model, out = trained("snn_vgg_b1_m1_d1_ste_bpd"), tmp_path / "nir"
    export_nir(model, out, image_size=SIDE)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    model.get_submodule("stages.1.0.spiking").pool = layer.MaxPool2d(2, step_mode="m")
    with pytest.raises(InputError, match=r"stages\.1\.0\.spiking\.pool \(MaxPool2d\).*--block"):
        export_nir(model, out, image_size=SIDE, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_targets_and_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = zoo.create_model("snn_vgg_b1_m1_d1_ste_bpd", num_classes=2)
    (tmp_path / "file").write_text("mine")
    for out, sizes, said in (
        (tmp_path / "file", {}, "is a file; NIR graphs need a folder"),
        (tmp_path / "none" / "nir", {}, "does not exist; make it first"),
        (tmp_path / ("n" * 260), {}, "cannot be written: File name too long"),
        (tmp_path / "nir", {"image_size": 3}, "too small; snn_vgg_b1_m1_d1_ste_bpd takes 4 or more"),
        (
            tmp_path / "nir",
            {"blocks": ["stages.0.0.spikin"]},
            r"no spiking block .*did you mean 'stages\.0\.0\.",
        ),
    ):
        with pytest.raises(InputError, match=said):
            export_nir(model, out, **({"image_size": SIDE} | sizes))
    with pytest.raises(InputError, match="ONNX"):
        export_nir(zoo.create_model("ann_vgg_b1_m1_d1"), tmp_path / "nir", image_size=SIDE)
    waiting = {"v_reset": None, "v_init": 0.5, "waits": True}
    network = zoo.create_model("sew_vgg_b1_m1_d1_direct", num_classes=2, neuron_options=waiting)
    with pytest.raises(InputError, match="wait"):
        export_nir(network, tmp_path / "nir", image_size=SIDE)
    with pytest.raises(InputError, match="meta device"):
        export_nir(zoo.create_model("snn_vgg_b1_m1_d1_ste_bpd", device="meta"), tmp_path / "nir", image_size=SIDE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["has8_vgg_b1_m1_d1_ste_bpd_radix", "sew_resnetsmall_b1_m1_d1_direct_radix"])
def test_spikes_that_are_digits_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unary"):
        export_nir(zoo.create_model(name, num_classes=2), tmp_path / "nir", image_size=32)
    assert list(tmp_path.iterdir()) == []


# What cannot be expressed ---------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A block of layers by name, with a forward of its own."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.computes = forward
        self.bias = nn.Parameter(torch.ones(()))
        self.conv = layer.Conv2d(4, 4, 3, padding=1, step_mode="m")
        for name, module in layers.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.computes(self, x)


def chain(self: Any, x: Tensor) -> Tensor:
    return self.act(self.conv(x))


def soft_reset() -> nn.Module:
    node = IFNeuron()
    node.v_reset = None
    return node


REFUSED: list[tuple[Block, str]] = [
    (Block(chain, act=neuron.QIFNode(step_mode="m")), r"here\.act \(QIFNode\).*valid: .*IFNode"),
    (Block(chain, act=layer.BatchNorm2d(4, step_mode="m")), r"here\.act \(BatchNorm2d\)"),
    (Block(chain, act=nn.ReLU()), r"here\.act \(ReLU\)"),
    (Block(chain, act=soft_reset()), r"here\.act \(IFNode\).*soft reset"),
    (Block(chain, act=layer.Conv2d(4, 4, 1, groups=2, step_mode="m")), r"here\.act \(Conv2d\).*Grouped"),
    (Block(chain, act=layer.Conv2d(4, 4, 3, padding=1, padding_mode="circular", step_mode="m")), r"here\.act .*padded"),
    (Block(chain, act=layer.AvgPool2d(2, ceil_mode=True, step_mode="m")), r"here\.act \(AvgPool2d\)"),
    (Block(lambda self, x: self.conv(x) + self.bias), "here cannot .*'bias', a tensor of its own"),
    (Block(lambda self, x: self.conv(x) * self.conv(x)), "here cannot .*computes 'mul'"),
    (Block(lambda self, x: self.conv(x) + 1), "here cannot .*computes 'add'"),
    (Block(lambda self, x: x + x), "here cannot .*computes 'add'"),
    (Block(lambda self, x: torch.add(self.conv(x), x, alpha=2)), "here cannot .*computes 'add'"),
    (Block(lambda self, x: self.conv(x).sigmoid()), "here cannot .*computes 'sigmoid'"),
    (Block(lambda self, x: (self.conv(x), x)), "here cannot .*several outputs"),
    (Block(lambda self, x: self.conv(x) if x.sum() > 0 else x), r"here \(Block\) cannot .*does more than call layers"),
    (Block(lambda self, x: self.act(x), act=Block(lambda self, x: x - self.conv(x))), r"here\.act cannot .*'sub'"),
]


@pytest.mark.parametrize(("block", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_nir_cannot_express_is_named(block: Block, said: str) -> None:
    with pytest.raises(InputError, match=said):
        block_graph(copy.deepcopy(block).eval(), torch.ones(2, 1, 4, 5, 5), "here", DT)


def test_sums_dropout_and_single_layers_are_expressed() -> None:
    spikes = torch.rand(3, 2, 4, 5, 5).round()
    parts = {"act": IFNeuron(), "drop": layer.Dropout(0.5, step_mode="m")}
    block = Block(lambda self, x: self.drop(x + self.act(self.conv(x)) + self.act(x)), **parts).eval()
    for module in (block, IFNeuron(), layer.Conv2d(4, 2, 3, step_mode="m")):
        with torch.no_grad():
            expected = module(spikes)
        found = computed(block_graph(copy.deepcopy(module), spikes, "here", DT), spikes)
        torch.testing.assert_close(found, expected)
    assert len(expected.unique()) > 1


# The command ----------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", "--format", "nir", *map(str, arguments)])


def test_spiking_blocks_are_exported_as_nir(tmp_path: Path) -> None:
    out = tmp_path / "blocks"
    result = run("has8_resnet_b8_m2_d4_ste_bpd.cifar10", "--out", out, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert (told["folder"], told["name"]) == (str(out), "has8_resnet_b8_m2_d4_ste_bpd.cifar10")
    assert (told["image_size"], told["timesteps"], len(told["blocks"])) == (32, 8, 9)
    assert sorted(path.name for path in out.iterdir()) == ["network.json", *sorted(b["file"] for b in told["blocks"])]
    assert json.loads((out / "network.json").read_text())["blocks"] == told["blocks"]


def test_chosen_blocks_of_an_untrained_network_replace_an_earlier_export(tmp_path: Path) -> None:
    out = tmp_path / "blocks"
    arguments = ("snn_vgg_b1_m1_d1_ste_bpd", "--out", out, "--image-size", "16")
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--force", "--block", "stages.0.0.spiking", "--block", "head.mlp.spiking")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert [line[0] for line in lines[2:4]] == ["stages.0.0.spiking", "head.mlp.spiking"]
    assert lines[2][1:] == ["3", "×", "16", "×", "16", "→", "3", "×", "8", "×", "8", "5", "100.00%"]
    assert result.stdout.splitlines()[-2] == "snn_vgg_b1_m1_d1_ste_bpd, untrained: T = 8, 0.0001 s a timestep"
    assert result.stdout.splitlines()[-1].startswith(f"{out}: 2 NIR graphs")
    assert len(list(out.iterdir())) == 3


def test_a_refusal_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    result = run("sew_resnet18_rate", "--out", tmp_path / "blocks", "--image-size", "8")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "stem.maxpool (MaxPool2d)" in result.stderr
    assert list(tmp_path.iterdir()) == []
