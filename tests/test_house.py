"""What keeps the code legible: files and functions of a size to read at once, and names that are the field's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import personae

ROOT = Path(personae.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
GENERATED = {"controls/options.py"}  # written by a program out of the registry
MOST_LINES = 400
MOST_OF_A_FUNCTION = 60
PARTICIPLES = {"asked", "given", "kept", "made", "said", "seen", "shown", "told"}


def _identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a module gives to something: variables, arguments, attributes, functions, classes, imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno


def _words(identifier: str) -> set[str]:
    """`made_faces`, `_asFinallySaid` -> their words, in small letters."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_the_fields_and_no_participles(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = sorted({f"{name} in line {line}" for name, line in _identifiers(tree) if _words(name) & PARTICIPLES})
    assert not found, f"{path.relative_to(ROOT)}: {', '.join(found)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_can_be_read_at_once(path: Path) -> None:
    text = path.read_text()
    if str(path.relative_to(ROOT)) in GENERATED:
        return
    assert text.count("\n") <= MOST_LINES, f"{text.count(chr(10))} lines: two concepts?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            length = (node.end_lineno or 0) - node.body[documented].lineno + 1  # without its signature
            assert length <= MOST_OF_A_FUNCTION, f"{node.name} does its work in {length} lines: two steps?"


def test_one_concept_has_no_name_like_helpers() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "common", "helpers", "misc"}


def test_words_of_an_identifier() -> None:
    assert _words("made_faces") == {"made", "faces"}
    assert _words("_MOST_KEPT") == {"most", "kept"}
    assert _words("AskedFor") == {"asked", "for"}
    assert _words("handmade") == {"handmade"}
