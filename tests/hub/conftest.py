"""The loopback Hub of every test."""

from __future__ import annotations

from tests.hub.fixtures import api, hub, removed_locks, token, unanswering

__all__ = ["api", "hub", "removed_locks", "token", "unanswering"]
