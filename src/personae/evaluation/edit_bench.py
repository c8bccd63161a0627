"""Photos edited and read back: what `suites/editing.py` measures with.

    bench = Bench(pipe=pipe, people=people, judge=judge, find=find, motion=teachers.motion, options={})
    swaps = bench.edit("swap", 200)                     # the face of person p in the photo of the next person
    readings = bench.read(swaps.images, places)
    likeness_to(readings, bench.photo_readings), motion_errors(readings, bench.photo_readings)

Everything is read from whole finished photos by networks that take no part in editing them.

Legend: N photos or pairs, H and W pixels of a photo, S side of the model's crops.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from personae.data.teachers import framed
from personae.editing.inputs import in_crop
from personae.editing.paste import Patch, paste_patch
from personae.editing.tasks import TASKS
from personae.errors import NoFaceFound
from personae.evaluation.judge import Finder, Judge
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline
from personae.reading import rotation
from personae.reading.aligned import Aligned
from personae.sampling import codec
from personae.shapes import Bool, UInt8
from personae.types import Array, Edit, Motion

_EARS, _TOP_CHIN = (234, 454), (10, 152)  # landmarks at the ends of a face's width and of its height
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What is read from N pictures; NaN where no face is found. `vectors` (N, D): the judge's; `angles` (N, 2): yaw and
    pitch in degrees with the face upright; `shapes` (N, 52) blendshapes; `outline` (N,): the face's width by its
    height."""

    vectors: Array
    angles: Array
    shapes: Array
    outline: Array

    def rows(self, rows: Array) -> "Readings":
        """Those of some pictures, by row numbers (M,)."""
        return Readings(
            vectors=self.vectors[rows], angles=self.angles[rows], shapes=self.shapes[rows], outline=self.outline[rows]
        )


