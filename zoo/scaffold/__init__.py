"""`zoo plugins new`: a complete distribution with one working component, its tests on the kit, and a CI file."""

from __future__ import annotations

from zoo.scaffold.draft import KINDS, PluginDraft, create, draft

__all__ = ["KINDS", "PluginDraft", "create", "draft"]
