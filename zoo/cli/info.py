"""`zoo info`: parts, size and weights of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

import zoo
from zoo.cli.options import CacheDir, Endpoint, Json, model_reference
from zoo.cli.output import rich_console
from zoo.errors import printable


def info_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="Any valid model name, listed or not; a folder of zoo train; or hf-hub:ORG/NAME@COMMIT.",
        ),
    ],
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Show a model's parts, size and weights, and the code that loads it."""
    info = zoo.model_info(model_reference(name), endpoint=endpoint, cache_dir=cache_dir)
    if as_json:
        print(json.dumps(info))
    else:
        _print_info(info)


def _print_info(info: Mapping[str, Any]) -> None:
    from rich.text import Text

    console = rich_console()
    lines = [Text(printable(info["name"]), "bold")] + [Text(printable(info["note"]), "dim")] * bool(info["note"])
    for heading, rows in _sections(info):
        lines.append(Text(f"\n{printable(heading)}", "bold"))
        lines += [Text.assemble((f"  {printable(label):<13} ", "dim"), printable(value)) for label, value in rows]
    listed = info["weights"] and info["loads"] == info["name"]  # a folder's or repository's own weight is loaded anyway
    arguments = json.dumps(info["loads"], ensure_ascii=False) + (", pretrained=True" if listed else "")
    call = printable(f"  model = zoo.create_model({arguments})")
    lines += [Text("\nload it", "bold"), Text("  import zoo"), Text(call)]
    for line in lines:
        console.print(line, soft_wrap=True)


def _sections(info: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield headings, each with (label, value) rows."""
    parts = [(c["kind"], f"{c['name']:<12} {c['distribution']} {c['version'] or ''}") for c in info["components"]]
    kinds = {c["kind"] for c in info["components"]}
    yield "parts", parts + [(field, str(value)) for field, value in info["fields"].items() if field not in kinds]
    options = [
        (f"{kind} options", ", ".join(_option(name, info["options"].get(kind, {})) for name in names))
        for kind, names in info["takes"].items()
    ]
    if options:
        yield "options (name=value if set)", options
    sides = info["min_image_size"]
    size = {
        "parameters": f"{info['params']:,}",
        "classes": f"{info['num_classes']:,}",
        "timesteps": str(info["timesteps"]),
        "features": f"{info['num_features']:,}",
        "image size": "any" if sides == 1 else f"at least {sides} pixels a side",
    }
    yield "size", list(size.items())
    for weight in info["weights"]:
        yield f"weights {weight['tag']}", list(_of_weight(weight).items())
    if not info["weights"]:
        yield "weights", [("none", "this name builds an untrained network")]


def _option(name: str, given: Mapping[str, Any]) -> str:
    return f"{name}={given[name]}" if name in given else name


def _of_weight(weight: Mapping[str, Any]) -> dict[str, str]:
    """Write the record of one weight as labels and values."""
    from zoo.catalog import EnergyRange, in_words

    figures, preprocessing, labels = weight["figures"], weight["preprocessing"], weight["labels"]
    macs, per_step = f"{figures['macs']:,}", f"{figures['macs_per_timestep']:,}"
    scores = {name: in_words(name, value) for name, value in weight["metrics"].items()}
    bounds = weight["energy_range"] and EnergyRange.model_validate(weight["energy_range"])
    lines = {
        "accuracy": ", ".join(f"{name} {value}" for name, value in scores.items()) or "not measured",
        "dataset": weight["dataset"] + (f" ({weight['dataset_note']})" if weight["dataset_note"] else ""),
        "data licence": f"{weight['dataset_license']}; {weight['dataset_attribution']}",
        "licence": weight["license"],
        "classes": ", ".join(labels[:10]) + ("" if len(labels) <= 10 else f" and {len(labels) - 10:,} more"),
        "image": ", ".join(_prepared(preprocessing)),
        "parameters": f"{figures['params']:,}",
        "MACs": f"{macs} ({per_step} a timestep) at {figures['image_size']} pixels, T = {figures['timesteps']}",
        "energy": f"{bounds.in_words} times its control's, by model of energy" if bounds else "",
        "robustness": weight["robustness_in_words"],
        "recipe": ", ".join(_training(weight)),
        "control": weight["control"],
        "started from": weight["started_from"],
        "limits": weight["limits"],
        "made with": ", ".join(f"{name} {version}" for name, version in weight["providers"].items()),
        "source": weight["location"],
        "bytes": f"{weight['size']:,}",
        "sha256": weight["sha256"],
    }
    return {label: words for label, words in lines.items() if words}


def _prepared(preprocessing: Mapping[str, Any]) -> Iterator[str]:
    yield f"{preprocessing['size']} pixels a side"
    yield str(preprocessing["interpolation"])
    if preprocessing["crop_pct"] < 1:
        yield f"central {100 * preprocessing['crop_pct']:g} %"
    for name, plain in (("mean", 0), ("std", 1)):
        if set(preprocessing[name]) != {plain}:
            yield f"{name} " + "/".join(f"{value:g}" for value in preprocessing[name])


def _training(weight: Mapping[str, Any]) -> Iterator[str]:
    """Describe how a weight was trained."""
    yield weight["recipe"] or "not stated"
    if weight["epochs"] is not None:
        yield f"{weight['epochs']} epoch" + "s" * (weight["epochs"] > 1)
    if weight["seed"] is not None:
        yield f"seed {weight['seed']}"
