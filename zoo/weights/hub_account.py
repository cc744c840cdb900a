"""Whose token it is and what it may do, as the Hub says."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, final

from pydantic import BaseModel, ConfigDict, FailFast, Field


class _Answer(BaseModel, ABC):
    """Keys that the zoo does not read are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@final
class Entity(_Answer):
    """A user, an organisation or a repository."""

    name: str | None = None


@final
class Scope(_Answer):
    """What a fine-grained token may do with one entity."""

    entity: Entity | None = None
    permissions: Annotated[list[str], FailFast()] = []


@final
class Rights(_Answer):
    """Of a fine-grained token."""

    scoped: Annotated[list[Scope], FailFast()] = []


@final
class AccessToken(_Answer):
    """The token that was sent; its role is 'read', 'write' or 'fineGrained', None where nothing is said."""

    label: str | None = Field(None, alias="displayName")
    role: str | None = None
    rights: Rights | None = Field(None, alias="fineGrained")

    def may_write(self, *entities: str) -> bool:
        """Whether a fine-grained token may write to one of these."""
        scopes = self.rights.scoped if self.rights else []
        return any(
            scope.entity is not None and scope.entity.name in entities and "repo.write" in scope.permissions
            for scope in scopes
        )


@final
class Authentication(_Answer):
    """How somebody is logged in."""

    token: AccessToken | None = Field(None, alias="accessToken")


@final
class Account(_Answer):
    """Whose it is."""

    name: str
    auth: Authentication | None = None
