"""The loopback Hub."""

from zoo_kit.hub import hub, token

__all__ = ["hub", "token"]
