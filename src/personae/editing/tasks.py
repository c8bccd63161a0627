"""What edits there are: one row per task, which says whose pieces make the picture and what is kept.

    named("swap").givers["pose"]                  # "target"
    mine = replace(TASKS["swap"], name="eyes", givers={"identity": "target", "eyes": "source"}, free="asked")
    pipe.edit(mine, source="ann.jpg", target="me.jpg", region="eyes")

A new task is a new row, here or in a user's own program. Roles name photos: "source" and "target".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from personae.conditioning.representation import TOKENS
from personae.editing.canvas import FREE, REFERENCES
from personae.errors import BadOption, unknown_name
from personae.reading.regions import GROUPS, REGIONS

ROLES = ("source", "target")
MOTION = ("pose", "expression", "gaze")


@dataclass(frozen=True, kw_only=True)
class Task:
    """`roles`: the photos it takes. `givers`: for each token (`representation.TOKENS`) the role that gives it; tokens
    that are not named are not told. `canvas`: the role whose photo the result is put into. `person`: the role whose
    identity the identity prompt is about. `free`: the row of `canvas.FREE` that says what is made anew; `reference`:
    the row of `canvas.REFERENCES` that assembles the region image I_R.

    strength: the share of the steps that is walked by a model without `facex/`, where what is to stay of the free
    region can only shine through. likeness: of `likeness_guidance`, where the reader has a gradient.
    recolour: whether the result takes on the colours that the photo has in the free region.

    Raises `BadOption` for names that are in no table.
    """

    name: str
    summary: str
    givers: Mapping[str, str]
    roles: tuple[str, ...] = ("target",)
    canvas: str = "target"
    person: str = "target"
    free: str = "face"
    reference: str = "hole"
    strength: float = 1.0
    likeness: float = 0.0
    recolour: bool = False
    _known: None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for token in self.givers:
            if token not in TOKENS:
                raise unknown_name("token", token, TOKENS)
        for role in (*self.roles, *self.givers.values(), self.canvas, self.person):
            if role not in ROLES:
                raise unknown_name("role", role, ROLES)
            if role not in self.roles:
                raise BadOption(f"the task {self.name!r} takes no {role} photo, but needs something of it")
        for what, row, table in (("free region", self.free, FREE), ("region image", self.reference, REFERENCES)):
            if row not in table:
                raise unknown_name(what, row, table)
