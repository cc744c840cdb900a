"""Publishing a weight: its folder with a model card, checked here first; one commit; a pin in the catalog."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, final

import jinja2
import yaml
from huggingface_hub import (
    CommitOperationAdd,
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)
from huggingface_hub.errors import BadRequestError
from markupsafe import Markup

from zoo import weights
from zoo.catalog import TOP_K, Catalog, StoredWeight, WeightRecord, default_catalog, in_words, read_file
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import KNOWN_PLUGINS, CatalogError, HubError, InputError, SaveError, WeightError, ZooError, printable
from zoo.factory import build_model
from zoo.files import replace_file
from zoo.hub.read import LIBRARY, Hub, translated
from zoo.names import REVISION, HubRepository, Source, Spec, check_repository
from zoo.registry import NOTEBOOK, about_model, default_registry, parse_name, providers_of
from zoo.saving import NOT_STATED, ModelFolder, describe_saved, make_config, measure
from zoo.weights import PlainFile

CARD = "README.md"
TASK = "image-classification"
EVAL_FOLDER = ".eval_results"
_NO_LICENSE = frozenset({"", "none", "unknown", "tbd", "todo", "unlicensed", NOT_STATED})
_HUB_LICENSES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause cc cc-by-3.0 cc-by-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 openrail unlicense zlib
    """.split()  # noqa: SIM905
)
"""Licence identifiers that the Hub knows; others are published as `other`, under their own name."""


# The folder


def assemble(
    weight: StoredWeight, source: Source, reference: str, hub: Hub | None = None, data: bytes | None = None
) -> ModelFolder:
    """Make the folder of a weight, after checking every claim of its record that can be checked here.

    Args:
        weight: the record.
        source: where its bytes lie.
        reference: what the card's snippet loads: `hf-hub:org/name` or `local-dir:.`.
        hub: for a source there.
        data: the bytes, if they were read already; checked all the same.

    Raises:
        SaveError: no licence, or figures that are not the model's.
        ModelNameError, WeightError, HubError: as `create_model` does.
    """
    if weight.license.strip().lower() in _NO_LICENSE:
        advice = "state the weights' own, such as MIT or CC-BY-4.0 (zoo publish --license MIT)"
        raise SaveError(f"{weight.name} names no licence; {advice}")
    if isinstance(weight, WeightRecord):
        weight = weight.stored()
    spec = weight.spec_of(parse_name(weight.variant))
    for component in providers_of(spec):
        if component.distribution == NOTEBOOK:
            raise SaveError(
                f"{weight.name}: {component.kind} {component.name!r} exists in this process alone, which registered "
                "it; put it into a distribution (zoo plugins new), then publish"
            )
    if data is None:
        data = weights.read_weight(weight, source, hub)
    else:
        weights.check_bytes(data, weight, str(source), "make its record again")
    model = _check_model(weight, spec, data)
    config = make_config(model, weight)
    files = {weights.MODEL: data, weights.CONFIG: config}
    files |= {CARD: write_card(weight, spec, reference, control_of(weight, spec))} | write_eval_results(weight)
    _check_texts(weight, spec, config, files[CARD])
    return ModelFolder(weight, files)


def control_of(weight: StoredWeight, spec: Spec, catalog: Catalog | None = None) -> WeightRecord | None:
    """Return the published weight of the same network without spikes: the one that the record names, or of its tag.

    None unless the catalog lists it and its figures can stand beside these: of the same classes and channels, on the
    same images prepared alike.
    """
    name = default_registry().load("family", spec.family)().control(dict(spec.fields))
    records = (catalog or default_catalog()).weights.get(name, []) if name else []
    wanted, purpose = weight.control or f"{name}.{spec.tag}", _measured_on(weight)
    return next((record for record in records if record.name == wanted and _measured_on(record) == purpose), None)


def _measured_on(weight: StoredWeight) -> tuple[object, ...]:
    data = weight.dataset, weight.dataset_note, weight.labels
    return *data, weight.in_chans, weight.preprocessing, weight.figures.image_size


def _check_model(weight: StoredWeight, spec: Spec, data: bytes) -> ImageClassifier:
    model = build_model(spec, weight.num_classes, weight.in_chans)
    state = weights.parse_weight(data, weight.name)
    weights.load(model, state, weight.name, weight.num_classes, weight.in_chans)
    counted = measure(model, weight.figures.image_size)
    for (name, recorded), (_, measured) in zip(weight.figures, counted, strict=True):
        if recorded != measured:
            raise SaveError(f"{weight.name}: {name} is {measured}, the record says {recorded}; correct the record")
    return model


