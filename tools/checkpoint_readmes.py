"""READMEs of the checkpoint packages, from their records: `python -m tools.checkpoint_readmes`.

What stands between the marks of `ABOUT` is written by hand and kept.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from zoo.catalog.files import read_catalog
from zoo.catalog.records import WeightRecord
from zoo.files import replace_bytes
from zoo.registry.installing import with_dependencies

ROOT = Path(__file__).parents[1]
ABOUT = "<!-- about:start -->\n", "<!-- about:end -->\n"
TEMPLATE = """# {package}

{description} From a [clone](../../README.md):

```bash
pip install . {packages}
zoo info {first}
```

| checkpoint | top-1, % | control's top-1, % | MB |
| --- | ---: | ---: | ---: |
{table}

{about}One seed each. Data, figures and recipes: [pretrained models](../../docs/reference/models.md).
{licence}.
"""


def read_records(catalog: Path) -> list[WeightRecord]:
    """All records of a catalog, the most accurate first."""
    groups = read_catalog(catalog).weights.values()
    return sorted((each for group in groups for each in group), key=lambda each: -each.metrics["top1"])


def render(folder: Path, everything: dict[str, tuple[str, WeightRecord]]) -> str:
    """The README of a package; `everything` has package and record of each checkpoint by its name."""
    (catalog,) = folder.glob("*/registry.yaml")
    records = read_records(catalog)
    controls = {record.control for record in records if record.control in everything}
    homes = {everything[control][0] for control in controls} - {folder.name, "has8-zoo"}
    needed = [plugin.name for plugin in with_dependencies(folder)]
    lines = []
    for record in records:
        beside = f"{everything[record.control][1].metrics['top1']:.2f}" if record.control in everything else "–"
        lines.append(f"| `{record.name}` | {record.metrics['top1']:.2f} | {beside} | {record.size / 1e6:.1f} |")
    about = (folder / "README.md").read_text("utf-8").partition(ABOUT[0])[2].partition(ABOUT[1])[0]
    return TEMPLATE.format(
        package=folder.name,
        description=tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["description"],
        packages=" ".join(f"./plugins/{name}" for name in (*needed, *sorted(homes))),
        first=records[0].name,
        table="\n".join(lines),
        about=f"{ABOUT[0]}{about}{ABOUT[1]}\n",
        licence=f"{records[0].license} licence",
    )


def main() -> None:
    """Write the README of every package."""
    folders = sorted(ROOT.glob("plugins/zoo-weights-*"))
    catalogs = {"has8-zoo": ROOT / "registry.yaml"} | {
        each.name: next(each.glob("*/registry.yaml")) for each in folders
    }
    everything = {record.name: (name, record) for name, file in catalogs.items() for record in read_records(file)}
    for folder in folders:
        replace_bytes(folder / "README.md", render(folder, everything).encode())


if __name__ == "__main__":
    main()
