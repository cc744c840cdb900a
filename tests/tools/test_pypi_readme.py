"""The page of the package index: every link of README.md is absolute there."""

from __future__ import annotations

import re
from pathlib import Path

from tools.pypi_readme import with_absolute_links

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_no_link_of_the_readme_is_relative_on_the_index() -> None:
    page = with_absolute_links(README, "https://host/me/zoo", "v1.2.3")
    targets = re.findall(r"\]\(([^)]+)\)", page) + re.findall(r'src="([^"]+)"', page)
    assert [target for target in targets if not target.startswith("https://")] == []


def test_a_picture_leads_to_its_bytes_and_a_page_to_its_heading() -> None:
    page = with_absolute_links("[![x](a/b.svg)](c.md#d) [e](https://f/g) [h](#i)", "https://host", "v1")
    assert page == "[![x](https://host/raw/v1/a/b.svg)](https://host/blob/v1/c.md#d) [e](https://f/g) [h](#i)"
