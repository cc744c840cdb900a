"""The loopback Hub of every test."""

from __future__ import annotations

from zoo_kit.hub import hub, token

__all__ = ["hub", "token"]
