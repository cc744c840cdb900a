"""The model card (README.md) and the evaluation results of a weight, written from its record alone."""

from __future__ import annotations

import html
import json
import re
import shlex
from functools import cache

import jinja2
import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from zoo.catalog.schema import TOP_K, StoredWeight, in_words
from zoo.composition import about_model
from zoo.names import Spec
from zoo.terminal import printable

LIBRARY = "has8-zoo"
TASK = "image-classification"
EVAL_FOLDER = ".eval_results"

_HUB_LICENSES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause cc cc-by-3.0 cc-by-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 openrail unlicense zlib
    """.split()  # noqa: SIM905
)
"""Licence identifiers that the Hub knows; others are published as `other`, under their own name."""


_CODE = re.compile(r"(`[^`<>&|$\\]+`)")
_MARKUP = re.compile(r"[\\`*_\[\]|~$@]|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_BEGINNING = re.compile(r"^(?:\d+(?=[.)])|(?=[#+\-=:]))")
"""Before what makes a heading, a list, a rule or an underline of a line that begins with it."""


def metric_title(name: str) -> str:
    """What a table calls a metric: `Top-1 accuracy` of `top1`."""
    match = TOP_K.fullmatch(name)
    return f"Top-{match[1]} accuracy" if match else _one_line(name)


def _metric_type(name: str) -> str:
    """What the Hub calls it."""
    return "accuracy" if TOP_K.fullmatch(name) else _one_line(name)


def _sentence(text: str) -> str:
    """Begins large, ends with a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _one_line(text: str) -> str:
    """No line of it can begin a heading, a list or a table; and YAML's emitter loses the rarer line ends."""
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Markdown that shows a stranger's text as it is: no markup, link, image or HTML of it works, but `code` does.

    It stays on its line and in its cell of a table; what a reader could not see is written out.
    """
    pieces = _CODE.split(printable(_one_line(text)))
    return "".join(piece if number % 2 else _escaped(piece, not number) for number, piece in enumerate(pieces))


def _escaped(text: str, first: bool) -> str:
    """Without a meaning in Markdown and HTML; `first` where it may begin a line."""
    marked = _MARKUP.sub(r"\\\g<0>", text)
    text_start = _BEGINNING.sub(r"\g<0>\\", marked) if first else marked
    return html.escape(text_start, quote=False)


def _code(text: str) -> str:
    """In backticks where these can hold it, else plain."""
    text = printable(_one_line(text))
    return f"`{text}`" if _CODE.fullmatch(f"`{text}`") else _plain(text)


def _quoted(text: str) -> str:
    """A Python string literal, which shows no HTML."""
    return printable(json.dumps(text, ensure_ascii=False)).replace("<", "\\u003c")


def _shell(reference: str) -> str | None:
    """A word of a shell line in backticks; None where these cannot hold it."""
    word = shlex.quote(reference)
    return word if word == printable(word) and _CODE.fullmatch(f"`{word}`") else None


_FILTERS = {"sentence": _sentence, "plain": _plain, "code": _code, "quoted": _quoted, "in_words": in_words}


def metadata(weight: StoredWeight, spec: Spec) -> ModelCardData:
    """The YAML at the top of the card: licence of the weights, library, tags, data, and results as `model-index`."""
    license = weight.license.lower()
    known = license in _HUB_LICENSES
    return ModelCardData(
        license=license if known else "other",
        license_name=None if known else _one_line(weight.license),
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=_tags(spec, weight.figures.timesteps),
        datasets=[weight.dataset_id] if weight.dataset_id else None,
        metrics=sorted({_metric_type(name) for name in weight.metrics}) or None,
        model_name=weight.name if weight.metrics else None,
        eval_results=_results(weight) or None,
    )


def _tags(spec: Spec, timesteps: int) -> list[str]:
    spiking = ["spiking-neural-network"] if timesteps > 1 else []
    components = [f"{kind}:{spec[kind]}" for kind in ("backbone", "encoder", "decoder", "neuron") if spec.get(kind)]
    return [TASK, *spiking, LIBRARY, spec.family, *components]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def _results(weight: StoredWeight) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=TASK,
            task_name="Image classification",
            dataset_type=weight.dataset_id or _slug(weight.dataset),
            dataset_name=_one_line(weight.dataset),
            metric_type=_metric_type(name),
            metric_name=metric_title(name),
            metric_value=value,
        )
        for name, value in weight.metrics.items()
    ]


class _Dumper(yaml.SafeDumper):
    """Writes what holds `<` between double quotes, where it can be written as an escape."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, '"' if "<" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _front_matter(data: ModelCardData) -> str:
    """YAML without an HTML tag in it, for a reader that takes it for Markdown."""
    text = yaml.dump(data.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text.replace("<", "\\x3C")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.hub", "."),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the filters `plain` and `code` escape for Markdown, which HTML alone would not
    )
    environment.filters |= _FILTERS
    return environment.get_template("card.md.jinja")


def write_card(weight: StoredWeight, spec: Spec, reference: str, control: StoredWeight | None = None) -> bytes:
    """The whole README.md.

    Args:
        weight: what is published.
        spec: its parsed name.
        reference: what `create_model` takes to load it: `hf-hub:org/name`, `local-dir:path`.
        control: the same network without spikes, trained alike, to stand beside it.
    """
    body = _template().render(
        weight=weight,
        activity=weight.activity,
        size=weight.preprocessing.size,
        dataset=_plain(weight.dataset),
        control=control,
        reference=reference,
        shell=_shell(reference),
        made_with=", ".join(f"{name} {version}" for name, version in weight.providers.items()),
        about=about_model(spec, weight.figures.timesteps),
        titles={name: metric_title(name) for name in weight.metrics},
    )
    return f"---\n{_front_matter(metadata(weight, spec))}---\n\n{body}".encode()


def write_eval_results(weight: StoredWeight) -> dict[str, bytes]:
    """Path → bytes of the same results in the Hub's newer form; none for data that the Hub does not name."""
    if not (weight.dataset_id and weight.metrics):
        return {}
    entries = [
        EvalResultEntry(
            dataset_id=weight.dataset_id,
            task_id=TASK,
            value=value,
            notes=metric_title(name)
            + ", percent" * bool(TOP_K.fullmatch(name))
            + (f"; {weight.dataset_note}" if weight.dataset_note else ""),
        )
        for name, value in weight.metrics.items()
    ]
    text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=110)
    return {f"{EVAL_FOLDER}/{weight.dataset_id.rpartition('/')[2]}.yaml": text.encode()}
