"""What edits there are: one row per task, which says whose pieces make the picture and what of the photo stays.

    find_task("swap").token_roles["pose"]         # "target"
    eyes = Task(name="eyes", summary="Other eyes.", roles=ROLES, token_roles={"eyes": "source"}, edit_mask="asked")
    pipe.edit(eyes, source="ann.jpg", target="me.jpg", region="eyes")

A new task is a new row, here or in a user's own program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from personae.conditioning.facex.representation import TOKENS
from personae.editing.masks import EDIT_MASKS, REFERENCES
from personae.editing.paste import RECOLOURS
from personae.editing.task_table import SUMMARIES
from personae.errors import BadOption, unknown_name
from personae.reading.region_table import GROUPS

ROLES = ("source", "target")

# What a recipe calls a field of a task, where that is not the field's own name: files keep the names they began with.
_IN_RECIPE = {
    "token_roles": "givers",
    "edit_mask": "free",
    "facex_strength": "told_strength",
    "warp_strength": "carried",
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of edit.

    token_roles: for each token (`representation.TOKENS`) the role whose face it comes from; a token that is not named
    is left to the model. roles: the photos that it takes. canvas: the role whose photo the result is put into. person:
    the role whose identity the identity prompt is about.
    edit_mask: the row of `masks.EDIT_MASKS` that says what is painted anew. reference: the row of `masks.REFERENCES`
    that makes FaceX's region image.
    strength: the share of the steps, 0-1, that a model without `facex/` walks; what is to stay inside the edit mask can
    only shine through there. facex_strength: the same of a model that has it, unless the head turns. warp_strength: the
    least and the most with either, by how far the head turns, where the source's own pixels can be warped into place
    first (`editing.warp`); None: they never are.
    likeness, motion: of `likeness_guidance` and `motion_guidance`, where the model's reader has a gradient.
    recolour: the row of `paste.RECOLOURS` that says how the result's colours are matched to the photo's, unless light
    or texture come from another photo: then they are to change.

    Raises `BadOption` for names that are in no table.
    """

    name: str
    summary: str
    token_roles: Mapping[str, str]
    roles: Sequence[str] = ("target",)
    canvas: str = "target"
    person: str = "target"
    edit_mask: str = "face"
    reference: str = "hole"
    strength: float = 1.0
    facex_strength: float = 1.0
    warp_strength: Sequence[float] | None = None
    likeness: float = 0.0
    motion: float = 0.0
    recolour: str = "border"

    def __post_init__(self) -> None:
        for token in self.token_roles:
            if token not in TOKENS:
                raise unknown_name("token", token, TOKENS)
        for role in (*self.roles, *self.token_roles.values(), self.canvas, self.person):
            if role not in ROLES:
                raise unknown_name("role", role, ROLES)
            if role not in self.roles:
                raise BadOption(f"the task {self.name!r} needs something of a {role} photo: add it to its roles")
        if self.edit_mask not in EDIT_MASKS:
            raise unknown_name("edit mask", self.edit_mask, EDIT_MASKS)
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
            summary=SUMMARIES["swap"],
            roles=ROLES,
            token_roles=_from(("identity", *_FACE, "texture"), (*_MOTION, "light", "hair", "surroundings")),
            person="source",
            strength=0.8,
            warp_strength=(0.35, 0.55),
            likeness=0.1,
            recolour="region",
        ),
        Task(
            name="head",
            summary=SUMMARIES["head"],
            roles=ROLES,
            token_roles=_from(("identity", *_FACE, "hair", "texture"), (*_MOTION, "light", "surroundings")),
            person="source",
            edit_mask="heads",
            reference="head",
            warp_strength=(0.25, 0.45),
            likeness=0.1,
            recolour="none",
        ),
        Task(
            name="reenact",
            summary=SUMMARIES["reenact"],
            roles=ROLES,
            token_roles=_from([token for token in TOKENS if token not in _MOTION], _MOTION),
            canvas="source",
            person="source",
            edit_mask="heads",
            reference="whole",
            strength=0.8,
            warp_strength=(0.4, 0.6),
            motion=0.1,
            recolour="region",
        ),
        Task(
            name="inpaint",
            summary=SUMMARIES["inpaint"],
            token_roles=_from(target=("identity", *_MOTION, "light", "texture", "hair", "surroundings")),
            edit_mask="asked",
            likeness=0.2,
        ),
        Task(
            name="attribute",
            summary=SUMMARIES["attribute"],
            token_roles=_from(target=TOKENS),
            edit_mask="moved",
            reference="whole",
            strength=0.6,
            facex_strength=0.8,
            warp_strength=(0.3, 0.5),
            likeness=0.1,
            motion=0.1,
            recolour="region",
        ),
        Task(
            name="style",
            summary=SUMMARIES["style"],
            token_roles=_from(target=TOKENS),
            edit_mask="whole",
            reference="whole",
            strength=0.5,
            recolour="none",
        ),
        Task(
            name="mix",
            summary=SUMMARIES["mix"],
            token_roles=_from(target=TOKENS),
            edit_mask="moved",
            warp_strength=(0.35, 0.55),
        ),
    )
}


def find_task(task: str | Task | Mapping[str, Any]) -> Task:
    """A row by its name; a row of one's own as it is, or as a recipe holds it. Raises `BadOption` for an unknown name
    or field."""
    if isinstance(task, Task):
        return task
    if isinstance(task, Mapping):
        by_key = {_IN_RECIPE.get(field.name, field.name): field.name for field in fields(Task)}
        for key in task:
            if key not in by_key:
                raise unknown_name("field of a task", str(key), by_key)
        return Task(**{by_key[key]: value for key, value in task.items()})
    if task not in TASKS:
        raise unknown_name("task", str(task), TASKS)
    return TASKS[task]


def recorded_task(task: Task) -> str | dict[str, Any]:
    """As a recipe holds it: the name of a row of `TASKS`, all fields of any other."""
    if TASKS.get(task.name) == task:
        return task.name
    return {_IN_RECIPE.get(field.name, field.name): getattr(task, field.name) for field in fields(Task)}
