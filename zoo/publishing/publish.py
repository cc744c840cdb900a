"""Publish a weight: check it, write its folder with a model card, and commit it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from operator import attrgetter

import jinja2
from huggingface_hub import CommitOperationAdd, EvalResult, ModelCardData, ModelInfo
from markupsafe import Markup

from zoo import weights
from zoo.catalog import TOP_K, Catalog, StoredWeight, WeightRecord, default_catalog, in_words
from zoo.errors import HubError, SaveError, printable
from zoo.factory import build_model, describe_model
from zoo.hub import LIBRARY, Hub, files_of, translated
from zoo.installing import known_plugins
from zoo.names import HubRepository, Source, Spec, check_repository
from zoo.registry import NOTEBOOK, default_registry, parse_name, providers_of
from zoo.saving import NOT_STATED, ModelFolder, make_config, measure

CARD = "README.md"
TASK = "image-classification"
_NO_LICENSE = frozenset({"", "none", "unknown", "tbd", "todo", "unlicensed", NOT_STATED})
_HUB_LICENSES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause cc cc-by-3.0 cc-by-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 openrail unlicense zlib
    """.split()  # noqa: SIM905
)
"""Licence identifiers that the Hub knows; any other is published as `other`, under its own name."""


# The folder


def assemble(weight: StoredWeight, source: Source, reference: str, hub: Hub | None = None) -> ModelFolder:
    """Make the folder of a weight, after checking every claim of its record that can be checked here.

    Args:
        weight: the record.
        source: of its bytes.
        reference: what the card's snippet loads: `hf-hub:org/name` or `local-dir:.`.
        hub: for a source there.

    Raises:
        SaveError: no licence, or figures that are not the model's.
        ModelNameError, WeightError, HubError: as `create_model` does.
    """
    if isinstance(weight, WeightRecord):
        weight = weight.stored()
    data = weights.read_weight(weight, source, hub)
    state = weights.parse_weight(data, weight.name)
    made_of = weight.spec_of(parse_name(weight.variant)), weight.num_classes, weight.in_chans
    weights.check_fit(state, describe_model(*made_of), weight.name)
    model = build_model(*made_of)
    weights.load(model, state, weight.name, weight.num_classes, weight.in_chans)
    if (counted := measure(model, weight.figures.image_size)) != weight.figures:
        raise SaveError(f"{weight.name} has {counted}, the record says {weight.figures}; correct the record")
    files = {weights.MODEL: data, weights.CONFIG: make_config(model, weight)}
    return add_card(ModelFolder(weight, files), reference)


def add_card(folder: ModelFolder, reference: str) -> ModelFolder:
    """Add the model card to a folder.

    Raises:
        SaveError: no licence, or a component that is in no distribution.
    """
    weight = folder.weight
    if weight.license.strip().lower() in _NO_LICENSE:
        raise SaveError(f"{weight.name} names no licence; state one, such as MIT (zoo publish --license MIT)")
    spec = weight.spec_of(parse_name(weight.variant))
    for component in providers_of(spec):
        if component.distribution == NOTEBOOK:
            said = f"{component.kind} {component.name!r} is registered in this process alone"
            raise SaveError(f"{weight.name}: {said}; put it into a distribution (zoo plugins new), then publish")
    card = write_card(weight, spec, reference, control_of(weight, spec))
    return ModelFolder(weight, {**folder.files, CARD: card})


def control_of(weight: StoredWeight, spec: Spec, catalog: Catalog | None = None) -> WeightRecord | None:
    """Return the published weight of the same network without spikes: the one that the record names, or of its tag.

    None unless the catalog lists it and its figures can stand beside these: of the same classes and channels, on the
    same images prepared alike.
    """
    name = default_registry().load("family", spec.family)().control(dict(spec.fields))
    records = (catalog or default_catalog()).weights.get(name, []) if name else []
    wanted = weight.control or f"{name}.{spec.tag}"
    alike = attrgetter("dataset", "dataset_note", "labels", "in_chans", "preprocessing", "figures.image_size")
    return next((record for record in records if record.name == wanted and alike(record) == alike(weight)), None)


# The card

