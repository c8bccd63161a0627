"""The signature of a call that takes options, for `help(pipe.__call__)` and whatever else looks at it at run time.

Type checkers read `Unpack[Options]` instead, which says the same (`controls.options`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from personae.controls import registry
from personae.controls.options import Options

F = TypeVar("F", bound=Callable[..., Any])


def named_options(call: F) -> F:
    """`call(..., **options)`, whose signature has every option by name, with its type and default."""
    own = inspect.signature(call)
    named = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    named += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=Options.__annotations__[name]
        )
        for name, one in registry.options().items()
    ]
    call.__signature__ = own.replace(parameters=named)  # type: ignore[attr-defined]
    return call
