"""`zoo site`: the catalogs of all installed distributions as a folder of static pages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Json
from zoo.cli.output import say
from zoo.cli.predict import DEFAULT_MODEL
from zoo.progress import progress

app = typer.Typer(add_completion=False)

_DEMO = "Of --demo"


@app.command(epilog="Example: zoo site --out site/")
def site(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to write; it must be empty, or not there yet.")
    ] = Path("site"),
    no_rates: Annotated[
        bool, typer.Option("--no-rates", help="Run no network: leave out the spike rates of layers.")
    ] = False,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Add a page that classifies a photograph in the browser; it takes a minute."),
    ] = False,
    npm_registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="NPM_CONFIG_REGISTRY",
            help="The npm registry that has onnxruntime-web.  (default: https://registry.npmjs.org)",
            rich_help_panel=_DEMO,
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder to keep it in.  (default: has8-zoo/npm in ~/.cache)",
            rich_help_panel=_DEMO,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a site of all installed weights: a picture, a table, a page each.

    Open index.html in a browser, or put the folder on any web server: the
    pages load nothing from elsewhere. results.csv and results.json have every
    figure. For the spike rates of layers each installed weight classifies one
    photograph. `zoo publish --site ORG/NAME` puts a site on the Hub.

    With --demo, version and hash of onnxruntime-web are pinned, 33 MB are
    fetched once, and nothing is fetched when the page is looked at.
    """
    from zoo.catalog import default_catalog
    from zoo_site.build import build_site
    from zoo_site.demo import make_demo
    from zoo_site.npm import REGISTRY

    made = make_demo(DEFAULT_MODEL, npm_registry or REGISTRY, cache_dir) if demo else None
    count = sum(map(len, default_catalog().weights.values()))
    with progress("running weights", count, visible=not no_rates) as advance:
        built = build_site(rates=not no_rates, demo=made, after_weight=advance)
    built.write(out)
    for name, reason in built.left_out.items():
        say(f"note: {name} is left out: {reason}", file=sys.stderr)
    if as_json:
        print(
            json.dumps(
                {"folder": str(out), "files": len(built.files), "bytes": built.size, "left_out": dict(built.left_out)}
            )
        )
    else:
        say(f"{out}: {len(built.files)} files, {built.size:,} bytes; open {out / 'index.html'} in a browser")
