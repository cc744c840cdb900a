"""An answer over time: what a streaming network believes after every frame, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo.contracts import ImageClassifier
from zoo.errors import InputError

_INK, _FAINT, _GRID = "#1b1f24", "#6a737d", "#d8dee4"
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_WIDTH, _MARGIN, _CHART, _TEXT = 1200, 36, 320, 18
_LABELS = 200
"""Pixels to the right of the last frame, for the names of classes."""
_LINE = 24
"""Pixels from one name to the next, at least."""


def answers_over_time(model: ImageClassifier, frames: Tensor) -> Tensor:
    """Give a network one frame after another: (T, C, H, W) → probabilities after each, (T, classes).

    Raises:
        InputError: frames that do not fit, or none: the first answer comes after the first frame.
    """
    if not len(frames):
        raise InputError(f"{model.spec} answers after a frame, and got none of (T, C, H, W), T of 1 or more")
    weights = next(model.parameters())
    with model.streaming() as stream:
        seen = [stream(frame[None].to(weights.device, weights.dtype)) for frame in frames]
    return torch.cat(seen).float().softmax(1).cpu()


def draw_answers(frames: Tensor, probabilities: Tensor, labels: Sequence[str], title: str) -> Image.Image:
    """Draw the frames in a row, and below them the probability of the classes that end highest, frame by frame.

    Args:
        frames: (T, C, H, W) in [0, 1]; the first channel is drawn in red, the second in blue, on white.
        probabilities: (T, classes), as `answers_over_time` returns them.
        labels: of the classes.
        title: above the picture.
    """
    step = (_WIDTH - 2 * _MARGIN - _LABELS) / len(frames)
    side = min(160, int(step) - 8)
    top = _MARGIN + 44
    chart = top + side + 60
    picture = Image.new("RGB", (_WIDTH, chart + _CHART + _MARGIN + 24), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT)
    pen.text((_MARGIN, _MARGIN - 8), _in_ascii(title), fill=_INK, font=ImageFont.load_default(26))
    centres = [_MARGIN + (t + 0.5) * step for t in range(len(frames))]
    for t, (frame, centre) in enumerate(zip(frames, centres, strict=True)):
        left = int(centre - side / 2)
        picture.paste(_tile(frame, side), (left, top))
        pen.rectangle((left - 1, top - 1, left + side, top + side), outline=_GRID)
        pen.text((centre, top + side + 8), f"{t + 1}", fill=_FAINT, font=font, anchor="ma")
    _draw_lines(pen, centres, chart, probabilities, labels)
    told = "probability after so many frames; events: red where it gets brighter, blue where darker"
    pen.text((_MARGIN, chart + _CHART + 12), told, fill=_FAINT, font=font)
    return picture


def _draw_lines(
    pen: ImageDraw.ImageDraw, centres: Sequence[float], chart: int, probabilities: Tensor, labels: Sequence[str]
) -> None:
    """Draw a line for each of the classes that end highest, with its name behind the last frame."""
    font = ImageFont.load_default(_TEXT)
    right = _WIDTH - _MARGIN - _LABELS
    for share in (0, 0.5, 1):
        y = _height(chart, share)
        pen.line((_MARGIN, y, right, y), fill=_GRID)
        pen.text((_MARGIN, y - 2), f"{share:.0%}", fill=_FAINT, font=font, anchor="lb")
    chosen = probabilities[-1].argsort(descending=True)[: len(_LINES)].tolist()
    ends = [_height(chart, float(probabilities[-1, label])) for label in chosen]
    for place, (label, y) in reversed(list(enumerate(zip(chosen, _apart(ends, chart + _CHART), strict=True)))):
        heights = [_height(chart, float(share)) for share in probabilities[:, label]]
        points = list(zip(centres, heights, strict=True))
        pen.line(points, fill=_LINES[place], width=4 if place == 0 else 2, joint="curve")
        radius = 5 if place == 0 else 3
        for x, height in points:
            pen.ellipse((x - radius, height - radius, x + radius, height + radius), fill=_LINES[place])
        told = _in_ascii(f"{labels[label]} {float(probabilities[-1, label]):.0%}")
        pen.text((right + 12, y), told, fill=_LINES[place], font=font, anchor="lm")


def _height(chart: int, share: float) -> float:
    return chart + _CHART * (1 - share)


def _apart(heights: Sequence[float], lowest: float) -> list[float]:
    """Move heights, from the top down, so that names beside them do not overlap and end at the lowest."""
    moved: list[float] = []
    for place, height in enumerate(heights):
        below = lowest - _LINE * (len(heights) - 1 - place)
        moved.append(min(max(height, moved[-1] + _LINE if moved else height), below))
    return moved


def _in_ascii(text: str) -> str:
    """Replace what the font of Pillow lacks."""
    return text.encode("ascii", "replace").decode()


def _tile(frame: Tensor, side: int) -> Image.Image:
    """Draw one frame: white without events, red for the first channel, blue for the second."""
    levels = frame.detach().float().cpu().clamp(0, 1)
    first, second = levels[0], levels[1 % len(levels)]
    colours = torch.stack((1 - second, 1 - torch.maximum(first, second), 1 - first))
    pixels = (colours * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
