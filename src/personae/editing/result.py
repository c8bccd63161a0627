"""What comes out of an edit: the images in the photo's own layout, what changed, how alike they are, the recipe."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from personae.controls import registry
from personae.editing.changes import Changes
from personae.editing.face_edit import FaceEdit
from personae.editing.inputs import EditInput
from personae.editing.tasks import Task, recorded_task
from personae.model import Model
from personae.reading import align
from personae.reading.colours import in_own_layout
from personae.reading.photo import record_of
from personae.shapes import Bool, UInt8
from personae.types import Array, Edit, Identity, Ingredient, Photo

# Options of the model's call that an edit sets by itself: a caller may not, and no recipe records them.
OWN_OPTIONS = (*registry.set_by_edits(), "output_type", "latents")


def edit_of(
    pipe: Model,
    canvas: EditInput,
    steps: Sequence[FaceEdit],
    recipe: dict[str, Any],
    judged: bool,
    ingredients: Sequence[Ingredient] = (),
) -> Edit:
    """The result of the faces that were edited one after the other, at least one. judged: whether the results are read
    back and compared with the identities that were wanted. ingredients: the photos that took part."""
    last = steps[-1]
    after = np.stack([[align.crop(photo, s.place.matrix, s.place.size) for s in steps] for photo in last.photos])
    changed = _changed(canvas.photo.pixels.shape, steps)
    return Edit(
        images=[in_own_layout(canvas.photo, photo, changed) for photo in last.photos],
        seeds=list(last.seeds),
        likeness=_likeness(pipe, after, [step.identity for step in steps]) if judged else None,
        before=np.stack([step.place.crop for step in steps]),
        after=after,
        edit_masks=np.stack([step.edit_mask for step in steps]),
        mask=changed,
        recipe=recipe,
        ingredients=ingredients,
    )


def _changed(shape: tuple[int, ...], steps: Sequence[FaceEdit]) -> Bool[Array, "H W"]:
    """(H, W) bool: the pixels that may have changed, of a photo of `shape` (H, W, 3)."""
    changed = np.zeros(shape[:2], bool)
    for step in steps:
        margin = 0 if step.warp is None else step.warp.margin
        region = np.pad(step.edit_mask & step.place.coverage, margin)
        if step.warp is not None:
            region |= step.warp.mask
        window = align.widened(step.place.matrix, margin)
        (left, top, right, bottom), inside = align.lying(region, window, shape)
        changed[top:bottom, left:right] |= inside if step.area is None else inside & step.area[top:bottom, left:right]
    return changed


def _likeness(pipe: Model, after: UInt8[Array, "N F S S 3"], wanted: Sequence[Identity]) -> list[float] | None:
    """(N,) of crops (N, F, S, S, 3): the cosine of the face in them to the identity that was wanted, the lowest of each
    image."""
    if pipe.reader is None:
        return None
    found = pipe.reader.identify(after.reshape(-1, *after.shape[2:]))
    cosines = [
        float(one.vector @ wanted[index % len(wanted)].vector) if one else float("nan")
        for index, one in enumerate(found)
    ]
    return np.reshape(cosines, after.shape[:2]).min(1).tolist()


def recipe_of(
    task: Task,
    changes: Changes,
    inputs: Mapping[str, EditInput],
    numbers: Sequence[int],
    mask: Photo | None,
    recipe: Mapping[str, Any],
    options: Collection[str],
) -> dict[str, Any]:
    """How an edit was made: the `recipe` of its last generation, with photos, task and changes. numbers: of the faces
    that were edited. options: names of those that the caller gave; the edit's own are left out of `settings`."""
    own = {*OWN_OPTIONS, *registry.set_by_edits(by_default=True)} - set(options)
    photos: dict[str, Any] = {role: one.record(numbers if role == task.canvas else [1]) for role, one in inputs.items()}
    if mask is not None:
        photos["mask"] = record_of(mask)
    return dict(recipe) | {
        "task": "edit",
        "edit": {"task": recorded_task(task), **changes.recorded()},
        "settings": {name: value for name, value in recipe["settings"].items() if name not in own},
        "inputs": photos,
        "earlier": list(inputs[task.canvas].earlier),
    }
