"""Safetensors files, written whole or not at all, the same bytes for the same content.

save_tensors("model.safetensors", network.state_dict())
content = tensors.to_bytes({"vector": v}, {"format": "personae.identity/1", "space": space})
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from personae.io import atomic
from personae.shapes import Float, Shaped

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def save_tensors(
    path: str | Path, tensors: 'Mapping[str, Shaped[Tensor, "..."]]', facts: dict[str, str] | None = None
) -> None:
    """Write tensors, whole or not at all, in the place of what is there.

    Arguments:
        path: of the file.
        tensors: of any shapes and dtypes, by name.
        facts: the file's metadata, at most one entry, since the library writes several in any order.

    Raises `BadOutput` if the file cannot be written.
    """
    from safetensors.torch import save_file

    with atomic.file(path, replace=True) as partial:
        save_file(dict(tensors), partial, facts)


def in_half(tensors: 'Mapping[str, Shaped[Tensor, "..."]]') -> 'dict[str, Float[Tensor, "..."]]':
    """Tensors of any shapes by name, as float16 on the CPU: to be stored."""
    return {name: tensor.detach().cpu().half().contiguous() for name, tensor in tensors.items()}


def to_bytes(arrays: 'Mapping[str, Shaped[np.ndarray, "..."]]', facts: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file, the same for the same content.

    Arguments:
        arrays: of any shapes and dtypes, by name.
        facts: the file's metadata.

    The library itself writes metadata in the order of a hash table, another one in every run.
    """
    from safetensors.numpy import save as serialised

    content = serialised(dict(arrays), dict(facts))
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if facts:
        header["__metadata__"] = dict(sorted(facts.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned, as the format wants it
    return len(text).to_bytes(8, "little") + text + content[end:]
