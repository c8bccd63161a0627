"""Every public function and record says what shapes its arrays have: in the annotation, or else in its docstring.

In the annotation (`Float32[Array, "N D"]`, personae/shapes.py) `make checked` holds calls to them. A docstring counts
for as many bare arrays as it names shapes, `(N, D)` or `(N,)`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from personae import shapes

PACKAGE = Path(__file__).parents[1] / "src" / "personae"
ARRAYS = {"Array", "Tensor", "ndarray"}
SHAPE = re.compile(r"\((?=[^()]*,)[\w\s,.*+/|-]+\)")


def bare(annotation: ast.expr | None) -> bool:
    """Whether an array stands in an annotation without its shape."""
    if annotation is None:
        return False
    kinds = [node for node in ast.walk(annotation) if isinstance(node, ast.Subscript)]
    shaped = [node for node in kinds if isinstance(node.value, ast.Name) and node.value.id in shapes.__all__]
    inside = {id(part) for node in shaped for part in ast.walk(node.slice)}
    for node in ast.walk(annotation):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if ARRAYS & set(re.findall(r"\w+", node.value)) and bare(ast.parse(node.value, mode="eval").body):
                return True
        elif (isinstance(node, ast.Name) and node.id in ARRAYS) or (
            isinstance(node, ast.Attribute) and node.attr in ARRAYS
        ):
            return True
    return False


def silent(tree: ast.Module) -> Iterator[str]:
    """The public functions and records of a module of which some array's shape is nowhere."""
    for holder in ast.walk(tree):
        if not isinstance(holder, ast.Module | ast.ClassDef) or getattr(holder, "name", "").startswith("_"):
            continue
        of_class = (ast.get_docstring(holder) or "") if isinstance(holder, ast.ClassDef) else ""
        fields = [one for one in holder.body if isinstance(one, ast.AnnAssign) and bare(one.annotation)]
        if isinstance(holder, ast.ClassDef) and len(fields) > len(SHAPE.findall(of_class)):
            yield f"{holder.name}: {', '.join(ast.unparse(one.target) for one in fields)}"
        for function in holder.body:
            special = (
                function.name in ("__init__", "__call__", "forward") if isinstance(function, ast.FunctionDef) else False
            )
            if not isinstance(function, ast.FunctionDef) or (function.name.startswith("_") and not special):
                continue
            given = function.args
            arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            arrays = [one.arg for one in arguments if bare(one.annotation)] + ["return"] * bare(function.returns)
            text = (ast.get_docstring(function) or "") + (of_class if special else "")
            if len(arrays) > len(SHAPE.findall(text)):
                yield f"{getattr(holder, 'name', '')}.{function.name}: {', '.join(arrays)}"


def test_every_public_array_has_a_shape() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    trees = {path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    found = [f"{name} {what}" for name, tree in trees.items() for what in silent(tree)]
    assert not found, f"annotate these (Float32[Array, 'N D']), or name the shapes in the docstring: {found}"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(x: Array) -> int: ...", ["x"]),
        ("def f(x: 'Sequence[Tensor | None]', n: int) -> np.ndarray: 'Of (N, D).'", ["x, return"]),
        ("def f(x: Array) -> Array: 'Twice x (see above).'", ["x, return"]),
        ("class A:\n  'Something.'\n  x: Array\n  y: Float[Array, 'N D']", ["x"]),
        ("class A:\n  def forward(self, x: Tensor) -> Tensor: ...", ["x, return"]),
        ("def f(x: Float[Array, 'N D'] | None) -> dict[str, Int[Tensor, ' N']]: ...", []),
        ("def f(x: Array) -> Array: '(N,) of (N, D).'", []),
        ("class A:\n  '(N, D) to (N,).'\n  def forward(self, x: Tensor) -> Tensor: ...", []),
        ("def _f(x: Array) -> Array: ...", []),
    ],
)
def test_what_has_no_shape_is_found(code: str, names: list[str]) -> None:
    assert [one.partition(": ")[2] for one in silent(ast.parse(code))] == names
