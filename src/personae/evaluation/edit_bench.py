"""Photos edited and read back: what `suites/editing.py` measures with.

    bench = Bench(pipe=pipe, people=people, judge=judge, find=find, motion=teachers.motion)
    done = bench.edit("swap", 200)                     # the face of person p in the photo of the next
    seen = bench.look(done.images, bench.next_places(200))
    cosines(seen, bench.real), apart(seen, bench.next(bench.real, 200))

Everything is read off whole finished photos by networks that have no part in making them.

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
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline
from personae.reading import rotation
from personae.reading.aligned import Aligned
from personae.sampling import codec
from personae.types import Array, Edit, Motion

UNKNOWN = Estimate(value=np.nan, low=np.nan, high=np.nan, n=0)
_EARS, _TOP_CHIN = (234, 454), (10, 152)  # landmarks at the ends of a face's width and of its height
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Seen:
    """N pictures as read; NaN where no face is found. `vectors` (N, D): the judge's; `angles` (N, 2): yaw and pitch in
    degrees with the face upright; `shapes` (N, 52) blendshapes; `outline` (N,): the face's width by its height."""

    vectors: Array
    angles: Array
    shapes: Array
    outline: Array

    def rows(self, rows: Array) -> "Seen":
        """Some of them, (M,) row numbers."""
        return Seen(
            vectors=self.vectors[rows], angles=self.angles[rows], shapes=self.shapes[rows], outline=self.outline[rows]
        )


@dataclass(frozen=True, kw_only=True)
class Done:
    """N edits: the finished photos, what was `free` (S, S) bool of each, and how many pixels of each `strayed`: they
    changed outside the edit's own mask."""

    edits: Sequence[Edit]
    images: Sequence[Array]
    free: Sequence[Array]
    strayed: Array


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The people, each with the main face of their photo, and who reads pictures. Person p has seed p; where a task
    takes two photos, the second is that of the next person. `options`: of every call."""

    pipe: FacePipeline
    people: Sequence[Subject]
    judge: Judge
    find: Finder
    motion: Callable[[Array], Motion | None]
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
    def real(self) -> Seen:
        """Everyone's photo."""
        return self.look(self.photos, self.places)

    @cached_property
    def plain(self) -> list[Array]:
        """(S, S, 3) of everyone: generated, told nothing but who."""
        made = []
        for start in range(0, len(self.people), _BATCH):
            faces = [one.face for one in self.people[start : start + _BATCH]]
            made += self.pipe(faces, seed=start, measure_likeness=False, **self.options).images
        return [np.asarray(image) for image in made]

    @staticmethod
    def after(count: int) -> Array:
        """(count,) the row of the person next to each."""
        return (np.arange(count) + 1) % count

    def edit(self, task: str, count: int, **asked: Any) -> Done:
        """The first `count` people's edits by a task."""
        row, after = TASKS[task], self.after(count)
        edits, strayed = [], []
        for person in range(count):
            roles = {"target": person} if row.roles == ("target",) else {"source": person, "target": int(after[person])}
            call: dict[str, Any] = {role: self.people[one].face for role, one in roles.items()}
            edit = self.pipe.edit(task, seed=person, measure_likeness=False, **{**call, **self.options, **asked})
            edits.append(edit)
            changed = (np.asarray(edit.images[0]) != self.photos[roles[row.canvas]]).any(-1)
            strayed.append(int((changed & ~edit.mask).sum()))
        return Done(
            edits=edits,
            images=[np.asarray(edit.images[0]) for edit in edits],
            free=[edit.edit_masks[0] for edit in edits],
            strayed=np.array(strayed),
        )

    def again(self, task: str, first: Done, **asked: Any) -> list[Array]:
        """A second edit of each result, its first photo that of the same person if the task takes two. Where no face
        is found in a result any more, the picture is grey: nothing is kept."""
        images = []
        for person, edit in enumerate(first.edits):
            two: dict[str, Any] = {} if TASKS[task].roles == ("target",) else {"source": self.people[person].face}
            seed = len(self.people) + person  # the same noise in the same place would leave its mark twice
            try:
                made = self.pipe.edit(
                    task, target=edit, **two, seed=seed, measure_likeness=False, **{**self.options, **asked}
                )
            except NoFaceFound:
                images.append(np.full_like(first.images[person], 127))
            else:
                images.append(np.asarray(made.images[0]))
        return images

    def put(self, made: Sequence[Array], places: Sequence[Aligned], photos: Sequence[Array], free: Sequence[Array],
            recolour: str = "none") -> list[Array]:  # fmt: skip
        """Crops `made` (S, S, 3) put into the free regions of photos, as an edit is. recolour: of `paste_patch`."""
        return [
            paste_patch(
                photo,
                crop,
                Patch(place=place, edit_mask=region & place.coverage, cells=region),
                recolour=recolour,
                mask=None,
            )
            for crop, place, photo, region in zip(made, places, photos, free, strict=True)
        ]

    def encoded(self, free: Sequence[Array]) -> list[Array]:
        """The first photos with their own free regions taken through the model's autoencoder and back."""
        count = len(free)
        crops = codec.to_tensor(np.stack([place.crop for place in self.places[:count]]))
        made = list(codec.to_uint8(codec.decode(self.pipe.vae, codec.encode(self.pipe.vae, crops))))
        return self.put(made, self.places[:count], self.photos[:count], free)

    def look(self, images: Sequence[Array], places: Sequence[Aligned] | None = None) -> Seen:
        """What is in pictures (H, W, 3) RGB uint8. places: where their faces lie; None: upright in the middle."""
        turns = [0.0] * len(images) if places is None else [rotation.image_turn(place.matrix) for place in places]
        motions = [self.motion(framed(image)) for image in images]
        angles, shapes, outline = np.full((len(images), 2), np.nan), np.full((len(images), 52), np.nan), []
        for row, (motion, turn) in enumerate(zip(motions, turns, strict=True)):
            outline.append(np.nan if motion is None else _outline(motion.landmarks))
            if motion is not None:
                held = np.array((motion.pose.yaw, motion.pose.pitch, motion.pose.roll))
                angles[row], shapes[row] = rotation.turn(held, turn)[:2], motion.blendshapes
        vectors = self.judge.look(images, self.find)
        return Seen(vectors=vectors, angles=angles, shapes=shapes, outline=np.array(outline))


