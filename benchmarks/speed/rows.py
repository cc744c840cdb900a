"""Measuring one row: its subjects in turn, ratios to floor and peers, peak memory; each in a process of its own."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

import zoo
from benchmarks.common.timing import interleave, time_step
from benchmarks.speed.steps import PUBLISHED, Step, Work, build_step, peak_memory, step_of
from zoo.cpu.memory import keep_freed_memory

PLAIN = "fourier"
"""The encoder of the published code, and so of what is measured beside it."""
ENCODERS, DIRECT = ("ste", PLAIN), ("direct",)
PUBLISHED_SIZE = 32
LAYOUTS = ("floor", "floor channels_last")
FUSED_LAYOUTS = ("floor fused", "floor fused channels_last")

ROW_SECONDS = 20.0
"""Of a row at one number of threads, after which it has no more rounds than the fewest."""

SMALL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
SMALL_BATCHES = (1, 64)

Measured = TypeVar("Measured")


def encoders_of(model: str) -> tuple[str, ...]:
    """Encoders that a model is measured with; a spiking-only one has its own."""
    return DIRECT if model.startswith("sew_") else ENCODERS


def subjects(about: Mapping[str, Any], compiled: bool) -> dict[str, Work]:
    """Everything that is timed together, by name. Floors, plain and the published code have one encoder."""
    encoders = encoders_of(about["model"])
    alone = list(LAYOUTS)
    if not about["training"]:
        alone += FUSED_LAYOUTS
    is_published = about["model"] in PUBLISHED and about["dtype"] == "float32" and about["size"] == PUBLISHED_SIZE
    if about["clone"] and is_published:
        alone.append("published")
    if PLAIN in encoders:
        alone.append("plain")
    own = ["ours"]
    if not about["training"]:
        own.append("ours fused")
    if compiled:
        own.append("ours compiled")
    found = {name: Work(name, encoder=PLAIN if name == "plain" else encoders[0], **about) for name in alone}
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
        taken = interleave(steps, repeats, time_step, ROW_SECONDS)
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
        if encoder == PLAIN:
            others = {"speedup": "plain", "published": "published"}
            own |= {figure: ratio(found[other], best) for figure, other in others.items() if other in found}
        ratios[encoder] = own
    return ratios


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

    work = Work("ours", SMALL, "", 32, batch, False, "float32")
    steps = {name: step_of(model, x, work) for name, model in models.items()}
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


def apart(measuring: Callable[..., Measured], *arguments: Any) -> Measured:
    """Call it in a process of its own: what an hour of rows leaves of the memory slows the next ones by a half."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=keep_freed_memory) as process:
        return process.submit(measuring, *arguments).result()


def measure_row(about: Mapping[str, Any], threads: Sequence[int], repeats: int, compiled: bool, memory: bool) -> Any:
    """Measure one row; peak memory beside plain's, which a spiking-only network has not."""
    row = measure(about, threads, repeats, compiled)
    if memory and not about["model"].startswith("sew_"):
        own, plain = (peak_memory(Work(each, encoder=PLAIN, **about), 1) for each in ("ours", "plain"))
        row["memory_over_plain"] = own / plain if own and plain else None
    return row
