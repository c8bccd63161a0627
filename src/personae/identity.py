"""Identities as vectors: average, blend, shake and shift them, make people up, keep them in a file.

    ann = identity.mean([face.identity for face in faces])
    between = identity.blend(ann, bob, 0.5)
    older = identity.shift(ann, directions.load("directions.safetensors")["age"], 1.5)
    nobody = IdentitySampler.load("people.safetensors").sample(4, seed=0)
    identity.save("ann.identity", ann)

Everything returns unit vectors and keeps the space; identities of two spaces never mix (`SpaceMismatch`).
D is the width of an identity, K the number of principal components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from personae import vector_file
from personae.errors import BadIdentity, BadOption
from personae.io.boundary import errors_as
from personae.types import Array, Identity

PEOPLE = "people.safetensors"  # in a model's folder: the spread of the identities that it was trained with
_FORMAT = "personae.identity/1"
_PEOPLE_FORMAT = "personae.people/1"
_MOST_BYTES = 1 << 20  # of an identity's file
CHECKED = 1 << 17  # numbers of made-up people that are checked: one bit each, 16 KB
_NUMBERS = 1 << 62  # numbers there are to draw from where nothing was checked


def similarity(a: Identity, b: Identity) -> float:
    """The cosine between two identities, -1 to 1."""
    b.require(a.space)
    return float(np.clip(a.vector.astype(np.float64) @ b.vector.astype(np.float64), -1, 1))


def mean(identities: Sequence[Identity], weights: Sequence[float] | None = None) -> Identity:
    """The (weighted) mean direction: several photos of one person in one identity.

    Raises `BadOption` for weights that do not fit, `BadIdentity` if there is nothing to average or all cancels.
    """
    if not identities:
        raise BadIdentity("a mean needs at least one identity, got none")
    share = np.ones(len(identities)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(identities),) or not np.isfinite(share).all() or (share < 0).any() or not share.any():
        raise BadOption(f"weights must be {len(identities)} numbers >= 0, not all zero; got {weights}")
    share = share / share.max()  # first: a sum of huge ones is infinite, of tiny ones nothing
    middle = share @ _stack(identities) / share.sum()
    if np.linalg.norm(middle) < 1e-6:  # what is left is rounding, and points nowhere
        raise BadIdentity("the mean of these identities is not a direction, they cancel out to zero: leave some out")
    return Identity(vector=middle, space=identities[0].space)


def blend(a: Identity, b: Identity, amount: float) -> Identity:
    """The identity `amount` of the way along the great circle from `a` (0) to `b` (1).

    Spherical, so that equal amounts are equal angles; `blend(a, b, t) == blend(b, a, 1 - t)`.
    """
    b.require(a.space)
    if not 0 <= amount <= 1:
        raise BadOption(f"a blend's amount lies between 0 and 1, got {amount}")
    if amount in (0, 1):
        return b if amount else a
    start, end = _stack([a, b])
    # The angle by half-chords: exact for near and opposite vectors alike, where arccos loses all digits.
    angle = 2 * np.arctan2(np.linalg.norm(end - start), np.linalg.norm(end + start))
    if np.pi - angle < 1e-4:
        raise BadIdentity("these two identities are opposite: no shortest way leads from one to the other")
    if angle < 1e-4:
        return Identity(vector=(1 - amount) * start + amount * end, space=a.space)
    return Identity(vector=np.sin((1 - amount) * angle) * start + np.sin(amount * angle) * end, space=a.space)


def noise(identity: Identity, *, seed: int, degrees: float | None = None, strength: float | None = None) -> Identity:
    """A relative of `identity`, decided by `seed`: exactly one of `degrees` and `strength`.

    `degrees`: turned by exactly this angle (0 to 180) in a random direction.
    `strength`: Gaussian noise of this expected length is added; 1 is as long as the identity itself.
    """
    if (degrees is None) == (strength is None):
        raise BadOption("noise needs either degrees or strength, and not both")
    vector = identity.vector.astype(np.float64)
    direction = np.random.default_rng(seed).standard_normal(vector.size)
    if strength is not None:
        if not (np.isfinite(strength) and strength >= 0):
            raise BadOption(f"strength must be a number >= 0, got {strength}")
        return Identity(vector=vector + direction * strength / np.sqrt(vector.size), space=identity.space)
    assert degrees is not None
    if not 0 <= degrees <= 180:
        raise BadOption(f"degrees must lie between 0 and 180, got {degrees}")
    vector /= np.linalg.norm(vector)  # of unit norm to float32 only
    across = direction - (direction @ vector) * vector
    across -= (across @ vector) * vector  # again: what is left of a direction near the vector's own is rounding
    length = np.linalg.norm(across)
    if length < 1e-8:
        raise BadIdentity(f"an identity of width {vector.size} cannot be turned")
    turn = np.radians(degrees)
    return Identity(vector=np.cos(turn) * vector + np.sin(turn) * across / length, space=identity.space)


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A way to change an identity. `vector` (D,) float32, unit norm, of `space`; `spread`: the standard deviation of
    people's coordinates along it, which is the unit of every amount."""

    vector: Array
    spread: float
    space: str

    def __post_init__(self) -> None:
        unit = Identity(vector=self.vector, space=self.space).vector  # finite, not zero
        object.__setattr__(self, "vector", unit)
        if not (np.isfinite(self.spread) and self.spread > 0):
            raise BadIdentity(f"a direction's spread must be a number > 0, got {self.spread}: fit it again")


