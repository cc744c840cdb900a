"""A picture of a network at work: its input, the planes of its first encoder, its spike rates."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, final

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo.catalog.records import Preprocessing
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.encoder import BINARY_LSB_FIRST, BINARY_MSB_FIRST, CONSTANT, FRAMES, Encoder
from zoo.contracts.family import SMALL_IMAGE_SIZE
from zoo.contracts.neuron import Neuron
from zoo.device import usable_device
from zoo.errors import InputError, check_target, writing_to
from zoo.families.numbers import in_spikes
from zoo.files import replace_file
from zoo.models.factory import DEFAULT_PLACES, Places, open_model
from zoo.profiling.rates import spike_rates, watching

COLOURS = {"ann": "#0072B2", "has8": "#D55E00", "sew": "#009E73", "snn": "#CC79A7"}
"""Family → its colour in every picture and on the site, of Okabe and Ito's palette."""

_INK, _FAINT, _LINE, _BAR, _TRACK = "#1b1f24", "#6a737d", "#d8dee4", COLOURS["sew"], "#f3f5f8"
_WIDTH, _MARGIN, _GAP = 1200, 36, 16  # pixels
_INPUT = 272  # side of the input's tile
_ROW = 24  # height of a bar's row
_HEADING = 58  # height of the heading of the bars
_NAMES = 320  # width of the column of layers
_VALUES = 64  # width of the column of rates
_CAPTION = 24  # height of a caption
_DRAWN = 4  # planes of a binary code; the others look like noise


def network_to_show(
    name: str, device: str = "cpu", places: Places = DEFAULT_PLACES
) -> tuple[ImageClassifier, Preprocessing, str]:
    """Return the network of a name, the preparation of its images, and its weights in words; raises as `create_model`.

    A network without weights is shown 32 pixels a side, unless it needs more.
    """
    place = usable_device(device)
    opened = open_model(name, places).warn_if_left_out()
    network = opened.build_settled().to(place)  # built on the CPU: untrained, it is the same everywhere
    untrained = Preprocessing(size=max(SMALL_IMAGE_SIZE, network.min_image_size))
    return network, opened.weight.preprocessing if opened.weight else untrained, opened.weights_description


@final
@dataclass(frozen=True)
class Recording:
    """Activity of a network for one image.

    Attributes:
        image: the input, (3, H, W) in [0, 1].
        planes: output of the first encoder, (T, 3, H, W) in {0, 1}; with direct coding the share of the first
            neurons' channels that spike, brightened, in [0, 1]; the frames of a network that takes frames.
        code: meaning of these planes, the encoder's own word.
        rates: layer name → mean spikes per neuron per timestep, in [0, 1], in the order of execution.
    """

    image: Tensor
    planes: Tensor
    code: str
    rates: dict[str, float]


def record(model: ImageClassifier, image: Tensor) -> Recording:
    """Run one image, (3, H, W) in [0, 1], in eval mode, and record its planes and every spike rate.

    Of frames, (T, C, H, W), the recorded image is their mean; two channels are shown in red and green.

    Raises:
        InputError: the model has no spikes, or the image does not fit it.
    """
    model = in_spikes(model)
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}
    encoders = {name: module for name, module in model.named_modules() if isinstance(module, Encoder)}
    if not neurons or not encoders:
        raise InputError(f"{model.spec} has no spikes to show; choose a model of the family has8, snn or sew")
    planes: list[tuple[Tensor, str]] = []

    def note_share(name: str, output: Tensor) -> None:
        if not planes:  # an encoder has given real values, or none at all
            share = output[:, 0].float().cpu().mean(1, keepdim=True)
            planes.append(((share / share.max().clamp(min=1e-6)).expand(-1, 3, -1, -1), CONSTANT))

    def note_planes(name: str, output: Tensor) -> None:
        if not planes and encoders[name].code != CONSTANT:
            planes.append((_in_colours(output[:, 0].float().cpu()), encoders[name].code))

    weights = next(model.parameters())
    with ExitStack() as stack:
        rates = stack.enter_context(spike_rates(neurons))
        stack.enter_context(watching(neurons, note_share))
        stack.enter_context(watching(encoders, note_planes))
        stack.enter_context(model.evaluating())
        model(image[None].to(weights.device, weights.dtype))
    first, code = planes[0]
    calls: dict[str, list[float]] = {}
    for call in rates:
        calls.setdefault(call.layer, []).append(float(call.rate))
    means = {name: fmean(of_layer) for name, of_layer in calls.items()}
    return Recording(_in_colours(image.mean(0) if code == FRAMES else image), first, code, means)


