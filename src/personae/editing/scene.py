"""Which face gives which piece of an edited picture.

    target, source = FaceRef("target"), FaceRef("source")
    scene = Scene(canvas=target, sources={"skin": source, "pose": target}, faces={target: face, source: other})
    scene.source_face("skin")                  # an `Aligned`
    scene.is_own(scene.source("skin"))         # False: another's

Faces are told apart by their keys alone, so that a scene is the same after it was copied, pickled or read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from personae.conditioning.facex.assembly import FaceRef
from personae.reading.aligned import Aligned
from personae.shapes import Bool
from personae.types import Array


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One face that is edited, and all the faces that its new picture is made of.

    canvas: the key of the face that is edited, in the crop that the model paints.
    sources: for each token the key of the face that it comes from; a token that is not named is left to the model.
    faces: all of them, by key.
    region: names of the regions that the caller wants changed. mask: (S, S) bool, the caller's own mask, or None.
    shifted: whether the person is to look older, younger or otherwise not as in the photo.
    upright: the key of the canvas's face in the crop that stands it upright, where the canvas leans (`editing.tilt`);
    None: the canvas stands it upright.
    """

    canvas: FaceRef
    sources: Mapping[str, FaceRef]
    faces: Mapping[FaceRef, Aligned]
    region: Sequence[str] = ()
    mask: Bool[Array, "S S"] | None = None
    shifted: bool = False
    upright: FaceRef | None = None

    @property
    def place(self) -> Aligned:
        """The face that is edited, in the crop that the model paints."""
        return self.faces[self.canvas]

    def source(self, token: str) -> FaceRef:
        """The key of a token's source; the canvas's own face if the token has none."""
        return self.sources.get(token, self.upright or self.canvas)

    def source_face(self, token: str) -> Aligned:
        """The face that a token comes from."""
        return self.faces[self.source(token)]

    def is_own(self, ref: FaceRef) -> bool:
        """Whether a key names the canvas's own face, in whichever crop, retargeted or not."""
        return ref.photo == self.canvas.photo

    def with_source(self, token: str, ref: FaceRef, face: Aligned) -> "Scene":
        """The same scene, with a token from another face."""
        return replace(self, sources={**self.sources, token: ref}, faces={**self.faces, ref: face})
