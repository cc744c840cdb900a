"""Networks as NIR, the neuromorphic intermediate representation (neuroir.org): one file, or one for each spiking block.

NIR has neurons, weights and sums; it has no encoders, decoders, batches or numbers of timesteps. A network that
encodes its input once is one graph from there to the logits of a timestep. Of others the blocks are exported one by
one. Batch norms are folded, and `network.json` beside the files says what they are parts of.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import final

import nir
import torch
from nir import NIRGraph
from spikingjelly.activation_based.nir_exchange import import_from_nir
from torch import Tensor, nn
from zoo_export.onnx_file import describe_network, example_images

from zoo.blocks import EncodedOnceNetwork
from zoo.commands import folder_beside, print_rows, say
from zoo.commands.models import StoredWeight
from zoo.contracts import CONSTANT, FRAMES, UNARY, Encoder, ImageClassifier, Neuron
from zoo.data import display_name
from zoo.errors import InputError, shorten, suggest, writing_to
from zoo_nir.graph import block_graph
from zoo_nir.network import network_graph

INDEX, SUFFIX = "network.json", ".nir"
WHOLE = "network"
"""Name of the only file of a network that is one graph."""
DT = 1e-4
"""Seconds a timestep, which spikingjelly assumes when it reads a file."""
EXAMPLES = 2
MIN_AGREEMENT = 0.99
"""Share of values that a block read back must have in common with the network's own; rounding moves a few spikes."""
WAITING = "neurons that wait for all currents, which NIR has no word for; use ONNX"
LOGIT_TOLERANCE = 0.02
"""Distance of two logits that agree, as a share of the largest; one moved spike among thousands moves all a little."""


@final
@dataclass(frozen=True)
class ExportedBlock:
    """One file.

    Attributes:
        file: its name in the folder.
        block: the module's name in the network; `network` for all of it.
        input_shape: of one image in one timestep.
        output_shape: likewise.
        nodes: of the graph.
        agreement: share of output values that are the network's own when spikingjelly reads the file and runs it.
    """

    file: str
    block: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    nodes: int
    agreement: float


@final
@dataclass(frozen=True)
class ExportedBlocks:
    """A folder that was written.

    Attributes:
        folder: its path.
        name: of the network.
        image_size: pixels a side that the shapes follow from.
        timesteps: T, which the graphs do not hold.
        dt: seconds a timestep, in which the graphs' time constants are.
        blocks: in the order in which the network calls them.
    """

    folder: str
    name: str
    image_size: int
    timesteps: int
    dt: float
    blocks: tuple[ExportedBlock, ...]


@final
@dataclass(frozen=True)
class _Call:
    """A block with its input and output, (T, N, …) each."""

    block: nn.Module
    spikes: Tensor
    output: Tensor


