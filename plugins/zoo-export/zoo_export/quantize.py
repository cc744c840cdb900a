"""An exported ONNX file in 8-bit integers, by onnxruntime, calibrated on images; and what that costs in accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from zoo.commands import replace_bytes
from zoo.commands.models import StoredWeight
from zoo.data import DataSplits, ImageSplit
from zoo.errors import InputError, writing_to
from zoo_export.onnx_file import INPUT

QUANTISED = ("Conv", "Gemm", "MatMul")
"""Layers in integers. Everything else stays in float32: coders and neurons depend on a value's last bits."""
CALIBRATION_IMAGES, MEASURED_IMAGES = 128, 1000
_ANY_BATCH = 16


@final
@dataclass(frozen=True)
class Quantized:
    """A quantised file: bytes and top-1 (percent) of both; images to calibrate, to measure, and answered otherwise."""

    file: str
    size: int
    float_size: int
    calibration_images: int
    images: int
    float_top1: float
    top1: float
    changed: int


def quantize_onnx(
    exported: Path,
    out: Path,
    weight: StoredWeight,
    splits: DataSplits,
    *,
    calibration_images: int = CALIBRATION_IMAGES,
    images: int = MEASURED_IMAGES,
) -> Quantized:
    """Write a file of `export_onnx` once more, with convolutions and linear layers in 8-bit integers.

    Args:
        exported: the file in float32.
        out: the file to write; if anything fails it stays as it is.
        weight: its weights; its labels are the data's classes.
        splits: training images to calibrate with, validation images to measure both files with, in the file's size.
        calibration_images: how many of the former at most.
        images: how many of the latter at most.

    Raises:
        InputError: the data have other classes, or fewer images than the file takes at once; or it cannot be written.
    """
    if splits.train.classes != weight.labels:
        raise InputError(f"the data have other classes than {weight.name}; calibrate on data like its own")
    source = onnx.load(exported)
    fewest = min(len(splits.train), len(splits.val))
    batch = source.graph.input[0].type.tensor_type.shape.dim[0].dim_value or min(_ANY_BATCH, fewest)
    if batch > fewest:
        raise InputError(f"the file takes {batch} images at once, and a split has {fewest}")
    calibration = list(_batches(splits.train, calibration_images, batch))
    with TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        quant_pre_process(str(exported), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantised),
            _Reader([{INPUT: pixels} for pixels, _ in calibration]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        result = onnx.load(quantised)
    about = {prop.key: prop.value for prop in source.metadata_props}
    onnx.helper.set_model_props(result, about | {"zoo.quantized": "int8"})
    data, before = result.SerializeToString(deterministic=True), exported.read_bytes()
    (floats, labels), (integers, _) = (_answers(file, splits.val, images, batch) for file in (before, data))
    float_top1, top1 = (100 * float(np.mean(answers == labels)) for answers in (floats, integers))
    with writing_to(out):
        replace_bytes(out, data)
    calibrated, changed = len(calibration) * batch, int((floats != integers).sum())
    return Quantized(str(out), len(data), len(before), calibrated, len(labels), float_top1, top1, changed)


def _batches(split: ImageSplit, most: int, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pixels (batch, C, H, W) in [0, 1] and labels, spread evenly; a batch with a damaged image is left out."""
    count = max(1, min(most, len(split)) // batch) * batch
    for rows in (torch.arange(count) * len(split) // count).split(batch):
        pixels, labels = split.read(rows)
        if len(labels) == batch:
            yield (pixels.float() / 255).numpy(), labels.numpy()


@final
class _Reader(CalibrationDataReader):
    """onnxruntime asks for one batch after the other, by the name of the input."""

    def __init__(self, batches: list[dict[str, np.ndarray]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch; None at the end."""
        return next(self._batches, None)


def _answers(data: bytes, split: ImageSplit, most: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the class that a file gives each image, and the labels."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    answers, labels = [], []
    for pixels, own in _batches(split, most, batch):
        answers += session.run(None, {INPUT: pixels})[0].argmax(1).tolist()
        labels += own.tolist()
    return np.array(answers), np.array(labels)
