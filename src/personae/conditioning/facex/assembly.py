"""FORS: which piece of which face a picture is made of, and what it is to keep (FaceX, arXiv 2401.00551).

    ann, bob = FaceRef("ann"), FaceRef("bob")
    assembly = Assembly(
        sources={"identity": ann, "pose": bob, "expression": bob},
        faces={ann: aligned_ann, bob: aligned_bob},
        reference=canvas,
        edit_mask=mask,
    )
    assembled = assemble([assembly], model=FaceModel.bundled())

`assemble` only collects: every face once, which face each token of each picture comes from, and the region image. What
networks make of it is `network.py`'s.

Legend: N pictures; F different faces among their sources; K = len(TOKENS); S side of a crop.
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
from personae.shapes import Bool, Float32, Int64, UInt8
from personae.types import Array

CHANNELS = 7  # of the region image: I_R, the edit mask, and the mesh that shows pose and expression


@dataclass(frozen=True)
class FaceRef:
    """The key by which one face is told from all others that a picture is made of.

    Two pieces come from one face if their keys are equal, and only then: whether the faces are one object in memory, or
    copies with equal pixels, makes no difference.

    photo: what the call names the face's photo: a role ("source", "target") or a token ("hair").
    change: how the face differs from what its photo shows. "": not at all; "pose", "expression": retargeted to another;
    "lean": in a crop that leans with the head.
    image: the number of the image for which the face's crop was cut; None: one crop for all images.
    """

    photo: str
    change: str = ""
    image: int | None = None


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What one picture is made of.

    sources: for each token (`representation.TOKENS`) the key of the face that it comes from; a token that is not named
    is left out of the representation. faces: these faces, by key. reference: (S, S, 3) RGB uint8, the region image I_R.
    edit_mask: (S, S) bool, where the model may paint.

    Raises `BadOption` for an unknown token, `BadData` for a key without a face and for shapes that do not fit together.
    """

    sources: Mapping[str, FaceRef]
    faces: Mapping[FaceRef, Aligned]
    reference: UInt8[Array, "S S 3"]
    edit_mask: Bool[Array, "S S"]

    def __post_init__(self) -> None:
        for name, ref in self.sources.items():
            if name not in TOKENS:
                raise unknown_name("token", name, TOKENS)
            if ref not in self.faces:
                raise BadData(f"{name} comes from {ref}, and there is no such face: add it to faces")
        side = self.reference.shape[0]
        crops = [self.faces[ref].crop.shape for ref in self.sources.values()]
        shapes = [self.reference.shape, self.edit_mask.shape, *crops]
        if shapes != [(side, side, 3), (side, side), *[(side, side, 3)] * len(crops)]:
            raise BadData(f"a region image (S, S, 3) needs a mask (S, S) and crops of its size, got {shapes}")

    def face(self, token: str) -> Aligned | None:
        """The face that a token comes from; None if none does."""
        ref = self.sources.get(token)
        return None if ref is None else self.faces[ref]


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """N pictures ready for the networks. `faces`: every face that is the source of something, F rows; `face_index`
    (N, K) int64, the row that each token comes from, -1: none; `reference` (N, 7, S, S) float32."""

    faces: FaceMeasures
    face_index: Int64[Array, "N K"]
    reference: Float32[Array, "N 7 S S"]


def assemble(assemblies: Sequence[Assembly], model: FaceModel) -> Assembled:
    """Every face measured once, however many tokens of however many pictures come from it.

    Raises `BadData` if no picture has a source, and if one key names different faces in two pictures.
    """
    faces: dict[FaceRef, Aligned] = {}
    for one in assemblies:
        for ref in one.sources.values():
            if not _equal(faces.setdefault(ref, one.faces[ref]), one.faces[ref]):
                raise BadData(f"two pictures call different faces {ref}: give each face a key of its own")
    if not faces:
        raise BadData("an assembly without sources says nothing: name the face of at least one token")
    number = {ref: index for index, ref in enumerate(faces)}
    face_index = np.full((len(assemblies), len(TOKENS)), -1, np.int64)
    for row, one in enumerate(assemblies):
        for name, ref in one.sources.items():
            face_index[row, TOKENS.index(name)] = number[ref]
    images = [region_image(one.reference, one.edit_mask, structure(one, model)) for one in assemblies]
    return Assembled(
        faces=FaceMeasures.stack([measure(face, model) for face in faces.values()]),
        face_index=face_index,
        reference=np.stack(images),
    )


def _equal(one: Aligned, other: Aligned) -> bool:
    """Whether two faces are measured alike."""
    arrays = ("crop", "landmarks", "blendshapes")
    return one.pose == other.pose and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in arrays)


def structure(assembly: Assembly, model: FaceModel) -> UInt8[Array, "S S 3"] | None:
    """(S, S, 3) uint8 the normal map of the mesh that holds the pose of the pose's source and makes the expression of
    the expression's; None if there is no source of the pose."""
    pose, expression = assembly.face("pose"), assembly.face("expression")
    if pose is None:
        return None
    if expression is not None and assembly.sources["expression"] != assembly.sources["pose"]:
        pose = retarget(pose, model, blendshapes=expression.blendshapes)
    return render(pose.landmarks, model.triangles, len(pose.crop))


def region_image(
    reference: UInt8[Array, "S S 3"], edit_mask: Bool[Array, "S S"], mesh: UInt8[Array, "S S 3"] | None
) -> Float32[Array, "7 S S"]:
    """(7, S, S) float32: I_R in [-1, 1], the edit mask 0 or 1, the mesh's normals as colours in 0-1 (zeros: none)."""
    side = len(reference)
    image = np.zeros((CHANNELS, side, side), np.float32)
    image[:3] = reference.transpose(2, 0, 1) / np.float32(127.5) - 1
    image[3] = edit_mask
    if mesh is not None:
        image[4:] = mesh.transpose(2, 0, 1) / np.float32(255)
    return image