def export_nir(
    model: ImageClassifier,
    out: Path,
    weight: StoredWeight | None = None,
    *,
    image_size: int,
    blocks: Sequence[str] = (),
    force: bool = False,
) -> ExportedBlocks:
    """Write a network as NIR graphs, in eval mode, batch norms folded, weights in float32.

    A network that encodes its input once, such as `sew_…_direct` or `sew_…_frames`, becomes the graph network.nir: what
    its encoder gives goes in timestep by timestep, and the mean of what comes out is its logits. Of any other network
    every spiking block becomes a graph. Every file is read again by spikingjelly and compared with the network on two
    images of noise.

    Args:
        model: the network; it is left as it is.
        out: a folder that is empty or does not exist.
        weight: its weights, for `network.json`; None for an untrained network.
        image_size: pixels a side, which the graphs' shapes follow from.
        blocks: names of those to write; all of them by default. Not of a network that is one graph.
        force: replace a folder that such an export wrote.

    Raises:
        InputError: the folder cannot be written, there are no spiking blocks or none of that
            name, or one holds what NIR or spikingjelly's exporter cannot express. Nothing half-written remains.
    """
    check_nir_target(out, force)
    if any(isinstance(module, Neuron) and module.code != UNARY for module in model.modules()):
        raise InputError(f"{model.spec} has neurons of another code than unary, which NIR has no word for; use ONNX")
    if isinstance(model, EncodedOnceNetwork):
        if blocks:
            raise InputError(f"{model.spec} is written whole, as one graph; leave out --block")
        write: Callable[[Path], tuple[ExportedBlock, ...]] = partial(_write_whole, model=model, image_size=image_size)
    else:
        calls = _chosen(_run_blocks(model, image_size), blocks, model)
        write = partial(_write_blocks, network=str(model.spec), calls=calls)
    with _replacing(out) as folder:
        written = write(folder)
        exported = ExportedBlocks(str(out), str(model.spec), image_size, model.timesteps, DT, written)
        index = describe_network(model, weight, image_size) | asdict(exported)
        del index["folder"]
        (folder / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return exported


def print_exported(exported: ExportedBlocks, trained: bool, as_json: bool) -> None:
    """Print what was written, for `zoo export`."""
    if as_json:
        print(json.dumps(asdict(exported)))
        return
    rows = []
    for each in exported.blocks:
        shapes = " → ".join(" × ".join(map(str, shape)) for shape in (each.input_shape, each.output_shape))
        rows.append({"name": each.block, "spikes": shapes, "nodes": each.nodes, "agree": f"{each.agreement:.2%}"})
    print_rows(rows, as_json=False)
    say(f"{exported.name}{'' if trained else ', untrained'}: T = {exported.timesteps}, {exported.dt:g} s a timestep")
    graphs = "1 NIR graph" if len(exported.blocks) == 1 else f"{len(exported.blocks)} NIR graphs"
    say(f"{exported.folder}: {graphs}, read again and compared with the network (agree)")


def check_nir_target(out: Path, force: bool) -> None:
    """Raise `InputError` if a folder of NIR graphs cannot or must not be written."""
    name = display_name(out)
    with writing_to(out):
        if out.is_file():
            raise InputError(f"{name} is a file; NIR graphs need a folder, one file for each spiking block")
        if not out.parent.is_dir():
            raise InputError(f"the folder that {name} would be in does not exist; make it first")
        if not out.exists() or not any(out.iterdir()):
            return
        if not force:
            raise InputError(f"{name} is not empty; `force=True` replaces it, or choose another `out`")
        strange = sorted(path.name for path in out.iterdir() if path.name != INDEX and path.suffix != SUFFIX)
        if strange or not (out / INDEX).is_file():
            content = f"holds {shorten(strange[0])}" if strange else f"has no {INDEX}"
            raise InputError(
                f"{name} {content}, so it is not a folder of NIR graphs and is not replaced; choose another"
            )


@final
class _Recorder:
    """Records inputs and outputs of the outermost watched modules, by name in the order of the calls."""

    def __init__(self, network: nn.Module, watched: tuple[str, ...]) -> None:
        self.calls: dict[str, _Call] = {}
        self._inside: str | None = None
        self._spikes = torch.empty(0)
        modules = [(name, module) for name, module in network.named_modules() if f"{name}.".startswith(watched)]
        self._handles = [
            handle
            for name, module in modules
            for handle in (
                module.register_forward_pre_hook(partial(self._enter, name)),
                module.register_forward_hook(partial(self._leave, name)),
            )
        ]

    def _enter(self, name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._inside is None:
            self._inside, self._spikes = name, args[0].clone()

    def _leave(self, name: str, module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if self._inside == name:
            self._inside = None
            self.calls[name] = _Call(module, self._spikes, output.clone())

    def remove(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()


def _run_blocks(model: ImageClassifier, image_size: int) -> dict[str, _Call]:
    """Run the spiking blocks of a fused copy. A spiking module that is no step of its own gives the steps inside it."""
    if not model.spiking_module_names:
        raise InputError(f"{model.spec} has no spiking blocks, and NIR holds nothing else; ONNX takes it whole")
    images = example_images(model, image_size, EXAMPLES)
    network = copy.deepcopy(model).to("cpu", torch.float32).eval().fuse()
    if not network.spiking_module_names:
        raise InputError(f"{model.spec} has {WAITING}")
    recorder = _Recorder(network, tuple(f"{name}." for name in network.spiking_module_names))
    with torch.no_grad():
        network(images.to("cpu", torch.float32))
    recorder.remove()
    return recorder.calls


def _chosen(calls: dict[str, _Call], blocks: Sequence[str], model: ImageClassifier) -> dict[str, _Call]:
    for name in blocks:
        if name not in calls:
            raise InputError(f"{model.spec} has no spiking block {shorten(name)}{suggest(name, calls)}")
    return {name: call for name, call in calls.items() if name in blocks or not blocks}


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of `out` at the end; if something fails, nothing has changed."""
    with writing_to(out), folder_beside(out.resolve(), replace=True) as beside:
        yield beside


def _write_blocks(folder: Path, network: str, calls: dict[str, _Call]) -> tuple[ExportedBlock, ...]:
    try:
        return tuple(_write_block(folder, network, name, call) for name, call in calls.items())
    except InputError as error:
        hint = f"; --block chooses among {', '.join(calls)}" if len(calls) > 1 else ""
        raise InputError(f"{error}{hint}") from error


def _write_block(folder: Path, network: str, name: str, call: _Call) -> ExportedBlock:
    graph = block_graph(call.block, call.spikes, name, DT)
    graph.metadata = {"network": network, "block": name, "timesteps": len(call.spikes), "dt": DT}
    output = _store(graph, folder / f"{name}{SUFFIX}", call.spikes)
    agreement = float((output == call.output).float().mean()) if output.shape == call.output.shape else 0.0
    return _described(name, call, graph, agreement)


def _write_whole(folder: Path, model: EncodedOnceNetwork, image_size: int) -> tuple[ExportedBlock, ...]:
    images = example_images(model, image_size, EXAMPLES).to("cpu", torch.float32)
    network = copy.deepcopy(model).to("cpu", torch.float32).eval()
    encoder = _encoder_of(network)
    network.fuse()
    if not network.spiking_module_names:
        raise InputError(f"{model.spec} has {WAITING}")
    with torch.no_grad():
        call = _Call(network, encoder(images).contiguous(), network(images))
    graph = network_graph(network, call.spikes, DT)
    graph.metadata = {"network": str(model.spec), "timesteps": len(call.spikes), "dt": DT} | _ends(encoder)
    logits = _store(graph, folder / f"{WHOLE}{SUFFIX}", call.spikes).mean(0)
    nearby = LOGIT_TOLERANCE * float(call.output.abs().max())
    agreement = float(torch.isclose(logits, call.output, rtol=0, atol=nearby).float().mean())
    return (_described(WHOLE, _Call(network, call.spikes, logits[None]), graph, agreement),)


def _encoder_of(model: EncodedOnceNetwork) -> Encoder:
    return next(module for module in model.modules() if isinstance(module, Encoder))


def _ends(encoder: Encoder) -> dict[str, str]:
    """Say what goes into the graph of a whole network at a timestep, and what to do with what comes out."""
    taken = {FRAMES: "a frame", CONSTANT: "the image, the same at every timestep"}
    return {
        "input": taken.get(encoder.code, f"what {type(encoder).__name__} makes of the image"),
        "output": "logits of a timestep; their mean over time is the network's",
    }


def _store(graph: NIRGraph, file: Path, spikes: Tensor) -> Tensor:
    """Write a graph, and return what the file that was written makes of spikes (T, N, …)."""
    stored = io.BytesIO()  # HDF5 that cannot write to a file, since the disk is full, ends the process
    nir.write(stored, graph)
    file.write_bytes(stored.getbuffer())
    with torch.no_grad():
        output: Tensor = read_block(file)(spikes)
    return output


def _described(name: str, call: _Call, graph: NIRGraph, agreement: float) -> ExportedBlock:
    """Describe the file of that name; raises `InputError` if it computes something else."""
    if agreement < MIN_AGREEMENT:
        raise InputError(
            f"{name} ({type(call.block).__name__}) cannot be expressed in NIR: of what spikingjelly's graph of it "
            f"computes, {agreement:.1%} is what the block computes"
        )
    into, out_of = (tuple(tensor.shape[2:]) for tensor in (call.spikes, call.output))
    return ExportedBlock(f"{name}{SUFFIX}", name, into, out_of, len(graph.nodes), agreement)


def read_block(file: Path) -> nn.Module:
    """Read a graph that `export_nir` wrote, as a module of spikingjelly: spikes (T, N, …) → (T, N, …).

    Example:
        >>> import tempfile, torch, zoo
        >>> model = zoo.create_model("snn_resnet_b1_m1_d1_ste_bpd", num_classes=2)
        >>> folder = Path(tempfile.mkdtemp()) / "blocks"
        >>> exported = export_nir(model, folder, image_size=8, blocks=["stages.1.0.spiking"])
        >>> spikes = torch.zeros(8, 1, *exported.blocks[0].input_shape)
        >>> read_block(folder / exported.blocks[0].file)(spikes).shape[2:] == exported.blocks[0].output_shape
        True
    """
    return _Block(import_from_nir(file, dt=DT, step_mode="m"))


@final
class _Block(nn.Module):
    """A graph as nirtorch runs it, without its second result, the state."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, spikes: Tensor) -> Tensor:
        output: Tensor = self.graph(spikes)[0]
        return output
