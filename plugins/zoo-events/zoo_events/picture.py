"""An answer over time: what a streaming network believes after every frame, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo.contracts import ImageClassifier

_INK, _FAINT, _GRID = "#1b1f24", "#6a737d", "#d8dee4"
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_WIDTH, _MARGIN, _CHART, _TEXT = 1200, 36, 320, 18


def answers_over_time(model: ImageClassifier, frames: Tensor) -> Tensor:
    """Give a network one frame after another: (T, C, H, W) → probabilities after each, (T, classes)."""
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
    count = len(frames)
    step = (_WIDTH - 2 * _MARGIN) / count
    side = min(160, int(step) - 8)
    top = _MARGIN + 44
    chart = top + side + 48
    picture = Image.new("RGB", (_WIDTH, chart + _CHART + _MARGIN + 24), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT)
    pen.text(
        (_MARGIN, _MARGIN - 8), title.encode("ascii", "replace").decode(), fill=_INK, font=ImageFont.load_default(26)
    )
    for t, frame in enumerate(frames):
        left = int(_MARGIN + (t + 0.5) * step - side / 2)
        picture.paste(_tile(frame, side), (left, top))
        pen.rectangle((left - 1, top - 1, left + side, top + side), outline=_GRID)
        pen.text((left + side / 2, top + side + 8), f"{t + 1}", fill=_FAINT, font=font, anchor="ma")
    for share in (0, 0.5, 1):
        y = chart + _CHART * (1 - share)
        pen.line((_MARGIN, y, _WIDTH - _MARGIN, y), fill=_GRID)
        pen.text((_MARGIN, y - 2), f"{share:.0%}", fill=_FAINT, font=font, anchor="lb")
    for place, label in enumerate(probabilities[-1].argsort(descending=True)[: len(_LINES)].tolist()):
        points = [
            (_MARGIN + (t + 0.5) * step, chart + _CHART * (1 - float(share)))
            for t, share in enumerate(probabilities[:, label])
        ]
        pen.line(points, fill=_LINES[place], width=4 if place == 0 else 2)
        told = f"{labels[label]} {float(probabilities[-1, label]):.0%}".encode("ascii", "replace").decode()
        pen.text((_WIDTH - _MARGIN, chart + 8 + place * 24), told, fill=_LINES[place], font=font, anchor="ra")
    pen.text((_MARGIN, chart + _CHART + 12), "probability after so many frames", fill=_FAINT, font=font)
    return picture


def _tile(frame: Tensor, side: int) -> Image.Image:
    """Draw one frame: white without events, red for the first channel, blue for the second."""
    levels = frame.detach().float().cpu().clamp(0, 1)
    first, second = levels[0], levels[1 % len(levels)]
    colours = torch.stack((1 - second, 1 - torch.maximum(first, second), 1 - first))
    pixels = (colours * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