def shift(identity: Identity, direction: Direction, amount: float) -> Identity:
    """`identity` with its coordinate along `direction` changed by `amount` standard deviations of the population.

    The rest of it keeps its own direction, shortened or lengthened to a unit vector: the identity is turned by the
    smallest angle that makes the change, and `shift(shift(x, d, a), d, -a)` is `x`.
    Raises `SpaceMismatch`; `BadOption` for more than there is: a coordinate of a unit vector ends at -1 and 1.
    """
    along, across, axis = _split(identity, direction)
    length = np.linalg.norm(across)
    goal = along + amount * direction.spread
    if not abs(goal) < 1 or length < 1e-8:
        least, most = reach(identity, direction)
        raise BadOption(
            f"this identity can be shifted by {least:.1f} to {most:.1f} standard deviations in this direction, got "
            f"{amount}"
        )
    return Identity(vector=goal * axis + np.sqrt(1 - goal**2) * across / length, space=identity.space)


def reach(identity: Identity, direction: Direction) -> tuple[float, float]:
    """The least and the most that `shift` can do, in standard deviations."""
    along, _, _ = _split(identity, direction)
    least, most = ((end * (1 - 1e-3) - along) / direction.spread for end in (-1, 1))
    return least, most


def _split(identity: Identity, direction: Direction) -> tuple[float, Array, Array]:
    """The coordinate along a direction, what is across it, and the direction; float64, of unit norm."""
    identity.require(direction.space)
    vector, axis = identity.vector.astype(np.float64), direction.vector.astype(np.float64)
    if vector.size != axis.size:
        raise BadIdentity(f"a direction of {axis.size} numbers cannot change an identity of {vector.size}")
    vector, axis = vector / np.linalg.norm(vector), axis / np.linalg.norm(axis)  # of unit norm to float32 only
    along = float(vector @ axis)
    return along, vector - along * axis, axis


