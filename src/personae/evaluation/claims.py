"""What words can ask of a face, and whether it is there: read by networks that have no part in making the images.

    seen = Eyes(motion=teachers.motion, ages=Ages.fit(Known.read("cache/faces")), judge=judge, find=find).look(images)
    CLAIMS["smiling"].holds(seen)               # (N,) bool

A claim is one of two that exclude each other (smiling, serious). It *holds* if what is read lies on its side of the
middle between the two thresholds from which training's captions speak of it; *clearly* from its own threshold on. Of
colourfulness, whose authors had people name it, "slightly" is 15 and "not" 0: less than slightly holds, less than half
of it clearly. An image in which no face is found bears out nothing that a face does.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personae.data import shards
from personae.data.teachers import framed
from personae.evaluation.blendshapes import amount
from personae.evaluation.judge import Finder, Judge
from personae.evaluation.subjects import Subject
from personae.types import Array, Motion

Seen = Mapping[str, Array]  # of N images, by what is read, (N,); NaN where no face is found

_CHILD, _OLD = ("0-2", "3-9"), ("60-69", "more than 70")
_RIDGE = 30.0  # on vectors whose numbers are about 1


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`words` about a `{noun}` or a `{child}`; `read`: the reading that bears it out, if it lies `above` the limit, or
    else below; `half` way to the opposite claim, and `clear`, where captions begin to say so (`training.captions`)."""

    words: str
    read: str
    above: bool
    half: float
    clear: float

    def holds(self, seen: Seen, *, clearly: bool = False) -> Array:
        """(N,) bool."""
        value, limit = seen[self.read], self.clear if clearly else self.half
        found: Array = value > limit if self.above else value < limit
        return found

    def beats(self, seen: Seen, opposite: Seen) -> Array:
        """(N,) bool: whether the reading goes further its way than that of the images that were asked the opposite."""
        apart = seen[self.read] - opposite[self.read]
        found: Array = apart > 0 if self.above else apart < 0
        return found

    def prompt(self, subject: Subject) -> str:
        """What is asked of one person's picture, with words for who they are as annotated."""
        man = subject.person.groups.get("gender") == "Male"
        return self.words.format(noun="man" if man else "woman", child="boy" if man else "girl")


def _claims() -> dict[str, Claim]:
    smile, jaw, yaw, grey = (0.275, 0.5, 0.05), (0.16, 0.3, 0.02), (12.0, 18.0), (15.0, 7.5)
    said = "photo of a {noun}, "
    return {
        "smiling": Claim(words=f"{said}smiling", read="smile", above=True, half=smile[0], clear=smile[1]),
        "serious": Claim(words=f"{said}serious", read="smile", above=False, half=smile[0], clear=smile[2]),
        "mouth open": Claim(words=f"{said}mouth open", read="jaw", above=True, half=jaw[0], clear=jaw[1]),
        "mouth closed": Claim(words=f"{said}mouth closed", read="jaw", above=False, half=jaw[0], clear=jaw[2]),
        "looking left": Claim(words=f"{said}looking left", read="yaw", above=True, half=yaw[0], clear=yaw[1]),
        "looking right": Claim(words=f"{said}looking right", read="yaw", above=False, half=-yaw[0], clear=-yaw[1]),
        "child": Claim(words="photo of a young {child}", read="child", above=True, half=0, clear=2),
        "old": Claim(words="photo of an old {noun}", read="child", above=False, half=0, clear=-2),
        "black and white": Claim(
            words=f"{said}black and white", read="colour", above=False, half=grey[0], clear=grey[1]
        ),
        "in colour": Claim(words="photo of a {noun}", read="colour", above=True, half=grey[0], clear=grey[0]),
    }


CLAIMS = _claims()
# What excludes each other.
PAIRS = (
    ("smiling", "serious"),
    ("mouth open", "mouth closed"),
    ("looking left", "looking right"),
    ("child", "old"),
    ("black and white", "in colour"),
)
# The attributes of the bar. What nearly every image shows unasked (a closed mouth, colours) proves nothing.
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
    `held_out` (M,) bool: kept out of all training."""

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
    """Child or old, out of a recogniser's vector: logistic regression on the annotated ages of training people.
    `right`: (children, old people) among those held out that it tells, as shares; `count`: of these."""

    weights: Array  # (D + 1,)
    right: tuple[float, float]
    count: int

    @classmethod
    def fit(cls, known: Known) -> "Ages":
        """Both groups weigh the same."""
        child, old = (np.array([age in group for age in known.age]) for group in (_CHILD, _OLD))
        fit, test = (child | old) & ~known.held_out, (child | old) & known.held_out
        weights = _logistic(_features(known.vectors[fit]), child[fit])
        told = _features(known.vectors) @ weights > 0
        right = float(told[child & test].mean()), float(1 - told[old & test].mean())
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
class Eyes:
    """All that looks at an image: `motion` reads a face off (H, W, 3) RGB uint8, None: there is none; `ages` reads the
    vectors of a `judge`, who looks where `find` sees a face."""

    motion: Callable[[Array], Motion | None]
    ages: Ages
    judge: Judge
    find: Finder

    def look(self, images: Sequence[Array]) -> Seen:
        """Images (H, W, 3) RGB uint8, square. smile, jaw: blendshapes; yaw: degrees; child: log odds; colour:
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
    """Of (H, W, 3) RGB uint8, as Hasler and Süsstrunk (2003) measure it: 0 not, 15 slightly, 33 moderately colourful.
    A tint of the whole counts for less than colours that differ."""
    red, green, blue = image.reshape(-1, 3).astype(np.float64).T
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    return float(np.hypot(*opponents.std(1)) + 0.3 * np.hypot(*opponents.mean(1)))
