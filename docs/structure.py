"""Draws the parts of a package and which imports which: `python docs/structure.py` writes docs/structure.svg.

A part is a folder or a file right under the package. Files are parsed and never imported, so this needs neither torch
nor a plugin; matplotlib and networkx come with the extra `bench`. The same files give the same bytes.

    python docs/structure.py --package zoo --out docs/structure.svg

Each import is printed as `part → part count`. In the picture a part stands above all that it imports. An arrow that
follows from others is left out; a dashed one is of imports inside functions alone; a red one is part of a cycle. Doors
are dotted arrows that lead upwards: methods of a network that import what they need when they are called. They are the
exceptions of the layers in pyproject.toml (`ignore_imports`).
"""

from __future__ import annotations

import argparse
import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import networkx as nx
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
HALF_BOX = 0.16
"""From a box's middle to its edge, as a part of the distance between two levels."""


@dataclass(frozen=True)
class Import:
    """One import statement's target.

    Attributes:
        module: dotted, such as `zoo.weights.hub`.
        deferred: whether it stands inside a function, and so runs later than the file's own import.
    """

    module: str
    deferred: bool


def list_parts(package: Path) -> dict[str, list[Path]]:
    """The folders and files right under the package, with the Python files of each; the package's own face is none."""
    parts = {path.name: sorted(path.rglob("*.py")) for path in package.iterdir() if path.is_dir()}
    parts |= {path.stem: [path] for path in package.glob("*.py") if path.stem != "__init__"}
    return {name: files for name, files in sorted(parts.items()) if files}


def read_imports(file: Path, package: Path) -> Iterator[Import]:
    """List the modules that a file imports when it runs; what stands under `if TYPE_CHECKING:` never does."""
    within = file.relative_to(package.parent).parent.parts
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(file.read_text(encoding="utf-8"), str(file)), False)]
    while waiting:
        node, deferred = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(within[: len(within) - node.level + 1]) if node.level else ""
            module = ".".join(name for name in (start, node.module) if name)
            yield from (Import(f"{module}.{alias.name}", deferred) for alias in node.names)
        deferred = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        waiting += [(child, deferred) for child in _children_that_run(node)]


