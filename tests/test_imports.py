"""Imports run one way, importing the package is instant, and every module says what it is for."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import personae

ROOT = Path(personae.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# From the floor up: a module may import from its own layer and from those before it.
LAYERS = (
    ("__init__", "errors"),
    ("io", "threads"),
    ("types",),
    ("user_folders",),
    ("licences",),
    ("hub",),
    ("catalog",),
    ("reading",),
    ("vector_file",),
    ("identity",),
    ("directions",),
    ("recipe_schema",),
    ("recipe",),
    ("compiled", "angles"),
    ("conditioning",),
    ("model_config",),
    ("sampling", "model_folder", "extras"),
    ("official", "readers"),
    ("steering", "steers"),
    ("pipeline",),
    ("replay",),
    ("output", "gather", "verified"),
    ("editing",),
    ("sheet", "describe", "data", "doctor"),
    ("demo", "evaluation", "training"),
    ("cli",),
    ("__main__",),
)
# A method that is the way in to what is built on its class.
DOORS = {("pipeline", "editing")}
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "onnxruntime", "skimage", "mediapipe", "cv2", "rich", "av")


def _part(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def _imported(path: Path) -> set[str]:
    """The parts of personae that a module imports, anywhere in it, types only excepted."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "personae":
            found |= {name.name if name.name in RANK else "__init__" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("personae."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("personae.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    upwards = {part for part in _imported(path) if RANK[part] > RANK[_part(path)]}
    upwards = {part for part in upwards if (_part(path), part) not in DOORS}
    assert not upwards, f"{path.relative_to(ROOT)} imports from above: {upwards}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_begins_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "name", ["personae", "personae.cli.app", "personae.catalog", "personae.types", "personae.errors"]
)
def test_light_modules_bring_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
