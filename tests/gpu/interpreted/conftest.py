"""These tests run where TRITON_INTERPRET is 1 from the start: tests/gpu/test_interpreted.py starts them so."""

from __future__ import annotations

import os
from importlib.util import find_spec

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None

collect_ignore_glob = [] if INTERPRETED else ["test_*.py"]
