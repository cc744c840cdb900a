"""What the Hub says of a repository, checked: a commit is a commit, a hash is a hash, whatever form the answer has."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, final

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from zoo.catalog.schema import complaints
from zoo.weights.hub_watch import AnswerError

Commit = Annotated[str, Field(pattern=r"\A[0-9a-f]{40}\z")]
Sha256 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Size = Annotated[int, Field(ge=0, lt=1 << 63, strict=True)]


class _Answer(BaseModel, ABC):
    """Keys that the zoo does not read are ignored: the Hub has dozens, and adds more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@final
class LargeFile(_Answer):
    """What LFS holds of a file."""

    sha256: Sha256
    size: Size


@final
class IndexEntry(_Answer):
    """A file of a repository; sizes and hashes only where they were asked for."""

    path: str = Field(alias="rfilename")
    size: Size | None = None
    blob: Commit | None = Field(None, alias="blobId")
    lfs: LargeFile | None = None

    @property
    def name(self) -> str | None:
        """The hash that names it in a cache: its sha256 where LFS holds it, else git's."""
        return self.lfs.sha256 if self.lfs else self.blob

    @property
    def length(self) -> int | None:
        """Its bytes."""
        return self.lfs.size if self.lfs else self.size


@final
class RepositoryIndex(_Answer):
    """A repository at one commit."""

    sha: Commit
    private: bool = False
    files: Annotated[list[IndexEntry], FailFast()] = Field(default_factory=list, alias="siblings")

    def entry(self, path: str) -> IndexEntry | None:
        """The file of that path; None where there is none."""
        return next((entry for entry in self.files if entry.path == path), None)


def read_index(data: bytes, address: str) -> RepositoryIndex:
    """The index in an answer; raises `AnswerError` where its JSON, or what it says, is not an index."""
    try:
        return RepositoryIndex.model_validate_json(data)
    except ValidationError as error:
        raise AnswerError(
            f"{address} does not answer as a Hub does; check the address, and whether the network asks to log in "
            f"({complaints(error)[:300]})"
        ) from error
