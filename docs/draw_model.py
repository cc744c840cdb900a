"""Draws the pictures of the pages: `python docs/draw_model.py` writes them into docs/pictures.

    python docs/draw_model.py --name has8_resnet_b32_m2_d4_fourier_bpd --out docs/pictures

block.svg is one block of a hybrid, rivals.svg its control and dual and the twin of a spiking-only network, neuron.svg
one neuron over time, sparkle.svg the neuron of a tutorial beside it, counted.svg what another tutorial counts,
planes.svg a photograph and its bit planes. Layers, T, spikes and answers come from the network's
modules and a forward pass; nothing is typed in. The same model gives the same bytes, dark on a page in dark mode.
"""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from zoo_kit.scaffold import draft

import zoo
from zoo.blocks import IFNeuron
from zoo.cli.predict import DEFAULT_MODEL
from zoo.contracts import Neuron
from zoo.data.images import Transform, sample_photographs
from zoo.families.paired import PairedBlock
from zoo.inference.predict import Prediction
from zoo.inference.show import COLOURS, network_to_show, record

ANALOG, SPIKING, CODING, PLAIN = COLOURS["ann"], COLOURS["has8"], COLOURS["sew"], "#808080"
"""Okabe and Ito's palette; every box has its words too."""
WIDTH, HEIGHT, GAP = 165, 36, 16
BOLD = 'style="font-weight: bold"'
STYLE = """text { font: 15px Helvetica, Arial, sans-serif; fill: #1b1f24 }
.line { fill: none; stroke: #57606a; stroke-width: 1.5 } .tip { fill: #57606a } .faint { fill: #57606a }
.pixels { image-rendering: pixelated }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .faint { fill: #9da7b1 }
.line { stroke: #9da7b1 } .tip { fill: #9da7b1 } }"""


