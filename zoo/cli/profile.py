"""`zoo profile`: the cost of a model, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.options import DATA_HELP, DataRoot, Device, ImageSize, Json, OptionalModel, model_reference
from zoo.cli.output import counted, rich_console, say
from zoo.errors import printable
from zoo.progress import progress

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from zoo.catalog.records import Preprocessing
    from zoo.profiling import Estimate, OperationCounts, Picojoules, Profile

WIDTH = 100
"""Columns of a paragraph."""


def profile_command(
    name: OptionalModel = None,
    image_size: ImageSize = None,
    num_classes: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Number of classes.  (default: those of the checkpoint, else 1000)"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE|DATA",
            help=f"Images to count spikes, operations and energy with: an image file, or data. {DATA_HELP}",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of images of --data to count on, spread over the classes.")
    ] = 32,
    data_root: DataRoot = None,
    module: Annotated[
        str | None,
        typer.Option(metavar="PACKAGE:BUILD", help="Any torch module instead of NAME: package.module:build, called."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The module's state dict: .safetensors, or of torch.save.")
    ] = None,
    reset: Annotated[
        str | None, typer.Option(metavar="PACKAGE:FUNCTION", help="Function of the module, before every batch.")
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(metavar="PACKAGE:FUNCTION", help="Function from (N, C, H, W) to its arguments.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report as one HTML page.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print the table of layers for LaTeX.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table of layers as CSV.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Show every layer too, and how it is charged.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Count the cost of a model, beside its control, and its twin if it has one.

    The control has the same blocks without spikes. A network whose neurons wait
    for all timesteps has a twin, which gives the same answers by the same
    tensors, its activations as integers.

    Parameters and multiply-accumulates (MACs) of one image, as fvcore counts
    them: "all timesteps" is what is really computed; "per timestep" is the
    paper's convention, analog + spiking / T. With --data also spikes,
    synaptic operations and energy, on validation images if there are any.
    The plugin zoo-energy adds further published energy models. --module
    counts any torch module on the images of --data.
    """
    _refuse(
        {
            "give a NAME, or --module package.module:build": (name is None) == (module is None),
            "--weights, --reset and --inputs go with --module": module is None and any((weights, reset, inputs)),
            "--num-classes goes with a NAME": module is not None and num_classes is not None,
            "--module is counted on images: give --data": module is not None and data is None,
            "give --latex or --csv": latex and csv,
        }
    )
    from zoo.catalog.records import Preprocessing
    from zoo.contracts.family import DEFAULT_IMAGE_SIZE
    from zoo.models.factory import open_model
    from zoo.profiling import profile
    from zoo.profiling.modules import build_module, import_function

    counted: Any
    options: dict[str, Any]
    if module is None:
        counted = opened = open_model(model_reference(str(name)))
        preparation, options = opened.preprocessing(image_size), {"num_classes": num_classes}
    else:
        counted, preparation = build_module(module, weights), Preprocessing(size=image_size or DEFAULT_IMAGE_SIZE)
        options = {"reset": reset and import_function(reset), "inputs": inputs and import_function(inputs)}
    if data is None:
        cost = profile(counted, image_size, device=device, **options)
    else:
        with _sample(data, limit, data_root, preparation) as images:
            cost = profile(counted, images=images, device=device, **options)
    if html is not None:
        from zoo.files import replace_bytes

        replace_bytes(html, _report().to_html(cost).encode())
    if latex or csv:
        print((_report().to_latex if latex else _report().to_csv)(cost), end="")
    elif as_json:
        print(json.dumps(cost.to_json()))
    else:
        _print(cost, layers)


def _print(cost: Profile, layers: bool) -> None:
    console = rich_console()
    console.width = console.width if console.is_terminal else 2 * WIDTH  # a pipe takes rows of any length
    for part in (*_summary(cost, layers), *_energy(cost, layers), *(_layers(cost) if layers else ())):
        if isinstance(part, str):
            say(*wrap(part, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False), sep="\n")
        else:
            console.print(part)


def _refuse(refusals: Mapping[str, bool]) -> None:
    for reason, refused in refusals.items():
        if refused:
            raise typer.BadParameter(reason)


def _report() -> Any:
    from zoo.registry.installing import import_plugin

    return import_plugin("zoo-energy", "zoo_energy.report", "a report of operations")


