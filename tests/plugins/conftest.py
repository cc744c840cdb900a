"""Wheels of plugins."""

from zoo_kit.wheels import build_wheel, install

__all__ = ["build_wheel", "install"]
