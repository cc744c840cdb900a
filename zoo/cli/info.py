"""`zoo info`: parts, size and weights of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import zoo
from zoo.cli.options import AnyModel, Json, model_reference
from zoo.cli.output import rich_console
from zoo.errors import printable


def info_command(
    name: AnyModel,
    as_json: Json = False,
) -> None:
    """Show a model's parts, size and weights, and the code that loads it."""
    info = zoo.model_info(model_reference(name))
    if as_json:
        print(json.dumps(info))
    else:
        _print_info(info)


def _print_info(info: Mapping[str, Any]) -> None:
    from rich.text import Text

    console = rich_console()
    lines = [Text(printable(info["name"]), "bold"), Text(printable(info["note"]), "dim")]
    for heading, rows in _sections(info):
        lines.append(Text(f"\n{printable(heading)}", "bold"))
        lines += [Text.assemble((f"  {label:<13} ", "dim"), printable(words)) for label, words in rows.items() if words]
    listed = info["weights"] and info["loads"] == info["name"]  # a folder's or repository's own weight is loaded anyway
    arguments = json.dumps(info["loads"], ensure_ascii=False) + (", pretrained=True" if listed else "")
    call = printable(f"  model = zoo.create_model({arguments})")
    lines += [Text("\nload it", "bold"), Text("  import zoo"), Text(call)]
    for line in lines:
        console.print(line, soft_wrap=True)


def _sections(info: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield headings, each with its rows: label → words."""
    fields = {field: str(value) for field, value in info["fields"].items()}
    yield (
        "parts",
        fields | {c["kind"]: f"{c['name']:<12} {c['distribution']} {c['version']}" for c in info["components"]},
    )
    options = {}
    for kind, names in info["takes"].items():
        given = info["options"].get(kind, {})
        options[kind] = ", ".join(f"{name}={given[name]}" if name in given else name for name in names)
    if options:
        yield "options (name=value if set)", options
    size = {
        "parameters": f"{info['params']:,}",
        "classes": f"{info['num_classes']:,}",
        "timesteps": str(info["timesteps"]),
        "features": f"{info['num_features']:,}",
        "image size": f"at least {info['min_image_size']} pixels a side",
    }
    yield "size", size
    for weight in info["weights"]:
        yield f"weights {weight['tag']}", _of_weight(weight)
    if not info["weights"]:
        yield "weights", {"none": "this name builds an untrained network"}


def _of_weight(weight: Mapping[str, Any]) -> dict[str, str]:
    """Write the record of one weight as labels and values."""
    from zoo.catalog import EnergyRange, in_words

    figures, image, labels = weight["figures"], weight["preprocessing"], weight["labels"]
    macs, per_step = f"{figures['macs']:,}", f"{figures['macs_per_timestep']:,}"
    scores = [f"{name} {in_words(name, value)}" for name, value in weight["metrics"].items()]
    bounds = weight["energy_range"] and EnergyRange.model_validate(weight["energy_range"])
    return {
        "accuracy": ", ".join(scores) or "not measured",
        "dataset": weight["dataset"] + (f" ({weight['dataset_note']})" if weight["dataset_note"] else ""),
        "data licence": f"{weight['dataset_license']}; {weight['dataset_attribution']}",
        "licence": weight["license"],
        "classes": ", ".join(labels[:10]) + ("" if len(labels) <= 10 else f" and {len(labels) - 10:,} more"),
        "image": f"{image['size']} pixels a side, {image['interpolation']}, central {100 * image['crop_pct']:g} %, "
        f"mean {image['mean']}, std {image['std']}",
        "parameters": f"{figures['params']:,}",
        "MACs": f"{macs} ({per_step} a timestep) at {figures['image_size']} pixels, T = {figures['timesteps']}",
        "energy": f"{bounds.in_words} times its control's, by model of energy" if bounds else "",
        "robustness": weight["robustness_in_words"],
        "recipe": f"{weight['recipe'] or 'not stated'}; epochs: {weight['epochs']}; seed: {weight['seed']}",
        "control": weight["control"],
        "started from": weight["started_from"],
        "limits": weight["limits"],
        "made with": ", ".join(f"{name} {version}" for name, version in weight["providers"].items()),
        "source": weight["location"],
        "bytes": f"{weight['size']:,}",
        "sha256": weight["sha256"],
    }
