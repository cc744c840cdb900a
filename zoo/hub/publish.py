"""To the Hub: the token's role, then one commit of an explicit list of files, then a look at what arrived."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import final

from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import BadRequestError

from zoo.catalog.sources import REVISION, HubRepository, check_repository
from zoo.errors import HubError, PublishError, WeightError
from zoo.saving import ModelFolder
from zoo.weights import HubAccess
from zoo.weights.config_json import CONFIG, MAX_CONFIG_BYTES, MODEL, read_config
from zoo.weights.hub_account import Account
from zoo.weights.hub_errors import translated
from zoo.weights.hub_session import bounded_session
from zoo.weights.hub_watch import SLOWEST, AnswerError

COMMIT_SECONDS = 300.0
"""What the Hub may take for one commit, beside the time of the upload itself."""
_INVALID_CARD = "Invalid metadata"


@final
@dataclass(frozen=True)
class Published:
    """Where a weight is now.

    Attributes:
        repository: at the commit that holds it.
        sha256: of model.safetensors, as the Hub's own index has it.
        url: its page.
        changed: False where the repository held exactly these files already.
    """

    repository: HubRepository
    sha256: str
    url: str
    changed: bool


def check_token(access: HubAccess, repo_id: str) -> None:
    """Raise `HubError` where there is no token, a wrong one, or one that may not write to `repo_id`.

    The Hub lets a token that only reads create nothing, but says so late; its role is asked for first.
    """
    access.reach()
    with translated("publishing", access.address), bounded_session(access.address):
        account = Account.model_validate(access.api.whoami())
    token = account.auth.token if account.auth else None
    if token is None:
        return
    described = f"the token {(token.label or '')[:100]!r} of {account.name[:100]}"
    settings = f"{access.address}/settings/tokens"
    if token.role == "read":
        raise HubError(f"{described} may only read; make one that may write at {settings}, then `hf auth login`")
    if token.role == "fineGrained" and not token.may_write(repo_id, repo_id.partition("/")[0]):
        raise HubError(f"{described} may not write to {repo_id}; give it that right at {settings}")


def publish(folder: ModelFolder, repo_id: str, access: HubAccess, *, private: bool = False) -> Published:
    """Put a folder into a repository in one commit; made where it does not exist.

    The same folder again changes nothing; after an interrupted upload, what arrived is not sent again.

    Args:
        folder: what `assemble` checked.
        repo_id: `org/name`.
        access: with a token that may write.
        private: a repository that is made for it is private; one that exists must be.

    Raises:
        SourceError: (ValueError) no such repository can be.
        PublishError: it holds another weight, or is public.
        HubError: the Hub refuses, cannot be reached, or has other bytes than were sent; without a commit,
            nothing has changed.
    """
    check_repository(repo_id)
    check_token(access, repo_id)
    with translated(repo_id, access.address), bounded_session(access.address):
        if not access.api.repo_exists(repo_id):
            access.api.create_repo(repo_id, private=private, exist_ok=True)
    info = access.info(HubRepository(repo_id))
    if private and not info.private:
        raise PublishError(f"{repo_id} exists and is public; make it private there first, or choose another name")
    head = HubRepository(repo_id, info.sha)
    _check_same_weight(folder, head, [file.path for file in info.files], access)
    repository = HubRepository(repo_id, _commit(folder, head, access))
    return Published(
        repository,
        _check_arrived(folder, repository, access),
        f"{access.address}/{repo_id}",
        repository.revision != head.revision,
    )


def _commit(folder: ModelFolder, head: HubRepository, access: HubAccess) -> str:
    """The commit after `head` that holds the folder; `head`'s own where nothing differs."""
    # The client sends a buffer by plain LFS, whose requests the session bounds, never by Xet, which has no such limits.
    operations = [CommitOperationAdd(path, BytesIO(content)) for path, content in folder.files.items()]
    seconds = COMMIT_SECONDS + sum(map(len, folder.files.values())) / SLOWEST
    with translated(head.repo_id, access.address), bounded_session(access.address, seconds):
        try:
            for operation in operations:
                # Several large files at once would go up in the client's own threads, which the session does not bound.
                if operation.path_in_repo != MODEL:
                    access.api.preupload_lfs_files(head.repo_id, [operation], free_memory=False)
            commit = access.api.create_commit(
                head.repo_id, operations, commit_message=f"{folder.weight.name}", parent_commit=head.revision
            )
        except ValueError as error:  # what the Hub says of the card; else it is the answer that is malformed
            if not isinstance(error, BadRequestError) and not str(error).startswith(_INVALID_CARD):
                raise
            raise PublishError(f"{head.repo_id}: {' '.join(str(error).split())[:1000]}") from error
        if not isinstance(commit.oid, str) or not REVISION.fullmatch(commit.oid):
            raise AnswerError(
                f"{access.address} says that the commit is {str(commit.oid)[:60]!r}; valid: 40 hexadecimal digits; "
                "look at its page before you publish again"
            )
    return commit.oid


def _check_same_weight(folder: ModelFolder, head: HubRepository, files: list[str], access: HubAccess) -> None:
    """Refuse to replace something else: the bytes behind a name never change."""
    if CONFIG not in files:
        if MODEL in files:
            raise PublishError(f"{head.repo_id} holds a model without a {CONFIG}; choose another repository")
        return
    try:
        published = read_config(access.fetch(head, CONFIG, MAX_CONFIG_BYTES), head.repo_id)
    except WeightError as error:
        raise PublishError(f"{head.repo_id} holds another model ({error}); choose another repository") from error
    record = folder.weight
    if (published.name, published.sha256) != (record.name, record.sha256):
        raise PublishError(
            f"{head.repo_id} holds {published.name} (sha256 {published.sha256[:12]}…), not {record.name} "
            f"({record.sha256[:12]}…); published bytes never change: choose another repository, or a new tag"
        )


def _check_arrived(folder: ModelFolder, repository: HubRepository, access: HubAccess) -> str:
    index = access.info(repository, sizes=True)
    entries = {path: index.entry(path) for path in folder.files}
    sizes = {path: entry.length for path, entry in entries.items() if entry}
    if sizes != {path: len(content) for path, content in folder.files.items()}:
        raise HubError(f"{repository}: the Hub lists other files than were sent; look at its page before you use it")
    weights = entries[MODEL]
    if weights is None or weights.lfs is None or weights.lfs.sha256 != folder.weight.sha256:
        raise HubError(f"{repository}: {MODEL} has another sha256 on the Hub than here; do not use it")
    return folder.weight.sha256
