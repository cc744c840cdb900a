"""The conformance kit on the family and the converters."""

from __future__ import annotations

from zoo.testing import suites_of

globals().update(suites_of("zoo-timm"))
