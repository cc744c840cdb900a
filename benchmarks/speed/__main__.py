"""Speed and memory of HAS-8 beside its floor, the published arithmetic and onnxruntime.

- floor: the same convolutions, norms and linear layers alone, same shapes, same order, forward and backward, in torch's
  default layout or in channels_last, whichever is faster;
- floor fused, for inference: without norms, weights rounded once;
- plain: the published arithmetic, written from the equations (benchmarks/common/plain_has8.py);
- published: the authors' own code, with `--published CLONE`, a clone of github.com/luutn2002/has-8; in float32;
- fused: ours after `fuse()`, for inference; in bfloat16 it rounds weights to that too;
- compiled: ours by torch.compile, with `--compiled` (minutes a network);
- sew_resnet18: spikingjelly's at T = 8, on a GPU alone; on a CPU with `--peers` (benchmarks/speed/peers.py).

A model of spikes alone, such as `sew_resnet_b32_m2_d4_direct`, has a floor and no plain one.

Subjects of one model, size, task, type and number of threads take turns, step by step. Seconds are the median of the
rounds. A ratio is the median of the rounds' own ratios: what slows the machine for a while slows both sides of it.
At one thread it is the processor's time, at more the time on the clock. Then one image,
and 64, through the smallest weight's network, fused, and compiled as one that no longer changes, beside onnxruntime.
Peak memory is that of one step in a process of its own (benchmarks/speed/steps.py). Under 16 channels torch's own
strided 1×1 convolution writes beside its memory in channels_last (zoo/convolution/guards.py): the floor of a network
narrower than b16 cannot be measured.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

import zoo
from benchmarks.common.reporting import (
    RESULTS,
    Out,
    describe_machine,
    markdown_table,
    print_table,
    write_result,
)
from benchmarks.common.timing import interleave, time_step
from benchmarks.speed.steps import PUBLISHED, Step, Work, build_step, peak_memory
from zoo.kernels.library import describe
from zoo.kernels.memory import keep_freed_memory

MODELS = ("resnet_b32_m2_d4", "vgg_b16_m2_d4", "sew_resnet_b32_m2_d4_direct", "sew_vgg_b16_m2_d4_direct")
ENCODERS, DIRECT = ("ste", "fourier"), ("direct",)
QUICK_MODELS, QUICK_BATCH = ("resnet_b2_m1_d1",), 2
BATCHES = {32: 64, 224: 4}
LAYOUTS = ("floor", "floor channels_last")
FUSED_LAYOUTS = ("floor fused", "floor fused channels_last")
LIMITS = {"fused_over_floor": 1.15, "training": 1.15, "inference": 1.25, "spikes": 1.25}
"""Of fused ÷ its floor, and of ours ÷ floor by task; of a network of spikes alone in both tasks."""

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


def encoders_of(model: str) -> tuple[str, ...]:
    """Encoders that a model is measured with; one of spikes alone has its own."""
    return DIRECT if model.startswith("sew_") else ENCODERS


def subjects(about: Mapping[str, Any], compiled: bool) -> dict[str, Work]:
    """Everything that is timed together, by name. Floors, the peer and the published code know no encoder."""
    encoders, hybrid = encoders_of(about["model"]), not about["model"].startswith("sew_")
    alone = list(LAYOUTS)
    if not about["training"]:
        alone += FUSED_LAYOUTS
    if about["device"] != "cpu":
        alone.append("sew_resnet18")
    if about["clone"] and about["model"] in PUBLISHED and about["dtype"] == Number.float32:
        alone.append("published")
    own = ["ours"]
    if hybrid:
        own.append("plain")
    if not about["training"]:
        own.append("ours fused")
    if compiled:
        own.append("ours compiled")
    found = {name: Work(name, encoder=encoders[0], **about) for name in alone}
    for encoder, subject in itertools.product(encoders, own):
        found[f"{subject} {encoder}"] = Work(subject, encoder=encoder, **about)
    return found


def seconds_of(taken: Sequence[tuple[float, float]], threads: int, device: str) -> list[float]:
    """Seconds of each round: of the processor at one thread of a CPU, else on the clock."""
    return [processor if threads == 1 and device == "cpu" else clock for clock, processor in taken]


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median(one / other for one, other in zip(above, below, strict=True))


def measure(about: Mapping[str, Any], threads: Sequence[int], repeats: int, compiled: bool) -> dict[str, Any]:
    """Seconds of every subject by number of threads, and the ratios to floor and plain."""
    seconds: dict[str, dict[str, list[float]]] = {}
    steps = {name: build_step(work) for name, work in subjects(about, compiled).items()}
    for count in threads:
        torch.set_num_threads(count)
        taken = interleave(steps, repeats, time_step)
        seconds[str(count)] = {name: seconds_of(rounds, count, about["device"]) for name, rounds in taken.items()}
    ratios = {count: ratios_of(found, encoders_of(about["model"])) for count, found in seconds.items()}
    medians = {count: {name: median(rounds) for name, rounds in found.items()} for count, found in seconds.items()}
    return {**about, "seconds": medians, "ratios": ratios}


def ratios_of(found: Mapping[str, Sequence[float]], encoders: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each encoder: ours ÷ floor, fused ÷ its floor, plain and published ÷ the better of ours."""
    floor = min((found[layout] for layout in LAYOUTS), key=median)
    ratios = {}
    for encoder in encoders:
        best = ours = found[f"ours {encoder}"]
        own = {"over_floor": ratio(ours, floor)}
        if f"ours fused {encoder}" in found:
            fused = found[f"ours fused {encoder}"]
            fused_floor = min((found[layout] for layout in FUSED_LAYOUTS), key=median)
            own["fused_over_floor"] = ratio(fused, fused_floor)
            best = min(ours, fused, key=median)
        if f"plain {encoder}" in found:
            own["speedup"] = ratio(found[f"plain {encoder}"], best)
        if "published" in found and encoder == "fourier":
            own["published"] = ratio(found["published"], best)
        ratios[encoder] = own
    return ratios


