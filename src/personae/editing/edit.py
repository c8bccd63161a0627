"""Any edit of a photo: read -> pick faces -> align -> free region -> generate with what is kept fused in -> paste back.

    done = edit(pipe, "swap", source="ann.jpg", target="party.jpg", face=2, seed=0)     # or pipe.edit("swap", ...)
    done.images, done.likeness
    done = edit(pipe, "attribute", target="me.jpg", shift={"age": 1.5}, expression={"smile": 0.8})
    done = edit(pipe, "mix", target="me.jpg", tokens={"expression": "b.jpg", "hair": "c.jpg"})

Only the crop around a face goes through the model; the rest of the photo stays as it is, byte for byte.

Legend: N images, F faces edited one after the other, S the side of the model's crops.
"""

import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from personae.conditioning.facex.representation import TOKENS
from personae.controls.inpaint import white
from personae.editing import conditioning, tilt
from personae.editing.inputs import Given, Shown, identity_of, in_crop, read
from personae.editing.masks import Scene, free_of
from personae.editing.paste import RECOLOURS, Patch, kept, pasted
from personae.editing.tasks import TASKS, Task, named
from personae.editing.tone import tone_of, toned
from personae.editing.warp import Carried, carried, margin_of, middle, strength
from personae.errors import BadOption, unknown_name
from personae.identity import directions
from personae.model import Model
from personae.models.limits import Limits
from personae.reading import align
from personae.reading.aligned import Aligned
from personae.reading.colours import in_own_layout
from personae.reading.photo import PhotoSource, load_photo, record_of
from personae.sampling.mask_blend import cells
from personae.types import Array, Edit, Face, Generation, Identity

_OWN = (
    "image",
    "mask_image",
    "assembly",
    "height",
    "width",
    "output_type",
    "latents",
    "regions",
    "num_images_per_prompt",
)


_SEAM = 1 / 32  # of the crop's side: over which what is filled fades in, to be painted over with all the rest
_OTHER_NOISE = 1_000_003  # between the seeds of what is filled and of the rest: the same noise twice leaves its mark


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the caller wants of one edit, beside photos. `region`: names; `mask` (H, W) bool, of the photo's size;
    `tokens`: those that were given photos of their own; `shift`, `pose`, `expression`: changes of the person."""

    region: Sequence[str] = ()
    mask: Array | None = None
    tokens: Sequence[str] = ()
    shift: Mapping[str, float] | None = None
    pose: Any = None
    expression: Mapping[str, float] | None = None


def edit(
    pipe: Model,
    task: str | Task,
    *,
    source: Given | None = None,
    target: Given | None = None,
    tokens: Mapping[str, Given] | None = None,
    region: str | Sequence[str] | None = None,
    mask: PhotoSource | None = None,
    face: int = 1,
    all_faces: bool = False,
    shift: Mapping[str, float] | None = None,
    pose: Any = None,
    expression: Mapping[str, float] | None = None,
    seed: int | Sequence[int] | None = None,
    num_images: int = 1,
    measure_likeness: bool = True,
    **options: Any,
) -> Edit:
    """See `FacePipeline.edit`."""
    row = named(task)
    if own := sorted(options.keys() & set(_OWN)):
        raise BadOption(f"an edit says itself what {own[0]} is: leave it out")
    if isinstance(num_images, bool) or not isinstance(num_images, int) or num_images < 1:
        raise BadOption(f"num_images is a whole number of at least 1, got {num_images!r}")
    if isinstance(mask, np.ndarray) and mask.dtype == bool:
        mask = mask.astype(np.uint8) * 255
    cast = _cast(pipe, row, source, target, tokens or {})
    canvas = cast[row.canvas]
    numbers = list(range(1, len(canvas.faces) + 1)) if all_faces else [face]
    faces = [canvas.face(number) for number in numbers]
    asked = Asked(
        region=(region,) if isinstance(region, str) else tuple(region or ()),
        mask=None if mask is None else _mask(mask, canvas),
        tokens=tuple(tokens or {}),
        shift=shift,
        pose=pose,
        expression=expression,
    )
    if canvas.photo.original is not None and canvas.photo.original.loss is not None:
        name = canvas.photo.source or "the photo"
        warnings.warn(f"{name} is not kept as it was filed: {canvas.photo.original.loss}", stacklevel=3)
    if pose is not None:
        angles = conditioning.named_angles(pose)
        if _leans(row, asked):
            angles.pop("roll", None)  # which its crop takes, not the model
        Limits.of(pipe.folder).require(angles)
    others = {role: shown.face(1) for role, shown in cast.items() if role != row.canvas}

    photos, seeds, done = [canvas.photo.pixels] * num_images, seed, []
    for one in faces:
        step = _one_face(pipe, row, asked, one, others, photos, seeds, options)
        photos, seeds = step.photos, step.made.seeds
        done.append(step)
        if pipe.interrupt:  # a caller's stop, which the next face's generation would forget
            break
    numbers = numbers[: len(done)]
    after = np.stack([[align.crop(photo, step.place.matrix, step.place.size) for step in done] for photo in photos])
    last = done[-1].made
    recipe = _recipe(row, asked, cast, numbers, mask, last, set(options))
    touched = _touched(canvas.photo.pixels.shape, done, asked.mask)
    return Edit(
        images=[in_own_layout(canvas.photo, photo, touched) for photo in photos],
        seeds=last.seeds,
        likeness=_likeness(pipe, after, [step.wanted for step in done]) if measure_likeness else None,
        before=np.stack([step.place.crop for step in done]),
        after=after,
        free=np.stack([step.free for step in done]),
        mask=touched,
        recipe=recipe,
    )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One face edited: `photos` N x (H, W, 3) with it, where it lies (`place`), what was `free` (S, S), what had been
    `carried` there, who was `wanted`, and the generation that `made` it."""

    photos: list[Array]
    place: Aligned
    free: Array
    carried: Carried | None
    wanted: Identity
    made: Generation


