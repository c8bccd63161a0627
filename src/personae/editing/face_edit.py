"""One face of a photo edited: align -> scene -> edit mask -> warp -> fill -> paint -> paste back.

    step = edit_face(pipe, task, changes, faces, photos, 4, seeds=0, options={})
    step.photos                                    # 4 x (H, W, 3), with that face edited

Legend: N images, S the side of the model's crops, H and W of the photo.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from personae.conditioning.facex.assembly import FaceRef
from personae.editing import tilt
from personae.editing.changes import Changes, retargeted
from personae.editing.conditioning import call_options, guidance_of, with_facex
from personae.editing.inputs import identity_of, in_crop, mask_in_crop
from personae.editing.masks import area_of, edit_mask_of
from personae.editing.paste import RECOLOURS, Patch, inside, paste_patch
from personae.editing.scene import Scene
from personae.editing.tasks import Task
from personae.editing.tone import tone_of, toned
from personae.editing.warp import Warp, margin_of, middle, strength, warp_of
from personae.errors import BadOption
from personae.identity import directions
from personae.model import Model
from personae.models.limits import Limits
from personae.reading import align
from personae.reading.aligned import Aligned
from personae.sampling.mask_blend import cells
from personae.shapes import Bool, Float32, UInt8
from personae.types import Array, Face, Generation, Identity

_SEAM = 1 / 32  # of the crop's side: over which what is filled fades in, to be painted over with all the rest
_OTHER_NOISE = 1_000_003  # between the seeds of what is filled and of the rest: the same noise twice leaves its mark


@dataclass(frozen=True, kw_only=True)
class FaceEdit:
    """One face edited.

    photos: N x (H, W, 3) uint8 with it. place: where it lies. edit_mask: (S, S) bool, what was painted anew; area:
    (H, W) bool, what else must hold of a pixel that changed (`masks.area_of`). warp: what was drawn there first, None:
    nothing. identity: whose face it is to be. seeds: of the N images. generation: the last call that painted in it.
    """

    photos: list[UInt8[Array, "H W 3"]]
    place: Aligned
    edit_mask: Bool[Array, "S S"]
    area: Bool[Array, "H W"] | None
    warp: Warp | None
    identity: Identity
    seeds: Sequence[int]
    generation: Generation


@dataclass(frozen=True, kw_only=True)
class FaceJob:
    """What is to be done to one face.

    scene: which face gives which piece. person: the face that the identity prompt is about, with the identity that is
    wanted. edit_mask: (S, S) bool, what is painted anew; area: (H, W) bool, what else must hold of a pixel that changes
    (`masks.area_of`). upright: the face in the crop that stands it upright. tone: of a photo of one colour (`tone`),
    None: it is in colour. options: of the model's call, as the caller gives them.
    """

    pipe: Model
    task: Task
    changes: Changes
    scene: Scene
    person: Face
    edit_mask: Bool[Array, "S S"]
    area: Bool[Array, "H W"] | None
    upright: Aligned
    tone: Float32[Array, "256 3"] | None
    options: Mapping[str, Any]

    @property
    def place(self) -> Aligned:
        """The face in the crop that is painted."""
        return self.scene.place

    @property
    def has_work(self) -> bool:
        """Whether the photo shows anything of what is to be painted anew."""
        return bool((self.edit_mask & self.place.coverage).any())

    @property
    def open_mask(self) -> Bool[Array, "S S"]:
        """(S, S) bool: where the model may paint: in the edit mask, and beyond the photo's edge, too, where the crop
        only repeats it."""
        return self.edit_mask | ~self.place.coverage

    def crops(self, photos: Sequence[UInt8[Array, "H W 3"]]) -> list[UInt8[Array, "S S 3"]]:
        """(S, S, 3) of each photo (H, W, 3)."""
        return [align.crop(photo, self.place.matrix, self.place.size) for photo in photos]

    def in_tone(
        self, photos: Sequence[UInt8[Array, "H W 3"]], before: Sequence[UInt8[Array, "H W 3"]]
    ) -> list[UInt8[Array, "H W 3"]]:
        """Photos (H, W, 3), what differs from those before in their tone."""
        return [toned(photo, old, self.tone) for photo, old in zip(photos, before, strict=True)]


def edit_face(
    pipe: Model,
    task: Task,
    changes: Changes,
    faces: Mapping[str, Face],
    photos: Sequence[UInt8[Array, "H W 3"]],
    count: int,
    *,
    seeds: int | Sequence[int] | None,
    options: Mapping[str, Any],
) -> FaceEdit | None:
    """Edit one face of `photos`: of one photo for all images, or of one for each of the `count` images. None: nothing
    of what is to be made anew lies in the crop around it.

    faces: by role or token; that of the task's canvas is edited. seeds: as `edit` takes them. options: of the model's
    call. Stopped by `pipe.interrupt`, it ends with what was painted by then.

    Raises `BadOption`, `WeightsMissing`, `SpaceMismatch`, and whatever the model's call raises.
    """
    job = prepare_face(pipe, task, changes, faces, options)
    if not job.has_work:
        return None
    before = _each(photos, count)
    automatic = call_options(pipe, task, job.scene, job.open_mask, job.crops(before), changes.tokens)
    warp, current, filled = None, before, None
    if task.warp_strength is not None:
        warp = warp_of(job.scene, job.edit_mask, row=task.edit_mask, recolour=task.recolour)
    if task.warp_strength is not None and warp is not None:
        current = _each([draw_warp(job, warp, photo) for photo in photos], count)
        automatic["strength"] = strength(warp.turn, *task.warp_strength)
        hole = warp.missing[middle(job.place.size)] & job.edit_mask & job.place.coverage
        if hole.any():
            seeds = _seeds(seeds, count)
            filled, current = fill_hole(job, hole, current, before, seeds, automatic)
    if filled is not None and pipe.interrupt:  # a caller's stop, which the next call would forget
        generation = replace(filled, seeds=list(_seeds(seeds, count)))
    else:
        generation = paint(job, current, seeds, automatic)
        current = paste_back(job, generation, current, before, fine=warp is not None)
    return FaceEdit(
        photos=current,
        place=job.place,
        edit_mask=job.edit_mask,
        area=job.area,
        warp=warp,
        identity=_identity(job.person),
        seeds=generation.seeds,
        generation=generation,
    )


# ---------------------------------------------------------------------- before anything is painted


def prepare_face(
    pipe: Model, task: Task, changes: Changes, faces: Mapping[str, Face], options: Mapping[str, Any]
) -> FaceJob:
    """Align the faces, and find out which of them gives what, what is painted anew and who it is to be."""
    crops_of = {name: in_crop(pipe, face) for name, face in faces.items()}
    scene = build_scene(pipe, task, changes, crops_of)
    person = "identity" if "identity" in changes.tokens else task.person
    identity = identity_of(pipe, crops_of[person])
    if changes.shift:
        identity = directions.shift(identity, _directions(pipe), changes.shift)
    return FaceJob(
        pipe=pipe,
        task=task,
        changes=changes,
        scene=scene,
        person=replace(faces[person], identity=identity),
        edit_mask=edit_mask_of(task.edit_mask, scene),
        area=area_of(changes.mask, scene),
        upright=crops_of[task.canvas],
        tone=tone_of(scene.place.widened(margin_of(scene.place.size))),
        options=options,
    )


def build_scene(pipe: Model, task: Task, changes: Changes, crops_of: Mapping[str, Aligned]) -> Scene:
    """Which of the faces, in their crops, by role or token, gives which piece of the picture. The scene's canvas leans
    as the head is to."""
    refs = {name: FaceRef(name) for name in crops_of}
    roles = dict(task.token_roles) | {token: token for token in changes.tokens}
    scene = Scene(
        canvas=refs[task.canvas],
        sources={token: refs[role] for token, role in roles.items()},
        faces={ref: crops_of[name] for name, ref in refs.items()},
        region=changes.region,
        shifted=bool(changes.shift),
    )
    scene = retargeted(scene, changes)
    scene = tilt.followed(scene, Limits.of(pipe.folder), leans=may_lean(task, changes), rolled="roll" in changes.angles)
    return replace(scene, mask=mask_in_crop(changes.mask, scene.place))


def may_lean(task: Task, changes: Changes) -> bool:
    """Whether the head that is edited is the canvas's own, so that its pixels can be turned with the crop."""
    own = task.token_roles.get("skin") == task.canvas and "skin" not in changes.tokens
    return task.warp_strength is not None and own


