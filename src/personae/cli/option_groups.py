"""The options of a command as one dataclass: for those that several commands share, and for long lists.

@dataclass(frozen=True, kw_only=True)
class Common:
    count: Annotated[int, typer.Option(help="Results per photo.")] = 1

@with_options(Common)
def swap(source: Source, *, options: Common) -> None: ...      # typer sees `source` and `count`
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps
from typing import Any, get_type_hints


def with_options(group: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator for a function with a parameter `options: group`. The command takes every field of the dataclass
    `group` as an option of its own, after the function's other parameters."""
    hints = get_type_hints(group, include_extras=True)

    def parameter(name: str, default: Any) -> inspect.Parameter:
        value = inspect.Parameter.empty if default is MISSING else default
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hints[name])

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def command(**typed: Any) -> None:
            options = group(**{one.name: typed.pop(one.name) for one in fields(group)})
            function(**typed, options=options)

        own = [one for one in inspect.signature(function).parameters.values() if one.name != "options"]
        ours = [parameter(one.name, one.default) for one in fields(group)]
        command.__signature__ = inspect.Signature([*own, *ours])  # type: ignore[attr-defined]
        return command

    return decorate
