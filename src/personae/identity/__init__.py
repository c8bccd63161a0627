"""Identities as vectors: average, blend, shake and shift them, make people up, keep them in a file.

    ann = identity.mean([face.identity for face in faces])
    between = identity.blend(ann, bob, 0.5)
    older = identity.shift(ann, directions.load("directions.safetensors")["age"], 1.5)
    nobody = IdentitySampler.load("people.safetensors").sample(4, seed=0)
    identity.save("ann.identity", ann)

Everything returns unit vectors and keeps the space; identities of two spaces never mix (`SpaceMismatch`).
"""

from personae.identity.file import encode, load, note, save
from personae.identity.operations import Direction, blend, mean, noise, reach, shift, similarity
from personae.identity.sampler import CHECKED, PEOPLE, IdentitySampler, nearest_of

__all__ = [
    "CHECKED",
    "PEOPLE",
    "Direction",
    "IdentitySampler",
    "blend",
    "encode",
    "load",
    "mean",
    "nearest_of",
    "noise",
    "note",
    "reach",
    "save",
    "shift",
    "similarity",
]