def _in_colours(pixels: Tensor) -> Tensor:
    """Pixels (…, C, H, W) as (…, 3, H, W): one channel in grey, two in red and green, the first three of more."""
    channels = pixels.shape[-3]
    if channels == 1:
        return pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
    if channels == 2:
        return torch.cat((pixels, torch.zeros_like(pixels[..., :1, :, :])), -3)
    return pixels[..., :3, :, :]


_ENDS = {BINARY_LSB_FIRST: ("least", "most"), BINARY_MSB_FIRST: ("most", "least")}


def plane_captions(code: str, count: int) -> list[str]:
    """Return a caption for each of T planes; those of a binary code name both ends."""
    ends = _ENDS.get(code)
    captions = [f"plane {t}" if ends else f"timestep {t}" for t in range(count)]
    if ends and count > 1:
        captions[0] += f" ({ends[0]} significant)"
        captions[-1] += f" ({ends[1]} significant)"
    return captions


def draw(
    recording: Recording, title: str, subtitle: str = "", prediction: Sequence[tuple[str, float]] = ()
) -> Image.Image:
    """Draw input and planes above, a bar of each layer's spike rate below; 1200 pixels wide, RGB.

    Planes are grey, the brighter the more channels have a spike; of a binary code the four most significant are drawn.
    `prediction` has (label, probability), the most probable first, for the place below the input.
    """
    shown, note = _planes_to_draw(recording)
    size = recording.image.shape[-1]
    columns = 4 if len(shown) <= 12 else 8
    left = _MARGIN + _INPUT + 2 * _GAP
    room = _WIDTH - _MARGIN - left - (columns - 1) * _GAP
    tile = _tile(room // columns, size)
    top = _MARGIN + 84
    below_input = top + _tile(_INPUT, size) + _CAPTION + _GAP
    below_planes = top + math.ceil(len(shown) / columns) * (tile + _CAPTION + _GAP)
    chart = max(below_planes + _ROW, below_input + (len(prediction) + 1) * _ROW) + _GAP
    height = chart + bool(recording.rates) * _HEADING + len(recording.rates) * _ROW + _MARGIN
    picture = Image.new("RGB", (_WIDTH, height), "white")
    pen = _Pen(picture)
    pen.text((_MARGIN, _MARGIN), title, 26, width=_WIDTH - 2 * _MARGIN)
    pen.text((_MARGIN, _MARGIN + 38), subtitle, 15, _FAINT, width=_WIDTH - 2 * _MARGIN)
    pen.tile((_MARGIN, top), recording.image, _tile(_INPUT, size), f"input, {size} by {size} pixels")
    for row, (label, probability) in enumerate(prediction):
        place, colour = (_MARGIN, below_input + row * _ROW), _FAINT if row else _INK
        pen.text(place, label, 15 if row else 18, colour, width=_INPUT - _VALUES)
        pen.text((_MARGIN + _INPUT, place[1]), f"{100 * probability:.1f} %", 15 if row else 18, colour, anchor="ra")
    for number, (caption, plane) in enumerate(shown):
        row, column = divmod(number, columns)
        corner = (left + column * (tile + _GAP), top + row * (tile + _CAPTION + _GAP))
        pen.tile(corner, plane, tile, caption)
    pen.text((left, below_planes - _GAP // 2), note, 14, _FAINT, width=_WIDTH - left - _MARGIN)
    if recording.rates:
        _draw_rates(pen, chart, recording)
    return picture


def _planes_to_draw(recording: Recording) -> tuple[list[tuple[str, Tensor]], str]:
    """Return caption and picture of the planes that are drawn, and what to know of them."""
    captions, count = plane_captions(recording.code, len(recording.planes)), len(recording.planes)
    if recording.code == FRAMES:
        return list(zip(captions, recording.planes, strict=True)), "The input is the mean of its frames."
    note = "Brightness: share of channels with a spike."
    drawn = range(count)
    if recording.code in _ENDS and count > _DRAWN:
        drawn = drawn[-_DRAWN:] if recording.code == BINARY_LSB_FIRST else drawn[:_DRAWN]
        note += " The other planes hold the last bits of each pixel, and look like noise."
    grey = recording.planes.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return [(captions[t], grey[t]) for t in drawn], note


def _tile(room: int, size: int) -> int:
    """Return the largest whole multiple of `size` pixels in the room there is, so that pixels stay square."""
    return room // size * size if size <= room else room


def _draw_rates(pen: _Pen, top: int, recording: Recording) -> None:
    """Draw the bar chart below `top`; the longest bar is of the highest rate."""
    pen.text((_MARGIN, top), "Spike rate of every layer", 20)
    explained = f"mean spikes per neuron per timestep, over {len(recording.planes)} timesteps"
    pen.text((_MARGIN, top + 28), explained, 15, _FAINT)
    start, end = _MARGIN + _NAMES, _WIDTH - _MARGIN - _VALUES
    highest = max(recording.rates.values()) or 1
    for row, (name, rate) in enumerate(zip(plain_names(recording.rates), recording.rates.values(), strict=True)):
        y = top + _HEADING + row * _ROW
        pen.text((_MARGIN, y + 3), name, 14, width=_NAMES - _GAP)
        pen.draw.rectangle((start, y + 4, end, y + _ROW - 4), fill=_TRACK)
        if rate:
            length = max(1, round((end - start) * rate / highest))
            pen.draw.rectangle((start, y + 4, start + length, y + _ROW - 4), fill=_BAR)
        pen.text((end + 12, y + 3), f"{rate:.3f}", 14, _FAINT)


_BLOCK = re.compile(r"stages\.(\d+)\.(\d+)\.")


def plain_names(neurons: Iterable[str]) -> list[str]:
    """Name neurons by their place in the network: `stage 2, block 1, neuron 3` for `stages.1.0.spiking.shortcut.2`."""
    names: list[str] = []
    counts: Counter[str] = Counter()
    for name in neurons:
        block = _BLOCK.match(name)
        place = f"stage {int(block[1]) + 1}, block {int(block[2]) + 1}" if block else name.partition(".")[0]
        counts[place] += 1
        names.append(f"{place}, neuron {counts[place]}")
    return names


@final
class _Pen:
    """Draws on one picture, in Pillow's own font (of Latin letters alone)."""

    def __init__(self, picture: Image.Image) -> None:
        self._picture, self.draw = picture, ImageDraw.Draw(picture)
        self._fonts: dict[int, Any] = {}

    def text(
        self, at: tuple[int, int], text: str, size: int, colour: str = _INK, width: int = _WIDTH, anchor: str = "la"
    ) -> None:
        """Write one line, cut to `width` pixels."""
        font = self._fonts.setdefault(size, ImageFont.load_default(size))
        line = text.encode("ascii", "replace").decode("ascii")
        while self.draw.textlength(line, font) > width:
            line = f"{line[:-4]}..."
        self.draw.text(at, line, fill=colour, font=font, anchor=anchor)

    def tile(self, corner: tuple[int, int], pixels: Tensor, side: int, caption: str) -> None:
        """Draw an image (3, H, W) in [0, 1], enlarged without smoothing, framed, its caption below."""
        levels = (pixels.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        self._picture.paste(Image.fromarray(levels).resize((side, side), Image.Resampling.NEAREST), corner)
        self.draw.rectangle((corner[0] - 1, corner[1] - 1, corner[0] + side, corner[1] + side), outline=_LINE)
        self.text((corner[0], corner[1] + side + 5), caption, 14, _FAINT, width=side + _GAP // 2)


def save_picture(picture: Image.Image, out: Path, force: bool = False) -> None:
    """Write a PNG; raises `InputError` if it exists and `force` is not set, or on a full disk."""
    check_target(out, ".png", force)
    with writing_to(out):
        replace_file(out, lambda file: picture.save(file, "PNG"))
