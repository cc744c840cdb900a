"""`zoo compare`: models side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import DATA_HELP, DataRoot, Device, ImageSize, Json, model_reference
from zoo.cli.output import print_rows, say
from zoo.errors import printable
from zoo.inference import COMPARED_ON

SHOWN = ("arithmetic-float32", "arithmetic-float32-sparse", "arithmetic-int8", "memory-float32", "shift-add-float32")
"""Energy models that are shown unless all are asked for."""

if TYPE_CHECKING:
    from zoo.catalog.figures import Figures
    from zoo.inference.compare import ComparedModel


def compare_command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Models, as `zoo list` names them; folders of models; hf-hub:ORG/NAME."),
    ],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help=f"Images to count spikes and energy on. {DATA_HELP}")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of images of DATA to count spikes and energy on.")
    ] = COMPARED_ON,
    image_size: ImageSize = None,
    every: Annotated[bool, typer.Option("--all", help="Show every energy model, not five.")] = False,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Leave out the networks without spikes.")] = False,
    data_root: DataRoot = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Compare models: parameters, operations, energy, spikes, accuracy.

    Behind each network with spikes stands its control, the same blocks without
    them, and if its neurons wait also its twin, which gives the same answers by
    the same tensors, its activations as integers. Without --data, accuracy,
    energy and spikes are those of a checkpoint's record. `zoo profile`
    says what each energy model charges.
    """
    from zoo.data import DataOptions
    from zoo.inference.compare import compare_models

    references = [model_reference(name) for name in names]
    rows = compare_models(
        references,
        data,
        data_options=DataOptions(image_size, data_root),
        limit=limit,
        controls=not no_controls,
        device=device,
    )
    if as_json:
        for row in rows:
            print(json.dumps(row.to_json()))
    else:
        _print(rows, every)


def _print(rows: list[ComparedModel], every: bool) -> None:
    """Print a letter for each model, then a line for each figure: names are too long for columns."""
    letters = [ascii_uppercase[i % 26] * (i // 26 + 1) for i in range(len(rows))]
    for number, (row, letter) in enumerate(zip(rows, letters, strict=True)):
        order = [*range(number + 1, len(rows)), *range(number)]  # a rival that was not named stands right behind
        rivals = {"twin": row.twin, "control": row.control}
        letter_of = {role: _letter_of(name, rows, letters, order) for role, name in rivals.items() if name}
        rival_letters = "".join(f", {role}: {rival}" for role, rival in letter_of.items() if rival)
        say(f"{letter}  {printable(row.name)} ({row.weights}{rival_letters})")
    say("")
    lines = (_lines(rows) | _energies(rows, every)).items()
    print_rows([{"": label, **dict(zip(letters, values, strict=True))} for label, values in lines], as_json=False)
    say("")
    for note in _notes(rows, letters):
        say(note)


def _letter_of(name: str, rows: list[ComparedModel], letters: list[str], order: list[int]) -> str:
    """Return the letter of the first column of that variant, or twin; '' if there is none."""
    return next((letters[i] for i in order if name in (rows[i].name, rows[i].name.partition(".")[0])), "")


def _lines(rows: list[ComparedModel]) -> dict[str, list[str]]:
    """Return a line for each figure that a column has."""
    shown = [row.figures.shown() | {"classes": f"{row.num_classes:,}"} for row in rows]
    return {title: texts for title in shown[0] if any(texts := [each[title] for each in shown])}


def _energies(rows: list[ComparedModel], every: bool) -> dict[str, list[str]]:
    """Return a line for each energy model; arithmetic alone for columns whose record has no more."""
    columns = [row.figures for row in rows]
    known = dict.fromkeys(model for each in columns for model in (*each.energies, *each.does_not_run))
    models = [model for model in known if every or model in SHOWN]
    if not models:
        return {"energy, µJ an image": ["" if each.energy_uj is None else f"{each.energy_uj:.4g}" for each in columns]}
    heading = {"energy, µJ an image:": [""] * len(rows)}
    return heading | {model: [_energy(each, model) for each in columns] for model in models}


def _energy(figures: Figures, model: str) -> str:
    if model in figures.does_not_run:
        return "does not run"
    energy = figures.energies.get(model, figures.energy_uj if model == "arithmetic-float32" else None)
    if energy is None:
        return ""
    return f"{energy:,.0f}" if energy >= 1000 else f"{energy:.4g}"


def _notes(rows: list[ComparedModel], letters: list[str]) -> Iterator[str]:
    """Yield a line for each data set with the columns measured on it, and a warning if columns are not alike."""
    measured: dict[str, list[str]] = {}
    for row, letter in zip(rows, letters, strict=True):
        if row.measured_on and row.figures.top1 is not None:
            measured.setdefault(row.measured_on, []).append(letter)
    for data, columns in measured.items():
        yield f"{', '.join(columns)}: top-1 was measured on {printable(data)}"
    if len(measured) > 1:
        yield "note: accuracies on different data do not compare"
    for row, letter in zip(rows, letters, strict=True):
        figures = row.figures
        if figures.additions_per_mac is not None:
            additions = f"{figures.additions_per_mac:.2f} additions (synapses alone)"
            yield f"{letter}: spikes win over their twin if a MAC costs more than {additions}"
        yield from (f"{letter}: {model} does not run: {printable(why)}" for model, why in figures.does_not_run.items())
    if len({row.figures.image_size for row in rows}) > 1:
        yield "note: image sizes differ, so costs do not compare; --image-size gives all columns one"
    if len({row.num_classes for row in rows}) > 1:
        yield "note: the networks have different numbers of classes, which their parameters and MACs depend on"
