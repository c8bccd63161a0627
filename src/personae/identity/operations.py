"""What is computed with identities: similarity, mean, blend, noise, shift.

Everything returns unit vectors and keeps the space; identities of two spaces never mix (`SpaceMismatch`).
D is the width of an identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personae.errors import BadIdentity, BadOption
from personae.shapes import Float32, Float64
from personae.types import Array, Identity


def similarity(a: Identity, b: Identity) -> float:
    """The cosine between two identities, -1 to 1. Raises `SpaceMismatch` for identities of two spaces."""
    a.require_alike(b)
    return float(np.clip(a.vector.astype(np.float64) @ b.vector.astype(np.float64), -1, 1))


def mean(identities: Sequence[Identity], weights: Sequence[float] | None = None) -> Identity:
    """The (weighted) mean direction: several photos of one person in one identity.

    Arguments:
        identities: N of one space, at least one.
        weights: N numbers >= 0, not all zero; None: all count the same.

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
    Raises `BadOption` for an amount outside 0 to 1, `BadIdentity` for opposite identities, `SpaceMismatch`.
    """
    a.require_alike(b)
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
    """A relative of `identity`: exactly one of `degrees` and `strength` says how near.

    Arguments:
        identity: to begin with.
        seed: decides the direction.
        degrees: 0 to 180, the angle by which it is turned, exactly.
        strength: the expected length of the Gaussian noise that is added, >= 0; 1 is as long as the identity itself.

    Raises `BadOption` for both, neither, or a number outside its range; `BadIdentity` for an identity of one number.
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
    """A way to change an identity.

    Attributes:
        vector: (D,) float32, unit norm; normalised as an `Identity`'s.
        spread: the standard deviation of people's coordinates along it, above 0: the unit of every amount.
        space: of the identities that it changes.

    Raises `BadIdentity` for a vector without a direction, and for another spread.
    """

    vector: Float32[Array, " D"]
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

    Raises `SpaceMismatch`; `BadIdentity` if the two differ in width; `BadOption` for more than there is, since a
    coordinate of a unit vector ends at -1 and 1.
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
    """The least and the most that `shift` can change `identity` along `direction`, in standard deviations. Raises as
    `shift`."""
    along, _, _ = _split(identity, direction)
    least, most = ((end * (1 - 1e-3) - along) / direction.spread for end in (-1, 1))
    return least, most


def _split(identity: Identity, direction: Direction) -> tuple[float, Float64[Array, " D"], Float64[Array, " D"]]:
    """The coordinate along a direction, what is across it, and the direction; float64, of unit norm."""
    identity.require(direction.space)
    vector, axis = identity.vector.astype(np.float64), direction.vector.astype(np.float64)
    if vector.size != axis.size:
        raise BadIdentity(f"a direction of {axis.size} numbers cannot change an identity of {vector.size}")
    vector, axis = vector / np.linalg.norm(vector), axis / np.linalg.norm(axis)  # of unit norm to float32 only
    along = float(vector @ axis)
    return along, vector - along * axis, axis


def _stack(identities: Sequence[Identity]) -> Float64[Array, "N D"]:
    """(N, D) float64 of identities that must share their space."""
    for identity in identities[1:]:
        identities[0].require_alike(identity)
    return np.stack([identity.vector for identity in identities]).astype(np.float64)