def _check_texts(weight: StoredWeight, spec: Spec, config: bytes, card: bytes) -> None:
    """Raise `SaveError` unless what was written says, when read again, what was meant."""
    try:
        stored = weights.read_config(config, weight.name)
        data = ModelCard(card.decode()).data.to_dict()
    except (ZooError, yaml.YAMLError, ValueError, TypeError) as error:
        raise SaveError(f"{weight.name}: its config or card cannot be read again: {error}") from error
    if stored != weight or data != metadata(weight, spec).to_dict():
        raise SaveError(f"{weight.name}: its config or card says something else than its record")


# The card

_CODE = re.compile(r"(`[^`<>&|$\\]+`)")
_MARKUP = re.compile(r"[\\`*_\[\]|~$@]|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_BEGINNING = re.compile(r"^(?:\d+(?=[.)](?:\s|$))|(?=[#+\-=:]))")
"""Before what makes a heading, a list, a rule or an underline of a line that begins with it."""


def plain(text: object) -> Markup:
    """Markdown that shows a text as it is: no markup, link, image or HTML of it works, but `code` does.

    It stays on its line and in its cell of a table; what a reader could not see is written out.
    """
    pieces = _CODE.split(printable(_one_line(str(text))))
    return Markup("".join(piece if number % 2 else _escaped(piece, not number) for number, piece in enumerate(pieces)))


def _finalize(value: object) -> object:
    """Escape what the template shows, unless a filter has."""
    return value if isinstance(value, Markup | int | float | jinja2.Undefined) else plain(value)


def _escaped(text: str, first: bool) -> str:
    marked = _MARKUP.sub(r"\\\g<0>", text)
    return html.escape(_BEGINNING.sub(r"\g<0>\\", marked) if first else marked, quote=False)


def _one_line(text: str) -> str:
    """Without line ends, since a line can begin a heading, a list or a table."""
    return " ".join(text.split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _code(text: str) -> Markup:
    """In backticks if these can hold it, else plain."""
    text = printable(_one_line(text))
    return Markup(f"`{text}`") if _CODE.fullmatch(f"`{text}`") else plain(text)


def _quoted(text: str) -> Markup:
    """A Python string literal, which shows no HTML."""
    return Markup(printable(json.dumps(text, ensure_ascii=False)).replace("<", "\\u003c"))


def _model_name(text: str) -> Markup:
    """A name of the zoo's grammar, which holds nothing to escape but underscores inside words."""
    return Markup(text) if re.fullmatch(r"[a-z0-9_.:-]+", text) else plain(text)


def _shell(words: Sequence[str]) -> Markup:
    return Markup(" ".join(shlex.quote(word) for word in words if printable(word) == word))


_FILTERS = {
    "sentence": _sentence,
    "code": _code,
    "quoted": _quoted,
    "model_name": _model_name,
    "shell": _shell,
    "count": lambda number: Markup(f"{number:,}"),
    "digits": lambda number, count: Markup(f"{number:.{count}f}"),
    "trusted": Markup,  # Markdown of an installed family
    "in_words": lambda name, value: Markup(in_words(name, value)),
}


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.hub", "."),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # of HTML alone; `_finalize` escapes for Markdown
        finalize=_finalize,
    )
    environment.filters |= _FILTERS
    return environment.get_template("card.md.jinja")


def write_card(weight: StoredWeight, spec: Spec, reference: str, control: StoredWeight | None = None) -> bytes:
    """Write the whole README.md.

    Args:
        weight: what is published.
        spec: its parsed name.
        reference: what `create_model` takes to load it.
        control: the same network without spikes, trained alike, to stand beside it.
    """
    word = shlex.quote(reference)
    body = _template().render(
        weight=weight,
        activity=weight.activity,
        size=weight.preprocessing.size,
        resized=round(weight.preprocessing.size / weight.preprocessing.crop_pct),
        control=control,
        reference=reference,
        shell_reference=Markup(word) if _CODE.fullmatch(f"`{printable(word)}`") and word == printable(word) else None,
        here=reference == "local-dir:.",
        install=_install_words(weight.providers),
        made_with=", ".join(f"{name} {version}" for name, version in weight.providers.items()),
        about=about_model(spec, weight.figures.timesteps),
        titles={name: metric_title(name) for name in weight.metrics},
    )
    return f"---\n{_front_matter(metadata(weight, spec))}---\n\n{body}".encode()


def _install_words(providers: Mapping[str, str]) -> list[str]:
    """Arguments of `pip install` in a clone of the zoo, which is not on PyPI."""
    ours = [f"./plugins/{name}" for name in providers if name in KNOWN_PLUGINS]
    return [".", *ours, *(name for name in providers if name != LIBRARY and name not in KNOWN_PLUGINS)]


def metric_title(name: str) -> str:
    """Return the title of a metric in tables: `Top-1 accuracy` of `top1`."""
    match = TOP_K.fullmatch(name)
    return f"Top-{match[1]} accuracy" if match else _one_line(name)


def _metric_type(name: str) -> str:
    return "accuracy" if TOP_K.fullmatch(name) else _one_line(name)


def metadata(weight: StoredWeight, spec: Spec) -> ModelCardData:
    """Make the YAML at the top of the card: licence of the weights, library, tags, data, results as `model-index`."""
    license = weight.license.lower()
    known = license in _HUB_LICENSES
    spiking = ["spiking-neural-network"] if weight.figures.timesteps > 1 else []
    components = [f"{kind}:{spec[kind]}" for kind in ("backbone", "encoder", "decoder", "neuron") if spec.get(kind)]
    slug = re.sub(r"[^a-z0-9]+", "-", weight.dataset.lower()).strip("-") or "unnamed"
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Image classification",
            dataset_type=weight.dataset_id or slug,
            dataset_name=_one_line(weight.dataset),
            metric_type=_metric_type(name),
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
        metrics=sorted({_metric_type(name) for name in weight.metrics}) or None,
        model_name=weight.name if weight.metrics else None,
        eval_results=results or None,
    )


@final
class _Dumper(yaml.SafeDumper):
    """Writes what holds `<` between double quotes, so that it can be written as an escape."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, '"' if "<" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _front_matter(data: ModelCardData) -> str:
    """YAML without an HTML tag in it, for a reader that takes it for Markdown."""
    text = yaml.dump(data.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text.replace("<", "\\x3C")


def write_eval_results(weight: StoredWeight) -> dict[str, bytes]:
    """Write the results in the Hub's newer form, path → bytes; none for data that the Hub does not name."""
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


# The commit


@final
@dataclass(frozen=True)
class Published:
    """Where a weight is now.

    Attributes:
        repository: at the commit that holds it.
        url: its page.
        changed: False if the repository held exactly these files already.
    """

    repository: HubRepository
    url: str
    changed: bool


def check_token(hub: Hub, repo_id: str) -> None:
    """Raise `HubError` if there is no token, a wrong one, or one that may not write to `repo_id`.

    The Hub refuses a token that only reads late, so its role is asked for first.
    """
    with translated("publishing", hub.address):
        account = hub.api.whoami()
        token = (account.get("auth") or {}).get("accessToken") or {}
        rights = (token.get("fineGrained") or {}).get("scoped") or []
        names = (repo_id, repo_id.partition("/")[0])
        writable = any(
            (scope.get("entity") or {}).get("name") in names and "repo.write" in scope.get("permissions", ())
            for scope in rights
        )
        role = token.get("role")
        described = printable(f"the token {str(token.get('displayName'))[:100]!r} of {str(account.get('name'))[:100]}")
    settings = f"{hub.address}/settings/tokens"
    if role == "read":
        raise HubError(f"{described} may only read; make one that may write at {settings}, then `hf auth login`")
    if role == "fineGrained" and not writable:
        raise HubError(f"{described} may not write to {repo_id}; give it that right at {settings}")


def publish(folder: ModelFolder, repo_id: str, hub: Hub, *, private: bool = False) -> Published:
    """Put a folder into a repository in one commit; the repository is made if it does not exist.

    The same folder again changes nothing; after an interrupted upload, what arrived is not sent again.

    Args:
        folder: what `assemble` checked.
        repo_id: `org/name`.
        hub: with a token that may write.
        private: a repository that is made for it is private; one that exists must be.

    Raises:
        ModelNameError: (ValueError) no such repository can be.
        SaveError: it holds another weight, or is public.
        HubError: the Hub refuses, cannot be reached, or has other bytes than were sent; without a commit, nothing has
            changed.
    """
    check_repository(repo_id)
    check_token(hub, repo_id)
    with translated(repo_id, hub.address):
        if not hub.api.repo_exists(repo_id):
            hub.api.create_repo(repo_id, private=private, exist_ok=True)
    index = hub.index(HubRepository(repo_id))
    if private and not index.private:
        raise SaveError(f"{repo_id} exists and is public; make it private there first, or choose another name")
    head = HubRepository(repo_id, index.commit)
    _check_same_weight(folder, head, index.files, hub)
    repository = HubRepository(repo_id, _commit(folder, head, hub))
    arrived = hub.index(repository).files
    differing = [
        path for path, content in folder.files.items() if path not in arrived or not arrived[path].describes(content)
    ]
    if differing or arrived[weights.MODEL].sha256 != folder.weight.sha256:
        raise HubError(f"{repository}: the Hub lists other bytes of {', '.join(differing) or weights.MODEL} than sent")
    return Published(repository, f"{hub.address}/{repo_id}", repository.revision != head.revision)


def push(model: ImageClassifier, repo_id: str, hub: Hub, *, private: bool = False, **stated: Any) -> Published:
    """Publish a network of this process, with what is `stated` of it; takes and raises as `save` and `publish` do."""
    check_repository(repo_id)
    saved = describe_saved(model, **stated)
    data = saved.files[weights.MODEL]
    source = PlainFile(Path(weights.MODEL))
    return publish(assemble(saved.weight, source, f"hf-hub:{repo_id}", hub, data), repo_id, hub, private=private)


def _commit(folder: ModelFolder, head: HubRepository, hub: Hub) -> str:
    """Commit after `head`; returns `head`'s own commit if nothing differs."""
    # Buffers: the client sends them by LFS, a file or bytes by Xet, whose answers cannot be looked at.
    operations = [CommitOperationAdd(path, BytesIO(content)) for path, content in folder.files.items()]
    with translated(head.repo_id, hub.address):
        try:
            commit = hub.api.create_commit(
                head.repo_id, operations, commit_message=folder.weight.name, parent_commit=head.revision
            )
        except ValueError as error:  # what the Hub says of the card; else the answer is malformed
            if not isinstance(error, BadRequestError) and not str(error).startswith("Invalid metadata"):
                raise
            raise SaveError(f"{head.repo_id}: {printable(_one_line(str(error))[:1000])}") from error
        if not isinstance(commit.oid, str) or not REVISION.fullmatch(commit.oid):
            raise ValueError("it names no commit; look at the repository's page before you publish again")
    return commit.oid


def _check_same_weight(folder: ModelFolder, head: HubRepository, files: Mapping[str, object], hub: Hub) -> None:
    """Refuse to replace something else: the bytes behind a name never change."""
    if weights.CONFIG not in files:
        if weights.MODEL in files:
            raise SaveError(f"{head.repo_id} holds a model without a {weights.CONFIG}; choose another repository")
        return
    try:
        data = hub.fetch(head, weights.CONFIG, weights.MAX_CONFIG_BYTES)
        published = weights.read_config(data, head.repo_id)
    except WeightError as error:
        raise SaveError(f"{head.repo_id} holds another model ({error}); choose another repository") from error
    record = folder.weight
    if (published.name, published.sha256) != (record.name, record.sha256):
        raise SaveError(
            f"{head.repo_id} holds {published.name} (sha256 {published.sha256[:12]}…), not {record.name} "
            f"({record.sha256[:12]}…); published bytes never change: choose another repository, or a new tag"
        )


# The pin

_NEW_CATALOG = (
    "# Weights published from here; the schema is that of has8-zoo's registry.yaml.\nversion: 1\n\nweights:\n"
)


def check_pin(catalog: Path, weight: StoredWeight) -> None:
    """Raise what `write_pin` would, as far as it shows before a weight is published."""
    if not catalog.resolve().parent.is_dir():
        raise SaveError(f"{catalog} cannot be written: there is no folder {catalog.parent}")
    _listed(catalog, weight)


def write_pin(catalog: Path, weight: StoredWeight, place: HubRepository) -> None:
    """Record in `catalog` where a weight was published; comments and layout stay, and the file is whole at any moment.

    A weight of a package keeps that source and gets `published`; one of the Hub gets the new commit; one that the file
    does not list is added at its end.

    Raises:
        CatalogError: the file is not a catalog.
        SaveError: it cannot be changed; it is as it was.
    """
    catalog = catalog.resolve()  # a link stays one
    try:
        with _locked(catalog.parent):
            record = _listed(catalog, weight)
            if record is not None and str(place) in (record.published, str(record.location)):
                return
            text = catalog.read_bytes().decode() if catalog.exists() else _NEW_CATALOG
            changed = _append(text, weight, place) if record is None else _change(text, record, place)
            replace_file(
                catalog,
                lambda file: file.write(changed.encode()),
                lambda part: _check_pinned(part, weight, place),
            )
    except (OSError, InputError, CatalogError) as error:
        advice = f"add the pin by hand: {weight.name} is {place}"
        raise SaveError(f"{catalog} cannot be changed ({error}); {advice}") from error


def _append(text: str, weight: StoredWeight, place: HubRepository) -> str:
    """Add a record at the end of the file, whose last key is `weights`."""
    stored = weight.model_dump(mode="json", include=set(StoredWeight.model_fields), exclude_none=True)
    item = stored | {"source": f"hf-hub:{place.repo_id}", "revision": place.revision}
    as_json = json.dumps(item, ensure_ascii=False)
    added = yaml.safe_dump([item], sort_keys=False, allow_unicode=printable(as_json) == as_json, width=110)
    if not re.search(r"^weights:", text, re.MULTILINE):
        text = f"{text.rstrip()}\n\nweights:\n"
    return f"{text.rstrip()}\n" + "".join(f"  {line}\n" for line in added.splitlines())


def _change(text: str, record: WeightRecord, place: HubRepository) -> str:
    fields = {"published": str(place)}
    if record.revision is not None:
        fields = {"source": f"hf-hub:{place.repo_id}", "revision": str(place.revision)}
    for key, value in fields.items():
        # a commit of digits alone is a number to YAML
        text = put_block(text, record, key, value=value if yaml.safe_load(value) == value else f"'{value}'")
    return text


def _listed(catalog: Path, weight: StoredWeight) -> WeightRecord | None:
    """The record of that name; raises `SaveError` if it lists other bytes."""
    records = read_file(catalog).weights if catalog.exists() else ()
    record = next((each for each in records if each.name == weight.name), None)
    if record is not None and record.sha256 != weight.sha256:
        raise SaveError(f"the catalog lists other bytes as {weight.name}; give the new weight a tag of its own")
    return record


def _check_pinned(part: Path, weight: StoredWeight, place: HubRepository) -> None:
    record = _listed(part, weight)
    if record is None or str(place) not in (record.published, str(record.location)):
        raise InputError("it is not laid out as the zoo writes it")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time in a folder; the lock is on the folder itself, so that no file stays behind."""
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def put_block(text: str, record: WeightRecord, key: str, lines: Sequence[str] = (), value: object = None) -> str:
    """Set one field of a record in the text of a registry.yaml; all other lines, comments too, stay as they are.

    Args:
        text: of the file.
        record: one that it lists.
        key: a field of the record; it takes the place of the one that is there.
        lines: that follow the key, indented as if the key were not.
        value: that stands beside the key, of a field without lines.

    Raises:
        InputError: the record does not begin with variant and tag, one a line.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    rows = text.splitlines()
    heads = [
        (row, match[1])
        for row, line in enumerate(rows)
        if (match := re.fullmatch(r"( *)- variant: (\S+)", line)) and match[2] == record.variant
        if row + 1 < len(rows) and rows[row + 1].strip() == f"tag: {record.tag}"
    ]
    if len(heads) != 1:
        raise InputError(f"{record.name} is not one `- variant:` with its `tag:` in the next line; write it so")
    first, outer = heads[0]
    last = first + 1
    while last < len(rows) and (rows[last].startswith(f"{outer} ") or not rows[last].strip()):
        last += 1
    while not rows[last - 1].strip():
        last -= 1
    kept, dropping = [], False
    for line in rows[first:last]:
        if line.startswith(f"{outer}  ") and line[len(outer) + 2] not in " -":
            dropping = line.startswith(f"{outer}  {key}:")
        kept += [] if dropping else [line]
    written = [f"{outer}  {line}" for line in (f"{key}:" if value is None else f"{key}: {value}", *lines)]
    return newline.join([*rows[:first], *kept, *written, *rows[last:], ""])
