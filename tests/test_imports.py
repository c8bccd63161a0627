"""No circle of imports, importing the package is instant, and every module says what it is for."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import module_graph
from module_graph import MODULES, ROOT

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "onnxruntime", "skimage", "mediapipe", "cv2", "rich", "av")


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = module_graph.graph()
    assert all(imported <= graph.keys() for imported in graph.values())
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
