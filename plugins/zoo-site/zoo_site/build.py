"""Files of the site, in memory, and a folder of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import final

from zoo.catalog.files import Catalog, default_catalog
from zoo.errors import InputError
from zoo.files import write_folder
from zoo.progress import Advance, silent
from zoo_site.demo import Demo
from zoo_site.pages import demo_page, front_page, space_card, weight_page
from zoo_site.results import LayerRates, Result, layer_rates, paper_results, results_of, write_csv, write_json

NOT_RUN = LayerRates(why_none="The layers were not run when this site was built.")


@final
@dataclass(frozen=True)
class Site:
    """A site that is built, and not written yet.

    Attributes:
        files: path inside the folder → bytes.
        left_out: weights that it does not show, each with the reason.
    """

    files: Mapping[str, bytes]
    left_out: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def write(self, folder: Path) -> None:
        """Write a new folder, atomically.

        Raises:
            InputError: it holds files already, or cannot be written.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is not empty; name a folder that is empty or does not exist yet")
        try:
            write_folder(folder, self.files)
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error}") from error


def build_site(
    catalog: Catalog | None = None,
    *,
    rates: bool = True,
    demo: Demo | None = None,
    after_weight: Advance = silent,
) -> Site:
    """Build the site of every checkpoint of a catalog.

    The same catalog always gives the same bytes.

    Example:
        >>> from zoo_site.build import build_site
        >>> site = build_site(rates=False)
        >>> sorted(path for path in site.files if "/" not in path)
        ['README.md', 'index.html', 'results.csv', 'results.json']

    Args:
        catalog: the one of all installed packages by default.
        rates: classify a photograph with each installed weight, for the spike rates of its layers.
        demo: of `make_demo`, a page that classifies in the browser; None for a site without it.
        after_weight: called after each checkpoint.

    Raises:
        InputError: the catalog lists no checkpoints that can be shown.
        WeightError: the bytes of a checkpoint are not those of its record.
    """
    catalog = catalog or default_catalog()
    results, left_out = results_of(catalog)
    if not results:
        raise InputError("the catalogs list no weight that can be shown; `zoo list --pretrained` shows what they list")
    counted = {}
    for result in results:
        counted[result.name] = layer_rates(result, catalog) if rates else NOT_RUN
        after_weight(1)
    return Site(dict(_files(results, counted, left_out, demo)), left_out)


def _files(
    results: Sequence[Result], counted: Mapping[str, LayerRates], left_out: Mapping[str, str], demo: Demo | None
) -> Iterator[tuple[str, bytes]]:
    paper = paper_results()
    yield "index.html", front_page(results, paper, left_out, demo is not None)
    for result in results:
        yield f"weights/{result.name}.html", weight_page(result, counted[result.name], demo is not None)
    yield "results.csv", write_csv(results)
    yield "results.json", write_json(results, paper, {name: layers.rates for name, layers in counted.items()})
    yield "README.md", space_card(results)
    for file in resources.files("zoo_site").joinpath("static").iterdir():
        yield f"static/{file.name}", file.read_bytes()
    if demo is not None:
        yield "demo.html", demo_page(demo)
        yield from demo.files()