def _directions(pipe: Model) -> dict[str, Any]:
    if pipe.folder is None:
        raise BadOption("a shift needs the directions of the model's folder, and this model came from none")
    return directions.of_model(pipe.folder)


def _identity(face: Face) -> Identity:
    assert face.identity is not None  # `prepare_face` has set it
    return face.identity


def _each(photos: Sequence[Array], count: int) -> list[Array]:
    """A photo for every image: before the first face is edited, all images share one."""
    return list(photos) * (count // len(photos))


def _seeds(seeds: int | Sequence[int] | None, count: int) -> list[int]:
    """One for each image, drawn now if there is none."""
    if seeds is None:
        seeds = secrets.randbelow(2**31)
    return [int(seeds) + n for n in range(count)] if isinstance(seeds, int | Integral) else [int(one) for one in seeds]


# ---------------------------------------------------------------------- painting


def draw_warp(job: FaceJob, warp: Warp, photo: UInt8[Array, "H W 3"]) -> UInt8[Array, "H W 3"]:
    """A photo (H, W, 3) with the warp drawn into it, inside the area."""
    drawn = inside(warp.onto(photo, job.place.matrix), photo, job.area)
    return toned(drawn, photo, job.tone)


def fill_hole(
    job: FaceJob,
    hole: Bool[Array, "S S"],
    photos: Sequence[UInt8[Array, "H W 3"]],
    before: Sequence[UInt8[Array, "H W 3"]],
    seeds: Sequence[int],
    automatic: Mapping[str, Any],
) -> tuple[Generation, list[UInt8[Array, "H W 3"]]]:
    """Paint from pure noise what no photo shows: the `hole` (S, S) bool that the edge of the source's photo leaves in a
    warp. What was warped around it stays. Returns the call and the photos."""
    crops, place = job.crops(photos), job.place
    open_mask = hole | ~place.coverage
    options = dict(automatic) | dict(job.options)
    if job.pipe.has_component("facex"):
        options |= with_facex(replace(job.task, reference="hole"), job.scene, open_mask, crops)
    options |= {"strength": 1.0, "motion_guidance": 0.0, "likeness_guidance": 0.0}
    generation = job.pipe(
        [job.person] * len(photos),
        seed=[(seed + _OTHER_NOISE) % 2**63 for seed in seeds],
        image=crops,
        mask_image=open_mask,
        measure_likeness=False,
        **options,
    )
    patch = Patch(place=place, edit_mask=hole, cells=_whole_cells(job.pipe, open_mask))
    filled = []
    for photo, crop, image in zip(photos, crops, generation.images, strict=True):
        pixels = np.asarray(image)
        pixels = RECOLOURS["border"](pixels, crop, patch).on(pixels)
        pixels = align.paste(photo, pixels, place.matrix, mask=hole, feather=_SEAM * place.size)
        filled.append(inside(pixels, photo, job.area))
    return generation, job.in_tone(filled, before)


def paint(
    job: FaceJob,
    photos: Sequence[UInt8[Array, "H W 3"]],
    seeds: int | Sequence[int] | None,
    automatic: Mapping[str, Any],
) -> Generation:
    """The model's call: the crop of each photo (H, W, 3), painted anew inside the edit mask. The caller's options count
    more than those that follow from the scene (`automatic`)."""
    return job.pipe(
        [job.person] * len(photos),
        seed=seeds,
        image=job.crops(photos),
        mask_image=job.open_mask,
        measure_likeness=False,
        **(guidance_of(job.pipe, job.task) | dict(automatic) | dict(job.options)),
    )


def paste_back(
    job: FaceJob,
    generation: Generation,
    photos: Sequence[UInt8[Array, "H W 3"]],
    before: Sequence[UInt8[Array, "H W 3"]],
    *,
    fine: bool,
) -> list[UInt8[Array, "H W 3"]]:
    """Photos (H, W, 3) with the painted crops in their place. fine: where they agree, the photos' detail stays."""
    # A head that leaned stands upright now.
    place = replace(job.place, landmarks=job.upright.landmarks, parts=job.upright.parts)
    painted, open_cells = job.edit_mask & place.coverage, _whole_cells(job.pipe, job.open_mask)
    patch = Patch(place=place, edit_mask=painted, cells=open_cells)
    recolour = "border" if {"light", "texture"} & set(job.changes.tokens) else job.task.recolour
    crops = [np.asarray(image) for image in generation.images]
    edited = [
        paste_patch(photo, crop, patch, recolour=recolour, mask=job.area, fine=fine)
        for photo, crop in zip(photos, crops, strict=True)
    ]
    return job.in_tone(edited, before)


def _whole_cells(pipe: Model, mask: Bool[Array, "S S"]) -> Bool[Array, "S S"]:
    """(S, S) bool: a mask grown to whole cells of the latents."""
    grid = pipe.unet.config.sample_size
    cell = len(mask) // grid
    return np.asarray(cells(mask, (grid, grid)).numpy().repeat(cell, 0).repeat(cell, 1))
