"""What a recipe may say: a table of types and ranges, a row for every key and every setting.

    require(RECIPE, recipe, "the recipe")       # BadRecipe names the first key that is not as its row says

A recipe is a stranger's text, so nothing that is not in the tables is asked of a pipeline, and no row is a path: files
are known by hash (`FILE`) and come from the caller. Ranges are what the pipeline takes at most; it checks them again
where they depend on the model.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from personae.errors import BadRecipe
from personae.types import BLENDSHAPES

ANGLES = ("yaw", "pitch", "roll")
DTYPES = ("float32", "bfloat16", "float16")
MOST_PEOPLE = 16
MOST_FACES = 256
_HASH = re.compile(r"[0-9a-f]{64}")


class Kind(Protocol):
    """What a value may be: `says` it in words."""

    @property
    def says(self) -> str:
        """As in "must be ..."."""

    def fits(self, value: Any) -> bool:
        """Whether a JSON value is one."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A string of at most `most` letters that can be written down."""

    most: int = 255

    @property
    def says(self) -> str:
        return f"text of at most {self.most} letters"

    def fits(self, value: Any) -> bool:
        right = isinstance(value, str) and len(value) <= self.most
        return right and not any("\ud800" <= letter <= "\udfff" for letter in value)  # halves, which no encoder takes


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole number."""

    low: int
    high: int

    @property
    def says(self) -> str:
        return f"a whole number between {self.low} and {self.high}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number."""

    low: float
    high: float

    @property
    def says(self) -> str:
        return f"a number between {self.low:g} and {self.high:g}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values."""

    of: tuple[Any, ...]

    @property
    def says(self) -> str:
        return " or ".join("nothing" if one is None else repr(one) for one in self.of)

    def fits(self, value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in self.of)


@dataclass(frozen=True, kw_only=True)
class Hash:
    """A sha256 in hex."""

    @property
    def says(self) -> str:
        return "a sha256 in hex"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and _HASH.fullmatch(value) is not None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two shares of the steps, the first smaller."""

    @property
    def says(self) -> str:
        return "two shares of the steps, 0 <= first < last <= 1"

    def fits(self, value: Any) -> bool:
        share = Number(low=0, high=1)
        return isinstance(value, list) and len(value) == 2 and all(map(share.fits, value)) and value[0] < value[1]


@dataclass(frozen=True, kw_only=True)
class Each:
    """A list of one kind."""

    kind: Kind
    least: int = 0
    most: int

    @property
    def says(self) -> str:
        count = str(self.most) if self.least == self.most else f"{self.least} to {self.most}"
        return f"a list of {count}, each {self.kind.says}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, list) and self.least <= len(value) <= self.most and all(map(self.kind.fits, value))


@dataclass(frozen=True, kw_only=True)
class Names:
    """An object whose values are of one kind; its keys are `names`, or any short text."""

    kind: Kind
    most: int
    names: tuple[str, ...] | None = None

    @property
    def says(self) -> str:
        return f"at most {self.most} by name, each {self.kind.says}"

    def fits(self, value: Any) -> bool:
        key = Text(most=64) if self.names is None else Choice(of=self.names)
        right = isinstance(value, dict) and len(value) <= self.most
        return right and all(key.fits(name) and self.kind.fits(one) for name, one in value.items())


@dataclass(frozen=True, kw_only=True)
class Row:
    """An object with `needed` keys and those of `may`, and no others unless `open`."""

    needed: Mapping[str, Kind]
    may: Mapping[str, Kind]
    open: bool = False

    @property
    def says(self) -> str:
        return f"an object with {', '.join(self.needed) or 'some'} of {', '.join({**self.needed, **self.may})}"

    def fits(self, value: Any) -> bool:
        try:
            require(self, value, "it")
        except BadRecipe:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows of 0 and 1: the cells of a mask."""

    most: int = 512

    @property
    def says(self) -> str:
        return f"at most {self.most} rows of 0 and 1, of one length"

    def fits(self, value: Any) -> bool:
        rows = isinstance(value, list) and 0 < len(value) <= self.most and all(isinstance(row, list) for row in value)
        if not rows or not 0 < len(value[0]) <= self.most:
            return False
        return all(len(row) == len(value[0]) and all(type(c) is int and c in (0, 1) for c in row) for row in value)


@dataclass(frozen=True)
class Either:
    """One of several kinds."""

    kinds: tuple[Kind, ...]

    @property
    def says(self) -> str:
        return "; or ".join(kind.says for kind in self.kinds)

    def fits(self, value: Any) -> bool:
        return any(kind.fits(value) for kind in self.kinds)


