"""Speed and memory of HAS-8 beside its floor, the published arithmetic and onnxruntime.

- floor: the same convolutions, norms and linear layers alone, same shapes, same order, forward and backward, in torch's
  default layout or in channels_last, whichever is faster;
- plain: the published arithmetic, written from the equations (benchmarks/common/plain_has8.py);
- fused: ours after `fuse()`, for inference; in bfloat16 it rounds weights to that too;
- compiled: ours by torch.compile, with `--compiled` (minutes a network);
- sew_resnet18: spikingjelly's at T = 8, on a GPU alone.

Subjects of one model, size, task, type and number of threads take turns; a figure is the least of its rounds, which
other programs disturb least. At one thread it is the processor's time, at more the time on the clock. Then one image,
and 64, through the smallest weight's network, fused, and compiled as one that no longer changes, beside onnxruntime.
Peak memory is that of one step in a process of its own (benchmarks/speed/steps.py). Under 16 channels torch's own
strided 1×1 convolution writes beside its memory in channels_last (zoo/backbones/layers.py): the floor of a network
narrower than b16 cannot be measured.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import zoo
from benchmarks.common.reporting import RESULTS, Out, describe_command, markdown_table, print_table, write_result
from benchmarks.common.timing import interleave, time_step
from benchmarks.speed.steps import Step, Work, build_step, peak_memory
from zoo.kernels.library import describe
from zoo.kernels.memory import keep_freed_memory

MODELS, ENCODERS = ("resnet_b32_m2_d4", "vgg_b16_m2_d4"), ("ste", "fourier")
QUICK_MODELS, QUICK_BATCH = ("resnet_b2_m1_d1",), 2
BATCHES = {32: 64, 224: 4}
LAYOUTS = ("floor", "floor channels_last")
LIMIT = 1.25
"""Of ours ÷ floor; inference by its fused network."""

SMALL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
SMALL_BATCHES = (1, 64)


class Task(StrEnum):
    training = "training"
    inference = "inference"


class Number(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


Models = Annotated[list[str], typer.Option(default_factory=lambda: list(MODELS), help="Sizes to measure.")]
Sizes = Annotated[list[int], typer.Option(default_factory=lambda: list(BATCHES), help="32 has batch 64, others 4.")]
Tasks = Annotated[list[Task], typer.Option(default_factory=lambda: list(Task), help="Which steps.")]
Numbers = Annotated[list[Number], typer.Option(default_factory=lambda: list(Number), help="bfloat16: autocast.")]
Threads = Annotated[list[int], typer.Option(default_factory=lambda: [1, 2], help="torch's threads, side by side.")]

app = typer.Typer(add_completion=False)


def subjects(about: Mapping[str, Any], compiled: bool) -> dict[str, Work]:
    """Everything that is timed together, by name. Floor and peer know no encoder."""
    alone = LAYOUTS if about["device"] == "cpu" else (*LAYOUTS, "sew_resnet18")
    found = {name: Work(name, encoder=ENCODERS[0], **about) for name in alone}
    for encoder, subject in itertools.product(ENCODERS, ("ours", "plain", "ours fused", "ours compiled")):
        if (subject == "ours fused" and about["training"]) or (subject == "ours compiled" and not compiled):
            continue
        found[f"{subject} {encoder}"] = Work(subject, encoder=encoder, **about)
    return found


def least(taken: Sequence[tuple[float, float]], threads: int, device: str) -> float:
    """The least seconds: of the processor at one thread of a CPU, else on the clock."""
    return min(processor if threads == 1 and device == "cpu" else clock for clock, processor in taken)


def measure(about: Mapping[str, Any], threads: Sequence[int], repeats: int, compiled: bool) -> dict[str, Any]:
    """Seconds of every subject by number of threads, and the ratios to floor and plain."""
    seconds: dict[str, dict[str, float]] = {}
    steps = {name: build_step(work) for name, work in subjects(about, compiled).items()}
    for count in threads:
        torch.set_num_threads(count)
        taken = interleave(steps, repeats, time_step)
        seconds[str(count)] = {name: least(each, count, about["device"]) for name, each in taken.items()}
    ratios = {count: ratios_of(found, about["training"]) for count, found in seconds.items()}
    return {**about, "seconds": seconds, "ratios": ratios}


def ratios_of(found: Mapping[str, float], training: bool) -> dict[str, dict[str, float]]:
    """Of each encoder: ours ÷ floor, fused ÷ floor, plain ÷ the better of ours."""
    floor = min(found[layout] for layout in LAYOUTS)
    ratios = {}
    for encoder in ENCODERS:
        own = {"over_floor": found[f"ours {encoder}"] / floor}
        if not training:
            own["fused_over_floor"] = found[f"ours fused {encoder}"] / floor
        own["speedup"] = found[f"plain {encoder}"] / (floor * min(own.values()))
        ratios[encoder] = own
    return ratios


def label(row: Mapping[str, Any]) -> str:
    """Name a row."""
    task = "training" if row["training"] else "inference"
    return f"{row['model']} {row['size']}×{row['batch']} {task} {row['dtype']}"


def misses(row: Mapping[str, Any]) -> list[str]:
    """The ratios of a row that are over the limit."""
    return [
        f"{label(row)} {encoder}, {count} threads: {best:.2f} of the floor"
        for count, ratios in row["ratios"].items()
        for encoder, own in ratios.items()
        if (best := own.get("fused_over_floor", own["over_floor"])) > LIMIT
    ]


HEADER = ("step", "ours, ms", "÷ floor", "fused ÷ floor", "plain ÷ ours", "memory ÷ plain's")


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table: both encoders, then as many threads as were measured."""

    def every(figure: str, form: str = ".2f") -> str:
        counts = (
            " / ".join(format(own[figure], form) if figure in own else "–" for own in ratios.values())
            for ratios in row["ratios"].values()
        )
        return "; ".join(counts)

    own = (
        " / ".join(f"{1000 * found[f'ours {encoder}']:.0f}" for encoder in ENCODERS)
        for found in row["seconds"].values()
    )
    memory = row.get("memory_over_plain")
    ratios = (every(figure) for figure in ("over_floor", "fused_over_floor", "speedup"))
    return [label(row), "; ".join(own), *ratios, "–" if memory is None else f"{memory:.2f}"]


