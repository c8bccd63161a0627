"""Attributes that a prompt can request of a face, and whether an image shows them.

    examiner = Examiner(motion=teachers.motion, ages=Ages.fit(Known.read("cache/faces")), judge=judge, find=find)
    CLAIMS["smiling"].holds(examiner.read(images))               # (N,) bool

Images are read by networks that took no part in generating them. A claim is one of two that exclude each other
(smiling, serious). It *holds* if the reading lies on its side of the middle between the two thresholds at which the
captions of training use these words, and *clearly* if it lies beyond its own threshold. Colourfulness is named by its
authors' subjects: 15 is "slightly", 0 "not"; below 15 black and white holds, below 7.5 clearly. No claim about a face
holds for an image in which no face is found.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personae.data import shards
from personae.data.teachers import framed
from personae.evaluation.expression_amount import amount
from personae.evaluation.judge import Finder, Judge
from personae.evaluation.subjects import Subject
from personae.shapes import Float
from personae.types import Array, Motion

Readings = Mapping[str, Array]  # of N images: (N,) for each kind of reading; NaN where no face is found

_CHILD, _OLD = ("0-2", "3-9"), ("60-69", "more than 70")
_RIDGE = 30.0  # on vectors whose numbers are about 1


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`words`: a prompt about a `{noun}` or a `{child}`. `read`: the kind of reading that decides, `above` the limit or
    else below it. `half`: the limit half way to the opposite claim; `clear`: the one at which captions use the words
    (`training.captions`)."""

    words: str
    read: str
    above: bool
    half: float
    clear: float

    def holds(self, readings: Readings, *, clearly: bool = False) -> Array:
        """(N,) bool."""
        value, limit = readings[self.read], self.clear if clearly else self.half
        found: Array = value > limit if self.above else value < limit
        return found

    def beats(self, readings: Readings, opposite: Readings) -> Array:
        """(N,) bool: whether the reading lies further in its direction than that of the image with the opposite
        prompt."""
        apart = readings[self.read] - opposite[self.read]
        found: Array = apart > 0 if self.above else apart < 0
        return found

    def prompt(self, subject: Subject) -> str:
        """The prompt for one person, with the noun for their gender as annotated."""
        man = subject.person.groups.get("gender") == "Male"
        return self.words.format(noun="man" if man else "woman", child="boy" if man else "girl")


def _claims() -> dict[str, Claim]:
    smile, jaw, yaw, grey = (0.275, 0.5, 0.05), (0.16, 0.3, 0.02), (12.0, 18.0), (15.0, 7.5)
    start = "photo of a {noun}, "
    return {
        "smiling": Claim(words=f"{start}smiling", read="smile", above=True, half=smile[0], clear=smile[1]),
        "serious": Claim(words=f"{start}serious", read="smile", above=False, half=smile[0], clear=smile[2]),
        "mouth open": Claim(words=f"{start}mouth open", read="jaw", above=True, half=jaw[0], clear=jaw[1]),
        "mouth closed": Claim(words=f"{start}mouth closed", read="jaw", above=False, half=jaw[0], clear=jaw[2]),
        "looking left": Claim(words=f"{start}looking left", read="yaw", above=True, half=yaw[0], clear=yaw[1]),
        "looking right": Claim(words=f"{start}looking right", read="yaw", above=False, half=-yaw[0], clear=-yaw[1]),
        "child": Claim(words="photo of a young {child}", read="child", above=True, half=0, clear=2),
        "old": Claim(words="photo of an old {noun}", read="child", above=False, half=0, clear=-2),
        "black and white": Claim(
            words=f"{start}black and white", read="colour", above=False, half=grey[0], clear=grey[1]
        ),
        "in colour": Claim(words="photo of a {noun}", read="colour", above=True, half=grey[0], clear=grey[0]),
    }


CLAIMS = _claims()
# Claims that exclude each other.
PAIRS = (
    ("smiling", "serious"),
    ("mouth open", "mouth closed"),
    ("looking left", "looking right"),
    ("child", "old"),
    ("black and white", "in colour"),
)
# The attributes that have a bar. What nearly every image shows without a request (a closed mouth, colours) is left out.
ATTRIBUTES = {
    "smile": ("smiling", "serious"),
    "mouth": ("mouth open",),
    "gaze": ("looking left", "looking right"),
    "age": ("child", "old"),
    "monochrome": ("black and white",),
}


