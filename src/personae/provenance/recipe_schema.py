"""What a recipe may say: a table of types and ranges, a row for every key and every setting.

    require(RECIPE, recipe, "the recipe")       # BadRecipe names the first key that is not as its row says

A recipe is a stranger's text, so nothing that is not in the tables is asked of a pipeline, and no row is a path: files
are known by hash (`FILE`) and come from the caller. Ranges are what the pipeline takes at most; it checks them again
where they depend on the model.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from personae.controls import registry
from personae.controls.option import MOST_PEOPLE
from personae.errors import BadRecipe
from personae.io.json_kinds import (
    FILE,
    NOTHING,
    SHARE,
    Choice,
    Each,
    Hash,
    Kind,
    Names,
    Number,
    Row,
    Text,
    Whole,
    either,
    fault,
)

ANGLES = ("yaw", "pitch", "roll")
DTYPES = ("float32", "bfloat16", "float16")
MOST_FACES = 256


def require(row: Row, value: Any, where: str) -> None:
    """Raise `BadRecipe`, naming the key, unless an object is as its row says."""
    if found := fault(row, value, where):
        raise BadRecipe(found)


STRENGTH = Number(low=0, high=1000)
BOX = Each(kind=Number(low=-1e6, high=1e6), least=4, most=4)
IDENTITY = Row(needed={"space": Text(), "vector": Text(most=2**14)}, may={})
ANGLE = Number(low=-90, high=90)


class _Settings(Mapping[str, Kind]):
    """The rows that the options of `controls.registry` declare. history: only those that the
    recipe of a later edit holds, too."""

    def __init__(self, *, history: bool = False) -> None:
        self._history = history

    def _rows(self) -> dict[str, Kind]:
        return registry.recipe_kinds(history=self._history)

    def __getitem__(self, name: str) -> Kind:
        return self._rows()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._rows())


SETTINGS = _Settings()

# Those that may be files.
FILES = tuple(sorted(name for name, kind in SETTINGS.items() if kind.fits({"sha256": "0" * 64})))

# A row of `editing.tasks`, of one's own.
TASK = Row(
    needed={"name": Text(most=64), "summary": Text(), "givers": Names(kind=Text(most=64), most=32)},
    may={
        "roles": Each(kind=Text(most=64), most=2),
        **dict.fromkeys(("canvas", "person", "free", "reference", "recolour"), Text(most=64)),
        **dict.fromkeys(("strength", "told_strength"), SHARE),
        **dict.fromkeys(("likeness", "motion"), STRENGTH),
        "carried": either(NOTHING, Each(kind=SHARE, least=2, most=2)),
    },
)
EDITED = Row(
    needed={"task": either(Text(most=64), TASK)},
    may={
        "region": Each(kind=Text(most=64), most=32),
        "shift": Names(kind=Number(low=-20, high=20), most=16),
        "pose": Names(kind=ANGLE, most=len(ANGLES), names=ANGLES),
        "expression": Names(kind=SHARE, most=64),
    },
)
INPUT = Row(
    needed={},
    may={
        **FILE.may,
        "faces": Each(kind=Whole(low=1, high=10**6), least=1, most=MOST_FACES),
        "boxes": Each(kind=BOX, least=1, most=MOST_FACES),
        "identity_sha256": Each(kind=Hash(), most=MOST_FACES),
    },
)
INPUTS = either(
    Names(kind=INPUT, most=32),
    Each(
        kind=Row(needed={}, may=dict.fromkeys(("photo_sha256", "identity_sha256"), either(NOTHING, Hash()))),
        most=MOST_PEOPLE,
    ),
)
MODEL = Row(needed={"name": Text()}, may={"sha256": either(NOTHING, Hash()), "identity_space": either(NOTHING, Text())})
RECIPE = Row(
    needed={
        "model": MODEL,
        "settings": Row(needed={}, may=SETTINGS),
        "seed": Whole(low=0, high=2**63 - 1),
        "noise": Choice(of=("seed", "given")),
        "task": Choice(of=("generate", "edit")),
    },
    may={
        "format": Text(most=64),
        "edit": EDITED,
        "inputs": INPUTS,
        "input": either(NOTHING, Row(needed={"sha256": either(NOTHING, Hash()), "box": BOX}, may={})),
        "identity": either(NOTHING, IDENTITY),
        "others": Each(kind=IDENTITY, most=MOST_PEOPLE - 1),
        "dtype": Choice(of=DTYPES),
        "left_out": Each(kind=Text(most=64), most=16),
    },
    open=True,  # of what else it says, nothing is asked of a pipeline
)

_MARKS = ("watermark", "c2pa")  # as `provenance.marks` records them
MARKS = Row(
    needed={},
    may={
        **dict.fromkeys(_MARKS, Choice(of=(True, False))),
        "why": Names(kind=Text(most=200), most=len(_MARKS), names=_MARKS),
    },
)

# Circumstances, which nobody acts on: what is not as it should be is left out.
AROUND: dict[str, Kind] = {
    **dict.fromkeys(("sampler", "device", "software"), Text(most=64)),
    "versions": Names(kind=Text(most=64), most=16),
    "likeness": either(NOTHING, Number(low=-1, high=1)),
    "ai_generated": Choice(of=(True,)),
    "tries": Whole(low=1, high=10**6),
    "marks": MARKS,
    "verified": Row(
        needed={},
        may={
            "min_likeness": Number(low=-1, high=1),
            "tries": Whole(low=1, high=10**6),
            "judge": Text(),
            "passed": Choice(of=(True, False)),
        },
    ),
}
# Of an earlier edit, what another recipe may go on telling: nobody's identity, and nothing long enough to be one.
HISTORY: dict[str, Kind] = {
    **{name: RECIPE.needed[name] for name in ("seed", "noise", "task")},
    **{name: RECIPE.may[name] for name in ("format", "edit", "inputs", "dtype")},
    **AROUND,
    "model": MODEL,
}
HISTORY_SETTINGS = _Settings(history=True)
