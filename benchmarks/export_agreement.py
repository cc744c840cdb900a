"""What onnxruntime computes of exported networks beside what torch computes: whole networks, and block by block.

Needs `pip install 'has8-zoo[test]'`. Runtimes round their own way. Where a membrane potential lies at its
threshold, or an activation between two levels, a spike then differs, and within one forward what follows from it: so
blocks are compared each on its own input, and whole networks by their predictions. How much of that is rounding, torch
itself shows: the same comparison with other kernels of its own, those without oneDNN.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, version_of, write_result
from benchmarks.common.validation import Data, fit, logits_of, percent_right, read_images
from zoo.contracts import ImageClassifier
from zoo.errors import ZooError, install_extra
from zoo.exporting import export_onnx, network_to_export, to_onnx

DEFAULT_NAMES = ("has8_resnet_b8_m2_d4_ste_bpd", "ann_resnet_b8_m2_d4", "sew_resnet18_phase")
MIN_EQUAL = 0.995
"""Share of images of which both must say the same."""
TOLERANCE = 1e-4
"""Of a block's values, relative to its largest."""
BLOCK_IMAGES = 8

app = typer.Typer(add_completion=False)


def on_onnxruntime(data: bytes) -> Callable[[Tensor], Tensor]:
    """A function that runs an ONNX model on one thread of the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        typer.echo(f"onnxruntime is not installed ({error}); {install_extra('test')}", err=True)
        raise typer.Exit(2) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"pixels": x.numpy()})[0])


def network(name: str, train: Path, images: int) -> tuple[ImageClassifier, str]:
    """The network, in eval mode, and what its weights are: trained ones, or fitted to training images here."""
    model, weight = network_to_export(name)
    if weight is not None:
        return model.eval(), weight.name
    pixels, labels = read_images(train, images)
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=int(labels.max()) + 1)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    fit(model, pixels[order], labels[order])
    return model, f"untrained; batch norms and last layer fitted to {images:,} training images"


def compare_network(model: ImageClassifier, pixels: Tensor, labels: Tensor, batch: int) -> dict[str, Any]:
    """Predictions and logits of both."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_onnx(model, file, image_size=pixels.shape[-1], batch=None)
        theirs = logits_of(on_onnxruntime(file.read_bytes()), pixels, batch)
    ours = logits_of(model, pixels, batch)
    with torch.backends.mkldnn.flags(enabled=False):
        otherwise = logits_of(model, pixels, batch)
    return {
        "images": len(pixels),
        "classes_predicted": len(ours.argmax(1).unique()),
        **{f"{what}_onnxruntime": share for what, share in alike(ours, theirs).items()},
        **{f"{what}_torch_without_onednn": share for what, share in alike(ours, otherwise).items()},
        "top1_torch": percent_right(ours, labels),
        "top1_onnxruntime": percent_right(theirs, labels),
    }


def alike(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Shares of images with the same prediction, and with the same logits up to the tolerance."""
    difference = (ours - theirs).abs().amax(1) / ours.abs().amax(1)
    return {
        "equal_predictions": float((ours.argmax(1) == theirs.argmax(1)).double().mean()),
        "equal_logits": float((difference <= TOLERANCE).double().mean()),
    }


def blocks_of(model: ImageClassifier) -> Iterator[tuple[str, nn.Module]]:
    """The stem, where it is apart, and the blocks of every stage."""
    if hasattr(model, "stem"):
        yield "stem", model.get_submodule("stem")
    for number, stage in model.get_submodule("stages").named_children():
        yield from ((f"stages.{number}.{block}", module) for block, module in stage.named_children())


@torch.no_grad()
def compare_blocks(model: ImageClassifier, pixels: Tensor) -> list[dict[str, Any]]:
    """The share of each block's values within the tolerance, on the input that it has in the network."""
    blocks, seen = dict(blocks_of(model)), {}
    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0].clone()}))
        for name, module in blocks.items()
    ]
    model(pixels)
    for hook in hooks:
        hook.remove()
    rows = []
    for name, x in seen.items():
        data = to_onnx(blocks[name], x, name, any_batch=False).SerializeToString()
        ours, theirs = blocks[name](x.clone()), on_onnxruntime(data)(x)
        difference = (ours - theirs).abs() / ours.abs().max()
        rows.append({"block": name, "within": float((difference <= TOLERANCE).double().mean())})
    return rows


def measure(name: str, pixels: Tensor, labels: Tensor, train: Path, fitted: int, batch: int) -> dict[str, Any]:
    """One row."""
    model, weights = network(name, train, fitted)
    row = {"name": name, "weights": weights, **compare_network(model, pixels, labels, batch)}
    return row | {"blocks": compare_blocks(model, pixels[:: max(1, len(pixels) // BLOCK_IMAGES)][:BLOCK_IMAGES])}


def judge(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the networks whose predictions differ too often."""
    return [row["name"] for row in rows if row["equal_predictions_onnxruntime"] < MIN_EQUAL]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line for each network."""
    shares = ("equal_predictions_onnxruntime", "equal_logits_onnxruntime", "equal_predictions_torch_without_onednn")
    columns = ["model", "images", "top-1 torch", "onnxruntime", "same prediction", "same logits"]
    columns += ["torch without oneDNN", "least equal block"]
    lines = []
    for row in rows:
        line = [row["name"], str(row["images"]), f"{row['top1_torch']:.2f}", f"{row['top1_onnxruntime']:.2f}"]
        line += [f"{row[share]:.2%}" for share in shares]
        lines.append([*line, f"{min(block['within'] for block in row['blocks']):.4%}"])
    print_table("Beside torch; logits and a block's values are the same within 1e-4 of the largest", columns, lines)


@app.command()
def main(
    data: Data,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models.")] = None,
    train: Annotated[
        Path | None, typer.Option(help="Training images, for models without weights; train.npz beside DATA.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Validation images.")] = 1000,
    fitted: Annotated[int, typer.Option(min=2, help="Training images that an untrained model is fitted to.")] = 4000,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 50,
    out: Out = RESULTS,
) -> None:
    """Export, run both, print, write; exit status 1 where predictions are equal for less than 99.5 % of the images."""
    torch.set_num_threads(1)
    beside = train or data.with_name("train.npz")
    try:
        pixels, labels = read_images(data, images)
        rows = [measure(name, pixels, labels, beside, fitted, batch) for name in names or DEFAULT_NAMES]
    except ZooError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    show(rows)
    differing = judge(rows)
    versions = {name: version_of(name) for name in ("onnx", "onnxscript", "onnxruntime")}
    verdict = {"least_equal_predictions": MIN_EQUAL, "differing": differing}
    typer.echo(
        f"wrote {write_result(out, 'export_agreement', {'versions': versions, 'rows': rows, 'verdict': verdict})}"
    )
    typer.echo(f"DIFFERENT: {', '.join(differing)}" if differing else f"all equal for {MIN_EQUAL:.1%} or more")
    raise typer.Exit(1 if differing else 0)


if __name__ == "__main__":
    app()