class Drawing:
    """An SVG under construction."""

    def __init__(self, width: int, height: float, title: str) -> None:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}">'
        tip = '<path class="tip" d="M0 0 L8 4 L0 8 z"/>'
        marker = f'<marker id="tip" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">{tip}</marker>'
        self._parts = [head, f"<title>{title}</title><style>{STYLE}</style><defs>{marker}</defs>"]

    def box(self, x: float, y: float, words: str, color: str, width: float = WIDTH) -> None:
        """Draw a box with a centred text; (x, y) is the middle of its upper edge."""
        shape = f'<rect x="{x - width / 2:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="5"'
        self._parts.append(f'{shape} fill="{color}" fill-opacity="0.18" stroke="{color}"/>')
        self.text(x, y + 23, words)

    def sum(self, x: float, y: float) -> None:
        """Draw a circled plus around a point."""
        self._parts.append(f'<circle class="line" cx="{x:g}" cy="{y:g}" r="13"/>')
        self.line((x - 7, y), (x + 7, y))
        self.line((x, y - 7), (x, y + 7))

    def fork(self, x: float, y: float) -> None:
        """Draw the dot at which a line parts."""
        self._parts.append(f'<circle class="tip" cx="{x:g}" cy="{y:g}" r="4"/>')

    def text(self, x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> None:
        """Write a text at a baseline."""
        self._parts.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" {more}>{text}</text>')

    def line(self, *points: tuple[float, float], more: str = "") -> None:
        """Draw a line through the points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline class="line" points="{path}" {more}/>')

    def arrow(self, *points: tuple[float, float]) -> None:
        """Draw a line through the points, with a tip at its end."""
        self.line(*points, more='marker-end="url(#tip)"')

    def pixels(self, x: float, y: float, side: float, values: Tensor) -> None:
        """Draw an image (3, H, W) in [0, 1], every pixel a square."""
        levels = (values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, "PNG", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        place = f'x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}"'
        self._parts.append(f'<image class="pixels" {place} href="data:image/png;base64,{data}"/>')

    def save(self, file: Path) -> None:
        """Write the picture."""
        file.write_text("\n".join([*self._parts, "</svg>", ""]), encoding="utf-8")


def describe(module: nn.Module) -> str | None:
    """Name a layer; None for one that is not worth a box."""
    if isinstance(module, nn.Conv2d):
        return f"{module.kernel_size[0]}×{module.kernel_size[1]} convolution"
    if isinstance(module, Neuron):
        return f"{type(module).__name__.removesuffix('Neuron')} neurons"
    words = {nn.BatchNorm2d: "batch norm", nn.ReLU: "ReLU", nn.LeakyReLU: "leaky ReLU"}
    return next((text for kind, text in words.items() if isinstance(module, kind)), None)


def list_layers(model: nn.Module, branch: nn.Module, pixels: int) -> list[str]:
    """Name a branch's layers in the order of their calls, without those of its shortcut."""
    own = {module for path, module in branch.named_modules() if "shortcut" not in path}
    order: list[nn.Module] = []
    hooks = [module.register_forward_hook(lambda module, *_: order.append(module)) for module in own]
    with torch.no_grad():
        model.eval()(torch.rand(1, 3, pixels, pixels))
    for hook in hooks:
        hook.remove()
    return [words for module in order if (words := describe(module))]


def draw_block(name: str, pixels: int) -> Drawing:
    """Draw the first block behind the stem: the input forks into two branches, whose outputs are summed."""
    model = zoo.create_model(name, num_classes=10)
    block = [module for module in model.modules() if isinstance(module, PairedBlock)][1]
    analog, spiking = (list_layers(model, cast(nn.Module, branch), pixels) for branch in (block.analog, block.spiking))
    fields = dict(model.spec.fields)
    boxes = [(f"encoder {fields['encoder']}", CODING)]
    boxes += [*((layer, SPIKING) for layer in spiking), (f"decoder {fields['decoder']}", CODING)]
    step, top, left, middle, right = HEIGHT + GAP, 96, 90, 240, 390
    first, bottom = top + (len(boxes) - len(analog)) * step / 2, top + len(boxes) * step + 12
    drawing = Drawing(2 * middle, bottom + 84, f"A block of {name}")
    drawing.text(middle, 22, "activation, real numbers")
    drawing.line((middle, 30), (middle, 52))
    drawing.fork(middle, 52)
    drawing.text(left + 12, 78, "analog branch", "start", BOLD)
    drawing.text(right - 12, 78, "spiking branch", "end", BOLD)
    drawing.arrow((middle, 52), (left, 52), (left, first))
    drawing.arrow((middle, 52), (right, 52), (right, top))
    for x, begin, column in ((left, first, [(words, ANALOG) for words in analog]), (right, top, boxes)):
        for number, (words, color) in enumerate(column):
            drawing.box(x, begin + number * step, words, color)
            if number:
                drawing.arrow((x, begin + number * step - GAP), (x, begin + number * step))
        end = begin + (len(column) - 1) * step + HEIGHT
        drawing.arrow((x, end), (x, bottom), (middle + (13 if x > middle else -13), bottom))
    drawing.sum(middle, bottom)
    drawing.arrow((middle, bottom + 13), (middle, bottom + 48))
    drawing.text(middle, bottom + 70, "activation, real numbers")
    for number, words in enumerate((f"{model.timesteps} timesteps", "of zeros", "and ones")):
        drawing.text(middle, top + 2.5 * step + 20 * number, words, more='class="faint"')
    return drawing


def draw_rivals() -> Drawing:
    """Draw three pairs: a hybrid and its control, a hybrid and its dual, spikes and the twin's integers."""
    drawing = Drawing(820, 280, "The three rivals")
    analog, spiking = ("analog", ANALOG), ("spiking", SPIKING)
    for x, rival, branches, what in (
        (0, "control", (analog,), "without spikes"),
        (290, "dual", (analog, analog), "as many parameters"),
    ):
        drawing.text(x + 136, 22, f"hybrid and its {rival}", more=BOLD)
        _draw_branches(drawing, x + 66, "hybrid", (analog, spiking))
        _draw_branches(drawing, x + 206, rival, branches)
        drawing.text(x + 136, 262, what, more='class="faint"')
    drawing.text(702, 22, "spiking-only and its twin", more=BOLD)
    for centre, words, middle, color in ((636, "spikes", "1 0 1 1", SPIKING), (766, "twin", "3", ANALOG)):
        drawing.text(centre, 54, words)
        drawing.box(centre, 74, "layer", color, 96)
        drawing.arrow((centre, 110), (centre, 134))
        drawing.text(centre, 156, middle, more=BOLD)
        drawing.arrow((centre, 166), (centre, 190))
        drawing.box(centre, 190, "layer", color, 96)
    drawing.text(702, 262, "the same tensors and answers", more='class="faint"')
    return drawing


def _draw_branches(drawing: Drawing, centre: float, title: str, branches: Sequence[tuple[str, str]]) -> None:
    """Draw one branch, or two that fork and are summed."""
    drawing.text(centre, 54, title)
    if len(branches) == 1:
        ((words, color),) = branches
        drawing.arrow((centre, 64), (centre, 108))
        drawing.box(centre, 108, words, color, 62)
        drawing.arrow((centre, 108 + HEIGHT), (centre, 228))
        return
    drawing.line((centre, 64), (centre, 84))
    drawing.fork(centre, 84)
    for side, (words, color) in zip((-1, 1), branches, strict=True):
        x = centre + 33 * side
        drawing.arrow((centre, 84), (x, 84), (x, 108))
        drawing.box(x, 108, words, color, 62)
        drawing.arrow((x, 108 + HEIGHT), (x, 190), (centre + 13 * side, 190))
    drawing.sum(centre, 190)
    drawing.arrow((centre, 203), (centre, 228))


def draw_neuron(currents: Sequence[float] = (0.4, 0.5, 0.3, 0.1, 0.6, 0.2, 0.4, 0.7)) -> Drawing:
    """Draw the membrane potential of an integrate-and-fire neuron over time, and its spikes."""
    neuron = IFNeuron()
    potential: torch.Tensor | None = None
    spikes, after = [], []
    for current in torch.tensor(currents):
        fired, potential = neuron.step(current, potential)
        spikes.append(float(fired))
        after.append(float(potential))
    drawing = Drawing(480, 230, "An integrate-and-fire neuron")
    left, step, zero, unit = 92, 47, 150, 110
    drawing.line((left, zero), (left + step * len(currents), zero))
    drawing.line((left, zero - unit), (left + step * len(currents), zero - unit), more='stroke-dasharray="5 4"')
    drawing.text(left - 12, zero - unit + 5, "threshold", "end")
    drawing.text(left - 12, zero - unit / 2 + 5, "potential", "end")
    drawing.text(left - 12, zero + 28, "input", "end")
    drawing.text(left - 12, zero + 60, "output", "end")
    path, before = [(float(left), float(zero))], 0.0
    for t, (current, spike, rest) in enumerate(zip(currents, spikes, after, strict=True)):
        x, height = left + step * (t + 0.5), zero - unit * (before + current)
        path += [(x, path[-1][1]), (x, height)]
        if spike:
            path += [(x + 10, height), (x + 10, zero - unit * rest)]
            drawing.fork(x, height)
        drawing.text(x, zero + 28, f"{current:g}", more='class="faint"')
        drawing.text(x, zero + 60, f"{spike:.0f}", more=BOLD)
        before = rest
    path.append((left + step * len(currents), path[-1][1]))
    drawing.line(*path, more=f'style="stroke: {SPIKING}; stroke-width: 2.5"')
    return drawing


def draw_sparkle(current: float = 0.55, timesteps: int = 24) -> Drawing:
    """Draw the spikes of `if` and of the neuron that `zoo plugins new zoo-sparkle` writes, for one current."""
    plugin = draft("zoo-sparkle")
    written: dict[str, type[Neuron]] = {}
    exec(plugin.files()["zoo_sparkle/__init__.py"], written)
    drawing = Drawing(480, 150, "An integrate-and-fire neuron and one that tires")
    left, step = 84, 16
    for y, name, neuron_type in ((54, "if", IFNeuron), (112, "sparkle", written[plugin.class_name])):
        spikes = neuron_type()(torch.full((timesteps,), current)).tolist()
        drawing.text(left - 14, y + 5, name, "end", BOLD)
        drawing.line((left, y + 18), (left + step * timesteps, y + 18))
        for t, spike in enumerate(spikes):
            x = left + step * (t + 0.5)
            if spike:
                drawing.line((x, y - 18), (x, y + 18), more=f'style="stroke: {SPIKING}; stroke-width: 4"')
    drawing.text(left + step * timesteps / 2, 146, f"{timesteps} timesteps", more='class="faint"')
    drawing.text(left, 20, f"an input of {current:g} at every timestep", "start", 'class="faint"')
    return drawing


def draw_counted(timesteps: int = 4) -> Drawing:
    """Draw the first network of the tutorial on counting, and what each layer is charged for a photograph."""
    torch.manual_seed(0)
    net = nn.Sequential(layer.Conv2d(3, 16, 3), neuron.IFNode(), layer.Flatten(), layer.Linear(14400, 10))
    functional.set_step_mode(net, "m")
    pixels = zoo.transform(DEFAULT_MODEL)(Image.open(sample_photographs()[0]))[None]
    counted = zoo.profile(
        net, images=pixels, reset=functional.reset_net, inputs=lambda x: x.repeat(timesteps, 1, 1, 1, 1)
    )
    assert counted.activity is not None
    convolution, linear = counted.activity.synapses
    drawing, x, columns = Drawing(760, 250, "What each layer is charged"), 110, (250, 440, 640)
    for column, head in zip(columns, ("what came in", "charged", "energy"), strict=True):
        drawing.text(column, 22, head, "start", BOLD)
    rows = (("3×3 convolution", convolution, "MAC", 4.6, ANALOG), ("linear layer", linear, "AC", 0.9, SPIKING))
    for y, (words, charged, operation, picojoules, color) in zip((50, 170), rows, strict=True):
        assert charged.operation == operation
        what = "real numbers" if operation == "MAC" else "spikes"
        amount = f"{charged.counted / 1e3:,.2g} thousand {operation}s" if charged.counted < 1e5 else ""
        amount = amount or f"{charged.counted / 1e6:.2g} million {operation}s"
        drawing.box(x, y, words, color, 190)
        for column, text in zip(columns, (what, amount, f"{charged.counted * picojoules / 1e6:.2g} µJ"), strict=True):
            drawing.text(column, y + 23, text, "start")
    drawing.box(x, 110, "IF neurons", SPIKING, 190)
    for begin, end in ((30, 50), (86, 110), (146, 170), (206, 230)):
        drawing.arrow((x, begin), (x, end))
    return drawing


def draw_planes() -> Drawing:
    """Draw the bundled photograph as the default network sees it, its answer, and its bit planes.

    The four upper planes are in grey, the mean over channels; the lower ones look like noise in any colour.
    """
    network, preprocessing, _ = network_to_show(DEFAULT_MODEL)
    photograph = sample_photographs()[0]
    recording = record(network, Transform(preprocessing)(photograph))
    (answer,) = zoo.predict(network, [photograph])
    assert isinstance(answer, Prediction)
    drawing = Drawing(838, 356, f"What {DEFAULT_MODEL} sees of a photograph")
    drawing.pixels(8, 10, 208, recording.image)
    drawing.text(8, 238, "input, 32 × 32 pixels", "start", 'class="faint"')
    for row, (label, probability) in enumerate(answer.ranked[:3]):
        drawing.text(8, 274 + 24 * row, label, "start", BOLD if row == 0 else "")
        drawing.text(216, 274 + 24 * row, f"{100 * probability:.1f} %", "end")
    for t, plane in enumerate(recording.planes):
        x, y = 244 + 150 * (t % 4), 10 + 172 * (t // 4)
        drawing.pixels(x, y, 138, plane.mean(0, keepdim=True).expand(3, -1, -1))
        end = {0: ", the lowest", 7: ", the highest"}.get(t, "")
        drawing.text(x, y + 156, f"bit {t}{end}", "start", 'class="faint"')
    return drawing


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
    draw_rivals().save(given.out / "rivals.svg")
    draw_neuron().save(given.out / "neuron.svg")
    draw_sparkle().save(given.out / "sparkle.svg")
    draw_counted().save(given.out / "counted.svg")
    draw_planes().save(given.out / "planes.svg")


if __name__ == "__main__":
    main()