def either(*kinds: Kind) -> Either:
    """One of several kinds."""
    return Either(kinds)


def require(row: Row, value: Any, where: str) -> None:
    """Raise `BadRecipe`, naming the key, unless an object is as its row says."""
    if not isinstance(value, dict):
        raise BadRecipe(f"{where} must be an object, got {excerpt(value)}")
    for name in row.needed:
        if name not in value:
            raise BadRecipe(f"{where} lacks {name}")
    known = {**row.needed, **row.may}
    for name, one in value.items():
        if name not in known:
            if row.open:
                continue
            raise BadRecipe(f"{where} has {excerpt(name)}, which this version of personae does not know")
        kind = known[name]
        if isinstance(kind, Row):
            require(kind, one, f"{name} of {where}")
        elif not kind.fits(one):
            raise BadRecipe(f"{name} of {where} must be {kind.says}, got {excerpt(one)}")


def excerpt(value: Any) -> str:
    """A value in an error, however long it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a number of more than 18 digits"
    return repr(value[:60] if isinstance(value, str) else value)


# ---------------------------------------------------------------------- the tables

NOTHING = Choice(of=(None,))
SHARE = Number(low=0, high=1)
WEIGHT = Number(low=-100, high=100)
STRENGTH = Number(low=0, high=1000)
BOX = Each(kind=Number(low=-1e6, high=1e6), least=4, most=4)
# A file that took part: its content, and what it was called. The content of one without a hash is for the caller to
# know (recipes before version 2).
FILE = Row(needed={}, may={"sha256": Hash(), "name": Text()})
IDENTITY = Row(needed={"space": Text(), "vector": Text(most=2**14)}, may={})
ANGLE = Number(low=-90, high=90)
HELD = either(
    Each(kind=ANGLE, least=3, most=3),
    Names(kind=ANGLE, most=len(ANGLES) + len(BLENDSHAPES), names=(*ANGLES, *BLENDSHAPES)),
)
AMOUNTS = Names(kind=SHARE, most=len(BLENDSHAPES), names=BLENDSHAPES)
NUMBERS = Each(kind=Number(low=-100, high=100), least=1, most=64)

# Of the pipeline's call.
SETTINGS: dict[str, Kind] = {
    "prompt": either(NOTHING, Text(most=4000)),
    "negative_prompt": Text(most=4000),
    "num_inference_steps": Whole(low=1, high=1000),
    "guidance_scale": Number(low=-1000, high=1000),
    "scheduler": either(NOTHING, Text(most=64)),
    "height": Whole(low=1, high=2**14),
    "width": Whole(low=1, high=2**14),
    "fast": Whole(low=2, high=8),
    "pose": either(HELD, Each(kind=HELD, least=1, most=MOST_PEOPLE), FILE),
    "pose_map": FILE,
    "pose_scale": Number(low=0, high=2),
    "expression": either(AMOUNTS, NUMBERS, Each(kind=either(AMOUNTS, NUMBERS), least=1, most=MOST_PEOPLE), FILE),
    "expression_scale": SHARE,
    "image": FILE,
    "mask_image": Grid(),
    "strength": SHARE,
    "lora": FILE,
    "lora_scale": Number(low=0, high=2),
    "reference": FILE,
    "reference_scale": SHARE,
    "speed": Text(most=64),
    "guidance_interval": Interval(),
    "cache_interval": Whole(low=1, high=1000),
    "decoder": Choice(of=("full", "tiny")),
    "likeness_guidance": STRENGTH,
    "likeness_interval": Interval(),
    "motion_guidance": STRENGTH,
    "motion_interval": Interval(),
    "text_weight": WEIGHT,
    "face_weight": WEIGHT,
    "both_weight": WEIGHT,
    "text_interval": Interval(),
    "face_interval": Interval(),
    "both_interval": Interval(),
    "look": Text(most=64),
    "regions": Each(kind=either(Each(kind=SHARE, least=4, most=4), Grid()), least=1, most=MOST_PEOPLE),
}

# Those that may be files.
FILES = ("expression", "image", "lora", "pose", "pose_map", "reference")

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

# Circumstances, which nobody acts on: what is not as it should be is left out.
AROUND: dict[str, Kind] = {
    **dict.fromkeys(("sampler", "device", "software"), Text(most=64)),
    "versions": Names(kind=Text(most=64), most=16),
    "likeness": either(NOTHING, Number(low=-1, high=1)),
    "ai_generated": Choice(of=(True,)),
    "tries": Whole(low=1, high=10**6),
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
HISTORY_SETTINGS = {name: kind for name, kind in SETTINGS.items() if name not in ("mask_image", "regions")}
