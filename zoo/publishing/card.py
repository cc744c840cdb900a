"""Write the model card of a weight: its metadata, and a text in which nothing of a record is more than text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distribution

import jinja2
import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from markupsafe import Markup

from zoo.catalog.controls import twin_in_words
from zoo.catalog.records import TOP_K, StoredWeight, in_words
from zoo.errors import printable
from zoo.names import Spec
from zoo.registry.components import OURS, default_registry
from zoo.registry.installing import known_plugins

TASK = "image-classification"
_HUB_LICENSES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause cc cc-by-3.0 cc-by-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 openrail unlicense zlib
    """.split()  # noqa: SIM905
)
"""Licence identifiers that the Hub knows; any other is published as `other`, under its own name."""

_CODE = re.compile(r"(`[^`<>&|$\\]+`)")
_MARKUP = re.compile(r"[\\`*\[\]|~$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_BEGINNING = re.compile(r"^(?:\d+(?=[.)](?:\s|$))|(?=[#+\-=:]))")
"""Where Markdown starts a block: a heading, a list, a rule or an underline."""


def plain(text: object) -> Markup:
    """Escape a text for Markdown: no markup, link, image or HTML of it works, but `code` does.

    It stays on its line and in its cell of a table; what a reader could not see is written out.
    """
    pieces = _CODE.split(printable(_one_line(str(text))))
    pieces[::2] = [html.escape(_MARKUP.sub(r"\\\g<0>", piece), quote=False) for piece in pieces[::2]]
    return Markup(_BEGINNING.sub(r"\g<0>\\", "".join(pieces)))


def _one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.publishing", "."),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # of HTML alone; `finalize` escapes for Markdown
        finalize=lambda value: value if isinstance(value, Markup | int | float | jinja2.Undefined) else plain(value),
    )
    environment.filters |= {
        "count": lambda number: "not counted" if number is None else f"{number:,}",
        "digits": lambda number, count: f"{number:.{count}f}",
        "in_words": in_words,
        "trusted": Markup,
    }
    return environment.get_template("card.md.jinja")


def write_card(
    weight: StoredWeight,
    spec: Spec,
    reference: str,
    control: StoredWeight | None = None,
    start: str | None = None,
) -> bytes:
    """Write the whole README.md of a weight.

    Args:
        reference: `hf-hub:org/name`, `local-dir:.` or a listed name, which `create_model` takes.
        control: the same network without spikes, trained alike, to stand beside it.
        start: the repository of the weight that training started from, if it is published.
    """
    note = weight.dataset_note.strip()
    body = _template().render(
        weight=weight,
        note=f"{note[:1].upper()}{note[1:].rstrip('.')}." if note else "",
        size=weight.preprocessing.size,
        resized=round(weight.preprocessing.size / weight.preprocessing.crop_pct),
        control=control,
        start=start,
        repository=source_url(),
        reference=reference,
        install=install_words(weight.providers),
        made_with=", ".join(f"{name} {version}" for name, version in weight.providers.items()),
        twin=twin_in_words(weight),
        about=default_registry().load("family", spec.family)().about(dict(spec.fields), weight.figures.timesteps),
        titles={name: metric_title(name) for name in weight.metrics},
    )
    return f"---\n{metadata(weight, spec, start).to_yaml()}\n---\n\n{body}".encode()


def install_words(providers: Iterable[str]) -> str:
    """Return the arguments of `pip install` in a clone of the zoo, which is not on PyPI."""
    known = known_plugins()
    ours = [f"./plugins/{name}" for name in providers if name in known]
    return " ".join([".", *ours, *(name for name in providers if name != OURS and name not in known)])


def source_url() -> str:
    """Return the address of this project's repository, as its distribution states it; '' if it states none yet."""
    links = (entry.partition(", ") for entry in distribution(OURS).metadata.get_all("Project-URL") or ())
    addresses = {label: address for label, _, address in links}
    address = addresses.get("Source", "")
    return "" if "/OWNER/" in address else address


def metric_title(name: str) -> str:
    """Return the title of a metric in tables: `Top-1 accuracy` of `top1`."""
    match = TOP_K.fullmatch(name)
    return f"Top-{match[1]} accuracy" if match else _one_line(name)


def write_results(weight: StoredWeight) -> dict[str, bytes]:
    """Write top-1 as the Hub's evaluation results, path → file; none without a data set there."""
    if not weight.dataset_id or "top1" not in weight.metrics:
        return {}
    entry = EvalResultEntry(weight.dataset_id, TASK, weight.metrics["top1"], notes=weight.dataset_note or None)
    content = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
    return {f".eval_results/{weight.dataset_id.partition('/')[2]}.yaml": content.encode()}


def metadata(weight: StoredWeight, spec: Spec, start: str | None = None) -> ModelCardData:
    """Make the YAML at the top of the card: licence, library, tags, data, results as `model-index`."""
    license = weight.license.lower()
    known = license in _HUB_LICENSES
    kinds = {name: "accuracy" if TOP_K.fullmatch(name) else _one_line(name) for name in weight.metrics}
    spiking = ["spiking-neural-network"] if weight.figures.timesteps > 1 else []
    components = [f"{kind}:{spec[kind]}" for kind in ("backbone", "encoder", "decoder", "neuron") if spec.get(kind)]
    slug = re.sub(r"[^a-z0-9]+", "-", weight.dataset.lower()).strip("-") or "unnamed"
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Image classification",
            dataset_type=weight.dataset_id or slug,
            dataset_name=_one_line(weight.dataset),
            metric_type=kinds[name],
            metric_name=metric_title(name),
            metric_value=value,
        )
        for name, value in weight.metrics.items()
    ]
    return ModelCardData(
        base_model=start,
        license=license if known else "other",
        license_name=None if known else _one_line(weight.license),
        library_name=OURS,
        pipeline_tag=TASK,
        tags=[TASK, *spiking, OURS, spec.family, *components],
        datasets=[weight.dataset_id] if weight.dataset_id else None,
        metrics=sorted(set(kinds.values())) or None,
        model_name=weight.name if weight.metrics else None,
        eval_results=results or None,
    )