def label(row: Mapping[str, Any]) -> str:
    """Name a row."""
    task = "training" if row["training"] else "inference"
    return f"{row['model']} {row['size']}×{row['batch']} {task} {row['dtype']}"


def limits_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The most that a row's ratios may be."""
    task = "training" if row["training"] else "inference"
    unfused = "spikes" if row["model"].startswith("sew_") else task
    return {"over_floor": LIMITS[unfused], "fused_over_floor": LIMITS["fused_over_floor"]}


def misses(row: Mapping[str, Any]) -> list[str]:
    """The ratios of a row that are over their limit."""
    return [
        f"{label(row)} {encoder}, {count} threads: {figure} {own[figure]:.2f}, limit {limit:.2f}"
        for count, ratios in row["ratios"].items()
        for encoder, own in ratios.items()
        for figure, limit in limits_of(row).items()
        if own.get(figure, 0) > limit
    ]


HEADER = ("step", "ours, ms", "÷ floor", "fused ÷ its floor", "plain ÷ ours", "published ÷ ours", "memory ÷ plain's")


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table: both encoders, then as many threads as were measured."""

    def every(figure: str, form: str = ".2f") -> str:
        counts = (
            " / ".join(format(own[figure], form) if figure in own else "–" for own in ratios.values())
            for ratios in row["ratios"].values()
        )
        return "; ".join(counts)

    own = (
        " / ".join(f"{1000 * found[f'ours {encoder}']:.0f}" for encoder in encoders_of(row["model"]))
        for found in row["seconds"].values()
    )
    memory = row.get("memory_over_plain")
    ratios = (every(figure) for figure in ("over_floor", "fused_over_floor", "speedup", "published"))
    return [label(row), "; ".join(own), *ratios, "–" if memory is None else f"{memory:.2f}"]


def small_steps(batch: int, folder: Path) -> dict[str, Step]:
    """A few images through the smallest weight: as it is, fused, compiled, and by onnxruntime, one thread each."""
    import onnxruntime
    from zoo_export.onnx_file import to_onnx

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
            found[str(batch)] = {name: 1000 * median(seconds_of(each, 1, "cpu")) for name, each in taken.items()}
    return found


def measure_row(about: Mapping[str, Any], threads: Sequence[int], repeats: int, compiled: bool, memory: bool) -> Any:
    """Measure one row; peak memory beside plain's, which a network of spikes alone has not."""
    row = measure(about, threads, repeats, compiled)
    if memory and not about["model"].startswith("sew_"):
        own, plain = (peak_memory(Work(each, encoder=ENCODERS[0], **about), 1) for each in ("ours", "plain"))
        row["memory_over_plain"] = own / plain if own and plain else None
    typer.echo(f"measured {label(row)}", err=True)
    return row


