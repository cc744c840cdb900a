"""The loopback Hub of every test."""

from zoo_kit.hub import hub, token

__all__ = ["hub", "token"]