@contextmanager
def _sample(data: str, limit: int, root: Path | None, preprocessing: Preprocessing) -> Iterator[Iterator[Tensor]]:
    """Yield images spread over the classes as they are needed, under a bar of progress."""
    from zoo.data import DataOptions
    from zoo.data.images import Transform
    from zoo.data.load import sample_images

    prepare, sample = Transform(preprocessing), sample_images(data, limit, DataOptions(root=root))
    with progress("counting", len(sample)) as advance:

        def image(index: int) -> Tensor:
            advance(1)
            return prepare(sample[index][0])

        yield map(image, range(len(sample)))


def _table(header: Sequence[str], rows: Iterable[Sequence[str | float]], words: int = 1) -> Table:
    """Make a table with the first `words` columns on the left, numbers on the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(header):
        table.add_column(column, justify="left" if number < words else "right", no_wrap=number >= words)
    for row in rows:
        table.add_row(*(Text(printable(cell) if isinstance(cell, str) else f"{cell:,.0f}") for cell in row))
    return table


def _summary(profile: Profile, layers: bool) -> Iterator[str | Table]:
    side = f"{profile.image_size}×{profile.image_size} pixels"
    classes = [counted(profile.num_classes, "class", "classes")] if profile.num_classes else []
    about = [*classes, side, f"T = {profile.timesteps}"]
    yield ", ".join([profile.name, *([profile.weights] if profile.weights else []), *about])
    yield ""
    yield _table(
        ("", "all", "analog", "spiking"),
        [
            ("parameters", profile.params, profile.params_analog, profile.params_spiking),
            ("MACs, all timesteps", profile.macs, profile.macs_analog, profile.macs_spiking),
            ("MACs per timestep (analog + spiking / T)", profile.macs_per_timestep),
            ("MACs of convolutions, linear and matrix products", profile.product_macs),
            ("activations (outputs of these layers)", profile.activations),
            ("bytes of parameters and buffers", profile.size_bytes),
        ],
    )
    yield ""
    yield f"sequential steps of an image: {profile.steps or 'not known'}"
    if profile.twin is not None:
        yield (
            f"twin {profile.twin.name} (levels={profile.levels}), the same tensors and answers without spikes: "
            f"{profile.twin.macs:,} MACs, {profile.twin.steps} steps"
        )
    if profile.control is not None:
        yield f"control {profile.control.name}: {profile.control.params:,} parameters, {profile.control.macs:,} MACs"
        if profile.activity is None:
            yield profile.statement
    if profile.unsupported:
        charged = "" if profile.activity is None else ", charged below"
        names = [f"{name}×{calls}" for name, calls in sorted(profile.unsupported.items())]
        yield f"operations that have no MACs in this count{charged}: {_operations(names, layers)}"


def _energy(profile: Profile, layers: bool) -> Iterator[str | Table]:
    if profile.activity is None:
        return
    from zoo.profiling import CONTAINS_CONTROL
    from zoo.profiling.arithmetic import FLOAT32, FORMULA, SOURCE

    activity = profile.activity
    rate, images = activity.spike_rate, activity.images
    works = {str(part): work for part, work in activity.work().items()} | {"total": activity.total}
    if profile.control is not None and profile.control.activity is not None:
        works["control's total"] = profile.control.activity.total
    spikes = _rates(activity)
    yield ""
    yield f"{counted(images, 'image')}, {spikes}; one image takes, on average:"
    yield _table(
        ("", "MACs", "ACs", "energy"),
        [
            (part, work.macs / images, work.acs / images, _microjoules(FLOAT32.arithmetic(work) / images))
            for part, work in works.items()
        ],
    )
    yield ""
    rivals = ("control", "twin")[: 2 if profile.twin else 1 if profile.control else 0]
    header = [cell for rival in rivals for cell in (rival, "ratio")]
    energies = [_energy_row(estimate, len(rivals)) for estimate in profile.estimates]
    yield _table(("energy model", "network", *header), energies)
    yield from _refusals(profile.estimates)
    if profile.statement:
        yield ""
        yield profile.statement
    if profile.additions_per_mac is not None:
        yield (
            f"{profile.spikes_per_activation:.2f} spikes stand for a nonzero activation of the twin. Spikes win over "
            f"it if a MAC costs more than {profile.additions_per_mac:.2f} additions (synapses alone; with neurons and "
            f"all else {profile.additions_per_mac_in_all or 0:.2f}), and never over its set bits shifted and added."
        )
    if profile.contains_control:
        yield f"{CONTAINS_CONTROL}."
    if profile.break_even:
        yield ""
        yield (
            f"It would cost what its control costs at a spike rate (now {rate:.4g}; all layers' spikes change alike) "
            f"or at T timesteps (now {profile.timesteps}), each with the other as it is:"
        )
        points = []
        for point in profile.break_even:
            at_rate = _point("rate", point.spike_rate, point.spike_rate_note)
            points.append((point.model, at_rate, _point("T =", point.timesteps, point.timesteps_note)))
        yield _table(("", "spike rate", "timesteps"), points, words=3)
    yield ""
    if profile.caveat:
        yield profile.caveat
    yield f"{FORMULA}; {SOURCE}"
    left_out = [f"{u.operation}×{n} in {u.module or 'the network'} ({u.kind})" for u, n in activity.uncounted.items()]
    yield f"operations without a price, which are not charged: {_operations(left_out, layers)}"


def _refusals(estimates: Sequence[Estimate]) -> Iterator[str]:
    """Yield a line for every reason why models do not run."""
    by_reason: dict[str, list[str]] = {}
    for estimate in estimates:
        if estimate.refusal:
            by_reason.setdefault(estimate.refusal, []).append(estimate.name)
    for reason, names in by_reason.items():
        yield f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not run here: {reason}"


def _operations(names: list[str], layers: bool) -> str:
    """Write how many kinds of operations there are, or what torch calls them."""
    if layers or not names:
        return ", ".join(names) or "none"
    return f"{counted(len(names), 'kind')} (--layers names them)"


def _rates(activity: OperationCounts) -> str:
    """Write the spike rates of neurons and of synapses, which energies follow."""
    rate, synaptic = activity.spike_rate, activity.synaptic_spike_rate
    spikes = "no neurons" if rate is None else f"{rate:.4g} spikes per neuron and timestep"
    return spikes if synaptic is None else f"{spikes}, {synaptic:.4g} per synapse and timestep"


def _microjoules(picojoules: float) -> str:
    return f"{picojoules / 1e6:,.3f} µJ"


def _energy_row(estimate: Estimate, rivals: int) -> list[str]:
    """Return a model's name and energies, beside each rival's the ratio to it."""
    network = "does not run" if estimate.refusal and estimate.network is None else _total(estimate.network)
    energies = [(estimate.control, estimate.ratio), (estimate.twin, estimate.twin_ratio)]
    cells = [cell for energy, ratio in energies[:rivals] for cell in (_total(energy), _in_digits(ratio))]
    return [estimate.name, network, *cells]


def _in_digits(ratio: float | None) -> str:
    from zoo.catalog.records import in_digits

    return "" if ratio is None else in_digits(ratio)


def _total(energy: Picojoules | None) -> str:
    return "" if energy is None else _microjoules(energy.total)


def _point(word: str, value: float | None, note: str) -> str:
    return note if value is None else f"{word} {value:.3g}" + (f" ({note})" if note else "")


def _layers(profile: Profile) -> Iterator[str | Table]:
    """Yield what `--layers` adds: every layer, and with images how it is charged."""
    activity = profile.activity
    reasons: list[str] = []
    charged: dict[str, str] = {}
    if activity is not None:
        reasons = list(dict.fromkeys(layer.reason for layer in activity.synapses))
        charged = {spiking.name: f"rate {spiking.rate:.4f}" for spiking in activity.rates}
        for layer in activity.synapses:
            operations = f"{layer.counted / activity.images:,.0f} {layer.operation}"
            charged[layer.name] = f"{operations} ({reasons.index(layer.reason) + 1})"
    yield ""
    yield "Layers of one image, all timesteps; with --data, what is charged or spikes per neuron and timestep"
    yield _table(
        ("layer", "kind", "parameters", "MACs", "outputs", "charged"),
        [
            (row.name or "(network)", row.kind, row.params, row.macs, row.outputs, charged.get(row.name, ""))
            for row in profile.layers
        ],
        words=2,
    )
    yield from (f"({number}) {reason}" for number, reason in enumerate(reasons, 1))
