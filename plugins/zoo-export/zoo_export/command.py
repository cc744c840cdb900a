"""`zoo export`: a network as one ONNX file, or its spiking blocks as NIR graphs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo.commands import AnyModel, ImageSize, Json, counted, import_plugin, model_reference, progress, say
from zoo.contracts import DEFAULT_IMAGE_SIZE
from zoo.errors import InputError, check_target

if TYPE_CHECKING:
    from zoo.commands.models import StoredWeight
    from zoo.contracts import ImageClassifier
    from zoo_export.onnx_file import Exported
    from zoo_export.quantize import Quantized

ANY_BATCH = "dynamic"
_BATCH = f"Images that the ONNX file takes at once; {ANY_BATCH}: any number.  (default: 1)"

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: zoo export has8_resnet_b8_m2_d4_ste_bpd.cifar10 --out b8.onnx --batch-size dynamic")
def export_command(
    name: AnyModel,
    out: Annotated[
        Path, typer.Option(metavar="FILE|FOLDER", help="The file to write, which ends with .onnx; for NIR a folder.")
    ],
    form: Annotated[
        Literal["onnx", "nir"],
        typer.Option("--format", help="The whole network as ONNX, or its spiking blocks as NIR (needs zoo-nir)."),
    ] = "onnx",
    image_size: ImageSize = None,
    batch_size: Annotated[
        str | None,
        typer.Option(metavar=f"N|{ANY_BATCH}", help=_BATCH),
    ] = None,
    block: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="Write only this spiking block; repeatable. NIR only.")
    ] = None,
    quantize: Annotated[
        Literal["int8"] | None, typer.Option(help="Store layers as 8-bit integers. ONNX only; needs --data.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="Images to choose the integers' ranges by.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier export wrote there.")] = False,
    as_json: Json = False,
) -> None:
    r"""Write a model as ONNX, or its spiking blocks as NIR graphs.

    ONNX: pixels in [0, 1] go in, logits come out; name, sha256, preprocessing
    and labels are in the file. Every runtime rounds its own way, which flips a
    few bit planes: a few images in a thousand are classified otherwise. It takes
    a minute. --quantize int8: ranges come from training images of DATA, the
    accuracy of both files from validation ones.

    NIR (neuroir.org), by the plugin zoo-nir: a file for each spiking block, or
    for all of a sew_…_direct or …_frames. What NIR cannot express, such as max
    pooling, is refused by name.
    """
    _check_options(form, batch_size, block, quantize, data)
    nir = import_plugin("zoo-nir", "zoo_nir", "--format nir") if form == "nir" else None
    from zoo_export.onnx_file import network_to_export

    if nir is None:
        check_target(out, ".onnx", force)
    model, weight = network_to_export(model_reference(name))
    size = image_size or (DEFAULT_IMAGE_SIZE if weight is None else weight.preprocessing.size)
    if nir is not None:
        blocks = nir.export_nir(model, out, weight, image_size=size, blocks=block or [], force=force)
        nir.print_exported(blocks, weight is not None, as_json)
        return
    images = None if batch_size == ANY_BATCH else int(batch_size or 1)
    exported, quantised = _write_onnx(model.drop_timesteps(), weight, out, size, images, data, force)
    if as_json:
        facts = asdict(exported)
        if quantised is not None:
            facts["quantized"] = asdict(quantised)
        print(json.dumps(facts))
        return
    _print_onnx(exported, quantised, trained=weight is not None)


def _check_options(
    form: str, batch_size: str | None, block: list[str] | None, quantize: str | None, data: str | None
) -> None:
    """Raise `BadParameter` for options that do not go together."""
    if form == "nir" and (batch_size is not None or quantize is not None):
        raise typer.BadParameter("--batch-size and --quantize are for ONNX")
    if form == "onnx" and block:
        raise typer.BadParameter("--block is for --format nir; ONNX takes the network whole")
    if (quantize is None) != (data is None):
        raise typer.BadParameter("--quantize and --data go together")
    if batch_size in (None, ANY_BATCH):
        return
    if not (batch_size.isascii() and batch_size.isdigit() and int(batch_size)):
        raise typer.BadParameter(f"--batch-size is a number of images, or {ANY_BATCH}; not {batch_size!r}")


def _write_onnx(
    model: ImageClassifier,
    weight: StoredWeight | None,
    out: Path,
    size: int,
    images: int | None,
    data: str | None,
    force: bool,
) -> tuple[Exported, Quantized | None]:
    """Write the file, in 8-bit integers if `data` is given."""
    from zoo_export.onnx_file import export_onnx

    if data is None:
        with progress("converting to ONNX"):
            return export_onnx(model, out, weight, image_size=size, batch=images, force=force), None
    from zoo.data import DataOptions, load_data
    from zoo_export.quantize import quantize_onnx

    if weight is None:
        raise InputError(f"{model.spec} is untrained; quantising to 8-bit integers needs weights and their labels")
    splits = load_data(data, DataOptions(image_size=size))  # before the export, which takes a minute
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        with progress("converting to ONNX"):
            exported = export_onnx(model, whole, weight, image_size=size, batch=images)
        with progress("calibrating, and measuring both files"):
            quantised = quantize_onnx(whole, out, weight, splits)
    return replace(exported, file=quantised.file, size=quantised.size), quantised


def _print_onnx(exported: Exported, quantised: Quantized | None, trained: bool) -> None:
    pixels = " × ".join(map(str, exported.input_shape))
    logits = " × ".join(map(str, exported.output_shape))
    say(f"{exported.name}{'' if trained else ', untrained'}: pixels {pixels} → logits {logits}")
    say(f"{exported.file}: {exported.size:,} bytes, ONNX opset {exported.opset}")
    if quantised is not None:
        about = f"calibrated on {quantised.calibration_images:,} training images"
        tops = f"{quantised.top1:.2f} % of {quantised.images:,} validation images are right"
        told = f"{quantised.float_top1:.2f} % in float32; {counted(quantised.changed, 'answer')} changed"
        say(f"in 8-bit integers, {about}: {tops}, {told}")
