"""python -m pytest -p runtime_checks: each call of the package is held to its annotations as tests run (make checked).

Every function of a module or class of `personae` is decorated when its module is imported. beartype holds arguments
and results to their annotations; jaxtyping's types stand in the place of `personae.shapes`, so that this includes
dtypes and axes: an axis has one length in the arguments and the result of one call. Every record (dataclass) is held to
its fields once it is built; an axis has one length in all of them.

So that all types are found, names that are imported for types alone are imported in earnest, which they may be: the
modules of the package have no circle, type imports counted (tests/test_imports.py). Its protocols can be asked of any
object here.

A test that gives on purpose what the annotations forbid is marked `untyped` and left out.
"""

import ast
import builtins
import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any, Self, get_type_hints

from beartype import BeartypeConf, beartype
from beartype.door import die_if_unbearable
from jaxtyping import jaxtyped

PACKAGE = "personae"
_CONF = BeartypeConf(is_pep484_tower=True)
_FUNCTION, _RECORD = "__checked_function__", "__checked_record__"
_PROTOCOL = re.compile(rb"\n\n(class \w+\((?:.+, )?Protocol(?:\[\w+\])?\):)")


def checked_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, raising beartype's error for an argument or a result that its annotation forbids."""
    if not isinstance(function, FunctionType) or not function.__annotations__:
        return function
    for name, hint in function.__annotations__.items():
        if hint in (Self, "Self"):  # beartype knows it in whole classes only
            function.__annotations__[name] = Any
    held = _checked_generator(function) if inspect.isgeneratorfunction(function) else beartype(conf=_CONF)(function)

    @functools.wraps(function)
    def in_its_own_context(*args: Any, **kwargs: Any) -> Any:
        with jaxtyped("context"):  # in which an axis has one length
            return held(*args, **kwargs)

    return in_its_own_context


def _checked_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Its arguments are checked when it is called; beartype would do so at the first value, in its caller's context."""
    signature = inspect.signature(function)
    hints: dict[str, Any] = {}

    @functools.wraps(function)
    def check_and_call(*args: Any, **kwargs: Any) -> Any:
        if not hints:
            hints.update(get_type_hints(function, include_extras=True))
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            several = signature.parameters[name].kind in (
                inspect.Parameter.VAR_KEYWORD,
                inspect.Parameter.VAR_POSITIONAL,
            )
            if name in hints and not several:
                die_if_unbearable(value, hints[name], conf=_CONF)
        return function(*args, **kwargs)

    return check_and_call


def checked_record(kind: type) -> type:
    """A dataclass that, when built, raises beartype's error for a field that its annotation forbids."""
    if "__dataclass_fields__" not in vars(kind):
        return kind
    build: Any = kind.__init__
    hints: dict[str, Any] = {}

    @functools.wraps(build)
    def build_and_check(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        if not hints:  # late: a field may name a class that follows
            hints.update(get_type_hints(kind, include_extras=True))
        with jaxtyped("context"):
            for field in dataclasses.fields(kind):
                die_if_unbearable(getattr(self, field.name), hints[field.name], conf=_CONF)

    kind.__init__ = build_and_check  # type: ignore[misc]
    return kind


class _Decorate(ast.NodeTransformer):
    """Functions of modules and classes, next to the function itself; classes, around `@dataclass`."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.decorator_list.append(ast.copy_location(ast.Name(_FUNCTION, ast.Load()), node))
        return node  # functions inside functions stay as they are

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list.insert(0, ast.copy_location(ast.Name(_RECORD, ast.Load()), node))
        return self.generic_visit(node)


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """From the source, never from what was compiled without checks."""
        path = self.get_filename(fullname)
        content = self.get_data(path).replace(b"\nif TYPE_CHECKING:", b"\nif True:")
        if fullname == f"{PACKAGE}.shapes":
            content = content.replace(b"from typing import Annotated as", b"from jaxtyping import")
        # In the place of a blank line: a traceback's numbers stay right.
        content = _PROTOCOL.sub(rb"\n@__import__('typing').runtime_checkable\n\1", content)
        return compile(_Decorate().visit(ast.parse(content, path)), path, "exec", dont_inherit=True)


class _Finder(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


if PACKAGE in sys.modules:
    raise ImportError(f"{PACKAGE} was imported before its checks: load this plugin first (-p runtime_checks)")
setattr(builtins, _FUNCTION, checked_function)
setattr(builtins, _RECORD, checked_record)
sys.meta_path.insert(0, _Finder)
