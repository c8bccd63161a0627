"""An identity in a file of its own: `ann.identity`, a vector with its space and a note.

identity.save("ann.identity", ann)
ann = identity.load("ann.identity")
"""

from pathlib import Path

from personae.io import vector_file
from personae.types import Array, Identity

_FORMAT = "personae.identity/1"
_MOST_BYTES = 1 << 20  # of an identity's file


def save(path: str | Path, identity: Identity, note: str = "") -> None:
    """Write an `.identity` file (safetensors: `vector` (D,) float32; metadata: format, space, note), whole or not
    at all. Raises `BadOutput` if it cannot be written."""
    vector_file.write(path, {"vector": identity.vector}, kind=_FORMAT, space=identity.space, note=note)


def encode(identity: Identity, note: str = "") -> bytes:
    """The bytes of an `.identity` file, as `save` writes them: the same for the same identity and note."""
    return vector_file.encode({"vector": identity.vector}, kind=_FORMAT, space=identity.space, note=note)


def load(path: str | Path) -> Identity:
    """Read an `.identity` file. Raises `BadIdentity` if it is missing, damaged or something else."""
    tensors, facts = _read(path)
    return Identity(vector=tensors["vector"], space=facts["space"])


def note(path: str | Path) -> str:
    """The note that was saved with an `.identity` file; "" if there was none. Raises as `load`."""
    return _read(path)[1].get("note", "")


def _read(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    return vector_file.read(path, _FORMAT, ("vector",), most_bytes=_MOST_BYTES)
