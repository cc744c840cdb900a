"""The loopback Hub."""

from tests.hub.fixtures import hub, token

__all__ = ["hub", "token"]
