"""Synaptic operations beside NeuroBench's own count, of the same networks and images.

Needs `pip install 'has8-zoo[neurobench]'`. NeuroBench counts pairs of a nonzero input and a nonzero weight, judges
every call by itself, takes inputs of −1, 0 and 1 for spikes, and adds float32 counts; we count every pair of a nonzero
input and a weight, judge a layer over all images, take 0 and 1, and add integers. So the counts agree but for weights
that are exactly 0, and for its rounding. Its dense count leaves padding out, ours, as fvcore's, takes it in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, version_of, write_result
from zoo.contracts import ImageClassifier
from zoo.data.images import find_images, prepare, read_image
from zoo.errors import install_extra
from zoo.profiling import OperationCounts, preprocessing_of, profile
from zoo.weights import HubAccess, find_listed

DEFAULT_NAMES = (
    "has8_resnet_b8_m2_d4_ste_bpd",
    "ann_resnet_b8_m2_d4",
    "snn_resnet_b8_m2_d4_ste_bpd",
    "has8_vgg_b2_m2_d4_fourier_rate",
    "sew_resnet18_rate",
    "ann_resnet18",
)
KINDS = ("acs", "macs", "dense")
TOLERANCE = 1e-4
"""Relative; NeuroBench's float32 sums keep seven digits."""

app = typer.Typer(add_completion=False)


def count_with_neurobench(model: ImageClassifier, images: Tensor) -> dict[str, int]:
    """NeuroBench's totals over all images: effective ACs and MACs, and all pairs as if no input were 0."""
    try:
        from neurobench.metrics.workload import SynapticOperations
        from neurobench.models import TorchModel
    except ImportError as error:
        typer.echo(f"NeuroBench is not installed ({error}); {install_extra('neurobench')}", err=True)
        raise typer.Exit(2) from error
    with model.evaluating():
        wrapped, metric = TorchModel(model), SynapticOperations()
        wrapped.register_hooks()
        try:
            logits = wrapped(images)
            metric(wrapped, logits, (images, torch.zeros(len(images))))
        finally:
            wrapped.cleanup_hooks()
    return {"acs": int(metric.AC), "macs": int(metric.MAC), "dense": int(metric.total_synops)}


def count_ours(activity: OperationCounts) -> dict[str, int]:
    """The same of ours: pairs with a nonzero input, by kind of layer. Our dense MACs count padding too."""
    pairs = {kind: sum(s.used for s in activity.synapses if s.operation == kind) for kind in ("AC", "MAC")}
    return {"acs": pairs["AC"], "macs": pairs["MAC"], "dense": sum(s.dense for s in activity.synapses)}


def relative(ours: int, theirs: int) -> float:
    """(ours − theirs) / theirs; 0 where both are 0."""
    if not theirs:
        return math.inf if ours else 0.0
    return ours / theirs - 1


def compare(name: str, images: Tensor) -> dict[str, Any]:
    """Both counts of one network."""
    listed = find_listed(name, HubAccess()).weight is not None
    torch.manual_seed(0)
    model = zoo.create_model(name, pretrained=listed)
    activity = profile(model, images=images).activity
    assert activity is not None
    ours, theirs = count_ours(activity), count_with_neurobench(model, images)
    zeros = sum(int((p == 0).sum()) for p in model.parameters() if p.dim() > 1)
    differences = {kind: relative(ours[kind], theirs[kind]) for kind in KINDS}
    row = {"name": str(model.spec), "trained": listed, "images": len(images), "zero_weights": zeros}
    return row | {"ours": ours, "neurobench": theirs, "difference": differences}


def judge(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Networks whose ACs or MACs differ by more than the tolerance; dense counts differ by what padding adds."""
    return [row["name"] for row in rows if any(abs(row["difference"][kind]) > TOLERANCE for kind in ("acs", "macs"))]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print both counts side by side."""
    columns = ["model", "images", "ACs ours", "NeuroBench's", "off", "MACs ours", "NeuroBench's", "off"]
    lines = []
    for row in rows:
        line = [row["name"], str(row["images"])]
        for kind in ("acs", "macs"):
            line += [f"{row['ours'][kind]:,}", f"{row['neurobench'][kind]:,}", f"{row['difference'][kind]:+.0e}"]
        lines.append(line)
    print_table("Pairs of a nonzero input and a weight, all images: ours and NeuroBench's", columns, lines)


def load_images(name: str, data: Path | None, count: int) -> Tensor:
    """(N, 3, H, W): the first images of a folder, prepared for the model; without one, noise of a fixed seed."""
    wanted = preprocessing_of(name, None if find_listed(name, HubAccess()).weight else 32)
    if data is None:
        return torch.rand(count, 3, wanted.size, wanted.size, generator=torch.Generator().manual_seed(0))
    return torch.stack([prepare(read_image(file), wanted) for file in find_images([data])[:count]])


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of images; without one, uniform noise.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images.")] = 4,
    out: Out = RESULTS,
) -> None:
    """Count with both, print, write; exit status 1 where ACs or MACs differ by over 1e-4."""
    torch.set_num_threads(1)
    rows = [compare(name, load_images(name, data, count)) for name in names or DEFAULT_NAMES]
    show(rows)
    differing = judge(rows)
    content = {"neurobench": version_of("neurobench"), "images": "noise" if data is None else data.name, "rows": rows}
    verdict = {"tolerance": TOLERANCE, "differing": differing}
    typer.echo(f"wrote {write_result(out, 'neurobench_synops', content | {'verdict': verdict})}")
    typer.echo(f"DIFFERENT: {', '.join(differing)}" if differing else "ACs and MACs agree")
    raise typer.Exit(1 if differing else 0)


if __name__ == "__main__":
    app()
