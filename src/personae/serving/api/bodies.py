"""What may be sent, by address: the fields of the engine's requests, and the options of the registry with their ranges.

    BODIES["generate"].model_validate_json(text)

A photo is the name of a file that comes with the request.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, create_model, field_validator, model_validator

from personae.conditioning.facex.representation import TOKENS
from personae.controls import registry
from personae.controls.batch import BatchControl
from personae.editing.tasks import TASKS
from personae.provenance.writer import FORMATS
from personae.reading.face_regions import GROUPS
from personae.serving.engine.requests import MOST_IMAGES, MOST_PEOPLE

FileName = Annotated[
    str, Field(min_length=1, max_length=255, description="Name of a file of this request.", examples=["me.jpg"])
]
Seed = Annotated[int | None, Field(ge=0, le=2**63 - 1, description="Of the first image; null: drawn.")]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=-100, le=100)]
Angle = Annotated[float, Field(ge=-90, le=90)]
Amounts = Annotated[dict[str, Share], Field(max_length=64)]
# What no client may send: files that are programs or weights, and objects that are no JSON.
_LOCAL_ONLY = ("file", "assembly")
_OWN = tuple(BatchControl.options())  # which the request has fields for
_MOST_TEXT = 2000
_MOST = {"height": 2048, "width": 2048}  # pixels: of a stranger's request
MOST_PIXELS = MOST_IMAGES * 512 * 512  # of all images of one request, if it names their size


class Body(BaseModel):
    """What all requests have in common. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Annotated[str | None, Field(max_length=100, description="A name of `/v1/models`; null: the first.")] = None
    timeout: Annotated[float | None, Field(gt=0, le=86400, description="Seconds that the job may take.")] = None
    files: Annotated[
        dict[str, Base64Bytes] | None,
        Field(max_length=32, description="In a JSON body: files by name, in base64. In a form they are parts."),
    ] = None


class RequestWithConsent(Body):
    """A request about people."""

    consent: Annotated[
        Literal[True],
        Field(description="You attest that everyone shown agreed to this, or does not exist. Required."),
    ]

    @field_validator("consent", mode="before")
    @classmethod
    def _require_consent(cls, value: Any) -> Any:
        if value is not True:
            raise ValueError("attest that everyone shown agreed to this, or does not exist: consent must be true")
        return value


class IdentityBody(BaseModel):
    """An identity as numbers, of a model's space."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    space: Annotated[str, Field(min_length=1, max_length=200)]
    vector: Annotated[list[Amount], Field(min_length=1, max_length=4096)]


Who = Annotated[FileName | IdentityBody, Field(description="A photo or an `.identity` file, by name; or a vector.")]
People = Annotated[list[Who], Field(min_length=1, max_length=MOST_PEOPLE)]


def _value(row: dict[str, Any]) -> Any:
    """The type of an option's value."""
    low, high = row["low"], _MOST.get(row["name"], row["high"])
    edge: dict[str, Any] = {"gt" if row["above_low"] else "ge": low, "le": high}
    edge = {name: value for name, value in edge.items() if value is not None}
    angles = list[Angle] | Annotated[dict[str, Amount], Field(max_length=64)]
    types: dict[str, Any] = {
        "number": Annotated[float, Field(**edge)],
        "integer": Annotated[int, Field(**edge)],
        "interval": Annotated[list[Share], Field(min_length=2, max_length=2)],
        "choice": Literal[tuple(row["choices"])] if row["choices"] else str,
        "text": Annotated[str, Field(max_length=_MOST_TEXT)],
        "photo": FileName,
        "mask": FileName,
        "pose": FileName | angles | Annotated[list[angles], Field(max_length=MOST_PEOPLE)],
        "expression": FileName | Amounts | Annotated[list[Amounts], Field(max_length=MOST_PEOPLE)],
        "regions": Annotated[list[list[Share]], Field(max_length=MOST_PEOPLE)],
    }
    return types[row["type"]]


def _options(name: str, *, besides: Collection[str] = (), unset: Collection[str] = ()) -> type[BaseModel]:
    """The options of the registry as a model. besides: names of those that it leaves out; unset: of those of them
    that nothing else sets, so that what needs one of them is left out, too."""
    fields: dict[str, Any] = {}
    local = {row["name"] for row in registry.rows() if row["type"] in _LOCAL_ONLY}
    absent = {*local, *unset}
    for row in registry.rows():
        if row["name"] in (*local, *_OWN, *besides) or (row["needs"] and absent.issuperset(row["needs"])):
            continue
        words = row["help"] + (f" Default: {row['default_text']}." if row["default_text"] else "")
        fields[row["name"]] = (Annotated[_value(row) | None, Field(description=words)], None)
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


_OF_EDITS = (*registry.set_by_edits(), "pose", "expression")  # set by the edit, or fields of its request
_OF_ANIMATIONS = (*_OF_EDITS, "pose_map")  # set by the animation for every frame
Options = _options("Options")
EditOptions = _options("EditOptions", besides=_OF_EDITS)
AnimateOptions = _options("AnimateOptions", besides=_OF_ANIMATIONS, unset=_OF_ANIMATIONS)


class ReadBody(RequestWithConsent):
    """Read the faces of a photo."""

    photo: FileName
    motion: Annotated[bool, Field(description="Pose, expression and landmarks, too.")] = True


