"""Experiments on the spiking branch: its neuron, its leak, its reset, its threshold, the order of its planes.

Each experiment is one network, trained from scratch at a small budget with every seed, then measured on all validation
images. Results are written after every run, and the same command goes on with those that are missing. Run it as

    python -m benchmarks.neurons --data DIR     # the folder with train.npz and val.npz
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, final

import torch
import typer
from torch import Tensor

import zoo
from benchmarks.accuracy.configurations import count_seeds
from benchmarks.common.reporting import RESULTS, Out, markdown_table, print_table, write_beside, write_result
from zoo.blocks import BitPlaneEncoder, bit_plane_decode, straight_through_planes
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import BINARY_LSB_FIRST
from zoo.cpu.memory import keep_freed_memory
from zoo.data import DataOptions, DataSplits, load_data
from zoo.errors import InputError
from zoo.training import Recipe, load_recipe, train

SIZE = "resnet_b32_m2_d4"
HEADER = ("experiment", "top-1 (least to most)", "spike rate", "seeds")

app = typer.Typer(add_completion=False)


@final
class DescendingEncoder(BitPlaneEncoder):
    """The planes of `ste`, the most significant one first."""

    def forward(self, x: Tensor) -> Tensor:
        return straight_through_planes(x).flip(0)


@final
class DescendingDecoder(Decoder):
    """The value of planes whose most significant one comes first."""

    api_version = 1
    codes = frozenset({BINARY_LSB_FIRST})
    timesteps = 8

    def forward(self, spikes: Tensor) -> Tensor:
        return bit_plane_decode(spikes.flip(0))


@dataclass(frozen=True)
class Experiment:
    """A network, and what is changed of its neurons.

    Attributes:
        title: what it tries, in a few words.
        name: of the model.
        options: of its neurons; the defaults without.
        repeated: whether it is run with every seed, and not with the first one alone.
    """

    title: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    repeated: bool = False


def _plan() -> Iterator[Experiment]:
    yield Experiment("no spikes", f"ann_{SIZE}", repeated=True)
    for family, words in (("has8", "hybrid"), ("snn", "spiking-only")):
        for neuron in ("if", "lif", "plif"):
            suffix = "" if neuron == "if" else f"_{neuron}"
            yield Experiment(f"{words}, {neuron.upper()}", f"{family}_{SIZE}_ste_bpd{suffix}", repeated=True)
    yield Experiment("hybrid, LIF, threshold 0.5", f"has8_{SIZE}_ste_bpd_lif", {"v_threshold": 0.5}, repeated=True)
    alone = f"snn_{SIZE}_ste_bpd"
    for tau in (1.05, 1.25, 4.0, 8.0):
        yield Experiment(f"LIF, τ = {tau:g}", f"{alone}_lif", {"tau": tau})
    yield Experiment("PLIF, τ = 4 at first", f"{alone}_plif", {"tau": 4.0})
    yield Experiment("PLIF, threshold 0.5", f"{alone}_plif", {"v_threshold": 0.5})
    for neuron, suffix in (("IF", ""), ("LIF", "_lif")):
        yield Experiment(f"{neuron}, soft reset", alone + suffix, {"v_reset": None})
        for threshold in (0.25, 0.5, 2.0):
            yield Experiment(f"{neuron}, threshold {threshold:g}", alone + suffix, {"v_threshold": threshold})
        yield Experiment(f"{neuron}, reset without gradient", alone + suffix, {"detach_reset": True})
        for alpha in (1.0, 4.0):
            yield Experiment(f"{neuron}, surrogate gradient with α = {alpha:g}", alone + suffix, {"alpha": alpha})
        other_order = f"snn_{SIZE}_descending_descending{suffix}"
        yield Experiment(f"{neuron}, highest plane first", other_order)
        yield Experiment(f"{neuron}, highest plane first, threshold 0.5", other_order, {"v_threshold": 0.5})


EXPERIMENTS = tuple(_plan())


def register_descending() -> None:
    """Names for the two components above, in this process alone."""
    zoo.register("encoder", "descending")(DescendingEncoder)
    zoo.register("decoder", "descending")(DescendingDecoder)


def run(experiment: Experiment, seed: int, splits: DataSplits, recipe: Recipe) -> dict[str, Any]:
    """Train from scratch and measure; the spike rate is of the last epoch, None where nothing spikes."""
    with tempfile.TemporaryDirectory() as scratch:
        result = train(
            experiment.name,
            splits,
            recipe=recipe,
            changes={"seed": seed},
            out=Path(scratch) / "run",
            model_options={"neuron": dict(experiment.options)} if experiment.options else {},
        )
    rate = result.rows[-1].spike_rate
    return {"seed": seed, "top1": round(result.metrics["top1"], 4), "spike_rate": rate}


def seeds_of(experiment: Experiment, seeds: int) -> tuple[int, ...]:
    """Which seeds it is run with."""
    return count_seeds(seeds if experiment.repeated else 1)


def read_done(path: Path, budget: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Runs of each title that an earlier call made.

    Raises:
        InputError: they had another budget.
    """
    if not path.is_file():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["budget"] != dict(budget):
        raise InputError(f"{path} holds runs of another budget; choose another --out, or the settings of those runs")
    return {row["title"]: row["runs"] for row in kept["rows"]}


