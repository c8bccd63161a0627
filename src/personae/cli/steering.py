"""The options of `personae generate` that steer, from the declarations of `personae.controls.registry`.

    @app.command()
    @with_controls
    def generate(sources: Sources, **typed: Any) -> None:
        pipe(faces, **controls_from(typed))

Brings no torch.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from personae.cli.completion import starting
from personae.controls import registry
from personae.controls.option import Option


def with_controls(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb(..., **typed)` with a signature that names every option that the command line offers, which is what typer
    reads: those of every call, the verb's own, then those that steer."""
    own = [one for one in inspect.signature(verb).parameters.values() if one.kind is not one.VAR_KEYWORD]
    arguments = [one for one in own if one.default is one.empty]
    leading = {name for control in registry.OF_EVERY_CALL for name in control.options()}
    first, last = list[inspect.Parameter](), list[inspect.Parameter]()
    for name, one in registry.options().items():
        if one.in_commands:
            kind: Any = one.typed | None
            offered = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, typer_option(name)]
            )
            (first if name in leading else last).append(offered)
    rest = [one.replace(kind=one.KEYWORD_ONLY) for one in own if one not in arguments]
    verb.__signature__ = inspect.Signature([*arguments, *first, *rest, *last])  # type: ignore[attr-defined]
    return verb


def typer_option(name: str, *, default: str | None = None) -> Any:
    """One option as typer takes it, with its help, its names to complete, and a check of what was typed. default: in
    words, of a verb that has another than the call's."""
    one = registry.options()[name]
    return typer.Option(
        *one.flags(name),
        help=one.help,
        show_default=default or one.default_words or False,
        autocompletion=None if one.choices is None else starting(one.choices),
        callback=_checking(name, one),
    )


def _checking(name: str, option: Option) -> Callable[[Any], Any]:
    """What refuses a value out of range before any work, by the name of its flag."""
    flag = option.flags(name)[0]

    def check(value: Any) -> Any:
        if value is not None and option.kind is not None:
            option.checked(flag, option.read(value, flag))
        return value

    return check


def controls_from(typed: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed, as a pipeline takes them. Raises `BadOption` for what cannot be read; whether they
    make sense together is for the pipeline to check."""
    options = registry.options()
    return {
        name: options[name].read(value, options[name].flags(name)[0])
        for name, value in typed.items()
        if value not in (None, [])
    }
