"""What edits there are: one row per task, which says whose pieces make the picture and what is kept.

    named("swap").givers["pose"]                  # "target"
    eyes = Task(name="eyes", summary="Other eyes.", roles=ROLES, givers={"eyes": "source"}, free="asked")
    pipe.edit(eyes, source="ann.jpg", target="me.jpg", region="eyes")

A new task is a new row, here or in a user's own program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from personae.conditioning.facex.representation import TOKENS
from personae.editing.masks import FREE, REFERENCES
from personae.editing.paste import RECOLOURS
from personae.errors import BadOption, unknown_name
from personae.reading.face_regions import GROUPS

ROLES = ("source", "target")


@dataclass(frozen=True, kw_only=True)
class Task:
    """`roles`: the photos it takes. `givers`: for each token (`representation.TOKENS`) the role that gives it; tokens
    that are not named are not told. `canvas`: the role whose photo the result is put into. `person`: the role whose
    identity the identity prompt is about. `free`: the row of `canvas.FREE` that says what is made anew; `reference`:
    the row of `canvas.REFERENCES` that assembles the region image I_R.

    strength: the share of the steps that is walked by a model without `facex/`, where what is to stay of the free
    region can only shine through; told_strength: by one that has it, unless the head turns. carried: the least and the
    most with either, by how far the head turns, where the giver's own pixels can be carried over first
    (`editing.warp`); None: they never are. likeness, motion: of `likeness_guidance` and `motion_guidance`,
    where the model's reader has a gradient.
    recolour: the row of `paste.RECOLOURS` that says how its colours are matched to the photo's, unless another photo is
    asked for its light or texture: then they are to change.

    Raises `BadOption` for names that are in no table.
    """

    name: str
    summary: str
    givers: Mapping[str, str]
    roles: Sequence[str] = ("target",)
    canvas: str = "target"
    person: str = "target"
    free: str = "face"
    reference: str = "hole"
    strength: float = 1.0
    told_strength: float = 1.0
    carried: Sequence[float] | None = None
    likeness: float = 0.0
    motion: float = 0.0
    recolour: str = "border"

    def __post_init__(self) -> None:
        for token in self.givers:
            if token not in TOKENS:
                raise unknown_name("token", token, TOKENS)
        for role in (*self.roles, *self.givers.values(), self.canvas, self.person):
            if role not in ROLES:
                raise unknown_name("role", role, ROLES)
            if role not in self.roles:
                raise BadOption(f"the task {self.name!r} needs something of a {role} photo: add it to its roles")
        if self.free not in FREE:
            raise unknown_name("free region", self.free, FREE)
        if self.reference not in REFERENCES:
            raise unknown_name("region image", self.reference, REFERENCES)
        if self.recolour not in RECOLOURS:
            raise unknown_name("way to match colours", self.recolour, RECOLOURS)


def _from(source: Sequence[str] = (), target: Sequence[str] = ()) -> dict[str, str]:
    return dict.fromkeys(source, "source") | dict.fromkeys(target, "target")


_FACE = GROUPS["face"]
_MOTION = ("pose", "expression", "gaze")

TASKS = {
    task.name: task
    for task in (
        Task(
            name="swap",
            summary="The source's face in the target's photo, doing what the target does.",
            roles=ROLES,
            givers=_from(("identity", *_FACE, "texture"), (*_MOTION, "light", "hair", "surroundings")),
            person="source",
            strength=0.8,
            carried=(0.35, 0.55),
            likeness=0.1,
            recolour="region",
        ),
        Task(
            name="head",
            summary="The source's whole head, hair and all, on the target's body.",
            roles=ROLES,
            givers=_from(("identity", *_FACE, "hair", "texture"), (*_MOTION, "light", "surroundings")),
            person="source",
            free="heads",
            reference="head",
            carried=(0.25, 0.45),
            likeness=0.1,
            recolour="none",
        ),
        Task(
            name="reenact",
            summary="The source's photo, the head held and the face moved as the target does.",
            roles=ROLES,
            givers=_from([token for token in TOKENS if token not in _MOTION], _MOTION),
            canvas="source",
            person="source",
            free="heads",
            reference="whole",
            strength=0.8,
            carried=(0.4, 0.6),
            motion=0.1,
            recolour="region",
        ),
        Task(
            name="inpaint",
            summary="A region or a mask of the target's photo made anew, the person known.",
            givers=_from(target=("identity", *_MOTION, "light", "texture", "hair", "surroundings")),
            free="asked",
            likeness=0.2,
        ),
        Task(
            name="attribute",
            summary="The target older, smiling, turned ...: shift, expression, pose, or tokens of other photos.",
            givers=_from(target=TOKENS),
            free="moved",
            reference="whole",
            strength=0.6,
            told_strength=0.8,
            carried=(0.3, 0.5),
            likeness=0.1,
            motion=0.1,
            recolour="region",
        ),
        Task(
            name="style",
            summary="The target as another base or other words would show it: load that base, or give a prompt.",
            givers=_from(target=TOKENS),
            free="whole",
            reference="whole",
            strength=0.5,
            recolour="none",
        ),
        Task(
            name="mix",
            summary="Any piece of the target from any other photo: tokens.",
            givers=_from(target=TOKENS),
            free="moved",
            carried=(0.35, 0.55),
        ),
    )
}


def named(task: str | Task | Mapping[str, Any]) -> Task:
    """A row by its name; a row of one's own as it is, or as a recipe holds it. Raises `BadOption` for an unknown name
    or field."""
    if isinstance(task, Task):
        return task
    if isinstance(task, Mapping):
        known = [part.name for part in fields(Task)]
        for name in task:
            if name not in known:
                raise unknown_name("field of a task", str(name), known)
        return Task(**task)
    if task not in TASKS:
        raise unknown_name("task", str(task), TASKS)
    return TASKS[task]