def summarise(experiment: Experiment, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row of the result."""
    top1 = [run["top1"] for run in runs]
    rates = [run["spike_rate"] for run in runs if run["spike_rate"] is not None]
    figures = {"top1": statistics.mean(top1), "least": min(top1), "most": max(top1)}
    figures["spike_rate"] = statistics.mean(rates) if rates else None
    return {**asdict(experiment), **figures, "runs": list(runs)}


def cells(row: Mapping[str, Any]) -> list[str]:
    """A line of the table."""
    seeds = len(row["runs"])
    spread = "" if seeds == 1 else f" ({row['least']:.2f} to {row['most']:.2f})"
    rate = "–" if row["spike_rate"] is None else f"{100 * row['spike_rate']:.1f} %"
    return [row["title"], f"{row['top1']:.2f}{spread}", rate, str(seeds)]


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")],
    images: Annotated[int, typer.Option(min=10, help="Training images, all classes alike.")] = 10_000,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network that is repeated: 3407, 3408, ….")] = 3,
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="Only experiments whose title holds these words.")
    ] = None,
    out: Out = RESULTS,
) -> None:
    """Train, measure, write after every run, print."""
    torch.set_num_threads(1)
    keep_freed_memory()
    register_descending()
    changes = {"epochs": epochs, "batch_size": 64, "learning_rate": 1e-3}
    recipe = load_recipe("modern", changes)
    splits = load_data(data, DataOptions(limit=images))
    budget = {"images": images, "val_images": len(splits.val), "recipe": "modern", **changes}
    done = read_done(out / "neurons.json", budget)
    for experiment in EXPERIMENTS:
        for seed in seeds_of(experiment, seeds):
            runs = done.setdefault(experiment.title, [])
            wanted = not only or any(words in experiment.title for words in only)
            if wanted and seed not in [each["seed"] for each in runs]:
                runs.append(run(experiment, seed, splits, recipe))
                typer.echo(f"{experiment.title}, seed {seed}: {runs[-1]['top1']:.2f} %", err=True)
                write_rows(out, budget, done)
    rows = write_rows(out, budget, done)
    title = f"{SIZE}: {epochs} epochs of {images:,} images, top-1 on {len(splits.val):,}"
    print_table(title, list(HEADER), [cells(row) for row in rows])


def write_rows(
    out: Path, budget: Mapping[str, Any], done: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Write all that is done, in the plan's order, as JSON and as a table in Markdown; returns its rows."""
    rows = [summarise(each, done[each.title]) for each in EXPERIMENTS if done.get(each.title)]
    path = write_result(out, "neurons", {"budget": dict(budget), "rows": rows})
    write_beside(path.with_suffix(".md"), f"{markdown_table(HEADER, map(cells, rows))}\n".encode())
    return rows


if __name__ == "__main__":
    app()