def _children_that_run(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return list(node.orelse)
    return list(ast.iter_child_nodes(node))


def list_doors(package: Path) -> set[tuple[str, str]]:
    """(importing module, imported module) of the imports that import-linter is told to allow."""
    file = package.parent / "pyproject.toml"
    if not file.is_file():
        return set()
    contracts = tomllib.loads(file.read_text(encoding="utf-8"))["tool"].get("importlinter", {}).get("contracts", [])
    allowed = [line for contract in contracts for line in contract.get("ignore_imports", ())]
    return {(importer, imported) for importer, _, imported in (line.partition(" -> ") for line in allowed)}


def read_structure(package: Path) -> nx.DiGraph:
    """Parts as nodes; as edges who imports whom, each with its `count`, and `deferred` where no import runs at once.

    Doors are no edges: they stand in `graph["doors"]`, as pairs of parts.
    """
    parts = list_parts(package)
    allowed = list_doors(package)
    doors: set[tuple[str, str]] = set()
    counts: Counter[tuple[str, str]] = Counter()
    at_once: set[tuple[str, str]] = set()
    for importer, files in parts.items():
        for path, target in ((file, target) for file in files for target in read_imports(file, package)):
            top, _, rest = target.module.partition(".")
            imported = rest.partition(".")[0]
            module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            if (module, target.module.rpartition(".")[0]) in allowed and target.deferred:
                doors.add((importer, imported))
            elif top == package.name and imported in parts and imported != importer:
                counts[importer, imported] += 1
                if not target.deferred:
                    at_once.add((importer, imported))
    graph = nx.DiGraph(doors=sorted(doors))
    graph.add_nodes_from(parts)
    for (importer, imported), count in sorted(counts.items()):
        graph.add_edge(importer, imported, count=count, deferred=(importer, imported) not in at_once)
    return graph


def list_levels(graph: nx.DiGraph) -> list[list[str]]:
    """Parts by level, the lowest first: each imports from lower levels alone, but for cycles, which share a level."""
    cycles = nx.condensation(graph)
    return [
        sorted(name for cycle in generation for name in cycles.nodes[cycle]["members"])
        for generation in nx.topological_generations(cycles.reverse())
    ]


def place(graph: nx.DiGraph, levels: list[list[str]]) -> dict[str, tuple[float, float]]:
    """A place for every part: its level upwards, and sideways near what it is joined to."""
    widest = max(map(len, levels), default=1)
    places: dict[str, tuple[float, float]] = {}
    for _ in range(8):  # each sweep shortens arrows a little; after a few nothing moves
        for height, level in enumerate(levels):
            order = sorted(level, key=lambda name: (_middle(graph, name, places), name))
            step = widest / len(order)
            places |= {name: ((i + 0.5) * step, float(height)) for i, name in enumerate(order)}
    return places


def _middle(graph: nx.DiGraph, name: str, places: dict[str, tuple[float, float]]) -> float:
    joined = [places[other][0] for other in sorted(nx.all_neighbors(graph, name)) if other in places]
    return sum(joined) / len(joined) if joined else 0.0


def choose_arrows(graph: nx.DiGraph) -> list[tuple[str, str, bool]]:
    """(importer, imported, in a cycle) of the arrows that do not follow from others."""
    cycles = nx.condensation(graph)
    home = cycles.graph["mapping"]
    needed = set(nx.transitive_reduction(cycles).edges)
    arrows = ((importer, imported, home[importer] == home[imported]) for importer, imported in sorted(graph.edges))
    return [arrow for arrow in arrows if arrow[2] or (home[arrow[0]], home[arrow[1]]) in needed]


def draw(graph: nx.DiGraph, title: str, out: Path) -> None:
    """The picture, as SVG; its bytes depend on the graph and matplotlib's version alone."""
    levels = list_levels(graph)
    places = place(graph, levels)
    size = (1.7 * max(map(len, levels), default=1), 0.9 * len(levels) + 0.6)
    settings = {"svg.hashsalt": title, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="tight")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_title(title)
        axes.set_xlim(0, max(map(len, levels), default=1))
        axes.set_ylim(-0.5, len(levels) - 0.5)
        for importer, imported, cyclic in choose_arrows(graph):
            look = {
                "arrowstyle": "-|>",
                "color": "firebrick" if cyclic else "slategray",
                "linestyle": "--" if graph.edges[importer, imported]["deferred"] else "-",
                "connectionstyle": f"arc3,rad={0.2 if cyclic else 0.05}",
                "shrinkA": 0,
                "shrinkB": 0,
            }
            (x, y), (x_below, y_below) = places[importer], places[imported]
            edge = 0.0 if cyclic else HALF_BOX
            axes.annotate("", xy=(x_below, y_below + edge), xytext=(x, y - edge), arrowprops=look, zorder=1)
        for importer, imported in graph.graph.get("doors", ()):
            look = {"arrowstyle": "-|>", "color": "seagreen", "linestyle": ":", "connectionstyle": "arc3,rad=-0.15"}
            (x, y), (x_above, y_above) = places[importer], places[imported]
            tip, start = (x_above, y_above - HALF_BOX), (x, y + HALF_BOX)
            axes.annotate("", xy=tip, xytext=start, arrowprops=look | {"shrinkA": 0, "shrinkB": 0}, zorder=1)
        for name, (x, y) in places.items():
            box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "black"}
            axes.text(x, y, name, ha="center", va="center", bbox=box, zorder=2)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the parts of a package and which imports which.")
    parser.add_argument("--package", type=Path, default=ROOT / "zoo", help="the package's folder")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "structure.svg", help="the picture to write")
    arguments = parser.parse_args()
    package = arguments.package.resolve()
    graph = read_structure(package)
    if not graph:
        parser.error(f"{arguments.package} holds no Python file besides __init__.py; name the folder of a package")
    for importer, imported, count in graph.edges(data="count"):
        print(f"{importer} → {imported} {count}")
    title = f"{package.name}: each part imports from parts below it; dotted, the doors of a network"
    draw(graph, title, arguments.out)


if __name__ == "__main__":
    main()
