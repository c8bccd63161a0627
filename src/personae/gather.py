"""From what a user names to people: photos and `.identity` files become `Person`s; so do seeds.

people = gather(reader, ["me.jpg", "ann.identity"], on_no_face="skip", skipped=print)
pipe([person.subject for person in people])
nobody = strangers(catalog.resolve("nano"), 4, seed=0)      # identities of people who never were
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from personae import identity
from personae.errors import (
    BadIdentity,
    BadImage,
    BadOption,
    NoFaceFound,
    PersonaeError,
    SpaceMismatch,
    WeightsMissing,
)
from personae.identity import PEOPLE, Direction, directions
from personae.types import Face, Identity, Photo

SUFFIX = ".identity"
UNNAMED = "photo"  # how files are named after a photo that came without a name
Source = str | Path | Photo
OnNoFace = Literal["error", "skip"]
_OF_A_SOURCE = (BadIdentity, BadImage, NoFaceFound, SpaceMismatch)


class Reads(Protocol):
    """The part of a `FacePipeline` or a `FaceReader` that this needs."""

    def read(self, photo: Path | Photo, /) -> list[Face]:
        """The faces of a photo, largest first."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person to generate. `name`: the stem of the file; `subject`: the face as read, or the identity as stored."""

    name: str
    subject: Face | Identity

    @property
    def identity(self) -> Identity:
        """The vector, wherever it came from. Raises `BadIdentity` if the face was read without."""
        found = self.subject.identity if isinstance(self.subject, Face) else self.subject
        if found is None:
            raise BadIdentity(f"{self.name} was read without an identity: read the photo again with identity=True")
        return found


def gather(
    reader: Reads | None,
    sources: Sequence[Source],
    *,
    on_no_face: OnNoFace = "error",
    skipped: Callable[[str], None] = lambda message: None,
    failed: Callable[[str, PersonaeError], None] | None = None,
    otherwise: str = "",
    pixels: bool = True,
) -> list[Person]:
    """One person per source: the largest face of a photo, or what an `.identity` file holds.

    reader: a `FacePipeline` or a `FaceReader`; None if there are only `.identity` files.
    on_no_face: what a photo without a face does: raise `NoFaceFound`, or be left out, with a word to `skipped`.
    failed: given the name of a source and what is wrong with it, the others go on; None: it is raised.
    otherwise: what else to do about a photo without a face, as whoever calls this names it.
    pixels: whether faces keep their photos; else they keep only what a recipe says of one (`Photo.bare`).
    If nobody is left and `failed` has not been called, `NoFaceFound` is raised all the same.
    """
    people, failures = [], 0
    for source in sources:
        try:
            person = _person(reader, source, otherwise)
            people.append(person if pixels else _bare(person))
        except _OF_A_SOURCE as error:
            if isinstance(error, NoFaceFound) and on_no_face == "skip":
                skipped(f"no face found in {_called(source)}: skipped")
                continue
            if failed is None:
                raise
            failures += 1
            failed(_called(source), error)
    if not people and not failures:
        raise NoFaceFound(f"no face found in any of {len(sources)} photos: nothing is left to do")
    return people


def _person(reader: Reads | None, source: Source, otherwise: str) -> Person:
    name = UNNAMED if isinstance(source, Photo) else Path(source).stem
    if not isinstance(source, Photo) and Path(source).suffix == SUFFIX:
        return Person(name=name, subject=identity.load(source))
    if faces := _read(reader, source):
        return Person(name=name, subject=faces[0])
    advice = f", or {otherwise}" if otherwise else ""
    raise NoFaceFound(f"no face found in {_called(source)}: give a photo that shows one clearly{advice}")


def _bare(person: Person) -> Person:
    """The same without the pixels of a photo."""
    face = person.subject
    if not isinstance(face, Face) or face.photo is None:
        return person
    return replace(person, subject=replace(face, photo=face.photo.bare()))


def _called(source: Source) -> str:
    return source.source or "the photo" if isinstance(source, Photo) else str(source)


def _read(reader: Reads | None, source: Source) -> list[Face]:
    if reader is None:
        raise WeightsMissing(f"{_called(source)} is a photo, and there is no reader to read it with")
    return reader.read(source if isinstance(source, Photo) else Path(source))


def shifted(person: Person, table: Mapping[str, Direction], amounts: Mapping[str, float]) -> Person:
    """Somebody with attributes changed: no longer the face of the photo. Raises as `directions.shift`."""
    return Person(name=person.name, subject=directions.shift(person.identity, table, amounts))


def blended(people: Sequence[Person], amount: float) -> Person:
    """Someone between two people. Raises `BadOption` if there are not two; else as `identity.blend`."""
    if len(people) != 2:
        raise BadOption(f"a blend needs exactly two people, got {len(people)}")
    first, second = people
    return Person(name=f"{first.name}-{second.name}", subject=identity.blend(first.identity, second.identity, amount))


def strangers(folder: Path, count: int, *, seed: int) -> list[Identity]:
    """Random people of a model folder's identity space. Raises `WeightsMissing` if it holds no `people.safetensors`."""
    path = folder / PEOPLE
    if not path.is_file():
        raise WeightsMissing(f"{folder} holds no {PEOPLE}: this model cannot draw random people")
    return identity.IdentitySampler.load(path).sample(count, seed=seed)
