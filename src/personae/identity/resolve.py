"""Whatever a caller passes for people, as identities of one space.

listed(face)                                    # [face]: one person is a list of one
resolve([face, ann], space=space, width=128)    # [Identity, Identity]
resolve(np.load("rows.npy"), space=space)       # bare embeddings (P, D), taken to be of that space
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from personae.errors import BadIdentity, NoFaceFound
from personae.shapes import Float64
from personae.types import Array, Face, Identity

if TYPE_CHECKING:
    from torch import Tensor

    People = Face | Identity | Sequence[Face | Identity] | Array | Tensor


def listed(faces: "People") -> Any:
    """`faces` as a sequence of people, or as rows: a single person becomes a list of one."""
    return [faces] if isinstance(faces, Face | Identity) else faces


def resolve(faces: "People", *, space: str, width: int | None = None) -> list[Identity]:
    """P people as P identities.

    Arguments:
        faces: a face or an identity, a list of them, or embeddings (P, D) as a list, an array or a tensor.
        space: the identity space that all of them must be of; embeddings are taken to be of it.
        width: D, the length that each vector must have; None: any.

    Returns the identities, in order.

    Raises `NoFaceFound` for an empty list, `SpaceMismatch` for an identity of another space, `BadIdentity` for another
    width, a vector that is not finite or is zero, a face that was read without its identity.
    """
    people = listed(faces)
    if len(people) == 0:
        raise NoFaceFound("there is nobody to generate: the list of faces is empty")
    if isinstance(people, list | tuple) and all(isinstance(one, Face | Identity) for one in people):
        identities = [_identity_of(one) for one in people]
    else:
        identities = [Identity(vector=row, space=space) for row in _embeddings(people)]
    for person in identities:
        person.require(space)
        if person.vector.size != (width or person.vector.size):
            raise BadIdentity(
                f"this model reads identities of {width} numbers, got {person.vector.size}: "
                "read the photo with the model's own reader"
            )
    return identities


def _identity_of(person: Face | Identity) -> Identity:
    if isinstance(person, Identity):
        return person
    if person.identity is None:
        raise BadIdentity("this face was read without its identity: read the photo again with identity=True")
    return person.identity


def _embeddings(rows: Any) -> Float64[Array, "P D"]:
    """(P, D) float64, in which every float32 and float16 is exact."""
    try:
        # A tensor of bfloat16, or of an accelerator, is nothing that numpy could take.
        found = rows.detach().double().cpu().numpy() if hasattr(rows, "detach") else np.asarray(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise BadIdentity(
            f"people are faces, identities or embeddings (P, D), got a {type(rows).__name__} of something else: "
            "read photos first, with pipe.read"
        ) from error
    if found.ndim != 2:
        raise BadIdentity(f"embeddings come as (P, D), got shape {found.shape}")
    return np.asarray(found)
