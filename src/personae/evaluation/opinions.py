"""What judges say of whom images show, whatever they measure: a cosine or a distance.

    opinion = by_dlib(DlibJudge.fetch())
    compared(opinion, images, photos, opinion.limit)     # {"alike": .., "rank1": .., "within": ..}

Legend: P people, M images of each, D width of a judge's vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from personae.evaluation import estimate
from personae.evaluation.dlib_judge import SAME_PERSON, DlibJudge, distances
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge
from personae.shapes import Bool, Float, Float32
from personae.types import Array

Figures = dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """A judge and how its vectors are compared.

    look: the vectors of images (N, D), NaN where there is no face. scores: (N, D) and (M, D) -> (N, M), more is more
    alike. sign: of a score as it is written (-1: scores are negative distances). limit: the score of one person; None:
    what one pair in a thousand of strangers' real photos reaches.
    """

    name: str
    look: Callable[[Sequence[Array], Finder], Array]
    scores: Callable[[Array, Array], Array]
    sign: int
    limit: float | None


def by_dlib(judge: DlibJudge) -> Opinion:
    """By distance, one person below 0.6."""
    return Opinion(
        name=f"{judge.name}, distance",
        look=judge.look,
        scores=lambda one, other: -distances(one, other),
        sign=-1,
        limit=-SAME_PERSON,
    )


def by_cosine(judge: Judge) -> Opinion:
    """Of unit vectors."""
    taught = ", taught" if judge.caveat else ""
    return Opinion(
        name=f"{judge.spec.name}, cosine{taught}", look=judge.look, scores=lambda a, b: a @ b.T, sign=1, limit=None
    )


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Images against everybody's photos, person by person: `alike` (P,), the mean score of those in which a face was
    found, NaN if there is none; `rank1` (P,), the share that is most like its own person's photo; `within` (P,), the
    share beyond a limit. An image without a face is neither; a photo without one is like nobody."""

    alike: Float[Array, " P"]
    rank1: Float[Array, " P"]
    within: Float[Array, " P"]

    @classmethod
    def of(
        cls, opinion: Opinion, images: Float32[Array, "P M D"], photos: Float32[Array, "P D"], limit: float
    ) -> "Compared":
        """limit: the least score within it."""
        count, each = images.shape[:2]
        scores = opinion.scores(images.reshape(count * each, -1), photos).reshape(count, each, count)
        own = scores[np.arange(count), :, np.arange(count)]
        found = np.isfinite(own)
        others = np.where(np.eye(count, dtype=bool)[:, None], -np.inf, scores)
        means = np.array([row[ok].mean() if ok.any() else np.nan for row, ok in zip(own, found, strict=True)])
        with np.errstate(invalid="ignore"):  # a comparison with what was not found is False
            nearest, near = own > np.fmax.reduce(others, axis=2), own >= limit
        return cls(alike=opinion.sign * means, rank1=nearest.mean(1), within=near.mean(1))

    def figures(self, rows: Bool[Array, " P"] | None = None, seed: int = 0) -> Figures:
        """Means with intervals, over everybody or some `rows` (P,)."""
        who = np.ones(len(self.alike), bool) if rows is None else rows
        return {
            "alike": estimate.mean_of_finite(self.alike[who], seed),
            "rank1": estimate.mean(self.rank1[who], seed),
            "within": estimate.mean(self.within[who], seed),
        }


def compared(opinion: Opinion, images: Float32[Array, "P M D"], photos: Float32[Array, "P D"], limit: float) -> Figures:
    """`Compared` of everybody, as figures."""
    return Compared.of(opinion, images, photos, limit).figures()
