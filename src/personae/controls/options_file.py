"""Writes `controls/options.py`: the options of `controls.registry` as a TypedDict, for editors and type checkers.

Run by `python -m personae.controls.options_file`; a test compares the file with the registry.
"""

import ast
import inspect
import re
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

from personae.controls import registry
from personae.controls.control import Control
from personae.controls.option import Option
from personae.io import atomic

TARGET = Path(__file__).with_name("options.py")
_WIDTH = 120
_HEAD = '''"""The options of a request beside people, by name and type.

Do not edit: `python -m {module}` writes it from the declarations of `controls.registry`.
"""

from __future__ import annotations

{plain}from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
{ours}

class Options(TypedDict, total=False):
    """What `FacePipeline.__call__` takes beside people. Absent or None: the option's default."""

'''


def text() -> str:
    """The whole file."""
    imports: set[str] = set()
    rows = []
    for control in registry.CONTROLS:
        types = {one.name: str(one.type) for one in fields(control)}
        for name, option in control.options().items():
            rows.append(_row(name, types[name], option))
            imports |= _imports(control, types[name])
    ours = sorted(one for one in imports if one.startswith("from personae"))
    plain = sorted(imports - set(ours), key=lambda line: (line.startswith("from"), line))
    head = _HEAD.format(
        module="personae.controls.options_file",
        plain="".join(f"{line}\n" for line in _joined(plain)),
        ours="".join(f"    {line}\n" for line in _joined(ours)),
    )
    return head + "\n".join(rows)


def _row(name: str, type_: str, option: Option) -> str:
    """A comment, and the field."""
    default = "" if option.default_words is None else f" Default: {option.default_words}."
    comment = textwrap.wrap(option.help + default, _WIDTH - 6, break_on_hyphens=False)
    optional = type_ if type_.endswith("| None") else f"{type_} | None"
    return "".join(f"    # {line}\n" for line in comment) + f"    {name}: {optional}\n"


def _imports(control: type[Control], type_: str) -> set[str]:
    """The import of each name in a type, one name each, as the control's own module has it."""
    wanted = set(re.findall(r"[A-Za-z_]+", type_))
    found = set()
    for node in ast.walk(ast.parse(Path(inspect.getfile(control)).read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"from {node.module} import {one.name}" for one in node.names if one.name in wanted}
        elif isinstance(node, ast.Import):
            found |= {f"import {one.name}" for one in node.names if one.name in wanted}
    return found


def _joined(lines: list[str]) -> list[str]:
    """Imports of one module in one line."""
    modules: dict[str, list[str]] = {}
    for line in lines:
        module, _, name = line.partition(" import ")
        modules.setdefault(module, []).append(name)
    return [
        f"{module} import {', '.join(sorted(names))}" if names != [""] else module for module, names in modules.items()
    ]


if __name__ == "__main__":
    atomic.write(TARGET, text().encode(), replace=True)
    sys.stdout.write(f"{TARGET}\n")
