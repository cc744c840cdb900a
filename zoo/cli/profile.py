"""`zoo profile`: the cost of a model, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import DATA_HELP, CacheDir, DataRoot, Device, Endpoint, Json, model_reference
from zoo.cli.output import counted, rich_console, say
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE, MAX_PROFILED_SIZE
from zoo.errors import printable
from zoo.progress import Advance, progress

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.table import Table

    from zoo.contracts import Work
    from zoo.profiling import OperationCounts, Picojoules, Profile

DEFAULT_LIMIT = 32
WIDTH = 100
"""Columns of a paragraph."""


def profile_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="Any valid model name, listed or not; a folder of zoo train; or hf-hub:ORG/NAME@COMMIT.",
        ),
    ],
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            max=MAX_PROFILED_SIZE,
            help=f"Pixels a side.  (default: the weight's own, or {DEFAULT_IMAGE_SIZE})",
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Number of classes.  (default: the weight's own, or 1000 without one)"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE|DATA",
            help=f"Images to count spikes, operations and energy with: an image file, or data. {DATA_HELP}",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help=f"Count on N images of --data, spread over the classes.  (default: {DEFAULT_LIMIT})",
        ),
    ] = None,
    data_root: DataRoot = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show every layer too, and how each operation is charged.")
    ] = False,
    device: Device = "cpu",
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Count the cost of a model, beside the same network without spikes.

    Parameters and multiply-accumulates (MACs) of one image, as fvcore counts
    them: "all timesteps" is what is really computed; "per timestep" is the
    paper's convention, analog + spiking / T. With --data also spikes,
    synaptic operations and energy; of data with a validation split, its images
    are taken. What could not be counted is listed. The plugin zoo-energy adds
    further published models of energy.
    """
    from zoo.factory import open_model
    from zoo.profiling import profile

    if data is None and limit is not None:
        raise typer.BadParameter("--limit goes with --data")
    opened = open_model(model_reference(name), listed=True, endpoint=endpoint, cache_dir=cache_dir)
    if data is None:
        cost = profile(opened, image_size, num_classes=num_classes, device=device)
    else:
        from zoo.data import DataOptions
        from zoo.data.images import Transform
        from zoo.data.load import sample_images

        prepare = Transform(opened.preprocessing(image_size))
        options = DataOptions(root=data_root)
        sample = sample_images(data, limit or DEFAULT_LIMIT, options)
        with progress("counting", len(sample)) as advance:
            images = (prepare(image) for image in _counted((image for image, _ in sample), advance))
            cost = profile(opened, num_classes=num_classes, images=images, device=device)
    if as_json:
        print(json.dumps(cost.to_json()))
        return
    console = rich_console()
    console.width = console.width if console.is_terminal else 2 * WIDTH  # a pipe takes rows of any length
    for part in _report(cost, layers):
        if isinstance(part, str):
            say(*wrap(part, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False), sep="\n")
        else:
            console.print(part)


def _counted(items: Iterable[Image], advance: Advance) -> Iterator[Image]:
    for item in items:
        advance(1)
        yield item


def _report(profile: Profile, with_layers: bool) -> Iterator[str | Table]:
    """Yield paragraphs and tables: the summary, then the energy, then layer by layer."""
    yield from _summary(profile)
    if profile.activity is not None:
        yield from _energy(profile, profile.activity)
    if with_layers:
        yield from _details(profile)


