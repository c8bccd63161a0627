"""What `facex-sd15` learns from: photos with a face, read by the base's own reader.

Legend: M rows of a batch; S side of a crop; h, w of latents; D numbers of an identity; K landmarks.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from personae.conditioning.facex.representation import MEASURES, measure
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import render
from personae.data.captioned import CaptionedFace, CaptionedFaces, Part, Records
from personae.editing.inputs import in_crop, side
from personae.pipeline import FacePipeline
from personae.reading.aligned import resized
from personae.reading.face_motion import OnnxMotionReader
from personae.sampling import codec
from personae.training.methods.facex.lessons import drawn, is_own, moves
from personae.training.self_edit_tasks import ask
from personae.types import Array, Detection, Face, Photo

_MESH = 128  # side of the normal maps
_HELD_OUT = 64  # photos in the report
_AT_ONCE = 4  # of them
_MIRRORED = (1, 0, 2, 4, 3)  # a mirrored face's five points, by the face's own


class PhotosToEdit:
    """motion: of the base's reader. share: of a batch's rows that no photo shows, 0: none."""

    def __init__(self, records: Records, base: FacePipeline, motion: OnnxMotionReader, *, share: float) -> None:
        assert base.reader is not None
        self.base, self.reader, self.motion, self.share = base, base.reader, motion, share
        self.mesh, self.size, self._records = FaceModel.bundled(), side(base), records
        self.faces = CaptionedFaces(Part(records, held_out=False), self.reader)

    def held_out(self) -> list[dict[str, Any]]:
        """Batches of photos that are never trained on, always the same."""
        held_out = list(islice(CaptionedFaces(Part(self._records, held_out=True), self.reader).epoch(), _HELD_OUT))
        rng, batches = np.random.default_rng(0), []
        for start in range(0, len(held_out), _AT_ONCE):
            part = held_out[start : start + _AT_ONCE]
            others = (2 * held_out)[start + len(part) :][: self._pairs(len(part))]
            batches.append(self._read(part, others, rng))
        return batches

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """As `lessons` has it, and `canvas` (M, S, S, 3) uint8: the photo that is made, or what is around a
        pair's free region; `inside` (M, h, w) bool: its cells that the photo shows; `vectors` (M, D): the source's."""
        return self._read(self.faces.draw(rng, size), self.faces.draw(rng, self._pairs(size)), rng)

    def _pairs(self, size: int) -> int:
        """Of `size` rows at least one shows one person, and one two, if any is to."""
        return min(max(1, round(size * self.share)), size - 1) if self.share else 0

    def _read(
        self, targets: Sequence[CaptionedFace], others: Sequence[CaptionedFace], rng: np.random.Generator
    ) -> dict[str, Any]:
        """`others`: the sources of the last rows."""
        photos, pairs = len(targets) - len(others), len(others)
        lessons = np.concatenate([drawn(rng, photos, "share"), drawn(rng, pairs, "pairs")]).astype(np.int64)
        paired = np.arange(len(targets)) >= photos
        own, from_source = paired & is_own(lessons), paired & moves(lessons)  # whose photo the canvas is
        sides, other = rng.integers(2, size=(2, len(targets))).astype(bool)
        faces = zip(own, targets, [*targets[:photos], *others], strict=True)
        source = self._faces([one if alone else another for alone, one, another in faces], np.where(own, sides, other))
        target = self._faces(targets, sides)
        source.pop("marks")
        rows = from_source[:, None, None]
        return {
            "lessons": lessons,
            "pairs": pairs,
            "free": ask(rng, lessons, own, target.pop("marks"), target, template=self.base.config.crop_template),
            "canvas": np.where(rows[..., None], source["crops"], target["crops"]),
            "inside": np.where(rows, source.pop("inside"), target.pop("inside")),
            "vectors": source.pop("vector"),
            "source": source,
            "target": target,
        }

    def _faces(self, faces: Sequence[CaptionedFace], mirrored: Array) -> dict[str, Array]:
        """What was read off each face, or its mirror image, as `lessons` has it; `inside`, `vector`; and `marks`
        (M, K, 3), the landmarks in its crop."""
        looked = [_mirror(one) if other else (one.photo, one.found) for one, other in zip(faces, mirrored, strict=True)]
        rows = []
        for (pixels, found), identity in zip(looked, self.reader.identities(looked), strict=True):
            motion = self.motion.read(pixels, found.points)
            face = in_crop(
                self.base, Face(detection=found, motion=motion, identity=identity, photo=Photo(pixels=pixels))
            )
            measured = measure(face, self.mesh)
            marks, cell = resized(face.landmarks, self.size, _MESH), codec.pixels_per_cell(self.base.vae)
            rows.append(
                {
                    "crops": face.crop,
                    "marks": face.landmarks,
                    "regions": measured.regions[0],
                    "meshes": render(marks, self.mesh.triangles, _MESH),
                    "inside": face.coverage[cell // 2 :: cell, cell // 2 :: cell],
                    "vector": identity.vector,
                    **{name: getattr(measured, name)[0] for name in MEASURES},
                }
            )
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _mirror(one: CaptionedFace) -> tuple[Array, Detection]:
    """The photo and its face, left and right exchanged."""
    width = one.photo.shape[1]
    left, top, right, bottom = one.found.box
    points = one.found.points[list(_MIRRORED)]
    points[:, 0] = width - 1 - points[:, 0]
    box = np.array((width - right, top, width - left, bottom), np.float32)
    pixels = np.ascontiguousarray(one.photo[:, ::-1])
    return pixels, Detection(box=box, points=points, score=one.found.score)
