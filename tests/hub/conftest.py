"""The loopback Hub of every test."""

from tests.hub.fixtures import hub, token

__all__ = ["hub", "token"]
