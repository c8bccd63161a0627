"""python -m pytest -p runtime_checks: each call of the package is held to its annotations as tests run (make checked).

beartype's import hook decorates every function of `personae` when its module is imported. So that it finds all types,
names that are imported for types alone are imported in earnest, which they may be: the modules of the package have no
circle, type imports counted (tests/test_imports.py). Its protocols can be asked of any object here.

A test that gives on purpose what the annotations forbid is marked `untyped` and left out.
"""

import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

from beartype import BeartypeConf
from beartype.claw import beartype_package

_PACKAGE = str(Path(__file__).parents[1] / "src" / "personae")
_PROTOCOL = re.compile(rb"\n\n(class \w+\((?:.+, )?Protocol(?:\[\w+\])?\):)")
_read = SourceFileLoader.get_data


def _checkable(self: SourceFileLoader, path: str) -> bytes:
    content = _read(self, path)
    if path.startswith(_PACKAGE) and path.endswith(".py"):
        content = content.replace(b"\nif TYPE_CHECKING:", b"\nif True:")
        # In the place of a blank line: a traceback's numbers stay right.
        content = _PROTOCOL.sub(rb"\n@__import__('typing').runtime_checkable\n\1", content)
    return content


sys.dont_write_bytecode = True  # what is compiled here is for this run alone
SourceFileLoader.get_data = _checkable  # type: ignore[method-assign]
beartype_package("personae", conf=BeartypeConf(is_pep484_tower=True, claw_is_pep526=False))
