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

from personae.controls import registry
from personae.controls.option import Option


def with_controls(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb(..., **typed)` with a signature that names every option that the command line offers, which is what typer
    reads."""
    own = inspect.signature(verb).parameters.values()
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[one.typed | None, typer_option(name)],
        )
        for name, one in registry.options().items()
        if one.in_commands
    ]
    named = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    verb.__signature__ = inspect.Signature([*named, *options])  # type: ignore[attr-defined]
    return verb


def typer_option(name: str, *, default: str | None = None) -> Any:
    """One option as typer takes it, with its help. default: in words, of a verb that has another than the call's."""
    one = registry.options()[name]
    return typer.Option(
        flag_of(name, one),
        help=one.help,
        show_default=default or one.default_words or False,
        autocompletion=None if one.choices is None else _starting(one.choices),
    )


def flag_of(name: str, option: Option) -> str:
    """As it is typed: `--pose-scale`."""
    return option.flag or f"--{name.replace('_', '-')}"


def controls_from(typed: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed, as a pipeline takes them. Raises `BadOption` for what cannot be read; whether it
    makes sense is for the pipeline to check."""
    options = registry.options()
    return {
        name: options[name].read(value, flag_of(name, options[name]))
        for name, value in typed.items()
        if value not in (None, [])
    }


def _starting(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]