class Pictures(RequestWithConsent):
    """A request for pictures."""

    format: Literal[tuple(FORMATS)] = "png"  # type: ignore[valid-type]
    include_identity: Annotated[
        bool, Field(description="Write the identity, which is biometric data, into each picture's recipe.")
    ] = False
    previews: Annotated[int, Field(ge=0, le=16, description="Looks at unfinished images on the way.")] = 0
    measure_likeness: bool = True
    seed: Seed = None


class GenerateBody(Pictures):
    """New pictures of people."""

    people: People
    num_images_per_prompt: Annotated[int, Field(ge=1, le=MOST_IMAGES, description="Images of each person.")] = 1
    batch: Annotated[
        Literal["auto", "off"],
        Field(description="off: a call of its own, the same bytes as the library's; auto: it may share one."),
    ] = "auto"
    options: Options | None = None  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _has_room(self) -> GenerateBody:
        options: Any = self.options
        sides = [] if options is None else [side for side in (options.height, options.width) if side is not None]
        pixels = len(self.people) * self.num_images_per_prompt * (max(sides) * min(sides) if sides else 0)
        if pixels > MOST_PIXELS:
            raise ValueError(f"the images of one request have at most {MOST_PIXELS} pixels, got {pixels}: ask for less")
        return self


class EditBody(Pictures):
    """A photo edited."""

    task: Literal[tuple(TASKS)]  # type: ignore[valid-type]
    source: FileName | None = None
    target: FileName | None = None
    tokens: Annotated[dict[Literal[tuple(TOKENS)], FileName] | None, Field(description="Pieces, by name.")] = None  # type: ignore[valid-type]
    region: Annotated[list[Literal[tuple(GROUPS)]] | None, Field(max_length=16)] = None  # type: ignore[valid-type]
    mask: FileName | None = None
    face: Annotated[int, Field(ge=1, le=1000, description="Which one is edited, 1 the largest.")] = 1
    all_faces: bool = False
    shift: Annotated[dict[str, Amount] | None, Field(max_length=16, examples=[{"age": 1.5}])] = None
    pose: Annotated[list[Angle] | dict[str, Angle] | None, Field(max_length=3)] = None
    expression: Amounts | None = None
    num_images: Annotated[int, Field(ge=1, le=MOST_IMAGES)] = 1
    options: EditOptions | None = None  # type: ignore[valid-type]


class AnimateBody(RequestWithConsent):
    """A photo that does what a driver does."""

    source: FileName
    driver: Annotated[FileName, Field(description="A video, or a track of motion.", examples=["talk.mp4"])]
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    smooth: Annotated[str | None, Field(max_length=32)] = None
    portrait: bool = False
    on_no_face: Literal["error", "hold", "skip"] = "error"
    face: Annotated[int, Field(ge=1, le=1000)] = 1
    driver_face: Annotated[int, Field(ge=1, le=1000)] = 1
    frames: Annotated[list[Annotated[int, Field(ge=0)]] | None, Field(min_length=2, max_length=2)] = None
    fps: Annotated[float | None, Field(gt=0, le=240)] = None
    audio: bool = True
    options: AnimateOptions | None = None  # type: ignore[valid-type]


class MeanBody(RequestWithConsent):
    """Several photos of one person as one identity."""

    people: People
    weights: Annotated[list[Annotated[float, Field(ge=0, le=1e6)]] | None, Field(max_length=MOST_PEOPLE)] = None


class BlendBody(RequestWithConsent):
    """Someone between two people."""

    first: Who
    second: Who
    amount: Annotated[float, Field(ge=0, le=1, description="How far from the first to the second.")] = 0.5


class SampleBody(Body):
    """People who do not exist."""

    count: Annotated[int, Field(ge=1, le=MOST_IMAGES)] = 1
    seed: Seed = None


class ShiftBody(RequestWithConsent):
    """A person with attributes changed."""

    person: Who
    by: Annotated[
        dict[str, Amount],
        Field(min_length=1, max_length=16, description="Standard deviations, by name.", examples=[{"age": 1.5}]),
    ]


class DetectBody(Body):
    """Where a picture or a video comes from: signature, watermark, recipe, label."""

    file: FileName


BODIES: dict[str, type[Body]] = {
    "read": ReadBody,
    "generate": GenerateBody,
    "edit": EditBody,
    "animate": AnimateBody,
    "mean": MeanBody,
    "blend": BlendBody,
    "sample": SampleBody,
    "shift": ShiftBody,
    "detect": DetectBody,
}
PATHS = {
    "read": "/v1/read",
    "generate": "/v1/generate",
    "edit": "/v1/edit",
    "animate": "/v1/animate",
    "mean": "/v1/identities/mean",
    "blend": "/v1/identities/blend",
    "sample": "/v1/identities/sample",
    "shift": "/v1/identities/shift",
    "detect": "/v1/detect",
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "read": {"consent": True, "photo": "me.jpg"},
    "generate": {
        "consent": True,
        "people": ["me.jpg"],
        "num_images_per_prompt": 2,
        "seed": 7,
        "options": {"num_inference_steps": 12},
    },
    "edit": {"consent": True, "task": "swap", "source": "me.jpg", "target": "party.jpg", "seed": 7},
    "animate": {"consent": True, "source": "me.jpg", "driver": "talk.mp4"},
    "mean": {"consent": True, "people": ["a.jpg", "b.jpg"]},
    "blend": {"consent": True, "first": "a.jpg", "second": "b.jpg", "amount": 0.4},
    "sample": {"count": 2, "seed": 4},
    "shift": {"consent": True, "person": "me.jpg", "by": {"age": 1.5}},
    "detect": {"file": "picture.png"},
}
