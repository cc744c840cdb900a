"""`zoo export`: a network as one ONNX file, or its spiking blocks as NIR graphs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from zoo.cli.options import CacheDir, Endpoint, Json, model_reference
from zoo.cli.output import say
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE, MAX_PROFILED_SIZE
from zoo.errors import InputError, check_target, import_plugin

ANY_BATCH = "dynamic"


class Quantization(StrEnum):
    """Types of numbers that layers are stored in."""

    INT8 = "int8"


class Format(StrEnum):
    """File formats."""

    ONNX = "onnx"
    NIR = "nir"


def export_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="Any valid model name, listed or not; a folder of zoo train; or hf-hub:ORG/NAME@COMMIT.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE|FOLDER", help="The file to write, which ends with .onnx; for NIR a folder.")
    ],
    form: Annotated[
        Format,
        typer.Option("--format", help="The whole network as ONNX, or its spiking blocks as NIR (needs zoo-nir)."),
    ] = Format.ONNX,
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            max=MAX_PROFILED_SIZE,
            help=f"Pixels a side.  (default: the weight's own, or {DEFAULT_IMAGE_SIZE} without one)",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar=f"N|{ANY_BATCH}", help=f"Images at once; {ANY_BATCH} takes any number. ONNX only.  (default: 1)"
        ),
    ] = None,
    block: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE", help="Write this spiking block only; may be repeated. NIR only.  (default: all)"
        ),
    ] = None,
    quantize: Annotated[
        Quantization | None,
        typer.Option(
            help="Store convolutions and linear layers as 8-bit integers, by onnxruntime. ONNX only; needs --data."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Images as `zoo train` takes them, for --quantize."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier export wrote there.")] = False,
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    r"""Write a model as ONNX, or its spiking blocks as NIR graphs.

    ONNX: pixels in [0, 1] go in, logits come out; spikes are computed inside,
    timestep by timestep. Every runtime rounds its own way, which flips a few
    bit planes: a few images in a thousand are classified otherwise. Name,
    sha256, preprocessing and labels are in the file.

    NIR (neuroir.org), by the plugin zoo-nir: one .nir file for each spiking
    block, batch norms folded, for neuromorphic chips and their simulators;
    network.json says what they are blocks of. Each is read again and compared
    with the network. What NIR cannot express, such as max pooling, is refused
    by name. Example: zoo export NAME --format nir --out blocks/

    --quantize int8 --data DATA: ranges come from training images, and the
    accuracy of both files, in float32 and in integers, from validation ones.

    Without trained weights the network is as it is initialised, and the file
    names none.
    """
    if form is Format.NIR and (batch is not None or quantize is not None):
        raise typer.BadParameter("--batch and --quantize are for ONNX")
    if form is Format.ONNX and block:
        raise typer.BadParameter("--block is for --format nir; ONNX takes the network whole")
    if (quantize is None) != (data is None):
        raise typer.BadParameter("--quantize and --data go together")
    if batch not in (None, ANY_BATCH) and not (batch.isascii() and batch.isdigit() and int(batch)):
        raise typer.BadParameter(f"--batch is a number of images, or {ANY_BATCH}; not {batch!r}")
    nir = import_plugin("zoo-nir", "zoo_nir", "--format nir") if form is Format.NIR else None
    from zoo.exporting import export_onnx, network_to_export

    if nir is None:
        check_target(out, ".onnx", force)
    else:
        nir.check_nir_target(out, force)
    model, weight = network_to_export(model_reference(name), endpoint=endpoint, cache_dir=cache_dir)
    size = image_size or (DEFAULT_IMAGE_SIZE if weight is None else weight.preprocessing.size)
    if sys.stderr.isatty():  # torch does not report progress
        say(f"exporting {model.spec}, which can take a minute", file=sys.stderr, flush=True)
    if nir is not None:
        exported_blocks = nir.export_nir(model, out, weight, image_size=size, blocks=block or [], force=force)
        nir.print_exported(exported_blocks, weight is not None, as_json)
        return
    images = None if batch == ANY_BATCH else int(batch or 1)
    quantised = None
    if data is None:
        exported = export_onnx(model, out, weight, image_size=size, batch=images, force=force)
    else:
        from zoo.data import DataOptions, load_data
        from zoo.exporting.quantize import quantize_onnx

        if weight is None:
            raise InputError(f"{model.spec} is untrained; quantising to 8-bit integers needs weights and their labels")
        splits = load_data(data, DataOptions(image_size=size))
        with TemporaryDirectory() as folder:
            whole = Path(folder) / "float32.onnx"
            exported = export_onnx(model, whole, weight, image_size=size, batch=images)
            quantised = quantize_onnx(whole, out, weight, splits)
        exported = replace(exported, file=quantised.file, size=quantised.size)
    if as_json:
        print(json.dumps(asdict(exported) | ({} if quantised is None else {"quantized": asdict(quantised)})))
        return
    shapes = (" × ".join(map(str, shape)) for shape in (exported.input_shape, exported.output_shape))
    say(f"{exported.name}{'' if weight else ', untrained'}: pixels {next(shapes)} → logits {next(shapes)}")
    say(f"{exported.file}: {exported.size:,} bytes, ONNX opset {exported.opset}")
    if quantised is not None:
        about = f"calibrated on {quantised.calibration_images:,} training images"
        tops = f"{quantised.top1:.2f} % of {quantised.images:,} validation images are right"
        say(f"in 8-bit integers, {about}: {tops}, {quantised.float_top1:.2f} % in float32")