def print_milliseconds(what: str, taken: Mapping[str, float]) -> None:
    """One line of a few figures."""
    typer.echo(f"{what}, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in taken.items()))


@app.command()
def main(
    model: Models,
    size: Sizes,
    task: Tasks,
    dtype: Numbers,
    threads: Threads,
    published: Annotated[
        Path | None,
        typer.Option(metavar="CLONE", help="A clone of github.com/luutn2002/has-8: time the authors' code too."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count; one more warms up.")] = 5,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    compiled: Annotated[bool, typer.Option(help="Measure torch.compile too.")] = False,
    small: Annotated[bool, typer.Option(help="Measure one image and 64, compiled too.")] = True,
    peers: Annotated[bool, typer.Option(help="Measure spikingjelly's and snntorch's code too.")] = True,
    quick: Annotated[bool, typer.Option(help="A tiny model, batch 2, one round: does it run?")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 if a row misses what is wanted of it."""
    kept = keep_freed_memory()  # as `zoo train` does, for every subject alike
    if quick:
        model, size, dtype, repeats = list(QUICK_MODELS), size[:1], dtype[:1], 1
    clone = "" if published is None else str(published.resolve())
    processor = f"{describe_machine()['cpu']}, {torch.backends.cpu.get_cpu_capability()}"
    setting: dict[str, Any] = {"kernels": describe(), "device": device, "freed_memory_kept": kept}
    setting |= {"processor": processor, "repeats": repeats}
    rows: list[dict[str, Any]] = []
    for name, pixels, step, number in itertools.product(model, size, task, dtype):
        about: dict[str, Any] = {"model": name, "size": pixels, "training": step is Task.training}
        about |= {"batch": QUICK_BATCH if quick else BATCHES.get(pixels, 4)}
        about |= {"dtype": str(number), "device": device, "clone": clone}
        rows.append(measure_row(about, threads, repeats, compiled, memory))
        write_result(out, "speed", setting | {"finished": False, "rows": rows})  # an hour's rows outlive Ctrl-C
    lines = [cells(row) for row in rows]
    rounds = f"Medians of {repeats} rounds; encoders {' / '.join(ENCODERS)}; threads {'; '.join(map(str, threads))}"
    print_table(f"{processor}. {rounds}", list(HEADER), lines)
    found = measure_small(repeats) if small and device == "cpu" else {}
    beside: dict[str, Any] = {}
    if peers and device == "cpu":
        from benchmarks.speed.peers import measure_peers  # snntorch imports torch's compiler, so it comes last

        beside = measure_peers(repeats, threads)
    for images, taken in found.items():
        print_milliseconds(f"{images} × {SMALL}", taken)
    for what, counts in beside.items():
        for count, taken in counts.items():
            print_milliseconds(f"{what}, {count} threads", taken)
    missed = [reason for row in rows for reason in misses(row)]
    content = setting | {"finished": True, "rows": rows, "small": found, "peers": beside, "missed": missed}
    path = write_result(out, "speed", content | {"table": markdown_table(HEADER, lines)})
    for reason in missed:
        typer.echo(f"MISSED: {reason}")
    typer.echo(f"wrote {path}")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    app()
