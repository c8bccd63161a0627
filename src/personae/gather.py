"""From what a user names to people: photos and `.identity` files become `Person`s; so do seeds.

people = gather(reader, ["me.jpg", "ann.identity"], on_no_face="skip", skipped=print)
pipe([person.who for person in people])
nobody = strangers(catalog.resolve("nano"), 4, seed=0)      # identities of people who never were
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from personae import directions, identity
from personae.errors import BadIdentity, BadOption, NoFaceFound, WeightsMissing
from personae.identity import PEOPLE, Direction
from personae.types import Face, Identity

SUFFIX = ".identity"
OnNoFace = Literal["error", "skip"]


class Reads(Protocol):
    """The part of a `FacePipeline` or a `FaceReader` that this needs."""

    def read(self, photo: Path, /) -> list[Face]:
        """The faces of a photo, largest first."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who to generate. `name`: the stem of the file; `who`: the face as read, or the identity as stored."""

    name: str
    who: Face | Identity

    @property
    def identity(self) -> Identity:
        """The vector, wherever it came from. Raises `BadIdentity` if the face was read without."""
        found = self.who.identity if isinstance(self.who, Face) else self.who
        if found is None:
            raise BadIdentity(f"{self.name} was read without an identity: read the photo again with identity=True")
        return found


def gather(
    reader: Reads | None,
    sources: Sequence[str | Path],
    *,
    on_no_face: OnNoFace = "error",
    skipped: Callable[[str], None] = lambda message: None,
) -> list[Person]:
    """One person per source: the largest face of a photo, or what an `.identity` file holds.

    reader: a `FacePipeline` or a `FaceReader`; None if there are only `.identity` files.
    on_no_face: what a photo without a face does: raise `NoFaceFound`, or be left out, with a word to `skipped`. If
    nobody is left, `NoFaceFound` is raised all the same.
    """
    people = []
    for path in map(Path, sources):
        if path.suffix == SUFFIX:
            people.append(Person(name=path.stem, who=identity.load(path)))
        elif faces := _read(reader, path):
            people.append(Person(name=path.stem, who=faces[0]))
        elif on_no_face == "error":
            raise NoFaceFound(f"no face found in {path}: give a photo that shows one clearly, or --on-no-face skip")
        else:
            skipped(f"no face found in {path}: skipped")
    if not people:
        raise NoFaceFound(f"no face found in any of {len(sources)} photos: nothing is left to do")
    return people


def _read(reader: Reads | None, path: Path) -> list[Face]:
    if reader is None:
        raise WeightsMissing(f"{path} is a photo, and there is no reader to read it with")
    return reader.read(path)


def shifted(person: Person, table: Mapping[str, Direction], amounts: Mapping[str, float]) -> Person:
    """Somebody with attributes changed: no longer the face of the photo. Raises as `directions.shift`."""
    return Person(name=person.name, who=directions.shift(person.identity, table, amounts))


def blended(people: Sequence[Person], amount: float) -> Person:
    """Someone between two people. Raises `BadOption` if there are not two; else as `identity.blend`."""
    if len(people) != 2:
        raise BadOption(f"a blend needs exactly two people, got {len(people)}")
    first, second = people
    return Person(name=f"{first.name}-{second.name}", who=identity.blend(first.identity, second.identity, amount))


def strangers(folder: Path, count: int, *, seed: int) -> list[Identity]:
    """Random people of a model folder's identity space. Raises `WeightsMissing` if it holds no `people.safetensors`."""
    path = folder / PEOPLE
    if not path.is_file():
        raise WeightsMissing(f"{folder} holds no {PEOPLE}: this model cannot draw random people")
    return identity.IdentitySampler.load(path).sample(count, seed=seed)
