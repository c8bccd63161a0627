"""expression_amount.amount(shapes, "mouthSmile") -> (N,): an expression as one number."""

from personae.types import BLENDSHAPES, Array


def amount(blendshapes: Array, name: str) -> Array:
    """(N,) 0-1: one blendshape of (N, 52), or the mean of its left and right side if it has sides."""
    columns = [i for i, shape in enumerate(BLENDSHAPES) if shape in (name, f"{name}Left", f"{name}Right")]
    return blendshapes[:, columns].mean(1)
