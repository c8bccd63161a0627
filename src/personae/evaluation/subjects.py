"""subjects -> images: read held-out people with a model's reader, and generate each of them.

Legend: P people, M images of each, S side of an image in pixels.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.progress import track

from personae.errors import BadData
from personae.evaluation.people import Person
from personae.pipeline import FacePipeline
from personae.reading import align
from personae.types import Array, Face


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A person and the main face of their photo, as the model's own reader sees it."""

    person: Person
    face: Face


def pick(everyone: Sequence[Person], count: int, seed: int) -> list[Person]:
    """`count` of some people, drawn with `seed`, in their own order. Raises `BadData` if there are fewer."""
    if not 1 <= count <= len(everyone):
        raise BadData(f"{len(everyone)} held-out people are there, {count} were asked for")
    drawn = np.random.default_rng(seed).choice(len(everyone), count, replace=False)
    return [everyone[i] for i in sorted(drawn)]


def read(pipe: FacePipeline, people: Sequence[Person], *, motion: bool = True, progress: bool = True) -> list[Subject]:
    """Those in whose photo the model's reader finds a face; whoever is missing, the caller must report."""
    subjects = []
    for person in track(people, "reading photos", disable=not progress, transient=True):
        if faces := pipe.read(person.photo, motion=motion):
            subjects.append(Subject(person=person, face=faces[0]))
    return subjects


def generate(
    pipe: FacePipeline,
    subjects: Sequence[Subject],
    images_per_person: int,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    batch_people: int = 8,
    progress: bool = True,
) -> tuple[Array, Array]:
    """Images (P, M, S, S, 3) RGB uint8, and the seconds per image of each call (C,).

    Image m of person p has seed `seed` + p M + m, whatever the batch. options: of every call of the pipeline.
    """
    pipe.set_progress_bar_config(disable=True)  # one bar over all calls says more than one per call
    images, seconds = list[Array](), list[float]()
    try:
        starts = range(0, len(subjects), batch_people)
        for start in track(starts, "generating people", disable=not progress, transient=True):
            began = time.perf_counter()
            generation = pipe(
                [one.face for one in subjects[start : start + batch_people]],
                num_images_per_prompt=images_per_person,
                seed=seed + start * images_per_person,
                measure_likeness=False,
                **(options or {}),
            )
            seconds.append((time.perf_counter() - began) / len(generation.images))
            images += [np.asarray(image.convert("RGB")) for image in generation.images]
    finally:
        pipe.set_progress_bar_config(disable=None)
    return np.stack(images).reshape(len(subjects), images_per_person, *images[0].shape), np.array(seconds)


def crops(subjects: Sequence[Subject], template: str, size: int) -> Array:
    """(P, size, size, 3) RGB uint8: the photos, cut as the model cuts."""
    matrices = [align.similarity(one.face.detection.points, template, size) for one in subjects]
    return np.stack([align.crop(one.person.photo.pixels, m, size) for one, m in zip(subjects, matrices, strict=True)])
