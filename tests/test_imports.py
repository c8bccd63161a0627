"""No circle of imports, importing the package is instant, and every module says what it is for."""

import ast
import subprocess
import sys
from collections.abc import Set
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import personae

ROOT = Path(personae.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "onnxruntime", "skimage", "mediapipe", "cv2", "rich", "av")


def _name(path: Path) -> str:
    parts = ("personae", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, modules: Set[str]) -> set[str]:
    """The modules of personae that a module imports anywhere in it, late and for types only included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "personae":
            below = {f"{node.module}.{name.name}" for name in node.names}
            found |= (below & modules) or {str(node.module)}
            found |= {str(node.module)} if below - modules else set()
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "personae"}
    return found - {_name(path)}


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {_name(path) for path in MODULES}
    graph = {_name(path): _imported(path, modules) for path in MODULES}
    assert all(imported <= modules for imported in graph.values())
    TopologicalSorter(graph).prepare()  # CycleError, naming the modules of the circle


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_begins_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "name", ["personae", "personae.cli.app", "personae.models.catalog", "personae.types", "personae.errors"]
)
def test_light_modules_bring_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
