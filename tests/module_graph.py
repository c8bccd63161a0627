"""python tests/module_graph.py docs/architecture.md

Which module of personae imports which, late imports and imports for types included, and the table of layers in
docs/architecture.md that is drawn from it, between the marks `<!-- layers -->` and `<!-- end of layers -->`.
"""

import ast
import re
import sys
from collections.abc import Mapping, Set
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
ROOT = SOURCE / "personae"
MODULES = sorted(ROOT.rglob("*.py"))
_MARKED = re.compile(r"(<!-- layers -->\n).*?(<!-- end of layers -->)", re.DOTALL)

Graph = Mapping[str, Set[str]]


def name_of(path: Path) -> str:
    """The dotted name of a module's file."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def graph() -> Graph:
    """For each module of personae, the modules of personae that it imports anywhere in it."""
    names = {name_of(path) for path in MODULES}
    return {name_of(path): _imported(path, names) for path in MODULES}


def _imported(path: Path, names: Set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "personae":
            below = {f"{node.module}.{name.name}" for name in node.names}
            found |= (below & names) or {str(node.module)}
            found |= {str(node.module)} if below - names else set()
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "personae"}
    return found - {name_of(path)}


def room_of(name: str) -> str:
    """The folder below personae that a module lies in, with a slash, or the module's own name."""
    parts = name.split(".")
    if len(parts) == 1:
        return "__init__"
    return f"{parts[1]}/" if (ROOT / parts[1]).is_dir() else parts[1]


def layers() -> list[tuple[int, str, set[str]]]:
    """(layer, room, rooms that it imports), lowest layer first: a room is one layer above the highest that it imports.
    Raises `graphlib.CycleError` if rooms import each other in a circle."""
    imports: dict[str, set[str]] = {}
    for name, imported in graph().items():
        imports.setdefault(room_of(name), set()).update(room_of(one) for one in imported)
    for room, imported in imports.items():
        imported.discard(room)
    heights: dict[str, int] = {}
    for room in TopologicalSorter(imports).static_order():
        heights[room] = 1 + max((heights[one] for one in imports[room]), default=0)
    return sorted((heights[room], room, imports[room]) for room in imports)


def about(room: str) -> str:
    """The first sentence of a room's own docstring."""
    path = ROOT / room / "__init__.py" if room.endswith("/") else ROOT / f"{room}.py"
    paragraph = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[.!?])\s", paragraph)[0].replace("|", "\\|")


def table() -> str:
    """The layers as markdown."""
    lines = ["| layer | file or folder | holds | imports |", "|---|---|---|---|"]
    for layer, room, imported in layers():
        name = room if room.endswith("/") else f"{room}.py"
        lines.append(f"| {layer} | `{name}` | {about(room)} | {', '.join(sorted(imported)) or '-'} |")
    return "\n".join(lines) + "\n"


def redraw(document: Path) -> str:
    """The text of a document with its table of layers drawn anew."""
    return _MARKED.sub(lambda match: f"{match[1]}{table()}{match[2]}", document.read_text())


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Path(argument).write_text(redraw(Path(argument)))
