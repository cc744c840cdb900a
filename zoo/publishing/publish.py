"""Publish a weight: check it, write its folder with a model card, and commit it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from huggingface_hub import CommitOperationAdd, ModelInfo

from zoo.catalog.controls import find_control
from zoo.catalog.files import Catalog, default_catalog, stored_spec
from zoo.catalog.records import StoredWeight, WeightRecord
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import HubError, SaveError
from zoo.models.factory import DEFAULT_PLACES, OpenedModel, Places
from zoo.names import HubRepository, Source, check_repository
from zoo.publishing.card import write_card, write_results
from zoo.publishing.saving import NOT_STATED, ModelFolder, folder_of, make_config, measure
from zoo.registry.components import NOTEBOOK, providers_of
from zoo.weights import load as weights
from zoo.weights.hub import Hub, files_of, translated
from zoo.weights.origin import Recorded

CARD = "README.md"
_NO_LICENSE = frozenset({"", "none", "unknown", "tbd", "todo", "unlicensed", NOT_STATED})


def assemble(weight: StoredWeight, source: Source, reference: str, places: Places = DEFAULT_PLACES) -> ModelFolder:
    """Make the folder of a weight, after checking every claim of its record that can be checked here.

    `reference` is what the card's snippet loads: `hf-hub:org/name` or `local-dir:.`.

    Raises:
        SaveError: no licence, or figures that are not the model's.
        ModelNameError, WeightError, HubError: as `create_model` does.
    """
    if isinstance(weight, WeightRecord):
        weight = weight.stored()
    data = weights.read_weight(weight, source, places.open_hub())
    model = OpenedModel(stored_spec(weight), places, Recorded(weight, source)).build()
    counted = measure(model, weight.figures.image_size)
    if counted.macs is None:  # they cannot be checked here
        unchecked = {"macs": weight.figures.macs, "macs_per_timestep": weight.figures.macs_per_timestep}
        counted = counted.model_copy(update=unchecked)
    if counted != weight.figures:
        raise SaveError(f"{weight.name} has {counted}, the record says {weight.figures}; correct the record")
    files = {weights.MODEL: data, weights.CONFIG: make_config(model, weight)}
    return add_card(ModelFolder(weight, files), reference, places.catalog)


def add_card(folder: ModelFolder, reference: str, catalog: Catalog | None = None) -> ModelFolder:
    """Add the model card to a folder.

    Raises:
        SaveError: no licence, or a component that is in no package.
    """
    weight = folder.weight
    if weight.license.strip().lower() in _NO_LICENSE:
        raise SaveError(f"{weight.name} names no licence; state one, such as `license=MIT`")
    spec = stored_spec(weight)
    for component in providers_of(spec):
        if component.distribution == NOTEBOOK:
            problem = f"{component.kind} {component.name!r} is registered in this process alone"
            raise SaveError(f"{weight.name}: {problem}; put it into a distribution (zoo plugins new), then publish")
    before = (catalog or default_catalog()).named(weight.started_from)
    start = before.repository.repo_id if before and before.repository else None
    card = write_card(weight, spec, reference, find_control(weight, spec, catalog), start)
    return ModelFolder(weight, {**folder.files, CARD: card, **write_results(weight)})


def publish(
    folder: ModelFolder,
    repo_id: str,
    hub: Hub,
    *,
    private: bool = False,
    commit_message: str | None = None,
    create_pr: bool = False,
    branch: str | None = None,
) -> tuple[HubRepository, bool]:
    """Put a folder into a repository in one commit; the repository is made if it does not exist.

    The same folder again changes nothing; after an interrupted upload, what arrived is not sent again. Keyword
    arguments are those of `push`. Returns the repository at the commit that holds the folder, and False if it held
    exactly these files already.

    Raises:
        ModelNameError: (ValueError) no such repository can be.
        SaveError: it holds another weight, or is public, which a private one must not be.
        HubError: the Hub refuses, cannot be reached, or has other bytes than were sent; without a commit, nothing has
            changed.
    """
    check_repository(repo_id)
    with translated(repo_id, hub.address):
        if not hub.api.repo_exists(repo_id):
            hub.api.create_repo(repo_id, private=private, exist_ok=True)
        if branch is not None:
            hub.api.create_branch(repo_id, branch=branch, exist_ok=True)
    index = hub.index(HubRepository(repo_id, branch))
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
            revision=branch,
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


def push(
    model: ImageClassifier,
    repo_id: str,
    *,
    license: str = NOT_STATED,
    private: bool = False,
    commit_message: str | None = None,
    create_pr: bool = False,
    branch: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    **stated: Any,
) -> str:
    """Publish a network on the Hugging Face Hub with a model card, in one commit.

    Example:
        >>> import zoo
        >>> model = zoo.create_model("has8_resnet_b2_m2_d1_ste_bpd", num_classes=2)
        >>> zoo.push(model, "me/pets", license="MIT", labels=["cat", "dog"])  # doctest: +SKIP
        'hf-hub:me/pets@0f4e…'

    Args:
        model: a network as `zoo.save` takes it.
        repo_id: `org/name`; the repository is made if it does not exist.
        license: of the checkpoint, such as `MIT`; it has to be stated.
        private: publish into a private repository.
        commit_message: None for the name of the checkpoint.
        create_pr: open a pull request, in a repository that someone else reviews.
        branch: of the repository, made if there is none; None for `main`.
        endpoint, token: as for `zoo.create_model`.
        **stated: `labels`, `dataset`, `metrics`, `tag`, `image_size`, as for `zoo.save`.

    Returns:
        The reference of the published commit, which `zoo.create_model` loads.

    Raises:
        SaveError, HubError: it cannot be published; then nothing has changed.
    """
    folder = add_card(folder_of(model, license=license, **stated), f"hf-hub:{repo_id}")
    hub = Hub(endpoint, token=token)
    place = {"private": private, "create_pr": create_pr}
    pinned, _ = publish(folder, repo_id, hub, commit_message=commit_message, branch=branch, **place)
    return str(pinned)
