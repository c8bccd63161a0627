"""Identities as vectors: average them, blend them, shake them, make people up, keep them in a file.

    ann = identity.mean([face.identity for face in faces])
    between = identity.blend(ann, bob, 0.5)
    nobody = IdentitySampler.load("people.safetensors").sample(4, seed=0)
    identity.save("ann.identity", ann)

Everything returns unit vectors and keeps the space; identities of two spaces never mix (`SpaceMismatch`).
D is the width of an identity, K the number of principal components.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from personae.errors import BadIdentity, BadOption, BadOutput
from personae.types import Array, Identity

_FORMAT = "personae.identity/1"
_PEOPLE_FORMAT = "personae.people/1"
_MOST_BYTES = 1 << 20  # an identity is a few kilobytes; anything larger is another file by mistake


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
    if share.shape != (len(identities),) or not np.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
        raise BadOption(f"weights must be {len(identities)} numbers >= 0, not all zero; got {weights}")
    vectors = _stack(identities)
    return Identity(vector=share @ vectors / share.sum(), space=identities[0].space)


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
class IdentitySampler:
    """Random people: a Gaussian over the principal components of many identities (Arc2Face, section 4).

    `centre` (D,), `components` (K, D) orthonormal rows, `spread` (K,) standard deviation along each.
    """

    centre: Array
    components: Array
    spread: Array
    space: str

    def __post_init__(self) -> None:
        arrays = (self.centre, self.components, self.spread)
        fits = self.components.ndim == 2 and self.centre.shape == self.components.shape[1:]
        if not fits or self.spread.shape != self.components.shape[:1]:
            raise BadIdentity(f"centre (D,), components (K, D), spread (K,) expected, got {[a.shape for a in arrays]}")
        if not all(np.isfinite(a).all() for a in arrays):
            raise BadIdentity("the numbers of a people file must be finite: fit it again")

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

    def sample(self, count: int, *, seed: int, most_alike: float = 0.3, tries: int = 1000) -> list[Identity]:
        """`count` people, no two with a cosine above `most_alike`; `seed` decides, and fewer are the first of more.

        Raises `BadOption` if no further person is found in `tries` draws.
        """
        if count < 1:
            raise BadOption(f"the number of people must be at least 1, got {count}")
        rng = np.random.default_rng(seed)
        people = np.empty((count, self.centre.size))
        for found in range(count):
            for _ in range(tries):
                person = self.centre + (rng.standard_normal(self.spread.size) * self.spread) @ self.components
                person = person / np.linalg.norm(person)
                if (people[:found] @ person <= most_alike).all():
                    break
            else:
                raise BadOption(
                    f"only {found} of {count} people with a similarity of at most {most_alike} were found: "
                    "ask for fewer, or allow more similarity"
                )
            people[found] = person
        return [Identity(vector=person, space=self.space) for person in people]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        tensors = {"centre": self.centre, "components": self.components, "spread": self.spread}
        _write(Path(path), to_bytes(tensors, {"format": _PEOPLE_FORMAT, "space": self.space}))

    @classmethod
    def load(cls, path: str | Path) -> "IdentitySampler":
        """Read what `save` wrote. Raises `BadIdentity` if it is something else."""
        tensors, facts = _read(Path(path), _PEOPLE_FORMAT, ("centre", "components", "spread"))
        return cls(**tensors, space=facts["space"])


def save(path: str | Path, identity: Identity, note: str = "") -> None:
    """Write an `.identity` file (safetensors: `vector` (D,) float32; metadata: format, space, note), whole or not
    at all. Raises `BadOutput` if it cannot be written."""
    _write(
        Path(path), to_bytes({"vector": identity.vector}, {"format": _FORMAT, "space": identity.space, "note": note})
    )


def load(path: str | Path) -> Identity:
    """Read an `.identity` file. Raises `BadIdentity` if it is missing, damaged or something else."""
    tensors, facts = _read(Path(path), _FORMAT, ("vector",))
    return Identity(vector=tensors["vector"], space=facts["space"])


def note(path: str | Path) -> str:
    """The note that was saved with an `.identity` file."""
    return _read(Path(path), _FORMAT, ("vector",))[1].get("note", "")


def _stack(identities: Sequence[Identity]) -> Array:
    """(N, D) float64 of identities that must share their space."""
    for identity in identities[1:]:
        identity.require(identities[0].space)
    return np.stack([identity.vector for identity in identities]).astype(np.float64)


def _write(target: Path, content: bytes) -> None:
    try:
        descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(partial).chmod(0o644)
            Path(partial).replace(target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadOutput(f"cannot write {target}: {error.strerror or error}") from error


def _read(path: Path, kind: str, names: tuple[str, ...]) -> tuple[dict[str, Array], dict[str, str]]:
    """The named arrays and the metadata of one safetensors file of the format `kind`."""
    if not path.is_file():
        raise BadIdentity(f"no file {path}: give the path of a {kind.split('/')[0]} file")
    if kind == _FORMAT and path.stat().st_size > _MOST_BYTES:
        raise BadIdentity(f"{path} is too large to be an identity ({path.stat().st_size} bytes)")
    try:
        with safe_open(path, framework="np") as file:
            facts = file.metadata() or {}
            if facts.get("format") != kind or not facts.get("space"):
                raise BadIdentity(f"{path} is not a {kind} file: its format is {facts.get('format')!r}")
            return {name: file.get_tensor(name) for name in names}, facts
    except (SafetensorError, OSError) as error:
        raise BadIdentity(f"{path} cannot be read as {kind}: {error}") from error
