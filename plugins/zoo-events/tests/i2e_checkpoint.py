"""A made checkpoint of I2E's MS-ResNet18 and made frames; as a script, the logits of the authors' own network on them.

    python plugins/zoo-events/tests/i2e_checkpoint.py CLONE

CLONE is a clone of github.com/Ruichen0424/I2E. It prints the logits that i2e_logits.json holds, and the distance of the
potential that is nearest to its threshold: as long as rounding is far below it, the spikes are the same everywhere.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
CLASSES, T, SIDE = 10, 8, 32
WIDTHS = (64, 128, 256, 512)
SEED = 20


def fraction(key: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [0, 1) that the key, its place and the seed alone decide, by whole numbers, alike everywhere."""
    mixed = torch.arange(torch.Size(shape).numel()) + zlib.crc32(f"{SEED} {key}".encode())
    for _ in range(3):
        mixed = (mixed ^ (mixed >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
    return (mixed.double() / 2**32).reshape(shape)


def made_state(counts: tuple[int, ...] = (2, 2, 2, 2)) -> dict[str, Tensor]:
    """The authors' keys and shapes, of networks without bottlenecks, with weights such that neurons fire."""
    shapes: Shapes = {"i2e.weight": (8, 1, 3, 3), "conv1.weight": (64, 2, 7, 7)}
    shapes.update(_norm("bn1", 64))
    width_in = 64
    for stage, (width, count) in enumerate(zip(WIDTHS, counts, strict=True), start=1):
        for index in range(count):
            block = f"layer{stage}.{index}"
            shapes[f"{block}.conv1.weight"] = (width, width_in, 3, 3)
            shapes[f"{block}.conv2.weight"] = (width, width, 3, 3)
            shapes.update(_norm(f"{block}.bn1", width))
            shapes.update(_norm(f"{block}.bn2", width))
            if width != width_in:
                shapes[f"{block}.downsample.1.weight"] = (width, width_in, 1, 1)
                shapes.update(_norm(f"{block}.downsample.2", width))
            width_in = width
    shapes["fc.weight"], shapes["fc.bias"] = (CLASSES, 512), (CLASSES,)
    return {key: _made(key, shape) for key, shape in shapes.items()}


def _norm(key: str, width: int) -> Shapes:
    shapes: Shapes = {f"{key}.num_batches_tracked": ()}
    for name in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{key}.{name}"] = (width,)
    return shapes


def _made(key: str, shape: tuple[int, ...]) -> Tensor:
    name, u = key.rpartition(".")[2], fraction(key, shape)
    if name == "num_batches_tracked":
        return torch.tensor(5)
    if name == "running_var":
        return (0.1 + 0.2 * u).float()
    if len(shape) == 1:
        return (0.8 + 0.4 * u if name == "weight" else 0.4 * u - 0.1).float()
    return ((2 * u - 1) * (3 / torch.Size(shape[1:]).numel()) ** 0.5).float()


def made_frames() -> Tensor:
    """Two sequences of events: (2, T, 2, SIDE, SIDE), a tenth of them ones."""
    return (fraction("frames", (2, T, 2, SIDE, SIDE)) < 0.1).float()


def authors_network(clone: Path) -> tuple[torch.nn.Module, SimpleNamespace]:
    """Build the authors' own network with the made tensors, and note how near potentials come to the threshold."""
    sys.path.insert(0, str(clone / "Train Script" / "Inference"))
    from Network import MSNet  # type: ignore[import-not-found]
    from spikingjelly.activation_based import functional, neuron

    network = MSNet.resnet18(num_classes=CLASSES)
    functional.set_step_mode(network, "m")
    network.load_state_dict(made_state())
    nearest = SimpleNamespace(distance=1.0, rates=[])
    for module in network.modules():
        if isinstance(module, neuron.LIFNode):
            module.register_forward_hook(lambda _, given, spikes: _watch(nearest, given[0], spikes))
    return network.eval(), nearest


def _watch(nearest: SimpleNamespace, currents: Tensor, spikes: Tensor) -> None:
    potential = torch.zeros_like(currents[0])
    nearest.rates.append(float(spikes.mean()))
    for current, fired in zip(currents, spikes, strict=True):
        charged = potential / 2 + current
        nearest.distance = min(nearest.distance, float((charged - 1).abs().min()))
        potential = charged * (1 - fired)


if __name__ == "__main__":
    network, nearest = authors_network(Path(sys.argv[1]))
    with torch.no_grad():
        logits = network(made_frames())
    print(json.dumps([[round(value, 6) for value in row] for row in logits.tolist()]))
    print(f"nearest potential: {nearest.distance:.1e} from its threshold", file=sys.stderr)
    print("rates:", *(f"{rate:.2f}" for rate in nearest.rates), file=sys.stderr)
