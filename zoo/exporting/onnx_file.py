"""Networks as ONNX files, which say themselves what they are: name, weights, preprocessing, labels.

Neurons are exported as what they compute, timestep by timestep, so every runtime with opset 18 runs them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

from zoo.catalog.schema import StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import display_name
from zoo.errors import InputError, missing_extra
from zoo.exporting.network import Normalised, check_image_size, describe_network, example_images, looking_at
from zoo.files import replace_bytes
from zoo.weights import stated_preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
INPUT, OUTPUT, BATCH = "pixels", "logits", "batch"
MAX_BYTES = 2**31 - 1
"""What one ONNX file holds at most."""
MAX_BATCH = 65536


@final
@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        file: its path.
        name: of the network.
        input_shape: (N, C, H, W); N is 'batch' where any number of images goes.
        output_shape: (N, classes), or (N, features) without classes.
        opset: of ONNX.
        size: bytes.
    """

    file: str
    name: str
    input_shape: tuple[int | str, ...]
    output_shape: tuple[int | str, ...]
    opset: int
    size: int

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return asdict(self)


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

    Where the weight states a mean and a std, the file applies them itself.

    Rounding differs between runtimes, and in a hybrid network it flips a few bit planes: logits differ slightly.

    Args:
        model: the network; every module's mode is restored afterwards.
        out: a file that ends with .onnx.
        weight: what its weights are, to be told by the file's metadata; None where they are nobody's.
        image_size: pixels a side, the only one that the file takes.
        batch: images at once; None for any number.
        force: write over a file that exists.

    Raises:
        InputError: the file exists or cannot be written, or the network cannot be expressed
            in it. Nothing half-written remains.
    """
    check_onnx_target(out, force)
    _check_sizes(model, image_size, batch)
    # Two images where any number goes: of one, torch would make a constant.
    example = example_images(model, image_size, 2 if batch is None else batch)
    with model.evaluating():
        whole = Normalised(model) if stated_preprocessing(model).normalises else model
        converted = to_onnx(whole, example, str(model.spec), any_batch=batch is None)
    for key, value in describe_onnx(model, weight, image_size).items():
        converted.metadata_props.add(key=key, value=value)
    data = converted.SerializeToString(deterministic=True)
    _write(data, out)
    input_shape, output_shape = _shapes(converted)
    return Exported(str(out), str(model.spec), input_shape, output_shape, OPSET, len(data))


def check_onnx_target(out: Path, force: bool) -> None:
    """Raise `InputError` where an ONNX file cannot or must not be written."""
    name = display_name(out)
    with looking_at(out):
        if out.suffix.lower() != ".onnx":
            raise InputError(f"{name!r} does not end with .onnx; try {name}.onnx")
        if out.is_dir():
            raise InputError(f"{name} is a folder; name a file, such as {name}/model.onnx")
        if not out.parent.is_dir():
            raise InputError(f"the folder of {name} does not exist; make it first")
        if out.exists() and not force:
            raise InputError(f"{name} exists already; --force overwrites it, or choose another name with --out")


def _check_sizes(model: ImageClassifier, image_size: int, batch: int | None) -> None:
    check_image_size(model, image_size)
    if batch is not None and not 1 <= batch <= MAX_BATCH:
        raise InputError(f"batch={batch} is out of range; valid: 1 to {MAX_BATCH}, or any number of images")
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > MAX_BYTES:
        raise InputError(f"{model.spec} has {size:,} bytes of weights; one ONNX file holds {MAX_BYTES:,} at most")


def to_onnx(
    module: nn.Module, x: Tensor, what: str, *, any_batch: bool, outputs: Sequence[str] = (OUTPUT,)
) -> ModelProto:
    """A module of one tensor, in the mode in which it is, as an ONNX model.

    Args:
        module: a whole network or a part of one.
        x: an input of it.
        what: its name, for errors.
        any_batch: whether its first axis, the images, may have any length; else that of `x`.
        outputs: names of what it returns, a tensor or a tuple of tensors.

    Raises:
        InputError: an operation has no counterpart in it.
    """
    table = _translations()
    shapes = ({0: torch.export.Dim(BATCH)},) if any_batch else None
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
                custom_translation_table=table,
                verbose=False,
            )
    except OnnxExporterError as error:
        raise InputError(f"{what} cannot be expressed in ONNX: {_reason(error)}") from error
    assert program is not None
    converted = program.model_proto
    _strip(converted)
    return converted


def _reason(error: BaseException) -> str:
    """The first cause, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What torch's exporter lacks: shifts to the right, which it refuses or gives another type."""
    try:
        import onnx  # noqa: F401  # torch's exporter needs it
        from onnxscript import ir
        from onnxscript.onnx_opset import opset18
    except ImportError as error:
        raise missing_extra(error, "ONNX", "export") from error

    op: Any = opset18  # typed for numbers of one kind at a time, and these are traced values

    def shift_right(x: Any, places: Any) -> Any:
        """⌊x / 2^places⌋; ONNX shifts unsigned numbers alone, so of a negative one the complement is shifted."""
        if x.dtype.is_integer() and not x.dtype.is_signed():
            return op.BitShift(x, op.Cast(places, to=x.dtype), direction="RIGHT")
        wide = op.Cast(x, to=ir.DataType.INT64)
        sign = op.Neg(op.Cast(op.Less(wide, 0), to=ir.DataType.INT64))
        positive = op.Cast(op.BitwiseXor(wide, sign), to=ir.DataType.UINT64)
        shifted = op.BitShift(positive, op.Cast(places, to=ir.DataType.UINT64), direction="RIGHT")
        return op.Cast(op.BitwiseXor(op.Cast(shifted, to=ir.DataType.INT64), sign), to=x.dtype)

    aten = torch.ops.aten
    shifts = (
        *(aten.__rshift__.Tensor, aten.__rshift__.Scalar),
        *(aten.bitwise_right_shift.Tensor, aten.bitwise_right_shift.Tensor_Scalar),
    )
    return dict.fromkeys(shifts, shift_right)


def _strip(converted: ModelProto) -> None:
    """Drop what the exporter tells of this machine: stack traces with the paths of its files."""
    graph = converted.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *converted.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def describe_onnx(model: ImageClassifier, weight: StoredWeight | None, image_size: int) -> Mapping[str, str]:
    """The file's metadata: texts, of which `preprocessing` and `labels` are JSON."""
    facts = describe_network(model, weight, image_size)
    if weight is not None and weight.preprocessing.normalises:  # the file does that itself
        facts["preprocessing"] |= {"mean": [0.0], "std": [1.0]}
    return {
        f"zoo.{key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in facts.items()
    }


def _shapes(converted: ModelProto) -> list[tuple[int | str, ...]]:
    return [
        tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (converted.graph.input[0], converted.graph.output[0])
    ]


def _write(data: bytes, out: Path) -> None:
    try:
        replace_bytes(out, data)
    except OSError as error:
        raise InputError(f"{display_name(out)} cannot be written: {error.strerror or error}") from error