def _table(header: Sequence[str], rows: Iterable[Sequence[str | float]], words: int = 1) -> Table:
    """Make a table with the first `words` columns on the left, numbers on the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(header):
        table.add_column(column, justify="left" if number < words else "right", no_wrap=number >= words)
    for row in rows:
        table.add_row(*(Text(printable(each) if isinstance(each, str) else f"{each:,.0f}") for each in row))
    return table


def _summary(profile: Profile) -> Iterator[str | Table]:
    side = f"{profile.image_size}×{profile.image_size} pixels"
    about = [counted(profile.num_classes, "class", "classes"), side, f"T = {profile.timesteps}"]
    yield ", ".join([profile.name, *([profile.weights] if profile.weights else []), *about])
    yield ""
    yield _table(
        ("", "all", "analog", "spiking"),
        [
            ("parameters", profile.params, profile.params_analog, profile.params_spiking),
            ("MACs, all timesteps", profile.macs, profile.macs_analog, profile.macs_spiking),
            ("MACs per timestep (analog + spiking / T)", profile.macs_per_timestep),
            ("MACs of convolutions, linear and matrix products", profile.first_count),
            ("activations (outputs of these layers)", profile.activations),
            ("bytes of parameters and buffers", profile.size_bytes),
        ],
    )
    yield ""
    if profile.control is not None:
        yield f"control {profile.control.name}: {profile.control.params:,} parameters, {profile.control.macs:,} MACs"
        if profile.activity is None:
            yield profile.statement
    left_out = ", ".join(f"{name}×{calls}" for name, calls in sorted(profile.unsupported.items()))
    yield f"not counted by fvcore: {left_out or 'nothing'}"


def _energy(profile: Profile, activity: OperationCounts) -> Iterator[str | Table]:
    from zoo.catalog import in_digits
    from zoo.profiling import CONTAINS_CONTROL, Part
    from zoo.profiling.energy import FLOAT32

    def bill(label: str, work: Work, images: int) -> tuple[str | float, ...]:
        return label, work.macs / images, work.acs / images, f"{FLOAT32.arithmetic(work) / images / 1e6:,.3f} µJ"

    rate, images, work = activity.spike_rate, activity.images, activity.work()
    spikes = "no spikes" if rate is None else f"{rate:.4g} spikes per neuron and timestep"
    labels = {
        Part.SYNAPSES: "convolutions, linear layers",
        Part.CODING: "range, encoders, decoders",
        Part.NEURONS: "neurons",
        Part.REST: "rest",
    }
    rows = [*(bill(label, work[part], images) for part, label in labels.items()), bill("total", activity.total, images)]
    if profile.control is not None and (theirs := profile.control.activity) is not None:
        rows.append(bill("control's total", theirs.total, theirs.images))
    yield ""
    yield f"{counted(images, 'image')}, {spikes}; one image takes, on average:"
    yield _table(("", "MACs", "ACs", "energy"), rows)
    yield ""
    yield _table(
        ("model of energy", "network", "control", "ratio"),
        [
            (
                each.name,
                _microjoules(each.network),
                _microjoules(each.control),
                (each.ratio and in_digits(each.ratio)) or "",
            )
            for each in profile.estimates
        ],
    )
    yield from (f"{each.name} does not run here: {each.refusal}" for each in profile.estimates if each.refusal)
    yield ""
    yield profile.statement
    if profile.contains_control:
        yield f"{CONTAINS_CONTROL}."
    if profile.break_even:
        yield ""
        yield (
            f"It would cost what its control costs at a spike rate (now {rate:.4g}; all layers' spikes change alike) "
            f"or at T timesteps (now {profile.timesteps}), each with the other as it is:"
        )
        yield _table(("", "spike rate", "timesteps"), [point.in_words for point in profile.break_even], words=3)
    yield ""
    if profile.caveat:
        yield profile.caveat
    yield profile.basis
    left_out = [f"{u.operation}×{n} in {u.module or 'the network'} ({u.kind})" for u, n in activity.uncounted.items()]
    yield f"not counted: {', '.join(left_out) or 'nothing'}"


def _microjoules(energy: Picojoules | None) -> str:
    return "" if energy is None else f"{energy.total / 1e6:,.3f} µJ"


def _details(profile: Profile) -> Iterator[str | Table]:
    """Yield what `--layers` adds: every layer, and how its operations are charged."""
    yield ""
    yield "Layers; MACs and outputs of one image, all timesteps"
    yield _table(
        ("layer", "kind", "branch", "parameters", "MACs", "outputs"),
        [
            (each.name or "(network)", each.kind, each.branch, each.params, each.macs, each.outputs)
            for each in profile.layers
        ],
        words=3,
    )
    activity = profile.activity
    if activity is None:
        return
    reasons = list(dict.fromkeys(layer.reason for layer in activity.synapses))
    charges = {layer.name: f"{layer.operation} ({reasons.index(layer.reason) + 1})" for layer in activity.synapses}
    images = activity.images
    yield ""
    yield "Synaptic operations of one image, on average"
    yield _table(
        ("layer", "counted as", "dense MACs", "nonzero pairs", "charged"),
        [(s.name, charges[s.name], s.dense / images, s.used / images, s.counted / images) for s in activity.synapses],
        words=2,
    )
    yield from (f"({number}) {reason}" for number, reason in enumerate(reasons, 1))
    yield ""
    yield "Everything else of one image, on average"
    works = [item for part in activity.elementwise.values() for item in part.items()]
    rows = [(price.operation, work.macs / images, work.acs / images) for price, work in works]
    yield _table(("operation", "MACs", "ACs"), rows)
    if activity.rates:
        yield ""
        yield "Spikes of all images; the rate is per neuron and timestep"
        rates = [(rate.name, rate.kind, f"{rate.rate:.4f}", rate.spikes) for rate in activity.rates]
        yield _table(("layer", "kind", "spike rate", "spikes"), rates, words=2)
    yield ""
    for estimate in profile.estimates:
        model = estimate.model
        scope = f"Charges {model.charges}. Leaves out {model.leaves_out}"
        yield f"{estimate.name}: {model.prices}. {scope}. Source: {model.source}"
