"""Images that are proven to show the person: read back, made anew from other seeds where they do not, ranked.

    found = generate_verified(pipe, face, min_likeness=0.4, tries=4, num_images_per_prompt=8, seed=0)
    found.passed.images, found.passed.likeness   # each person's best first; all of at least 0.4
    found.short                                  # of each image that never passed, the best of its four attempts
    found.shortfall                              # ... in one line, or None

Every image is what a plain call gives for its seed. The first seed decides all the others: of N images, number i tries
the seeds that the plain call gives it, then i + N, i + 2 N further on, whatever the others do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from personae.controls.image_settings import options_of_some, settings_of_some
from personae.errors import BadOption, WeightsMissing
from personae.types import Face, Generation, Identity

if TYPE_CHECKING:
    from PIL.Image import Image

    from personae.identity.resolve import People
    from personae.pipeline import FacePipeline
    from personae.reading.reader import FaceReader

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
        request, missing = self.short.recipe["verified"], len(self.short.images)
        measured = [one for one in self.short.likeness or [] if not math.isnan(one)]
        best = f"the best of them reached {max(measured):.2f}" if measured else "no face was found in any of them"
        return (
            f"{missing} of {missing + len(self.passed.images)} images fell short of likeness "
            f"{request['min_likeness']:.2f} in {request['tries']} tries: {best}"
        )


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """One of the images asked for: the best that was made in its place, and how many were. number: of the place, which
    decides what has one for each image."""

    person: int
    number: int
    image: Any
    seed: int
    likeness: float
    tries: int = 1

    @property
    def rank(self) -> float:
        return -math.inf if math.isnan(self.likeness) else self.likeness

    def after(self, another: "_Slot") -> "_Slot":
        better = max(self, another, key=lambda one: one.rank)
        return replace(better, person=self.person, number=self.number, tries=self.tries + 1)


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

    min_likeness: a cosine, -1 to 1. judge: who measures it; None: the model's reader, which also conditions the images
    and so is easier on them than a stranger, the more so with `likeness_guidance`. options: of `FacePipeline.__call__`;
    what has one for each person or image stays with that person or image in all tries. With `regions`, an image is as
    alike as the person in it who is met the least. A stop by `pipe.interrupt` ends the tries, too.
    Raises `BadOption`; `WeightsMissing` without reader and judge; whatever the pipeline raises.
    """
    together = options.get("regions") is not None
    _check_request(min_likeness, tries, options)
    if judge is not None and together:
        raise BadOption("a judge looks at one face of a picture: leave judge or regions out")
    name = judge.name if judge is not None else _reader(pipe).space
    people = _people(pipe, faces)

    def make(some: Sequence[Face | Identity], **more: Any) -> tuple[Generation, list[_Slot]]:
        result = pipe(some, measure_likeness=judge is None, **more)
        likeness: Sequence[float] | None = result.likeness
        if judge is not None:
            likeness = judge.likeness(result.images, [some[person] for person in result.people])
        assert likeness is not None
        parts = enumerate(zip(result.people, result.images, result.seeds, likeness, strict=True))
        return result, [
            _Slot(person=p, number=i, image=image, seed=s, likeness=float(found)) for i, (p, image, s, found) in parts
        ]

    first, slots = make(people, seed=seed, num_images_per_prompt=num_images_per_prompt, **options)
    unused = max(first.seeds) + 1
    for turn in range(tries - 1):
        failing = [i for i, slot in enumerate(slots) if slot.rank < min_likeness]
        if not failing or pipe.interrupt:
            break
        seeds = [unused + turn * len(slots) + i for i in failing]
        if together:
            _, again = make(people, seed=seeds, num_images_per_prompt=len(failing), **options)
        else:
            places = [(slots[i].person, i) for i in failing]
            own = options_of_some(options, places, len(slots))
            _, again = make([people[person] for person, _ in places], seed=seeds, **own)
        for i, another in zip(failing, again, strict=True):
            slots[i] = slots[i].after(another)

    slots.sort(key=lambda slot: (slot.person, -slot.rank))
    verdict = {"min_likeness": min_likeness, "tries": tries, "judge": name}
    passed, short = (
        _generation_of(
            first, [slot for slot in slots if (slot.rank >= min_likeness) == good], verdict | {"passed": good}
        )
        for good in (True, False)
    )
    return Verified(passed=passed, short=short)


def _generation_of(first: Generation, slots: Sequence[_Slot], verified: dict[str, Any]) -> Generation:
    places = [(slot.person, slot.number) for slot in slots]
    settings = settings_of_some(first.recipe["settings"], places, len(first.images))
    return replace(
        first,
        images=[slot.image for slot in slots],
        seeds=[slot.seed for slot in slots],
        people=[slot.person for slot in slots],
        likeness=[slot.likeness for slot in slots],
        tries=[slot.tries for slot in slots],
        recipe=first.recipe | {"settings": settings, "verified": verified},
    )


def _reader(pipe: "FacePipeline") -> "FaceReader":
    if pipe.reader is None:
        raise WeightsMissing("this model has no reader to verify its images: load it with reader=..., or give a judge")
    return pipe.reader


def _check_request(min_likeness: Any, tries: Any, options: dict[str, Any]) -> None:
    right = isinstance(min_likeness, int | float) and not isinstance(min_likeness, bool)
    if not right or not -1 <= min_likeness <= 1:
        raise BadOption(f"min_likeness is a cosine, -1 to 1, got {min_likeness!r}")
    if not isinstance(tries, int) or isinstance(tries, bool) or tries < 1:
        raise BadOption(f"tries is a whole number of at least 1, got {tries!r}")
    if own := sorted(options.keys() & set(_OWN)):
        raise BadOption(f"verified images are made from seeds, read back and kept as PIL: leave {', '.join(own)} out")
    if isinstance(options.get("assembly"), list | tuple):
        raise BadOption("verified images take one assembly for all people: call once for each person")


def _people(pipe: "FacePipeline", faces: "People") -> list[Face | Identity]:
    """One by one, so that each can be asked for again. Raises as `FacePipeline.identities`."""
    identities = pipe.identities(faces)
    listed: Any = [faces] if isinstance(faces, Face | Identity) else faces
    return list(listed) if all(isinstance(one, Face | Identity) for one in listed) else list(identities)