_CODE = re.compile(r"(`[^`<>&|$\\]+`)")
_MARKUP = re.compile(r"[\\`*\[\]|~$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_BEGINNING = re.compile(r"^(?:\d+(?=[.)](?:\s|$))|(?=[#+\-=:]))")
"""Before what makes a heading, a list, a rule or an underline of a line that begins with it."""


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
        "count": lambda number: f"{number:,}",
        "digits": lambda number, count: f"{number:.{count}f}",
        "in_words": in_words,
        "trusted": Markup,
    }
    return environment.get_template("card.md.jinja")


def write_card(weight: StoredWeight, spec: Spec, reference: str, control: StoredWeight | None = None) -> bytes:
    """Write the whole README.md.

    Args:
        weight: what is published.
        spec: its parsed name.
        reference: `hf-hub:org/name`, `local-dir:.` or a listed name, which `create_model` takes.
        control: the same network without spikes, trained alike, to stand beside it.
    """
    note = weight.dataset_note.strip()
    body = _template().render(
        weight=weight,
        note=f"{note[:1].upper()}{note[1:].rstrip('.')}." if note else "",
        size=weight.preprocessing.size,
        resized=round(weight.preprocessing.size / weight.preprocessing.crop_pct),
        control=control,
        reference=reference,
        install=" ".join(_install_words(weight.providers)),
        made_with=", ".join(f"{name} {version}" for name, version in weight.providers.items()),
        about=default_registry().load("family", spec.family)().about(dict(spec.fields), weight.figures.timesteps),
        titles={name: metric_title(name) for name in weight.metrics},
    )
    return f"---\n{metadata(weight, spec).to_yaml()}\n---\n\n{body}".encode()


def _install_words(providers: Mapping[str, str]) -> list[str]:
    """Arguments of `pip install` in a clone of the zoo, which is not on PyPI."""
    known = known_plugins()
    ours = [f"./plugins/{name}" for name in providers if name in known]
    return [".", *ours, *(name for name in providers if name != LIBRARY and name not in known)]


def metric_title(name: str) -> str:
    """Return the title of a metric in tables: `Top-1 accuracy` of `top1`."""
    match = TOP_K.fullmatch(name)
    return f"Top-{match[1]} accuracy" if match else _one_line(name)


def metadata(weight: StoredWeight, spec: Spec) -> ModelCardData:
    """Make the YAML at the top of the card: licence of the weights, library, tags, data, results as `model-index`."""
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
        license=license if known else "other",
        license_name=None if known else _one_line(weight.license),
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=[TASK, *spiking, LIBRARY, spec.family, *components],
        datasets=[weight.dataset_id] if weight.dataset_id else None,
        metrics=sorted(set(kinds.values())) or None,
        model_name=weight.name if weight.metrics else None,
        eval_results=results or None,
    )


# The commit


def publish(
    folder: ModelFolder,
    repo_id: str,
    hub: Hub,
    *,
    private: bool = False,
    commit_message: str | None = None,
    create_pr: bool = False,
) -> tuple[HubRepository, bool]:
    """Put a folder into a repository in one commit; the repository is made if it does not exist.

    The same folder again changes nothing; after an interrupted upload, what arrived is not sent again.

    Args:
        folder: what `assemble` checked.
        repo_id: `org/name`.
        hub: with a token that may write.
        private: a repository that is made for it is private; one that exists must be.
        commit_message: None for the name of the weight.
        create_pr: open a pull request instead of changing `main`.

    Returns:
        The repository at the commit that holds the folder; and False if it held exactly these files already.

    Raises:
        ModelNameError: (ValueError) no such repository can be.
        SaveError: it holds another weight, or is public.
        HubError: the Hub refuses, cannot be reached, or has other bytes than were sent; without a commit, nothing has
            changed.
    """
    check_repository(repo_id)
    with translated(repo_id, hub.address):
        if not hub.api.repo_exists(repo_id):
            hub.api.create_repo(repo_id, private=private, exist_ok=True)
    index = hub.index(HubRepository(repo_id))
    if private and not index.private:
        raise SaveError(f"{repo_id} exists and is public; make it private there first, or choose another name")
    if _sha256_of_model(index) != folder.weight.sha256 and files_of(index).keys() & folder.files.keys() - {CARD}:
        raise SaveError(f"{repo_id} holds another model; published bytes never change: choose another repository")
    head = HubRepository(repo_id, str(index.sha))
    # Buffers: the client sends them by LFS, a file or bytes by Xet, whose answers cannot be looked at.
    operations = [CommitOperationAdd(path, BytesIO(content)) for path, content in folder.files.items()]
    with translated(repo_id, hub.address):
        commit = hub.api.create_commit(
            repo_id,
            operations,
            commit_message=commit_message or folder.weight.name,
            parent_commit=head.revision,
            create_pr=create_pr,
        )
    pinned = HubRepository(repo_id, commit.oid)
    if _sha256_of_model(hub.index(pinned)) != folder.weight.sha256:
        raise HubError(f"{pinned}: the Hub lists other bytes of {weights.MODEL} than sent")
    return pinned, pinned != head


def _sha256_of_model(index: ModelInfo) -> str | None:
    """Return the sha256 that the Hub lists of model.safetensors; None if there is none, or none in LFS."""
    entry = files_of(index).get(weights.MODEL)
    return entry.lfs.sha256 if entry is not None and entry.lfs is not None else None