def _one_face(
    pipe: Model,
    row: Task,
    asked: Asked,
    face: Face,
    others: Mapping[str, Face],
    photos: Sequence[Array],
    seeds: int | Sequence[int] | None,
    options: Mapping[str, Any],
) -> Step:
    faces, given = dict(others) | {row.canvas: face}, photos
    crops_of = {role: in_crop(pipe, one) for role, one in faces.items()}
    scene = _scene(pipe, row, asked, crops_of)
    place, still = scene.canvas, crops_of[row.canvas]
    free = free_of(row.free, scene)
    painted = free & place.coverage
    if not painted.any():
        raise BadOption("nothing of what is to be made anew lies in the square around the face: give another region")

    who = "identity" if "identity" in asked.tokens else row.person
    wanted = identity_of(pipe, crops_of[who])
    if asked.shift:
        wanted = directions.shift(wanted, _directions(pipe), asked.shift)
    crops = [align.crop(photo, place.matrix, place.size) for photo in photos]
    # The model may paint beyond the photo's edge, too: what the crop shows there is only its edge, repeated.
    open_ = free | ~place.coverage
    steered = conditioning.steered(pipe, row, scene, open_, crops, asked.tokens)
    rough = None if row.carried is None else carried(scene, free, row=row.free, recolour=row.recolour)
    tone = tone_of(place.widened(margin_of(place.size)))
    person = replace(faces[who], identity=wanted)
    if row.carried is not None and rough is not None:
        photos = _begun(rough, photos, place, asked.mask, tone)
        steered["strength"] = strength(rough.turned, *row.carried)
        hole = rough.missing[middle(place.size)] & painted
        if hole.any():
            seeds = _seeds(seeds, len(photos))
            photos = _filled(pipe, row, scene, person, hole, photos, seeds, steered | dict(options), asked.mask)
            photos = [toned(photo, before, tone) for photo, before in zip(photos, given, strict=True)]
    made = pipe(
        [person] * len(photos),
        seed=seeds,
        image=[align.crop(photo, place.matrix, place.size) for photo in photos],
        mask_image=open_,
        measure_likeness=False,
        **(conditioning.guidance_of(pipe, row) | steered | dict(options)),
    )
    looks = replace(place, landmarks=still.landmarks, parts=still.parts)  # a head that leaned stands upright now
    patch = Patch(place=looks, free=painted, cells=_whole_cells(pipe, open_))
    recolour = "border" if {"light", "texture"} & set(asked.tokens) else row.recolour
    result = [
        toned(
            pasted(photo, np.asarray(image), patch, recolour=recolour, mask=asked.mask, fine=rough is not None),
            before,
            tone,
        )
        for photo, before, image in zip(photos, given, made.images, strict=True)
    ]
    return Step(photos=result, place=place, free=free, carried=rough, wanted=wanted, made=made)


