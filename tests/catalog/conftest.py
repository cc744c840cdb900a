"""Locks that are gone after the tests."""

from __future__ import annotations

from tests.hub.fixtures import removed_locks

__all__ = ["removed_locks"]
