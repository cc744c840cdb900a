"""What a name costs: `create_model` beside constructing the same convolutions, norms and linear layers alone.

Both initialise every weight. Rounds are interleaved, so that a slow moment of the machine meets both; only the ratio
means anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import torch
import typer
from torch import nn

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from benchmarks.common.timing import interleave, spread, time_step

NAMES = ("has8_resnet_b32_m2_d4_ste_bpd", "has8_vgg_b16_m2_d4_ste_bpd", "ann_resnet_b32_m2_d4")
SUBJECT = NAMES[0]
TARGET = 1.2

app = typer.Typer(add_completion=False)


def bare_layers(network: nn.Module) -> Iterator[Callable[[], nn.Module]]:
    """How to make every layer of the network that has parameters, by torch's own classes."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            shape: tuple[Any, ...] = (module.in_channels, module.out_channels, module.kernel_size)
            rest: dict[str, Any] = {"stride": module.stride, "padding": module.padding, "bias": module.bias is not None}
            yield partial(nn.Conv2d, *shape, **rest)
        elif isinstance(module, nn.BatchNorm2d):
            yield partial(nn.BatchNorm2d, module.num_features)
        elif isinstance(module, nn.Linear):
            yield partial(nn.Linear, module.in_features, module.out_features)


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Both ways of building one network, and what the name adds."""
    makers = list(bare_layers(zoo.create_model(name)))
    steps: dict[str, Callable[[], Any]] = {
        "create_model": lambda: zoo.create_model(name),
        "layers": lambda: [make() for make in makers],
    }
    taken = interleave(steps, repeats, time_step)
    found = {each: spread(seconds) for each, seconds in taken.items()}
    rounds = [mine[1] / bare[1] for mine, bare in zip(taken["create_model"], taken["layers"], strict=True)]
    return {"name": name, "layer_count": len(makers), **found, "ratio": statistics.median(rounds)}


@app.command()
def main(
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count; one more warms up.")] = 30,
    out: Out = RESULTS,
) -> None:
    """Measure; exit status 1 where the first takes more than 1.2 times its bare layers."""
    torch.set_num_threads(1)
    rows = [measure(name, repeats) for name in NAMES]
    print_table(
        f"Building a network, {repeats} interleaved rounds, milliseconds of one core (medians)",
        ["model", "layers", "create_model", "layers alone", "ratio"],
        [
            [row["name"], str(row["layer_count"])]
            + [f"{1e3 * row[each]['cpu_median_s']:.1f}" for each in ("create_model", "layers")]
            + [f"{row['ratio']:.3f}"]
            for row in rows
        ],
    )
    ratio = rows[0]["ratio"]
    within = ratio <= TARGET
    typer.echo(f"{SUBJECT}: {ratio:.3f} of its layers alone, {'within' if within else 'OVER'} the {TARGET} wanted")
    typer.echo(f"wrote {write_result(out, 'construction', {'repeats': repeats, 'rows': rows, 'target': TARGET})}")
    raise typer.Exit(0 if within else 1)


if __name__ == "__main__":
    app()
