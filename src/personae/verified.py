"""Images that are proven to show the person: read back, made anew from other seeds where they do not, ranked.

    made = generate_verified(pipe, face, min_likeness=0.4, tries=4, num_images_per_prompt=8, seed=0)
    made.passed.images, made.passed.likeness     # each person's best first; all of at least 0.4
    made.short                                   # the best that four seeds gave in place of each of the others
    made.shortfall                               # ... in one line, or None

Every image is what a plain call gives for its seed. The first seed decides all the others: of N images, number i tries
the seeds that the plain call gives it, then i + N, i + 2 N further on, whatever the others do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from personae.errors import BadOption, WeightsMissing
from personae.types import Face, Generation, Identity

if TYPE_CHECKING:
    from PIL.Image import Image

    from personae.pipeline import FacePipeline, People

_OWN = ("generator", "latents", "measure_likeness", "output_type")


class LikenessJudge(Protocol):
    """A second opinion on who is in an image, such as `personae.evaluation.judge.SecondOpinion`."""

    @property
    def name(self) -> str:
        """What recipes call it."""

    def likeness(self, images: "Sequence[Image]", people: Sequence[Face | Identity]) -> Sequence[float]:
        """(N,) the cosine of each image to its person, NaN where no face is found."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """`passed`: images that are alike enough; `short`: the best attempt in place of each image that never was. Person
    after person, best first; either may be empty. `likeness` is what they were verified by, `tries` how many seeds were
    tried, and `recipe["verified"]` says what was asked, by whom it was judged and whether they passed."""

    passed: Generation
    short: Generation

    @property
    def shortfall(self) -> str | None:
        """What fell short, in one line; None if nothing did."""
        if not self.short.images:
            return None
        asked, missing = self.short.recipe["verified"], len(self.short.images)
        seen = [one for one in self.short.likeness or [] if not math.isnan(one)]
        best = f"the best of them reached {max(seen):.2f}" if seen else "no face was found in any of them"
        return (
            f"{missing} of {missing + len(self.passed.images)} images fell short of likeness "
            f"{asked['min_likeness']:.2f} in {asked['tries']} tries: {best}"
        )


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    image: Any
    seed: int
    likeness: float

    @property
    def rank(self) -> float:
        return -math.inf if math.isnan(self.likeness) else self.likeness


def generate_verified(
    pipe: "FacePipeline",
    faces: "People",
    *,
    min_likeness: float,
    tries: int = 4,
    judge: LikenessJudge | None = None,
    num_images_per_prompt: int = 1,
    seed: int | Sequence[int] | None = None,
    **options: Any,
) -> Verified:
    """`pipe(faces, ...)`, each image made anew from another seed, at most `tries` seeds in all, until its likeness is
    at least `min_likeness`.

    min_likeness: a cosine, -1 to 1. judge: who measures it; None: the model's reader, which also conditions the images and
    so is easier on them than a stranger, the more so with `likeness_guidance`. options: of `FacePipeline.__call__`.
    A stop by `pipe.interrupt` ends the tries, too.
    Raises `BadOption`; `WeightsMissing` without reader and judge; whatever the pipeline raises.
    """
    _check_asked(min_likeness, tries, options)
    if judge is None and pipe.reader is None:
        raise WeightsMissing("this model has no reader to verify its images: load it with reader=..., or give a judge")
    people = _people(pipe, faces)

    def make(some: Sequence[Face | Identity], **more: Any) -> tuple[Generation, list[_Attempt]]:
        made = pipe(some, measure_likeness=judge is None, **options, **more)
        asked = [some[person] for person in made.people]
        likeness = made.likeness if judge is None else judge.likeness(made.images, asked)
        assert likeness is not None
        parts = zip(made.images, made.seeds, likeness, strict=True)
        return made, [_Attempt(image=image, seed=s, likeness=float(found)) for image, s, found in parts]

    first, best = make(people, seed=seed, num_images_per_prompt=num_images_per_prompt)
    tried, count, unused = [1] * len(best), len(best), max(first.seeds) + 1
    for turn in range(tries - 1):
        failing = [i for i in range(count) if best[i].rank < min_likeness]
        if not failing or pipe.interrupt:
            break
        _, again = make([people[first.people[i]] for i in failing], seed=[unused + turn * count + i for i in failing])
        for i, attempt in zip(failing, again, strict=True):
            tried[i] += 1
            best[i] = max(best[i], attempt, key=lambda one: one.rank)

    ranked = sorted(range(count), key=lambda i: (first.people[i], -best[i].rank))
    asked = {"min_likeness": min_likeness, "tries": tries, "judge": judge.name if judge else pipe.reader.space}

    def those(passed: bool) -> Generation:
        rows = [i for i in ranked if (best[i].rank >= min_likeness) == passed]
        return replace(
            first,
            images=[best[i].image for i in rows],
            seeds=[best[i].seed for i in rows],
            people=[first.people[i] for i in rows],
            likeness=[best[i].likeness for i in rows],
            tries=[tried[i] for i in rows],
            recipe=first.recipe | {"verified": asked | {"passed": passed}},
        )

    return Verified(passed=those(True), short=those(False))


def _check_asked(min_likeness: Any, tries: Any, options: dict[str, Any]) -> None:
    right = isinstance(min_likeness, int | float) and not isinstance(min_likeness, bool)
    if not right or not -1 <= min_likeness <= 1:
        raise BadOption(f"min_likeness is a cosine, -1 to 1, got {min_likeness!r}")
    if not isinstance(tries, int) or isinstance(tries, bool) or tries < 1:
        raise BadOption(f"tries is a whole number of at least 1, got {tries!r}")
    if own := sorted(options.keys() & set(_OWN)):
        raise BadOption(f"verified images are made from seeds, read back and kept as PIL: leave {', '.join(own)} out")


def _people(pipe: "FacePipeline", faces: "People") -> list[Face | Identity]:
    """One by one, so that each can be asked for again. Raises as `FacePipeline.identities`."""
    identities = pipe.identities(faces)
    listed: Any = [faces] if isinstance(faces, Face | Identity) else faces
    return list(listed) if all(isinstance(one, Face | Identity) for one in listed) else list(identities)
