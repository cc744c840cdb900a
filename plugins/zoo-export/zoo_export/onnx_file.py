"""Networks as ONNX files, which hold name, weights, preprocessing and labels in their metadata.

Neurons are exported as what they compute, timestep by timestep, so every runtime with opset 18 runs them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

from zoo.commands import replace_bytes
from zoo.commands.models import DEFAULT_PLACES, OURS, Places, StoredWeight, open_model, stated_preprocessing
from zoo.contracts import ImageClassifier
from zoo.errors import InputError, ModelNameError, check_target, writing_to

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
INPUT, OUTPUT, BATCH = "pixels", "logits", "batch"


def network_to_export(name: str, places: Places = DEFAULT_PLACES) -> tuple[ImageClassifier, StoredWeight | None]:
    """Build the network of a name, and return the weight that is in it; None if it is untrained.

    Raises as `create_model` does, and `ModelNameError` for a weight without a record.
    """
    opened = open_model(name, places).warn_if_left_out()
    if opened.weight_name and opened.weight is None:
        raise ModelNameError(f"{opened.weight_name} is published without a record; export a folder that zoo.save wrote")
    return opened.build_settled(), opened.weight


@final
class Normalised(nn.Module):
    """A network behind its own normalisation: pixels in [0, 1], (N, C, H, W) → logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model
        mean, std = stated_preprocessing(model).of_channels(model.in_chans)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of pixels in [0, 1]."""
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits


def describe_network(model: ImageClassifier, weight: StoredWeight | None, image_size: int) -> dict[str, Any]:
    """Return name and version of the zoo; of a weight also its sha256, licence, preprocessing and labels."""
    facts = {"name": str(model.spec), "version": version(OURS)}
    if weight is None:
        return facts
    preprocessing = weight.preprocessing.model_dump(mode="json") | {"size": image_size}
    return facts | {
        "sha256": weight.sha256,
        "license": weight.license,
        "preprocessing": preprocessing | {"range": [0, 1], "channels": "RGB"},
        "labels": weight.labels,
    }


def describe_onnx(model: ImageClassifier, weight: StoredWeight | None, image_size: int) -> dict[str, str]:
    """Return the metadata of an ONNX file, which normalises itself: texts, `preprocessing` and `labels` as JSON."""
    facts = describe_network(model, weight, image_size)
    if weight is not None and weight.preprocessing.normalises:
        facts["preprocessing"] |= {"mean": [0.0], "std": [1.0]}
    return {
        f"zoo.{key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in facts.items()
    }


def example_images(model: ImageClassifier, image_size: int, count: int) -> Tensor:
    """Return noise in [0, 1], (N, C, H, W), the same on every call.

    Raises:
        InputError: the images are too small for the network, or it is on the meta device.
    """
    if image_size < model.min_image_size:
        raise InputError(f"image size {image_size} is too small; {model.spec} takes {model.min_image_size} or more")
    weights = next(model.parameters())
    if weights.is_meta:
        raise InputError(f"{model.spec} is on the meta device, which holds no values; build it on 'cpu'")
    shape = (count, *model.input_axes, image_size, image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(weights)


@final
@dataclass(frozen=True)
class Exported:
    """An ONNX file: shapes (N, C, H, W) and (N, classes), N 'batch' for any number of images; size in bytes."""

    file: str
    name: str
    input_shape: tuple[int | str, ...]
    output_shape: tuple[int | str, ...]
    opset: int
    size: int


def export_onnx(
    model: ImageClassifier,
    out: Path,
    weight: StoredWeight | None = None,
    *,
    image_size: int,
    batch: int | None = 1,
    force: bool = False,
) -> Exported:
    """Write a network as one ONNX file, in eval mode: pixels in [0, 1], (N, C, H, W) → logits (N, classes).

    The file applies the mean and std of the weight itself. Rounding differs between runtimes, and in a hybrid network
    it flips a few bit planes: logits of such an image differ by up to one, a few answers in a thousand change.

    Args:
        model: the network; every module's mode is restored afterwards.
        out: a file that ends with .onnx.
        weight: for the file's metadata; None for an untrained network.
        image_size: pixels a side, the only one that the file takes.
        batch: images at once; None for any number.
        force: write over a file that exists.

    Raises:
        InputError: the file cannot be written, or ONNX cannot express the network. Nothing half-written remains.
    """
    check_target(out, ".onnx", force)
    if batch is not None and batch < 1:
        raise InputError(f"batch={batch} is out of range; valid: 1 or more, or None for any number of images")
    # Two images for any number: of one, torch would make a constant.
    example = example_images(model, image_size, 2 if batch is None else batch)
    with model.evaluating():
        whole = Normalised(model) if stated_preprocessing(model).normalises else model
        converted = to_onnx(whole, example, str(model.spec), any_batch=batch is None)
    for key, value in describe_onnx(model, weight, image_size).items():
        converted.metadata_props.add(key=key, value=value)
    data = converted.SerializeToString(deterministic=True)
    with writing_to(out):
        replace_bytes(out, data)
    input_shape, output_shape = (
        tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (converted.graph.input[0], converted.graph.output[0])
    )
    return Exported(str(out), str(model.spec), input_shape, output_shape, OPSET, len(data))


def to_onnx(
    module: nn.Module, x: Tensor, what: str, *, any_batch: bool, outputs: Sequence[str] = (OUTPUT,)
) -> ModelProto:
    """Convert a module of one tensor x, in its current mode; with `any_batch`, the first axis takes any length.

    Raises `InputError` if an operation has no counterpart in ONNX.
    """
    shapes = ({0: torch.export.Dim(BATCH)},) if any_batch else None
    shift_right = dict.fromkeys(_SHIFTS, _shift_right())  # torch's exporter refuses these, or gives another type
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, of itself
            program = torch.onnx.export(
                module,
                (x,),
                input_names=[INPUT],
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=shapes,
                custom_translation_table=shift_right,
                verbose=False,
            )
    except OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"{what} cannot be expressed in ONNX: {reason}") from error
    assert program is not None
    converted = program.model_proto
    graph = converted.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *converted.functions):
        part.ClearField("metadata_props")  # stack traces, which hold paths of this machine
        part.ClearField("doc_string")
    return converted


_aten = torch.ops.aten
_SHIFTS: tuple[Callable[..., Any], ...] = (
    *(_aten.__rshift__.Tensor, _aten.__rshift__.Scalar),
    *(_aten.bitwise_right_shift.Tensor, _aten.bitwise_right_shift.Tensor_Scalar),
)


def _shift_right() -> Callable[..., Any]:
    """Return the translation of a shift to the right, ⌊x / 2^places⌋, to ONNX."""
    from onnxscript import ir
    from onnxscript.onnx_opset import opset18

    op: Any = opset18  # typed for numbers of one kind at a time, and these are traced values

    def shift_right(x: Any, places: Any) -> Any:
        if not x.dtype.is_signed():
            return op.BitShift(x, op.Cast(places, to=x.dtype), direction="RIGHT")
        # ONNX shifts unsigned numbers alone; in float64 the quotient is exact up to 2^53.
        power = op.Pow(op.Constant(value_float=0.5), op.Cast(places, to=ir.DataType.DOUBLE))
        quotient = op.Mul(op.Cast(x, to=ir.DataType.DOUBLE), op.Cast(power, to=ir.DataType.DOUBLE))
        return op.Cast(op.Floor(quotient), to=x.dtype)

    return shift_right
