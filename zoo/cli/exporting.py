"""`zoo export`: a network as one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Json

ANY_BATCH = "dynamic"


def export_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Any valid model name, listed or not; or hf-hub:ORG/NAME@COMMIT, local-dir:PATH."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; it ends with .onnx.")],
    image_size: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Pixels a side; unless given the weight's own, or 224 without weights."),
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar=f"N|{ANY_BATCH}", help=f"Images at once; {ANY_BATCH} takes any number of them.")
    ] = "1",
    force: Annotated[bool, typer.Option("--force", help="Overwrite that file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model as ONNX, with its name, sha256, preprocessing and labels in the file.

    Pixels in [0, 1] go in, logits come out; spikes are computed inside,
    timestep by timestep. Every runtime rounds its own way, which flips a few
    bit planes: a few images in a thousand are classified otherwise. Without
    trained weights the network is as it is initialised, and the file names
    none. Needs: pip install 'has8-zoo[export]'
    """
    images = _number_of(batch)
    from zoo.exporting import check_onnx_target, export_onnx, network_to_export
    from zoo.weights.describing import DEFAULT_IMAGE_SIZE

    check_onnx_target(out, force)
    model, weight = network_to_export(name)
    size = image_size or (DEFAULT_IMAGE_SIZE if weight is None else weight.preprocessing.size)
    exported = export_onnx(model, out, weight, image_size=size, batch=images, force=force)
    if as_json:
        print(json.dumps(exported.to_json()))
        return
    shapes = (" × ".join(map(str, shape)) for shape in (exported.input_shape, exported.output_shape))
    print(f"{exported.name}{'' if weight else ', untrained'}: pixels {next(shapes)} → logits {next(shapes)}")
    print(f"{exported.file}: {exported.size:,} bytes, ONNX opset {exported.opset}")


def _number_of(batch: str) -> int | None:
    """Images at once; None for any number."""
    if batch == ANY_BATCH:
        return None
    if not batch.isascii() or not batch.isdigit():
        raise typer.BadParameter(f"--batch is a number of images, or {ANY_BATCH}; not {batch!r}")
    return int(batch)
