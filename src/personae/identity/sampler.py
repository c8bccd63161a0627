"""People who do not exist: drawn from the spread of the identities that a model was trained with.

    nobody = IdentitySampler.load("people.safetensors").sample(4, seed=0)

D is the width of an identity, K the number of principal components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from personae.errors import BadIdentity, BadOption
from personae.io import vector_file
from personae.io.boundary import errors_as
from personae.shapes import Bool, Float, Float32, Float64
from personae.types import Array, Identity

PEOPLE = "people.safetensors"  # in a model's folder: the spread of the identities that it was trained with
_FORMAT = "personae.people/1"
CHECKED = 1 << 17  # numbers of made-up people that are checked: one bit each, 16 KB
_NUMBERS = 1 << 62  # numbers there are to draw from where nothing was checked


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

    centre: Float[Array, " D"]
    components: Float[Array, "K D"]
    spread: Float[Array, " K"]
    space: str
    allowed: Bool[Array, " M"] | None = None
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
    def fit(cls, vectors: Float[Array, "N D"], space: str, components: int | None = None) -> "IdentitySampler":
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

    def checked(
        self, known: Float[Array, "N D"], most_alike_known: float, *, count: int = CHECKED
    ) -> "IdentitySampler":
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

    def _people(self, numbers: Sequence[int]) -> Float64[Array, "N D"]:
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
        vector_file.write(path, tensors, kind=_FORMAT, space=self.space, **facts)

    @classmethod
    def load(cls, path: str | Path) -> "IdentitySampler":
        """Read what `save` wrote. Raises `BadIdentity` if it is something else."""
        needed = ("centre", "components", "spread")
        tensors, facts = vector_file.read(path, _FORMAT, needed, optional=("allowed",))
        cap = facts.get("most_alike_known")
        with errors_as(BadIdentity, f"{path} is not a {_FORMAT} file", "fit it again"):
            if "allowed" in tensors:
                tensors["allowed"] = np.unpackbits(tensors["allowed"]).astype(bool)
            return cls(**tensors, space=facts["space"], most_alike_known=None if cap is None else float(cap))


def nearest_of(vectors: Float[Array, "N D"], known: Float[Array, "M D"]) -> Float32[Array, " N"]:
    """(N,) float32: the cosine of each of (N, D) unit vectors to the most similar of `known` (M, D) unit vectors."""
    return (vectors.astype(np.float32) @ known.astype(np.float32).T).max(axis=1)
