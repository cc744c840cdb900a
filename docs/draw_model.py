"""Draws hybrids from the models: `python docs/draw_model.py` writes block.svg, network.svg and planes.png.

    python docs/draw_model.py --name has8_resnet_b32_m2_d4_fourier_bpd --out docs/pictures

block.svg is one block of the network: the analog layers, and beside them encoder, spiking layers and decoder.
network.svg is the row of blocks. planes.png is the upper half of what `zoo show` draws. Layers, shapes and T are read
off the network's modules and a forward pass; nothing is typed in. The same model gives the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor, nn

import zoo
from zoo.cli.predict import DEFAULT_MODEL
from zoo.contracts import Neuron
from zoo.data.images import Transform, sample_photographs
from zoo.families.paired import PairedBlock
from zoo.inference.show import COLOURS, draw, network_to_show, record

ANALOG, SPIKING, CODING, PLAIN = COLOURS["ann"], COLOURS["has8"], COLOURS["sew"], "#555555"
"""Okabe and Ito's palette; every box has its words too."""

WIDTH, HEIGHT, GAP = 190, 34, 16
STYLE = 'font-family="Helvetica, Arial, sans-serif" font-size="13"'


class Drawing:
    """An SVG under construction."""

    def __init__(self, width: int, height: int, title: str) -> None:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {STYLE}>'
        arrow = '<path d="M0 0 L8 4 L0 8 z" fill="#333333"/>'
        marker = f'<marker id="tip" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">{arrow}</marker>'
        white = f'<rect width="{width}" height="{height}" fill="white"/>'
        self._parts = [head, f"<title>{title}</title><defs>{marker}</defs>{white}"]

    def box(self, x: float, y: float, lines: Sequence[str], color: str, width: float = WIDTH) -> None:
        """Draw a box with a centred text; (x, y) is the middle of its upper edge."""
        height = HEIGHT + 16 * (len(lines) - 1)
        shape = f'<rect x="{x - width / 2}" y="{y}" width="{width}" height="{height}" rx="5"'
        self._parts.append(f'{shape} fill="{color}" fill-opacity="0.12" stroke="{color}"/>')
        for number, line in enumerate(lines):
            self.text(x, y + 22 + 16 * number, line)

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """Draw an empty rectangle; (x, y) is its upper left corner."""
        shape = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="none" stroke="#999999"/>'
        self._parts.append(shape)

    def text(self, x: float, y: float, text: str, anchor: str = "middle", color: str = "black") -> None:
        """Write a text at a baseline."""
        self._parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{color}">{text}</text>')

    def arrow(self, *points: tuple[float, float]) -> None:
        """Draw a line through the points, with a tip at its end."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="#333333" marker-end="url(#tip)"/>')

    def save(self, file: Path) -> None:
        """Write the picture."""
        file.write_text("\n".join([*self._parts, "</svg>", ""]), encoding="utf-8")


def describe(module: nn.Module) -> str | None:
    """Name a layer; None for one that is not worth a box."""
    if isinstance(module, nn.Conv2d):
        stride = "" if module.stride == (1, 1) else f", stride {module.stride[0]}"
        return f"{module.kernel_size[0]}×{module.kernel_size[1]} convolution{stride}"
    if isinstance(module, Neuron):
        return f"{type(module).__name__.removesuffix('Neuron')} neuron"
    words = {nn.BatchNorm2d: "batch norm", nn.ReLU: "ReLU", nn.LeakyReLU: "leaky ReLU", nn.MaxPool2d: "max pooling"}
    words |= {nn.AvgPool2d: "average pooling", nn.Linear: "linear layer"}
    return next((text for kind, text in words.items() if isinstance(module, kind)), None)


class Watch:
    """One forward pass, watched: shapes (C, H, W) of every module's input and output, and the order of calls."""

    def __init__(self, model: nn.Module, pixels: int) -> None:
        self.shapes: dict[nn.Module, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.order: list[nn.Module] = []
        hooks = [module.register_forward_hook(self._note) for module in model.modules()]
        with torch.no_grad():
            model.eval()(torch.rand(1, 3, pixels, pixels))
        for hook in hooks:
            hook.remove()

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.shapes[module] = (tuple(inputs[0].shape[-3:]), tuple(output.shape[-3:]))
        self.order.append(module)

    def layers_of(self, branch: nn.Module) -> list[str]:
        """Name a branch's layers in the order of calls, without those of its shortcut."""
        own = {module for path, module in branch.named_modules() if "shortcut" not in path}
        return [words for module in self.order if module in own and (words := describe(module))]


def shown(shape: Sequence[int]) -> str:
    """`64 × 8 × 8`."""
    return " × ".join(map(str, shape))


def draw_block(name: str, pixels: int) -> Drawing:
    """Draw the first block behind the stem: two branches beside each other, added at their end."""
    model = zoo.create_model(name, num_classes=10)
    watch = Watch(model, pixels)
    block = [module for module in model.modules() if isinstance(module, PairedBlock)][1]
    given, made = watch.shapes[block]
    analog, spiking = (watch.layers_of(cast(nn.Module, branch)) for branch in (block.analog, block.spiking))
    timesteps, fields = model.timesteps, dict(model.spec.fields)
    boxes = [(f"encoder {fields['encoder']}: {timesteps} planes", CODING)]
    boxes += [*((layer, SPIKING) for layer in spiking), (f"decoder {fields['decoder']}", CODING)]
    step, top, left, middle, right = HEIGHT + GAP, 92, 120, 250, 380
    first, bottom = top + (len(boxes) - len(analog)) * step / 2, top + len(boxes) * step
    drawing = Drawing(620, bottom + 96, f"A block of {name}")
    drawing.text(middle, 24, f"a block of {name}")
    drawing.text(middle, 52, f"activation, {shown(given)}")
    drawing.arrow((middle, 58), (middle, 70), (left, 70), (left, first))
    drawing.arrow((middle, 58), (middle, 70), (right, 70), (right, top))
    for number, layer in enumerate(analog):
        drawing.box(left, first + number * step, [layer], ANALOG)
    for number, (words, color) in enumerate(boxes):
        drawing.box(right, top + number * step, [words], color)
    for x, begin, count in ((left, first, len(analog)), (right, top, len(boxes))):
        for number in range(count - 1):
            drawing.arrow((x, begin + number * step + HEIGHT), (x, begin + (number + 1) * step))
        end = begin + (count - 1) * step + HEIGHT
        drawing.arrow((x, end), (x, bottom + 8), (middle, bottom + 8), (middle, bottom + 20))
    drawing.box(middle, bottom + 20, ["+"], PLAIN, 40)
    drawing.text(middle, bottom + 82, f"activation, {shown(made)}")
    drawing.text(left + 10, top - 4, "real numbers", "start", ANALOG)
    drawing.text(right + WIDTH / 2 + 12, top + step * 1.5, f"{timesteps} timesteps", "start", SPIKING)
    drawing.text(right + WIDTH / 2 + 12, top + step * 1.5 + 18, "of 0 and 1", "start", SPIKING)
    if any("shortcut" in path for path, _ in block.named_modules()):
        for line, words in enumerate(("both branches", "with a shortcut")):
            drawing.text(right + WIDTH / 2 + 12, bottom - 60 + 18 * line, words, "start", PLAIN)
    return drawing


def draw_network(name: str, pixels: int) -> Drawing:
    """Draw the row of stages: in every block both branches, real numbers between blocks."""
    model = zoo.create_model(name, num_classes=10)
    watch = Watch(model, pixels)
    stages = [model.get_submodule(level["module"]) for level in model.feature_info]
    wide, step, y = 130, 152, 74
    drawing = Drawing(step * (len(stages) + 1) + 90, 250, f"The network {name}")
    drawing.text(20, 24, f"{name}, an image of {pixels} × {pixels} pixels", "start")
    drawing.text(14, y + 62, "image", "start")
    for number, stage in enumerate(stages):
        blocks = [module for module in stage.modules() if isinstance(module, PairedBlock)]
        x = 80 + number * step + wide / 2
        drawing.arrow((x - wide / 2 - step + wide if number else 54, y + 58), (x - wide / 2, y + 58))
        drawing.frame(x - wide / 2, y - 14, wide, 150)
        drawing.box(x, y, ["analog layers"], ANALOG, wide - 12)
        drawing.text(x, y + 54, "+")
        drawing.box(x, y + 64, ["encode · spiking", "layers · decode"], SPIKING, wide - 12)
        drawing.text(x, y + 156, shown(watch.shapes[stage][1]))
        drawing.text(x, y - 22, "1 block" if len(blocks) == 1 else f"{len(blocks)} blocks", "middle", PLAIN)
    last = 80 + len(stages) * step
    drawing.arrow((last - step + wide, y + 58), (last, y + 58))
    drawing.box(last + 45, y + 33, ["pool and", "classify"], PLAIN, 90)
    return drawing


def draw_planes() -> Image.Image:
    """Draw what `zoo show` draws of the bundled photograph, without the spike rates below."""
    network, preprocessing, weights = network_to_show(DEFAULT_MODEL)
    photograph = sample_photographs()[0]
    recording = record(network, Transform(preprocessing)(photograph))
    (answer,) = zoo.predict(network, [photograph])
    without_rates = replace(recording, rates={})
    picture = draw(without_rates, str(network.spec), f"{photograph.name}, {weights}", answer.ranked)
    return picture.quantize(64, dither=Image.Dither.NONE)


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="has8_resnet_b32_m2_d4_fourier_bpd", help="a model of the family has8")
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "pictures", help="the folder of the pictures"
    )
    given = parser.parse_args()
    draw_block(given.name, given.image_size).save(given.out / "block.svg")
    draw_network(given.name, given.image_size).save(given.out / "network.svg")
    draw_planes().save(given.out / "planes.png", optimize=True)


if __name__ == "__main__":
    main()