@dataclass(frozen=True, kw_only=True)
class Edits:
    """N edits: the finished photos `images` (H, W, 3); `masks` (S, S) bool: what was generated in the crop; `strayed`
    (N,): how many pixels changed outside the edit's own mask."""

    edits: Sequence[Edit]
    images: Sequence[Array]
    masks: Sequence[Array]
    strayed: Array


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The people, each with the main face of their photo, and the networks that read pictures. The edit of person p has
    seed p; where a task takes two photos, the second is that of the next person. `options`: of every call."""

    pipe: FacePipeline
    people: Sequence[Subject]
    judge: Judge
    find: Finder
    motion: Callable[[UInt8[Array, "H W 3"]], Motion | None]
    options: Mapping[str, Any]

    @cached_property
    def photos(self) -> list[Array]:
        """Of everyone, (H, W, 3)."""
        return [one.person.photo.pixels for one in self.people]

    @cached_property
    def places(self) -> list[Aligned]:
        """Everyone's face in the crop that the model works on."""
        return [in_crop(self.pipe, one.face) for one in self.people]

    @cached_property
    def photo_readings(self) -> Readings:
        """Of everyone's photo."""
        return self.read(self.photos, self.places)

    @cached_property
    def generated(self) -> list[Array]:
        """(S, S, 3) of everyone: generated from the identity alone."""
        images: list[Any] = []
        for start in range(0, len(self.people), _BATCH):
            faces = [one.face for one in self.people[start : start + _BATCH]]
            images += self.pipe(faces, seed=start, measure_likeness=False, **self.options).images
        return [np.asarray(image) for image in images]

    @staticmethod
    def next_person(count: int) -> Array:
        """(count,) the row of the person after each."""
        return (np.arange(count) + 1) % count

    def edit(self, task: str, count: int, **options: Any) -> Edits:
        """The first `count` people's edits by a task."""
        row, others = TASKS[task], self.next_person(count)
        edits, strayed = [], []
        for person in range(count):
            roles = (
                {"target": person} if row.roles == ("target",) else {"source": person, "target": int(others[person])}
            )
            call: dict[str, Any] = {role: self.people[one].face for role, one in roles.items()}
            edit = self.pipe.edit(task, seed=person, measure_likeness=False, **{**call, **self.options, **options})
            edits.append(edit)
            changed = (np.asarray(edit.images[0]) != self.photos[roles[row.canvas]]).any(-1)
            strayed.append(int((changed & ~edit.mask).sum()))
        return Edits(
            edits=edits,
            images=[np.asarray(edit.images[0]) for edit in edits],
            masks=[edit.edit_masks[0] for edit in edits],
            strayed=np.array(strayed),
        )

    def edit_again(self, task: str, first: Edits, **options: Any) -> list[UInt8[Array, "H W 3"]]:
        """A second edit of each result; if the task takes two photos, the first is that of the same person. Where no
        face is found in a result any more, the picture is grey, so that its likeness is 0."""
        images = []
        for person, edit in enumerate(first.edits):
            two: dict[str, Any] = {} if TASKS[task].roles == ("target",) else {"source": self.people[person].face}
            seed = len(self.people) + person  # the same noise twice in one place would add up
            try:
                result = self.pipe.edit(
                    task, target=edit, **two, seed=seed, measure_likeness=False, **{**self.options, **options}
                )
            except NoFaceFound:
                images.append(np.full_like(first.images[person], 127))
            else:
                images.append(np.asarray(result.images[0]))
        return images

    def paste(
        self,
        crops: Sequence[UInt8[Array, "S S 3"]],
        places: Sequence[Aligned],
        photos: Sequence[UInt8[Array, "_ _ 3"]],
        masks: Sequence[Bool[Array, "S S"]],
        recolour: str = "none",
    ) -> list[UInt8[Array, "_ _ 3"]]:
        """Crops (S, S, 3) pasted into the masked regions of photos, as an edit does. recolour: of `paste_patch`."""
        return [
            paste_patch(
                photo,
                crop,
                Patch(place=place, edit_mask=region & place.coverage, cells=region),
                recolour=recolour,
                mask=None,
            )
            for crop, place, photo, region in zip(crops, places, photos, masks, strict=True)
        ]

    def re_encoded(self, masks: Sequence[Bool[Array, "S S"]]) -> list[UInt8[Array, "_ _ 3"]]:
        """The first photos, their masked regions encoded and decoded by the model's autoencoder."""
        count = len(masks)
        crops = codec.to_tensor(np.stack([place.crop for place in self.places[:count]]))
        decoded = list(codec.to_uint8(codec.decode(self.pipe.vae, codec.encode(self.pipe.vae, crops))))
        return self.paste(decoded, self.places[:count], self.photos[:count], masks)

    def read(self, images: Sequence[Array], places: Sequence[Aligned] | None = None) -> Readings:
        """Of pictures (H, W, 3) RGB uint8. places: where their faces are; None: upright in the middle."""
        turns = [0.0] * len(images) if places is None else [rotation.image_turn(place.matrix) for place in places]
        motions = [self.motion(framed(image)) for image in images]
        angles, shapes, outline = np.full((len(images), 2), np.nan), np.full((len(images), 52), np.nan), []
        for row, (motion, turn) in enumerate(zip(motions, turns, strict=True)):
            outline.append(np.nan if motion is None else _outline(motion.landmarks))
            if motion is not None:
                pose = np.array((motion.pose.yaw, motion.pose.pitch, motion.pose.roll))
                angles[row], shapes[row] = rotation.turn(pose, turn)[:2], motion.blendshapes
        vectors = self.judge.look(images, self.find)
        return Readings(vectors=vectors, angles=angles, shapes=shapes, outline=np.array(outline))


def likeness_to(readings: Readings, people: Readings) -> Array:
    """(N,) cosine to the same row of `people`, 0 where no face is found."""
    if readings.vectors.shape != people.vectors.shape:  # no face in any
        return np.zeros(len(people.vectors))
    return np.nan_to_num((readings.vectors * people.vectors).sum(1))


def motion_errors(readings: Readings, wanted: Readings) -> dict[str, Array]:
    """yaw, pitch: (N,) degrees; blendshapes: (N,) mean of 52; absolute, NaN where no face is found in either."""
    yaw, pitch = np.abs(readings.angles - wanted.angles).T
    return {"yaw": yaw, "pitch": pitch, "blendshapes": np.abs(readings.shapes - wanted.shapes).mean(1)}


def _outline(landmarks: Array) -> float:
    width, height = (np.linalg.norm(np.subtract(*landmarks[list(ends)])) for ends in (_EARS, _TOP_CHIN))
    return float(width / height)
