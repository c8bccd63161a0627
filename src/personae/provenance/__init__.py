"""Where an image comes from: recipes, and the one writer through which images leave the process.

marked = provenance.mark(out.images[0], recipe)      # its pixels say which recipe; `writer` does it for files
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


def mark(image: "Image.Image", recipe: Mapping[str, Any]) -> "Image.Image":
    """A copy of an image, in its own mode, whose pixels carry the watermark of a recipe (`writer.recipe_of`), for those
    who hand images on by a way of their own.

    Raises `BadOption` for an image that can bear none (a side below 128 pixels), `WeightsMissing` where this version
    has no networks for it.
    """
    from personae.provenance import pixel_mark
    from personae.provenance.message import message_of

    return pixel_mark.with_mark(image, message_of(recipe), None)
