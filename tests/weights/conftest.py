"""The loopback Hub of every test."""

from __future__ import annotations

from tests.hub.fixtures import hub, token, unanswering

__all__ = ["hub", "token", "unanswering"]
