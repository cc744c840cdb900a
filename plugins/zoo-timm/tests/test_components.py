"""The conformance kit on the family and the converters."""

from __future__ import annotations

from zoo_kit import suites_of

globals().update(suites_of("zoo-timm"))
