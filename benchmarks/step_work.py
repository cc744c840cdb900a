"""The work of a training step without a clock: operations that torch dispatches, and bytes that they read and write.

Both numbers are the same on every machine for one version of torch and one number of threads, so a test can hold them:
a change that makes a step do more work fails even where a clock would not show it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
import typer
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result

NAMES = ("has8_resnet_b8_m2_d4_ste_bpd", "has8_resnet_b8_m2_d4_fourier_bpd", "ann_resnet_b8_m2_d4")
THREADS = (1, 2)
BATCH, SIZE, CLASSES = 16, 32, 10

app = typer.Typer(add_completion=False)


@final
class WorkCounter(TorchDispatchMode):
    """Counts what runs inside it.

    Attributes:
        calls: operations, views among them.
        moved_bytes: of all tensors that operations took and gave; a view moves none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.moved_bytes = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if not func.is_view:
            tensors = (leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor))
            self.moved_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def counted(work: Callable[[], Any]) -> tuple[dict[str, int], Any]:
    """What it took, and what it returns."""
    with WorkCounter() as counter:
        result = work()
    return {"calls": counter.calls, "moved_bytes": counter.moved_bytes}, result


def step_work(name: str) -> dict[str, dict[str, int]]:
    """Forward and backward of the second training step of a network, 16 images of 32×32, in float32."""
    torch.manual_seed(0)
    network = zoo.create_model(name, num_classes=CLASSES).train()
    images, labels = torch.rand(BATCH, 3, SIZE, SIZE), torch.arange(BATCH) % CLASSES

    def forward() -> Tensor:
        return functional.cross_entropy(network(images), labels)

    forward().backward()
    ahead, loss = counted(forward)
    back, _ = counted(loss.backward)
    return {"forward": ahead, "backward": back}


def with_threads(name: str, threads: int) -> dict[str, dict[str, int]]:
    """The same with so many of torch's threads, which chunks on the CPU follow."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return step_work(name)
    finally:
        torch.set_num_threads(before)


@app.command()
def main(out: Out = RESULTS) -> None:
    """Count and write; tests/benchmarks/test_step_work.py holds the result."""
    rows: list[dict[str, Any]] = [
        {"name": name, "threads": threads, **with_threads(name, threads)}
        for name, threads in itertools.product(NAMES, THREADS)
    ]
    print_table(
        f"One training step of {BATCH} images of {SIZE}×{SIZE} pixels: operations, and MB that they read and write",
        ["model", "threads", "forward", "MB", "backward", "MB"],
        [
            [row["name"], str(row["threads"])]
            + [cell for way in ("forward", "backward") for cell in (f"{row[way]['calls']:,}", _megabytes(row[way]))]
            for row in rows
        ],
    )
    typer.echo(f"wrote {write_result(out, 'step_work', {'torch': torch.__version__, 'rows': rows})}")


def _megabytes(work: Mapping[str, int]) -> str:
    return f"{work['moved_bytes'] / 1e6:.1f}"


if __name__ == "__main__":
    app()
