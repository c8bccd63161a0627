"""How steering is typed: the options of `personae generate` that are `personae.controls.request.Steering`, and what
they say.

    @app.command()
    @spelled_out
    def generate(sources: Sources, **typed: Unpack[Typed]) -> None:
        pipe(who, **steering(typed))

A new option is a field of `Typed`, with a row of `_READ` if it is more than a number or a name. Brings no torch.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

import typer

from personae.errors import BadOption

if TYPE_CHECKING:
    from personae.controls.request import Steering

_PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
_WHOLE = "0,1"  # an interval: all steps


class Typed(TypedDict):
    """Every option of steering by its Python name, as typed; None: not given."""

    pose: Annotated[str | None, typer.Option(help="Of the head: yaw,pitch,roll in degrees, or a photo.")]
    pose_map: Annotated[Path | None, typer.Option(help="A normal map of your own instead.")]
    pose_scale: Annotated[float | None, typer.Option(help="How strictly to hold the pose, 0-2.")]
    expression: Annotated[
        str | None, typer.Option(help="Amounts by name, e.g. smile=0.8,jawOpen=0.2; or a photo, or a .npy.")
    ]
    expression_scale: Annotated[float | None, typer.Option(help="How strongly to express it, 0-1.")]
    reference: Annotated[Path | None, typer.Option(help="A photo whose look (light, hair, background) is kept.")]
    reference_scale: Annotated[float | None, typer.Option(help="How closely to keep it, 0-1.")]
    fast: Annotated[int | None, typer.Option(help="Steps of the model's distilled sampler, 2-8.")]
    speed: Annotated[
        str | None, typer.Option(help="exact, balanced or fast: what may be skipped.", show_default="exact")
    ]
    text_weight: Annotated[
        float | None, typer.Option(help="How much the words alone count; one weight is always 0.", show_default="0")
    ]
    face_weight: Annotated[float | None, typer.Option(help="How much the face alone counts.", show_default="0")]
    both_weight: Annotated[float | None, typer.Option(help="How much words and face together count.", show_default="1")]
    text_interval: Annotated[
        str | None,
        typer.Option(help="Between which shares of the steps the words alone act, e.g. 0,0.5.", show_default=_WHOLE),
    ]
    face_interval: Annotated[str | None, typer.Option(help="The same of the face alone.", show_default=_WHOLE)]
    both_interval: Annotated[str | None, typer.Option(help="The same of both together.", show_default=_WHOLE)]
    look: Annotated[str | None, typer.Option(help="photo, stylised or painting, instead of weights.")]
    regions: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            help="All people in one picture: where one of them is, x0,y0,x1,y1 in shares of it, or a mask file. "
            "Once per person, in the photos' order; with a --width that has room for all of them.",
        ),
    ]
    likeness_guidance: Annotated[
        float | None,
        typer.Option(help="How strongly the recogniser pulls towards the person; 0.1 is a good start."),
    ]
    likeness_interval: Annotated[
        str | None, typer.Option(help="Between which shares of the steps it pulls.", show_default="0.2,0.8")
    ]
    motion_guidance: Annotated[
        float | None,
        typer.Option(
            help="How strongly the reader pulls towards the asked pose and expression; 0.1 is a good start, 0 is off.",
            show_default="the model's own",
        ),
    ]
    motion_interval: Annotated[
        str | None, typer.Option(help="Between which shares of the steps it pulls.", show_default="0.1,0.9")
    ]


def spelled_out(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb(..., **typed: Unpack[Typed])` with a signature that names every option, which is what typer reads."""
    own = inspect.signature(verb).parameters.values()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in get_type_hints(Typed, include_extras=True).items()
    ]
    named = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    verb.__signature__ = inspect.Signature([*named, *options])  # type: ignore[attr-defined]
    return verb


def steering(typed: Typed) -> "Steering":
    """What was typed, as a pipeline takes it; what was not, left out. Raises `BadOption` for what cannot be read;
    whether it makes sense is for the pipeline to say."""
    given: dict[str, Any] = {name: value for name, value in typed.items() if value not in (None, [])}
    said: Any = {name: _READ[name](value) if name in _READ else value for name, value in given.items()}
    return said


def numbers(text: str, option: str) -> list[float]:
    """`"1,0.5"`. Raises `BadOption`, naming the option, if it is not written that way."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise BadOption(f"{option} takes numbers separated by commas, got {text!r}") from error


def _interval(option: str) -> Callable[[str], list[float]]:
    return lambda text: numbers(text, option)


def _picture_or_numbers(text: str, option: str) -> Path | list[float]:
    return Path(text) if Path(text).suffix.lower() in _PHOTOS else numbers(text, option)


def angles(text: str) -> Path | list[float]:
    """A photo, or yaw, pitch, roll. Raises `BadOption`."""
    return _picture_or_numbers(text, "--pose (a photo, or yaw,pitch,roll)")


def _regions(texts: list[str]) -> list[Path | list[float]]:
    return [_picture_or_numbers(text, "--region (a mask file, or x0,y0,x1,y1)") for text in texts]


def sliders(text: str) -> Path | dict[str, float]:
    """Sliders if it has an equals sign, else a file."""
    if "=" not in text:
        return Path(text)
    from personae.conditioning.blendshapes import parse_sliders

    return parse_sliders(text)


_READ: dict[str, Callable[[Any], Any]] = {
    "pose": angles,
    "expression": sliders,
    "regions": _regions,
    **{f"{what}_interval": _interval(f"--{what}-interval") for what in ("text", "face", "both", "likeness", "motion")},
}