def _scene(pipe: Model, row: Task, asked: Asked, crops_of: Mapping[str, Aligned]) -> Scene:
    """Who gives what to whom, of the faces in their crops, by role or token. Its canvas leans as the head is to."""
    still = crops_of[row.canvas]
    roles = dict(row.givers) | {token: token for token in asked.tokens}
    told = {token: crops_of[role] for token, role in roles.items()}
    told = conditioning.changed(told, still, asked.pose, asked.expression)
    rolled = asked.pose is not None and "roll" in conditioning.named_angles(asked.pose)
    place, told = tilt.followed(still, told, Limits.of(pipe.folder), leans=_leans(row, asked), rolled=rolled)
    return Scene(
        canvas=place,
        faces=told,
        region=asked.region,
        mask=_mask_in_crop(asked.mask, place),
        other=bool(asked.shift),
        still=None if place is still else still,
    )


def _leans(row: Task, asked: Asked) -> bool:
    """Whether the head that is edited is the canvas's own, and its pixels can be turned with the crop."""
    return row.carried is not None and row.givers.get("skin") == row.canvas and "skin" not in asked.tokens


def _begun(
    rough: Carried, photos: Sequence[Array], place: Aligned, mask: Array | None, tone: Array | None
) -> list[Array]:
    """Photos (H, W, 3) with what is carried into them, inside a mask (H, W) bool."""
    each = {id(photo): photo for photo in photos}  # before the first face is edited, all images share one
    begun = {key: toned(kept(rough.onto(photo, place.matrix), photo, mask), photo, tone) for key, photo in each.items()}
    return [begun[id(photo)] for photo in photos]


def _filled(
    pipe: Model,
    row: Task,
    scene: Scene,
    person: Face,
    hole: Array,
    photos: Sequence[Array],
    seeds: Sequence[int],
    options: Mapping[str, Any],
    mask: Array | None,
) -> list[Array]:
    """Photos with what no photo shows made by the model from nothing but noise: the `hole` (S, S) bool that the edge of
    the giver's photo leaves. What is carried around it stays."""
    place = scene.canvas
    crops = [align.crop(photo, place.matrix, place.size) for photo in photos]
    open_ = hole | ~place.coverage
    if pipe.has_component("facex"):
        options = dict(options) | conditioning.with_facex(replace(row, reference="hole"), scene, open_, crops)
    made = pipe(
        [person] * len(photos),
        seed=[(seed + _OTHER_NOISE) % 2**63 for seed in seeds],
        image=crops,
        mask_image=open_,
        measure_likeness=False,
        **(dict(options) | {"strength": 1.0, "motion_guidance": 0.0, "likeness_guidance": 0.0}),
    )
    patch = Patch(place=place, free=hole, cells=_whole_cells(pipe, open_))
    filled = []
    for photo, crop, image in zip(photos, crops, made.images, strict=True):
        pixels = np.asarray(image)
        pixels = RECOLOURS["border"](pixels, crop, patch).on(pixels)
        pixels = align.paste(photo, pixels, place.matrix, mask=hole, feather=_SEAM * place.size)
        filled.append(kept(pixels, photo, mask))
    return filled


def _seeds(seeds: int | Sequence[int] | None, count: int) -> list[int]:
    """One for each image, drawn now if there is none."""
    if seeds is None:
        seeds = secrets.randbelow(2**31)
    return [seeds + n for n in range(count)] if isinstance(seeds, int) else list(seeds)


def _touched(shape: tuple[int, ...], steps: Sequence[Step], mask: Array | None) -> Array:
    """(H, W) bool: the pixels that may have changed, of a photo of `shape` (H, W, 3)."""
    touched = np.zeros(shape[:2], bool)
    for step in steps:
        margin = 0 if step.carried is None else step.carried.margin
        free = np.pad(step.free & step.place.coverage, margin)
        if step.carried is not None:
            free |= step.carried.mask
        window = align.widened(step.place.matrix, margin)
        (left, top, right, bottom), inside = align.lying(free, window, shape)
        touched[top:bottom, left:right] |= inside
    return touched if mask is None else touched & mask


