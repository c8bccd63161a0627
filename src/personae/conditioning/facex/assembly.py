"""FORS: which piece of which face a picture is told, and what it is to keep (FaceX, arXiv 2401.00551).

    assembly = Assembly(givers={"identity": ann, "pose": bob, "expression": bob}, reference=canvas, free=mask)
    assembled = assemble([assembly], model=FaceModel.bundled())

`assemble` only collects: every face once, who gives which token to which picture, and the region image. What networks
make of it is `facex.py`'s.

Legend: N pictures; F different faces among their givers; K = len(TOKENS); S side of a crop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from personae.conditioning.facex.representation import TOKENS, FaceMeasures, measure
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import render
from personae.conditioning.retarget import retarget
from personae.errors import BadData, unknown_name
from personae.reading.aligned import Aligned
from personae.types import Array

CHANNELS = 7  # of the region image: I_R, where it is free, and the mesh that gives pose and expression


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What one picture is told. `givers`: the face that each token comes from; a token that is not named is not told.
    `reference`: (S, S, 3) RGB uint8, the region image I_R. `free`: (S, S) bool, where the model may paint.

    Raises `BadOption` for an unknown token, `BadData` for shapes that do not fit together.
    """

    givers: Mapping[str, Aligned]
    reference: Array
    free: Array

    def __post_init__(self) -> None:
        for name in self.givers:
            if name not in TOKENS:
                raise unknown_name("token", name, TOKENS)
        side = self.reference.shape[0]
        shapes = [self.reference.shape, self.free.shape, *(giver.crop.shape for giver in self.givers.values())]
        if shapes != [(side, side, 3), (side, side), *[(side, side, 3)] * len(self.givers)]:
            raise BadData(f"a region image (S, S, 3) needs a mask (S, S) and crops of its size, got {shapes}")


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """N pictures ready for the networks. `faces`: everyone who gives something, F rows; `who` (N, K) int64, which of
    them gives each token, -1: nobody; `reference` (N, 7, S, S) float32."""

    faces: FaceMeasures
    who: Array
    reference: Array


def assemble(assemblies: Sequence[Assembly], model: FaceModel) -> Assembled:
    """Every face measured once, however many tokens of however many pictures it gives.

    Raises `BadData` if no picture is told anything.
    """
    faces = {id(giver): giver for one in assemblies for giver in one.givers.values()}
    if not faces:
        raise BadData("there is nothing to tell: none of the tokens has a face that gives it")
    number = {key: index for index, key in enumerate(faces)}
    who = np.full((len(assemblies), len(TOKENS)), -1, np.int64)
    for row, one in enumerate(assemblies):
        for name, giver in one.givers.items():
            who[row, TOKENS.index(name)] = number[id(giver)]
    images = [region_image(one.reference, one.free, structure(one.givers, model)) for one in assemblies]
    return Assembled(
        faces=FaceMeasures.stack([measure(face, model) for face in faces.values()]), who=who, reference=np.stack(images)
    )


def structure(givers: Mapping[str, Aligned], model: FaceModel) -> Array | None:
    """(S, S, 3) uint8 the normal map of the mesh that holds the pose giver's pose and makes the expression giver's
    expression; None if nobody gives the pose."""
    pose, expression = givers.get("pose"), givers.get("expression")
    if pose is None:
        return None
    if expression is not None and expression is not pose:
        pose = retarget(pose, model, blendshapes=expression.blendshapes)
    return render(pose.landmarks, model.triangles, len(pose.crop))


def region_image(reference: Array, free: Array, mesh: Array | None) -> Array:
    """(7, S, S) float32: I_R in [-1, 1], the free region 0 or 1, the mesh's normals as colours in 0-1 (zeros: none)."""
    side = len(reference)
    image = np.zeros((CHANNELS, side, side), np.float32)
    image[:3] = reference.transpose(2, 0, 1) / np.float32(127.5) - 1
    image[3] = free
    if mesh is not None:
        image[4:] = mesh.transpose(2, 0, 1) / np.float32(255)
    return image
