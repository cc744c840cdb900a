"""What `zoo profile` prints: the summary first, then the energy with its rules, then layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from zoo.cli.energy_table import break_even_lines, model_lines, model_paragraphs
from zoo.cli.output import counted
from zoo.profiling import CONTAINS_CONTROL, RULES, Part
from zoo.terminal import say

if TYPE_CHECKING:
    from zoo.contracts import Work
    from zoo.profiling import Energy, OperationCounts, Profile, Rule

WIDTH = 100
"""Columns; a longer name of a layer takes what it needs."""

_PARTS = {
    Part.SYNAPSES: "convolutions, linear layers",
    Part.CODING: "range, encoders, decoders",
    Part.NEURONS: "neurons",
    Part.REST: "rest",
}


def print_profile(profile: Profile, with_layers: bool) -> None:
    """The whole cost of a model as text of 100 columns."""
    for line in _lines(profile, with_layers):
        say(*line.split("\n"), sep="\n")


def _lines(profile: Profile, with_layers: bool) -> Iterator[str]:
    yield from _summary(profile)
    if profile.activity is not None and profile.energy is not None:
        yield from _energy(profile, profile.activity, profile.energy)
        rules = tuple(profile.activity.elementwise)
        yield from _rules(dict.fromkeys((*rules, *RULES)) if with_layers else rules)
    if with_layers:
        yield from _layers(profile)
        if profile.activity is not None:
            yield from _synapses(profile.activity)
            yield from _rates(profile.activity)


def _folded(text: str) -> list[str]:
    return wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


# Summary --------------------------------------------------------------------------------------------------------------


def _summary(profile: Profile) -> Iterator[str]:
    side = f"{profile.image_size} by {profile.image_size} pixels"
    about = [counted(profile.num_classes, "class", "classes"), side, f"T = {profile.timesteps}"]
    yield from _folded(", ".join([profile.name, *([profile.weights] if profile.weights else []), *about]))
    yield f"\n{'':<22}{'all':>18}{'analog':>18}{'spiking':>18}"
    yield _figures("parameters", profile.params, profile.params_analog, profile.params_spiking)
    yield _figures("MACs, all timesteps", profile.macs, profile.macs_analog, profile.macs_spiking)
    yield _figures("MACs per timestep", profile.macs_per_timestep) + "   analog + spiking / T"
    yield _figures("of these, products", profile.first_count) + "   convolutions, linear and matrix products, by fvcore"
    yield _figures("the same, by torch", profile.second_count) + _verdict(profile.second_count - profile.first_count)
    yield _figures("activations", profile.activations) + "   outputs of convolutions and linear layers"
    yield _figures("bytes", profile.size_bytes) + "   parameters and buffers"
    if profile.control is not None:
        cost = profile.control.cost
        yield ""
        yield f"control {profile.control.name}: {cost.params:,} parameters, {cost.macs:,} MACs"
        if profile.energy is None:
            yield from _folded(profile.statement)
    left_out = ", ".join(f"{name}×{calls}" for name, calls in sorted(profile.unsupported.items()))
    yield ""
    yield from _folded(f"not counted by fvcore: {left_out or 'nothing'}")


def _verdict(difference: int) -> str:
    return (
        "   FlopCounterMode: equal" if not difference else f"   DIFFERENT by {difference:+,}: one of the two is wrong"
    )


def _figures(label: str, *values: int) -> str:
    return f"{label:<22}" + "".join(f"{value:>18,}" for value in values)


# Energy ---------------------------------------------------------------------------------------------------------------


def _energy(profile: Profile, activity: OperationCounts, energy: Energy) -> Iterator[str]:
    rate = activity.spike_rate
    spikes = "no spikes" if rate is None else f"{rate:.4g} spikes per neuron and timestep"
    images = f"{activity.images:,} image{'s' * (activity.images > 1)}"
    yield f"\n{images}, {spikes}; one image takes, on average:\n"
    yield f"{'':<30}{'MACs':>18}{'ACs':>18}{'energy':>16}"
    for part, label in _PARTS.items():
        yield _bill(label, energy.work[part], energy.images, energy.part_pj(part))
    yield _bill("total", energy.total, energy.images, energy.pj)
    if profile.control is not None and profile.control.energy is not None:
        other_energy = profile.control.energy
        yield _bill("control's total", other_energy.total, other_energy.images, other_energy.pj)
    yield from model_lines(profile)
    if profile.control is not None:
        yield ""
        yield from _folded(profile.statement)
    if profile.contains_control:
        yield ""
        yield from _folded(f"{CONTAINS_CONTROL}.")
    yield from break_even_lines(profile)
    yield from _folded(profile.caveat)
    yield ""
    yield from _folded(profile.basis)
    for paragraph in model_paragraphs(profile.estimates):
        yield from _folded(paragraph)
    left_out = [f"{u.operation}×{n} in {u.module or 'the network'} ({u.kind})" for u, n in activity.uncounted.items()]
    yield from _folded(f"not counted: {', '.join(left_out) or 'nothing'}")


def _bill(label: str, work: Work, images: int, pj: float) -> str:
    return f"{label:<30}{work.macs / images:>18,.0f}{work.acs / images:>18,.0f}{pj / 1e6:>13,.3f} µJ"


def _rules(rules: Iterable[Rule]) -> Iterator[str]:
    yield "\nHow it is counted"
    yield from _folded(SYNAPSES_RULE)
    for rule in rules:
        yield from _folded(f"{rule.operation}: {price(rule)}; {rule.reason}")


SYNAPSES_RULE = (
    "convolution, linear layer: 1 AC for every spike and weight that meet, where all inputs are 0 or 1; else 1 MAC for "
    "every product, zeros too; a bias is where an accumulator starts"
)


def price(rule: Rule) -> str:
    """What a rule charges, in words: `1 MAC and 2 ACs a value read`."""
    sides = [
        f"{' and '.join(_amounts(work))} a value {verb}"
        for work, verb in ((rule.read, "read"), (rule.written, "written"))
        if _amounts(work)
    ]
    return ", ".join(sides) or "0"


def _amounts(work: Work) -> list[str]:
    amounts = (("MAC", work.macs), ("AC", work.acs))
    return [f"{number} {name}{'s' * (number > 1)}" for name, number in amounts if number]


# Layer by layer -------------------------------------------------------------------------------------------------------


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> Iterator[str]:
    """Columns as wide as they need be, the first `words` of them words, the others numbers."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    yield f"\n{title}"
    for row in [header, *rows]:
        cells = [f"{c:<{w}}" if i < words else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()


def _layers(profile: Profile) -> Iterator[str]:
    rows = [
        [
            layer.name or "(network)",
            layer.kind,
            layer.branch,
            *(f"{n:,}" for n in (layer.params, layer.macs, layer.outputs)),
        ]
        for layer in profile.layers
    ]
    header = ["layer", "kind", "branch", "parameters", "MACs", "outputs"]
    yield from _table("Layers; MACs and outputs of one image, all timesteps", header, rows, 3)


def _synapses(activity: OperationCounts) -> Iterator[str]:
    reasons = list(dict.fromkeys(layer.reason for layer in activity.synapses))
    rows = [
        [
            layer.name,
            f"{layer.operation} ({reasons.index(layer.reason) + 1})",
            *(f"{n / activity.images:,.0f}" for n in (layer.dense, layer.used, layer.counted)),
        ]
        for layer in activity.synapses
    ]
    header = ["layer", "counted as", "dense MACs", "nonzero pairs", "charged"]
    yield from _table("Synaptic operations of one image, on average", header, rows, 2)
    for number, reason in enumerate(reasons, 1):
        yield from _folded(f"({number}) {reason}")


def _rates(activity: OperationCounts) -> Iterator[str]:
    if activity.rates:
        rows = [[layer.name, layer.kind, f"{layer.rate:.4f}", f"{layer.spikes:,}"] for layer in activity.rates]
        header = ["layer", "kind", "spike rate", "spikes"]
        yield from _table("Spikes of all images; the rate is per neuron and timestep", header, rows, 2)
