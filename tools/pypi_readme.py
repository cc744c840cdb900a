"""README.md as PyPI shows it, where a relative link leads nowhere: scikit-build-core asks for it when it builds.

The package index shows the page of a release, so links lead to the files of its tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_RELATIVE = re.compile(r"""(\]\(|\bsrc=")(?!https?:|mailto:|#)([^)"#]+)""")


def with_absolute_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose links to files lead into the repository; of a picture to its bytes."""

    def absolute(link: re.Match[str]) -> str:
        kind = "raw" if Path(link[2]).suffix in (".svg", ".png") else "blob"
        return f"{link[1]}{repository}/{kind}/{tag}/{link[2]}"

    return _RELATIVE.sub(absolute, text)


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `readme` of a project whose version and URLs are known."""
    text = Path("README.md").read_text(encoding="utf-8")
    links = with_absolute_links(text, project["urls"]["Source"], f"v{project['version']}")
    return {"readme": {"content-type": "text/markdown", "text": links}}