@dataclass(frozen=True, kw_only=True)
class Known:
    """Everybody in a cache (`personae prepare`): `vectors` (M, D) by the labelling recogniser, `age` as annotated,
    `held_out` (M,) bool: in no training data."""

    vectors: Array
    age: list[str]
    held_out: Array

    @classmethod
    def read(cls, cache: str | Path) -> "Known":
        records = [record for tar in sorted(Path(cache).glob("*.tar")) for record in shards.read(tar)]
        return cls(
            vectors=np.stack([shards.unpack_arrays(parts["labels.npz"])["identity"][0] for _, parts in records]),
            age=[json.loads(parts["json"])["age"] for _, parts in records],
            held_out=np.array([shards.held_out(key) for key, _ in records]),
        )


@dataclass(frozen=True, kw_only=True)
class Ages:
    """Child or old by a recogniser's vector: logistic regression on the annotated ages of training people. `right`: the
    shares of held-out children and of held-out old people that are classified correctly; `count`: how many there
    are."""

    weights: Float[Array, " d"]  # (D + 1,)
    right: tuple[float, float]
    count: int

    @classmethod
    def fit(cls, known: Known) -> "Ages":
        """Fit on everybody who is not held out; both groups weigh the same."""
        child, old = (np.array([age in group for age in known.age]) for group in (_CHILD, _OLD))
        fit, test = (child | old) & ~known.held_out, (child | old) & known.held_out
        weights = _logistic(_features(known.vectors[fit]), child[fit])
        young = _features(known.vectors) @ weights > 0
        right = float(young[child & test].mean()), float(1 - young[old & test].mean())
        return cls(weights=weights, right=right, count=int(test.sum()))

    def __call__(self, vectors: Array) -> Array:
        """(N,) log odds of a child, of unit vectors (N, D)."""
        found: Array = _features(vectors) @ self.weights
        return found


def _features(vectors: Array) -> Array:
    """(N, D + 1): numbers of about 1, and a constant."""
    x = vectors.astype(np.float64) * vectors.shape[1] ** 0.5
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _logistic(x: Array, y: Array, *, rounds: int = 20) -> Array:
    """Ridge logistic regression by Newton's method: (D,) for x (N, D), y (N,) bool."""
    share = np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    ridge = np.diag([_RIDGE] * (x.shape[1] - 1) + [1e-6])
    weights = np.zeros(x.shape[1])
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (share * (p - y)) + ridge @ weights
        weights -= np.linalg.solve((x * (share * p * (1 - p))[:, None]).T @ x + ridge, gradient)
    return weights


@dataclass(frozen=True, kw_only=True)
class Examiner:
    """The networks that read an image: `motion` measures a face in (H, W, 3) RGB uint8, None if there is none; `judge`
    embeds the face that `find` finds, and `ages` reads those vectors."""

    motion: Callable[[Array], Motion | None]
    ages: Ages
    judge: Judge
    find: Finder

    def read(self, images: Sequence[Array]) -> Readings:
        """Of square images (H, W, 3) RGB uint8. smile, jaw: blendshapes; yaw: degrees; child: log odds; colour:
        `colourfulness`; vectors (N, D): the judge's."""
        motions = [self.motion(framed(image)) for image in images]
        shapes = np.stack([np.full(52, np.nan) if one is None else one.blendshapes for one in motions])
        vectors = self.judge.look(images, self.find)
        return {
            "smile": amount(shapes, "mouthSmile"),
            "jaw": amount(shapes, "jawOpen"),
            "yaw": np.array([_yaw(one) for one in motions]),
            "child": self.ages(vectors),
            "colour": np.array([colourfulness(image) for image in images]),
            "vectors": vectors,
        }


def _yaw(motion: Motion | None) -> float:
    return float("nan") if motion is None else motion.pose.yaw


def colourfulness(image: Array) -> float:
    """Of (H, W, 3) RGB uint8 by Hasler and Süsstrunk (2003): 0 not, 15 slightly, 33 moderately colourful. One tint over
    the whole image counts for less than colours that differ."""
    red, green, blue = image.reshape(-1, 3).astype(np.float64).T
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    return float(np.hypot(*opponents.std(1)) + 0.3 * np.hypot(*opponents.mean(1)))