def _whole_cells(pipe: Model, free: Array) -> Array:
    """(S, S) bool: `free` grown to whole cells of the latents."""
    side = pipe.unet.config.sample_size
    each = len(free) // side
    return np.asarray(cells(free, (side, side)).numpy().repeat(each, 0).repeat(each, 1))


# ---------------------------------------------------------------------- what was given


def _cast(
    pipe: Model, row: Task, source: Given | None, target: Given | None, tokens: Mapping[str, Given]
) -> dict[str, Shown]:
    """Every photo of an edit, by role; those that give a token of their own, by the token."""
    for token in tokens:
        if token not in TOKENS:
            raise unknown_name("token", token, TOKENS)
    given = {role: one for role, one in (("source", source), ("target", target)) if one is not None}
    for role in row.roles:
        if role not in given:
            raise BadOption(f"{row.name} takes {' and '.join(row.roles)}, and there is no {role}: give {role}=")
    for role in given:
        if role not in row.roles:
            raise BadOption(f"{row.name} takes no {role}, only {' and '.join(row.roles)}: leave {role} out")
    return {role: read(pipe, role, one) for role, one in (given | dict(tokens)).items()}


def _mask(mask: PhotoSource, canvas: Shown) -> Array:
    """(H, W) bool, of the photo's size."""
    found = white(mask)
    height, width = canvas.photo.pixels.shape[:2]
    if found.shape != (height, width):
        raise BadOption(
            f"the mask must be as large as the photo, {width} x {height} pixels, got {found.shape[1]} x "
            f"{found.shape[0]}: white is what is made anew"
        )
    if not found.any():
        raise BadOption("the mask is black: white is what is made anew, so nothing would change")
    return found


def _mask_in_crop(mask: Array | None, place: Aligned) -> Array | None:
    """(S, S) bool: the crop's pixels that the mask touches."""
    if mask is None:
        return None
    touched = align.crop(mask.astype(np.uint8) * 255, place.matrix, place.size) > 0
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = np.array([(x, y) for x in columns[[0, -1]] for y in rows[[0, -1]]], np.float64)
    corners = align.apply(place.matrix, box)
    if corners.min() < -1 or corners.max() > place.size:
        warnings.warn("part of the mask lies outside the square around the face: it stays as it is", stacklevel=4)
    return np.asarray(touched)


def _directions(pipe: Model) -> dict[str, Any]:
    if pipe.folder is None:
        raise BadOption("a shift needs the directions of the model's folder, and this model came from none")
    return directions.of_model(pipe.folder)


# ---------------------------------------------------------------------- what comes out


def _likeness(pipe: Model, after: Array, wanted: Sequence[Identity]) -> list[float] | None:
    """(N,) of crops (N, F, S, S, 3): the cosine of the face in them to who was wanted, the lowest of each image."""
    if pipe.reader is None:
        return None
    found = pipe.reader.identify(after.reshape(-1, *after.shape[2:]))
    cosines = [
        float(seen.vector @ wanted[index % len(wanted)].vector) if seen else float("nan")
        for index, seen in enumerate(found)
    ]
    return np.reshape(cosines, after.shape[:2]).min(1).tolist()


def _recipe(
    row: Task,
    asked: Asked,
    cast: Mapping[str, Shown],
    numbers: Sequence[int],
    mask: PhotoSource | None,
    made: Generation,
    options: set[str],
) -> dict[str, Any]:
    """How an edit was made. `settings`: of the generation, without what the edit said of its own accord."""
    own = {*_OWN, "pose", "expression", "reference"} - options
    said = {
        "region": list(asked.region),
        "shift": dict(asked.shift or {}),
        "pose": None if asked.pose is None else conditioning.named_angles(asked.pose),
        "expression": None if asked.expression is None else dict(asked.expression),
    }
    inputs: dict[str, Any] = {
        role: shown.record(numbers if role == row.canvas else [1]) for role, shown in cast.items()
    }
    if mask is not None:
        inputs["mask"] = record_of(load_photo(mask))
    return made.recipe | {
        "task": "edit",
        "edit": {
            "task": row.name if TASKS.get(row.name) == row else asdict(row),
            **{name: value for name, value in said.items() if value},
        },
        "settings": {name: value for name, value in made.recipe["settings"].items() if name not in own},
        "inputs": inputs,
        "earlier": list(cast[row.canvas].earlier),
    }
