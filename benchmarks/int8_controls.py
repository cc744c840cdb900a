"""The accuracy that 8-bit integers cost a control: the networks without spikes, exported in float32 and in int8.

Arithmetic in int8 is the cheapest that a hybrid is compared with (`arithmetic-int8`), and that is fair only if the
answers are as good: both ONNX files of `zoo export`, with and without `--quantize int8`, classify the same validation
images in onnxruntime. Run it as

    python -m benchmarks.int8_controls --data DIR     # the folder with train.npz and val.npz
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from zoo_export.onnx_file import export_onnx, network_to_export
from zoo_export.quantize import quantize_onnx

from benchmarks.common.reporting import RESULTS, Out, print_table, version_of, write_result
from zoo.data import DataSplits, load_data

DEFAULT_WEIGHTS = ("ann_resnet_b8_m2_d4.cifar10", "ann_resnet_b32_m2_d4.cifar10")
"""The bundled control, and that of the plugin zoo-weights-cifar10."""

app = typer.Typer(add_completion=False)


def measure(name: str, splits: DataSplits, images: int, calibration: int) -> dict[str, Any]:
    """Accuracy and bytes of both files of one weight."""
    model, weight = network_to_export(name)
    assert weight is not None  # a listed one
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        export_onnx(model, plain, weight, image_size=weight.preprocessing.size, batch=None)
        made = quantize_onnx(plain, small, weight, splits, calibration_images=calibration, images=images)
    content = asdict(made)
    return {"name": name, **{key: content[key] for key in content if key != "file"}}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    lines = [
        [
            row["name"],
            *(f"{row[key]:.2f} %" for key in ("float_top1", "top1")),
            f"{row['top1'] - row['float_top1']:+.2f}",
            *(f"{row[key]:,}" for key in ("float_size", "size")),
        ]
        for row in rows
    ]
    title = (
        f"Top-1 on {rows[0]['images']:,} validation images; ranges from {rows[0]['calibration_images']} training images"
    )
    print_table(title, ["control", "float32", "int8", "points", "bytes, float32", "bytes, int8"], lines)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[WEIGHT]...", help="variant.tag, no spikes.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Validation images, spread evenly over the split.")] = 8000,
    calibration: Annotated[int, typer.Option(min=1, help="Training images that ranges come from.")] = 128,
    out: Out = RESULTS,
) -> None:
    """Export, quantise, measure, print, write."""
    torch.set_num_threads(1)
    chosen = names or list(DEFAULT_WEIGHTS)
    splits = load_data(data)
    rows = [measure(name, splits, images, calibration) for name in chosen]
    show(rows)
    content = {"onnxruntime": version_of("onnxruntime"), "data": data.name, "rows": rows}
    typer.echo(f"wrote {write_result(out, 'int8_controls', content)}")


if __name__ == "__main__":
    app()