def small_steps(batch: int, folder: Path) -> dict[str, Step]:
    """A few images through the smallest weight: as it is, fused, compiled, and by onnxruntime, one thread each."""
    import onnxruntime

    from zoo.exporting.onnx_file import to_onnx

    models: dict[str, Any] = {"ours": zoo.create_model(SMALL).eval(), "fused": zoo.create_model(SMALL).eval().fuse()}
    fixed: dict[str, Any] = {"freezing": True, "guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe}
    models["compiled"] = torch.compile(zoo.create_model(SMALL).eval().fuse(), dynamic=False, options=fixed)
    file, x = folder / "small.onnx", torch.rand(batch, 3, 32, 32)
    file.write_bytes(to_onnx(models["ours"], x, SMALL, any_batch=False).SerializeToString())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()

    def run(model: torch.nn.Module) -> Step:
        def step() -> None:
            with torch.inference_mode():
                model(x)

        return step

    steps = {name: run(model) for name, model in models.items()}
    steps["onnxruntime"] = lambda: session.run(None, {wanted.name: x.numpy()})
    return steps


def measure_small(repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each by number of images."""
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for batch in SMALL_BATCHES:
            taken = interleave(small_steps(batch, Path(folder)), 10 * repeats, time_step)
            found[str(batch)] = {name: 1000 * least(each, 1, "cpu") for name, each in taken.items()}
    return found


@app.command()
def main(
    model: Models,
    size: Sizes,
    task: Tasks,
    dtype: Numbers,
    threads: Threads,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count; one more warms up.")] = 5,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    compiled: Annotated[bool, typer.Option(help="Measure torch.compile too.")] = False,
    small: Annotated[bool, typer.Option(help="Measure one image and 64, compiled too.")] = True,
    quick: Annotated[bool, typer.Option(help="A tiny model, batch 2, one round: does it run?")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 if a row misses what is wanted of it."""
    kept = keep_freed_memory()  # as `zoo train` does, for every subject alike
    if quick:
        model, size, dtype, repeats = list(QUICK_MODELS), size[:1], dtype[:1], 1
    rows = []
    for name, pixels, step, number in itertools.product(model, size, task, dtype):
        batch = QUICK_BATCH if quick else BATCHES.get(pixels, 4)
        about: dict[str, Any] = {"model": name, "size": pixels, "batch": batch, "training": step is Task.training}
        about |= {"dtype": str(number), "device": device}
        row = measure(about, threads, repeats, compiled)
        if memory:
            own, plain = (peak_memory(Work(each, encoder=ENCODERS[0], **about), 1) for each in ("ours", "plain"))
            row["memory_over_plain"] = own / plain if own and plain else None
        rows.append(row)
        typer.echo(f"measured {label(row)}", err=True)
    lines = [cells(row) for row in rows]
    title = f"Least of {repeats} rounds; encoders {' / '.join(ENCODERS)}; threads {'; '.join(map(str, threads))}"
    print_table(title, list(HEADER), lines)
    found = measure_small(repeats) if small and device == "cpu" else {}
    for images, taken in found.items():
        typer.echo(f"{images} × {SMALL}, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in taken.items()))
    missed = [reason for row in rows for reason in misses(row)]
    content = {"command": describe_command(), "kernels": describe(), "device": device, "freed_memory_kept": kept}
    content |= {"repeats": repeats, "rows": json.loads(json.dumps(rows)), "small": found, "missed": missed}
    path = write_result(out, "speed", content | {"table": markdown_table(HEADER, lines)})
    for reason in missed:
        typer.echo(f"MISSED: {reason}")
    typer.echo(f"wrote {path}")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    app()