@dataclass(frozen=True, kw_only=True)
class IdentitySampler:
    """Random people: a Gaussian over the principal components of many identities (Arc2Face, section 4).

    `centre` (D,), `components` (K, D) orthonormal rows, `spread` (K,) standard deviation along each.

    Made-up person n is the same vector everywhere (`person`): a seed only chooses numbers. So it can be checked once,
    by whoever has the identities that the cloud was fitted to, which numbers are too much like one of them, and one
    bit per number says so ever after: `allowed` (M,) bool, with `most_alike_known` the cap that was kept. An identity
    can be turned back into a face, by this very program: those of real people are not for shipping. (Bits tell little
    of anybody: with a cap that few numbers break, a known person settles fewer than one of them on average.)
    """

    centre: Array
    components: Array
    spread: Array
    space: str
    allowed: Array | None = None
    most_alike_known: float | None = None

    def __post_init__(self) -> None:
        arrays = (self.centre, self.components, self.spread)
        fits = self.components.ndim == 2 and self.centre.shape == self.components.shape[1:]
        if not fits or self.spread.shape != self.components.shape[:1]:
            raise BadIdentity(f"centre (D,), components (K, D), spread (K,) expected, got {[a.shape for a in arrays]}")
        if not all(np.isfinite(a).all() for a in arrays):
            raise BadIdentity("the numbers of a people file must be finite: fit it again")
        if (self.allowed is None) != (self.most_alike_known is None):
            raise BadIdentity("which people are allowed, and the cap that says so, come together: fit it again")

    @classmethod
    def fit(cls, vectors: Array, space: str, components: int | None = None) -> "IdentitySampler":
        """Fit to (N, D) unit vectors of `space`, N >= 2; `components`: how many to keep (None: all)."""
        data = np.asarray(vectors, dtype=np.float64)
        if data.ndim != 2 or len(data) < 2 or not np.isfinite(data).all():
            raise BadIdentity(f"a sampler is fitted to finite vectors (N, D), N >= 2; got shape {data.shape}")
        most = min(len(data) - 1, data.shape[1])
        if components is not None and not 1 <= components <= most:
            raise BadOption(f"components must lie between 1 and {most} for {len(data)} vectors, got {components}")
        centre = data.mean(0)
        values, rows = np.linalg.eigh(np.cov(data, rowvar=False))
        keep = np.argsort(values)[::-1][: components or most]
        spread = np.sqrt(np.maximum(values[keep], 0))
        parts = [np.ascontiguousarray(part, dtype=np.float32) for part in (centre, rows[:, keep].T, spread)]
        return cls(centre=parts[0], components=parts[1], spread=parts[2], space=space)

    def checked(self, known: Array, most_alike_known: float, *, count: int = CHECKED) -> "IdentitySampler":
        """The same cloud, of which only those people are drawn whose cosine to each of `known` (N, D) unit vectors is
        at most `most_alike_known`; `count`: how many numbers there are then (a multiple of 8).

        Raises `BadOption` if the cap leaves nobody.
        """
        if known.ndim != 2 or known.shape[1:] != self.centre.shape:
            raise BadIdentity(f"known people are (N, {self.centre.size}) vectors, got {known.shape}")
        nearest = [nearest_of(self._people(range(at, min(at + 4096, count))), known) for at in range(0, count, 4096)]
        allowed = np.concatenate(nearest) <= most_alike_known
        if not allowed.any():
            raise BadOption(f"all {count} made-up people are more alike than {most_alike_known} to a known one")
        return replace(self, allowed=allowed, most_alike_known=most_alike_known)

    def person(self, number: int) -> Identity:
        """Made-up person `number`, >= 0, allowed or not."""
        return Identity(vector=self._people([number])[0], space=self.space)

    def sample(self, count: int, *, seed: int, most_alike: float = 0.3, tries: int = 1000) -> list[Identity]:
        """`count` people, no two with a cosine above `most_alike`, and all of them allowed if that was checked;
        `seed` decides, and fewer are the first of more.

        Raises `BadOption` if no further person is found in `tries` draws.
        """
        if count < 1:
            raise BadOption(f"the number of people must be at least 1, got {count}")
        rng = np.random.default_rng(seed)
        numbers = _NUMBERS if self.allowed is None else len(self.allowed)
        taken: set[int] = set()
        people = np.empty((count, self.centre.size))
        for found in range(count):
            for _ in range(tries):
                number = int(rng.integers(numbers))
                if number in taken or (self.allowed is not None and not self.allowed[number]):
                    continue
                person = self._people([number])[0]
                if (people[:found] @ person <= most_alike).all():
                    break
            else:
                raise BadOption(
                    f"only {found} of {count} people with a similarity of at most {most_alike} were found: "
                    "ask for fewer, or allow more similarity"
                )
            people[found] = person
            taken.add(number)
        return [Identity(vector=person, space=self.space) for person in people]

    def _people(self, numbers: Sequence[int]) -> Array:
        """(N, D) float64 unit vectors. Philox's raw stream is promised to stay as it is, numpy's normal numbers are
        not: so the normal ones are made here (Box and Muller 1958)."""
        width = self.spread.size
        raw = np.stack([np.random.Philox(key=number).random_raw(2 * width) for number in numbers])
        uniform = ((raw >> np.uint64(11)) + np.uint64(1)) * 2.0**-53  # in (0, 1]
        normal = np.sqrt(-2 * np.log(uniform[:, :width])) * np.cos(2 * np.pi * uniform[:, width:])
        people = self.centre + (normal * self.spread) @ self.components
        return people / np.linalg.norm(people, axis=1, keepdims=True)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        tensors = {"centre": self.centre, "components": self.components, "spread": self.spread}
        facts = {}
        if self.allowed is not None:
            tensors["allowed"] = np.packbits(self.allowed)
            facts["most_alike_known"] = str(self.most_alike_known)
        vector_file.write(path, tensors, kind=_PEOPLE_FORMAT, space=self.space, **facts)

    @classmethod
    def load(cls, path: str | Path) -> "IdentitySampler":
        """Read what `save` wrote. Raises `BadIdentity` if it is something else."""
        needed = ("centre", "components", "spread")
        tensors, facts = vector_file.read(path, _PEOPLE_FORMAT, needed, optional=("allowed",))
        cap = facts.get("most_alike_known")
        with errors_as(BadIdentity, f"{path} is not a {_PEOPLE_FORMAT} file", "fit it again"):
            if "allowed" in tensors:
                tensors["allowed"] = np.unpackbits(tensors["allowed"]).astype(bool)
            return cls(**tensors, space=facts["space"], most_alike_known=None if cap is None else float(cap))


