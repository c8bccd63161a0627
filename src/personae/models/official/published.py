"""Arc2Face's published files as the arguments of a `FacePipeline`.

FacePipeline(**arguments(layout.find("models"), torch.float32))
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from personae.errors import BadOption, SpaceMismatch
from personae.models.official import layout, parts
from personae.reading.reader import FaceReader

# What its authors use.
SETTINGS = {"crop_template": "ffhq", "steps": 25, "guidance_scale": 3.0}


def arguments(
    found: layout.Layout,
    dtypes: Mapping[str, torch.dtype] | torch.dtype,
    *,
    reader: FaceReader | Literal[False] | None = None,
    accept_licence: bool = False,
    identity_space: str | None = None,
    convolutions: torch.memory_format = torch.preserve_format,
    replacements: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Networks, reader and settings of a published model.

    Arguments:
        found: where its files lie.
        dtypes: the precision by component, with a "default", or one for all.
        reader: instead of its own; False: none.
        accept_licence: of the recogniser and the detector, if they are opened here.
        identity_space: of its identities, where its files do not name one.
        convolutions: the layout of their weights.
        replacements: networks to take instead of those of the files, by component.

    Raises `BadOption` for a replacement of what it has not, `SpaceMismatch` for a reader of another width, and as
    `parts.load` and `Layout.reader`.
    """
    replacements = dict(replacements or {})
    unknown = sorted(replacements.keys() - parts.NAMES)
    if unknown:
        raise BadOption(f"Arc2Face's published files are loaded without the option {', '.join(unknown)}")
    if reader is None:
        reader = found.reader(accept_licence=accept_licence)
    if reader and reader.width != layout.WIDTH:
        raise SpaceMismatch(
            f"Arc2Face reads identities of {layout.WIDTH} numbers, this reader measures {reader.width} "
            f"({reader.space}): use the reader that belongs to it"
        )
    return {
        **parts.load(found, dtypes, convolutions=convolutions, replacements=replacements),
        **SETTINGS,
        "reader": reader or None,
        "identity_space": identity_space or found.space(),
        "identity_width": layout.WIDTH,
    }
