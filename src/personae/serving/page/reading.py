"""Photos become people: through the engine, which alone reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personae import identity
from personae.errors import NoFaceFound
from personae.gather import SUFFIX
from personae.serving.engine.requests import Mean, Read
from personae.serving.page.texts import Words
from personae.serving.page.work import Desk
from personae.types import Face, Identity


def faces_of(desk: Desk, photo: Path, session: str, model: str, *, motion: bool = True) -> list[Face]:
    """All faces of a photo, largest first, as a model reads them. Raises `NoFaceFound`, `BadImage`."""
    faces: list[Face] = desk.ask(Read(photo=photo, motion=motion, model=model), session)
    if not faces:
        raise NoFaceFound(f"no face was found in {photo.name}: give a photo that shows one clearly")
    return faces


def person_of(desk: Desk, photos: Sequence[Path], session: str, words: Words, model: str) -> Face | Identity:
    """One person: the largest face of a photo, what an `.identity` file holds, or the mean of several photos."""
    if not photos:
        raise words.mistake("photo_missing")
    people = [one_of(desk, photo, session, model) for photo in photos]
    if len(people) == 1:
        return people[0]
    mean: Identity = desk.ask(Mean(people=people, model=model), session)
    return mean


def one_of(desk: Desk, source: Path, session: str, model: str) -> Face | Identity:
    """Who is in a file: the largest face of a photo, or what an `.identity` file holds. Raises as `faces_of`, and
    `BadIdentity`."""
    return identity.load(source) if source.suffix == SUFFIX else faces_of(desk, source, session, model)[0]
