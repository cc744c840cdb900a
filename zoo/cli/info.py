"""`zoo info`: parts, size and checkpoints of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import zoo
from zoo.cli.options import AnyModel, Json, model_reference
from zoo.cli.output import first_of, rich_console
from zoo.errors import printable
from zoo.names import options_in_words

WIDTH = 100
"""Columns of a row."""


def info_command(name: AnyModel, as_json: Json = False) -> None:
    """Show a model's parts, size and checkpoints, and the code that loads it."""
    info = zoo.model_info(model_reference(name))
    if as_json:
        print(json.dumps(info))
        return
    from rich.text import Text

    lines = [(info["name"], "bold"), (info["note"], "dim")]
    for heading, rows in _sections(info).items():
        row_lines = [(line, "") for label, words in rows.items() if words for line in _row(label, words)]
        lines += [("", ""), (heading, "bold"), *row_lines] if row_lines else []
    listed = info["weights"] and info["loads"] == info["name"]  # a folder's or repository's own weight is loaded anyway
    arguments = json.dumps(info["loads"], ensure_ascii=False) + (", pretrained=True" if listed else "")
    lines += [("", ""), ("load it", "bold"), ("  import zoo", ""), (f"  model = zoo.create_model({arguments})", "")]
    console = rich_console()
    for text, style in lines:
        console.print(Text(printable(text), style), soft_wrap=True)


def _row(label: str, words: str) -> list[str]:
    """Wrap a label and its words, which stand below each other."""
    return wrap(
        printable(words),
        WIDTH,
        initial_indent=f"  {label:<13} ",
        subsequent_indent=" " * 16,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sections(info: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return heading → label → words."""
    fields = {field: str(value) for field, value in info["fields"].items()}
    parts = {c["kind"]: f"{c['name']:<12} {c['distribution']} {c['version']}" for c in info["components"]}
    options = {kind: _in_words(names, info["options"].get(kind, {})) for kind, names in info["takes"].items()}
    unsaid = [name for name in ("timesteps", "levels") if any(name in names for names in info["takes"].values())]
    if unsaid:
        options["not in name"] = f"{', '.join(unsaid)}: a name with a tag takes its checkpoint's, another the defaults"
    twin = info["twin"]
    same = twin and f"{twin['name']} (levels={twin['options']['levels']}): same tensors and answers, no spikes"
    size = {
        "parameters": f"{info['params']:,}",
        "classes": f"{info['num_classes']:,}",
        "timesteps": str(info["timesteps"]),
        "steps": f"{info['steps']:,}, one after the other" if info["steps"] else "",
        "twin": same or "",
        "features": f"{info['num_features']:,}",
        "image size": f"at least {info['min_image_size']} pixels a side",
    }
    weights = {
        f"checkpoint {weight['tag']}: {group}": rows
        for weight in info["weights"]
        for group, rows in _of_weight(weight).items()
    }
    tag = info["name"].partition(".")[2]
    none = {tag: "kept by its own publisher"} if tag else {"none": "this name builds an untrained network"}
    weights = weights or {"checkpoint": none}
    return {"parts": fields | parts, "options (name=value if set)": options, "size": size, **weights}


def _in_words(names: Sequence[str], values: Mapping[str, Any]) -> str:
    """List names of options, with the values of those that are set."""
    return ", ".join(f"{name}={values[name]}" if name in values else name for name in names)


def _of_weight(weight: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Write the record of one checkpoint: group → label → words."""
    from zoo.catalog.records import Activity, EnergyRange, in_words

    figures, image, labels = weight["figures"], weight["preprocessing"], weight["labels"]
    macs = "not counted"
    if figures["macs"] is not None:
        macs = f"{figures['macs']:,} ({figures['macs_per_timestep']:,} a timestep)"
    scores = [f"{name} {in_words(name, value)}" for name, value in weight["metrics"].items()]
    bounds = weight["energy_range"] and EnergyRange.model_validate(weight["energy_range"])
    twin_ratios = bounds.twin_in_words if bounds else ""
    activity = weight["activity"] and Activity.model_validate(weight["activity"])
    data_note = f" ({weight['dataset_note']})" if weight["dataset_note"] else ""
    return {
        "accuracy": {
            "accuracy": ", ".join(scores) or "not measured",
            "robustness": weight["robustness_in_words"],
            "limits": weight["limits"],
        },
        "cost": {
            "parameters": f"{figures['params']:,}",
            "MACs": f"{macs} at {figures['image_size']} pixels, T = {figures['timesteps']}",
            "options": options_in_words(weight["spec"].get("options", {})),
            "energy": f"{bounds.in_words} times its control's, by energy model" if bounds else "",
            "spikes": activity.in_words if activity else "",
            "beside twin": f"{twin_ratios} times its twin's, zeros skipped on both sides" if twin_ratios else "",
        },
        "input and output": {
            "image": f"{image['size']} pixels a side, {image['interpolation']}, central {100 * image['crop_pct']:g} %, "
            f"mean {image['mean']}, std {image['std']}",
            "classes": first_of(labels),
        },
        "training": {
            "dataset": weight["dataset"] + data_note,
            "data licence": f"{weight['dataset_license']}; {weight['dataset_attribution']}",
            "recipe": f"{weight['recipe'] or 'not stated'}; epochs: {weight['epochs']}; seed: {weight['seed']}",
            "control": weight["control"],
            "started from": weight["started_from"],
            "made with": ", ".join(f"{name} {version}" for name, version in weight["providers"].items()),
        },
        "file": {
            "licence": weight["license"],
            "source": weight["location"],
            "bytes": f"{weight['size']:,}",
            "sha256": weight["sha256"],
        },
    }