def alike(seen: Seen, real: Seen) -> Array:
    """(N,) cosine to the same row, 0 where no face is found."""
    if seen.vectors.shape != real.vectors.shape:  # no face in any
        return np.zeros(len(real.vectors))
    return np.nan_to_num((seen.vectors * real.vectors).sum(1))


def apart(seen: Seen, wanted: Seen) -> dict[str, Array]:
    """yaw, pitch: (N,) degrees; blendshapes: (N,) mean of 52; absolute, NaN where no face is found in either."""
    yaw, pitch = np.abs(seen.angles - wanted.angles).T
    return {"yaw": yaw, "pitch": pitch, "blendshapes": np.abs(seen.shapes - wanted.shapes).mean(1)}


def mean(values: Array) -> Estimate:
    """Over the finite of (N,)."""
    finite = values[np.isfinite(values)]
    return estimate.mean(finite) if len(finite) else UNKNOWN


def ratio(above: Array, below: Array) -> Estimate:
    """The mean of (N,) as a share of that of another (N,), over the rows in which both are finite; NaN, so that no bar
    is cleared, if there is nothing to share in."""
    both = np.isfinite(above) & np.isfinite(below)
    if not both.any():
        return UNKNOWN
    above, below = above[both], below[both]

    def share(rows: Array) -> Array:
        whole = below[rows].mean(-1)
        return np.divide(above[rows].mean(-1), whole, out=np.full(whole.shape, np.nan), where=whole > 0)

    return estimate.bootstrap(share, len(above))


def _outline(landmarks: Array) -> float:
    width, height = (np.linalg.norm(np.subtract(*landmarks[list(ends)])) for ends in (_EARS, _TOP_CHIN))
    return float(width / height)