def nearest_of(vectors: Array, known: Array) -> Array:
    """(N,) float32: the cosine of each of (N, D) unit vectors to the most similar of `known` (M, D) unit vectors."""
    return (vectors.astype(np.float32) @ known.astype(np.float32).T).max(axis=1)


def save(path: str | Path, identity: Identity, note: str = "") -> None:
    """Write an `.identity` file (safetensors: `vector` (D,) float32; metadata: format, space, note), whole or not
    at all. Raises `BadOutput` if it cannot be written."""
    vector_file.write(path, {"vector": identity.vector}, kind=_FORMAT, space=identity.space, note=note)


def encode(identity: Identity, note: str = "") -> bytes:
    """The bytes of an `.identity` file, as `save` writes them."""
    return vector_file.encode({"vector": identity.vector}, kind=_FORMAT, space=identity.space, note=note)


def load(path: str | Path) -> Identity:
    """Read an `.identity` file. Raises `BadIdentity` if it is missing, damaged or something else."""
    tensors, facts = _read(path)
    return Identity(vector=tensors["vector"], space=facts["space"])


def note(path: str | Path) -> str:
    """The note that was saved with an `.identity` file."""
    return _read(path)[1].get("note", "")


def _read(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    return vector_file.read(path, _FORMAT, ("vector",), most_bytes=_MOST_BYTES)


def _stack(identities: Sequence[Identity]) -> Array:
    """(N, D) float64 of identities that must share their space."""
    for identity in identities[1:]:
        identity.require(identities[0].space)
    return np.stack([identity.vector for identity in identities]).astype(np.float64)
