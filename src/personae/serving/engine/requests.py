"""What may be requested of an engine: plain frozen records.

    Generate(people=["me.jpg"], num_images_per_prompt=4, seed=7, options={"num_inference_steps": 12})
    Edit(task="swap", source="me.jpg", target="party.jpg", seed=7)

`options` are those of `controls.registry`, by name, as a pipeline's call takes them. A record checks what can be known
without a model; the rest is checked where the model is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from personae.controls import registry
from personae.controls.batch import BatchControl
from personae.errors import BadOption
from personae.reading.photo import size_of

if TYPE_CHECKING:
    from personae.reading.photo import PhotoSource
    from personae.types import Face, Identity
    from personae.video.animation import Settings
    from personae.video.motion_track import Track

    Who = PhotoSource | Face | Identity

MOST_IMAGES = 64  # of one request
MOST_PEOPLE = 16
MOST_EDITED_PIXELS = 160_000_000  # of all results of one edit, each as large as its photo: two of the largest photos


def checked_options(request: Generate | Edit | Animate, provided: Collection[str] = ()) -> dict[str, Any]:
    """The options of a request by name without those that are None. provided: those that its work sets by itself.
    Raises `BadOption` for an unknown one, a value out of range, one without what it needs, or one that is a field of
    the request."""
    wanted = {name: value for name, value in request.options.items() if value is not None}
    own = {one.name for one in fields(request)}
    for name in wanted:
        if name in own:
            raise BadOption(f"{name} is a field of this request, and none of its options: give it there")
        if name in BatchControl.options():
            raise BadOption(
                f"{name} is no option of a request: the request has fields for its images, the engine the rest"
            )
    registry.controls_of(wanted, provided=provided)
    return wanted


def _count(name: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadOption(f"{name} is a whole number between 1 and {most}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class EngineRequest:
    """What all requests have in common.

    model: a name that the engine was opened with; None: its first. timeout: seconds from `submit` to the end, at
    most those of the engine; None: as many. previews: how many looks at unfinished images are wanted on the way.
    """

    kind: ClassVar[str] = "request"

    model: str | None = None
    timeout: float | None = None
    previews: int = 0

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise BadOption(f"timeout is a number of seconds above 0, got {self.timeout}")
        if isinstance(self.previews, bool) or not isinstance(self.previews, int) or not 0 <= self.previews <= 16:
            raise BadOption(f"previews is a whole number between 0 and 16, got {self.previews!r}")


@dataclass(frozen=True, kw_only=True)
class Read(EngineRequest):
    """The faces of a photo, largest first. motion: pose, expression and landmarks, too. Result: a list of `Face`."""

    kind: ClassVar[str] = "read"

    photo: PhotoSource
    motion: bool = True


@dataclass(frozen=True, kw_only=True)
class Generate(EngineRequest):
    """New images of people. Result: a `Generation`, as of `FacePipeline.__call__`.

    people: 1 to 16, each a photo (its largest face counts), a face or an identity. seed: of the first image, the others
    count on; None: drawn by the engine. options: of the registry. batch: whether it may share a call with others, which
    changes its pixels by rounding only; False: the same bytes as of a call of its own.
    """

    kind: ClassVar[str] = "generate"

    people: Sequence[Who]
    num_images_per_prompt: int = 1
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    measure_likeness: bool = True
    batch: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.people, list | tuple) or not 1 <= len(self.people) <= MOST_PEOPLE:
            raise BadOption(f"people is a list of 1 to {MOST_PEOPLE} photos, faces or identities")
        _count("num_images_per_prompt", self.num_images_per_prompt, MOST_IMAGES)
        if len(self.people) * self.num_images_per_prompt > MOST_IMAGES:
            raise BadOption(f"one request makes at most {MOST_IMAGES} images: send several")
        _require_seed(self.seed)
        object.__setattr__(self, "people", tuple(self.people))
        object.__setattr__(self, "options", checked_options(self))


@dataclass(frozen=True, kw_only=True)
class Edit(EngineRequest):
    """A photo edited. Result: `personae.types.Edit`. Fields: those of `FacePipeline.edit`, and `options` of the
    registry."""

    kind: ClassVar[str] = "edit"

    task: str
    source: PhotoSource | Face | None = None
    target: PhotoSource | Face | None = None
    tokens: Mapping[str, PhotoSource | Face] = field(default_factory=dict)
    region: Sequence[str] = ()
    mask: PhotoSource | None = None
    face: int = 1
    all_faces: bool = False
    shift: Mapping[str, float] = field(default_factory=dict)
    pose: Any = None
    expression: Mapping[str, float] | None = None
    seed: int | None = None
    num_images: int = 1
    measure_likeness: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        _count("num_images", self.num_images, MOST_IMAGES)
        _count("face", self.face, 1000)
        _require_room(self.source if self.target is None else self.target, self.num_images)
        _require_seed(self.seed)
        object.__setattr__(self, "region", (self.region,) if isinstance(self.region, str) else tuple(self.region))
        moved = [name for name in ("pose", "expression") if getattr(self, name) is not None]
        object.__setattr__(self, "options", checked_options(self, provided=(*registry.set_by_edits(), *moved)))


@dataclass(frozen=True, kw_only=True)
class Animate(EngineRequest):
    """A photo that does what a driver does. Result: an `Animation`. Fields: those of `video.animate.animate`.

    driver: a video's or track's file, or a track. out: where the video is written. settings: seed, smoothing, which
    faces; None: the usual.
    """

    kind: ClassVar[str] = "animate"

    source: PhotoSource | Face
    driver: str | Path | Track
    out: str | Path
    settings: Settings | None = None
    frames: tuple[int, int | None] | None = None
    fps: float | None = None
    audio: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "options", checked_options(self))


@dataclass(frozen=True, kw_only=True)
class Mean(EngineRequest):
    """The mean of several photos or identities of one person. Result: an `Identity`."""

    kind: ClassVar[str] = "mean"

    people: Sequence[Who]
    weights: Sequence[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Blend(EngineRequest):
    """The identity `amount` (0-1) of the way from `first` to `second`. Result: an `Identity`."""

    kind: ClassVar[str] = "blend"

    first: Who
    second: Who
    amount: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Sample(EngineRequest):
    """Random people of the model's space, who do not exist. Result: a list of `Identity`. seed: None: drawn."""

    kind: ClassVar[str] = "sample"

    count: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _count("count", self.count, MOST_IMAGES)
        _require_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Shift(EngineRequest):
    """A person with attributes changed, `by` standard deviations each. Result: an `Identity`."""

    kind: ClassVar[str] = "shift"

    person: Who
    by: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Detect(EngineRequest):
    """Where a picture or video comes from. Result: a `provenance.detection.Detected`."""

    kind: ClassVar[str] = "detect"

    file: str | Path | bytes


def _require_room(photo: Any, count: int) -> None:
    """Raise `BadOption` for more results than fit in memory, by the header of the photo: the rest is known later."""
    size = photo.shape[1::-1] if isinstance(photo, np.ndarray) else None
    if isinstance(photo, str | Path):
        size = size_of(photo)
    if size is not None and count * size[0] * size[1] > MOST_EDITED_PIXELS:
        most = max(1, MOST_EDITED_PIXELS // (size[0] * size[1]))
        raise BadOption(
            f"{count} images of {size[0]} x {size[1]} pixels are too many for one request: at most {most} of this photo"
        )


def _require_seed(seed: Any) -> None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63):
        raise BadOption(f"seed is a whole number between 0 and 2^63 - 1, got {seed!r}")
