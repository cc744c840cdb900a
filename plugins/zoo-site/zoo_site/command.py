"""`zoo site`: the catalogs of all installed packages as a folder of static pages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Json
from zoo.cli.output import say
from zoo.cli.predict import DEFAULT_MODEL
from zoo.names import check_repository
from zoo.progress import progress

app = typer.Typer(add_completion=False)

_DEMO, _HUB = "Of --demo", "To publish it"


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
    publish: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/NAME",
            help="Send the site to this static Space of the Hugging Face Hub; no folder is written.",
            rich_help_panel=_HUB,
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Publish into a private Space.", rich_help_panel=_HUB)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.", rich_help_panel=_HUB)
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a site of all installed checkpoints: a picture, a table, a page each.

    Open index.html in a browser, or put the folder on any web server: the
    pages load nothing from elsewhere. results.csv and results.json have every
    figure. For the spike rates of layers each installed checkpoint classifies one
    photograph. Log in by `hf auth login` before --publish.

    With --demo, version and hash of onnxruntime-web are pinned, 33 MB are
    fetched once, and nothing is fetched when the page is looked at.
    """
    from zoo.catalog.files import default_catalog
    from zoo_site.build import build_site
    from zoo_site.demo import make_demo
    from zoo_site.npm import REGISTRY
    from zoo_site.publish import send

    if publish is not None:
        check_repository(publish)
    elif private or dry_run:
        raise typer.BadParameter("--private and --dry-run go with --publish")
    made = make_demo(DEFAULT_MODEL, npm_registry or REGISTRY, cache_dir) if demo else None
    count = sum(map(len, default_catalog().weights.values()))
    with progress("running checkpoints", count, visible=not no_rates) as advance:
        built = build_site(rates=not no_rates, demo=made, after_weight=advance)
    for name, reason in built.left_out.items():
        say(f"note: {name} is left out: {reason}", file=sys.stderr)
    if publish is not None:
        send(built.files, publish, private=private, dry_run=dry_run, as_json=as_json)
        return
    built.write(out)
    if as_json:
        print(
            json.dumps(
                {"folder": str(out), "files": len(built.files), "bytes": built.size, "left_out": dict(built.left_out)}
            )
        )
    else:
        say(f"{out}: {len(built.files)} files, {built.size:,} bytes; open {out / 'index.html'} in a browser")
