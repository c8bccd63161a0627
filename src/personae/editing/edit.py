"""Any edit of a photo: read -> pick faces -> edit each (`face_edit`) -> judge and record (`result`).

    done = edit(pipe, "swap", source="ann.jpg", target="party.jpg", face=2, seed=0)     # or pipe.edit("swap", ...)
    done.images, done.likeness
    done = edit(pipe, "attribute", target="me.jpg", shift={"age": 1.5}, expression={"smile": 0.8})
    done = edit(pipe, "mix", target="me.jpg", tokens={"expression": "b.jpg", "hair": "c.jpg"})

Only the crop around a face goes through the model; the rest of the photo stays as it is, byte for byte. Two photos of a
call are two sources, by the names that the call gives them, even if they show the same pixels.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from personae.editing.changes import Changes
from personae.editing.face_edit import FaceEdit, edit_face, may_lean
from personae.editing.inputs import EditInput, EditSource, load_mask, read_inputs, read_mask
from personae.editing.result import OWN_OPTIONS, edit_of, recipe_of
from personae.editing.tasks import Task, find_task
from personae.errors import BadOption
from personae.model import Model
from personae.models.limits import Limits
from personae.reading.photo import PhotoSource
from personae.types import Edit


def edit(
    pipe: Model,
    task: str | Task,
    *,
    source: EditSource | None = None,
    target: EditSource | None = None,
    tokens: Mapping[str, EditSource] | None = None,
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
    row = find_task(task)
    _check(options, num_images)
    inputs = read_inputs(pipe, row, source, target, tokens or {})
    canvas = inputs[row.canvas]
    faces = {number: canvas.face(number) for number in (range(1, len(canvas.faces) + 1) if all_faces else [face])}
    painted = None if mask is None else load_mask(mask)
    changes = Changes(
        region=(region,) if isinstance(region, str) else tuple(region or ()),
        mask=None if painted is None else read_mask(painted, canvas.photo),
        tokens=tuple(tokens or {}),
        shift=shift,
        pose=pose,
        expression=expression,
    )
    _warn_of_loss(canvas)
    _require_pose(pipe, row, changes)
    others = {role: one.face(1) for role, one in inputs.items() if role != row.canvas}
    pipe.interrupt = False
    photos, seeds, steps = [canvas.photo.pixels], seed, dict[int, FaceEdit]()
    for number, one in faces.items():
        step = edit_face(
            pipe, row, changes, others | {row.canvas: one}, photos, num_images, seeds=seeds, options=options
        )
        if step is None:  # of several faces, a mask need not touch each
            continue
        photos, seeds = step.photos, step.seeds
        steps[number] = step
        if pipe.interrupt:  # a caller's stop, which the next face's call would forget
            break
    if not steps:
        raise BadOption(
            "nothing of what is to be made anew lies in the square around the face: give another region or mask"
        )
    edits = list(steps.values())
    recipe = recipe_of(row, changes, inputs, list(steps), painted, edits[-1].generation.recipe, options)
    ingredients = [one.ingredient(canvas=role == row.canvas) for role, one in inputs.items()]
    return edit_of(pipe, canvas, edits, recipe, measure_likeness, ingredients)


def _check(options: Mapping[str, Any], num_images: Any) -> None:
    """Raise `BadOption` for an option that an edit sets itself, and for an impossible number of images."""
    if own := sorted(options.keys() & set(OWN_OPTIONS)):
        raise BadOption(f"an edit sets {own[0]} itself: leave it out")
    if isinstance(num_images, bool) or not isinstance(num_images, int) or num_images < 1:
        raise BadOption(f"num_images is a whole number of at least 1, got {num_images!r}")


def _warn_of_loss(canvas: EditInput) -> None:
    """Warn of what no edit can keep of the photo's file."""
    original = canvas.photo.original
    if original is not None and original.loss is not None:
        name = canvas.photo.source or "the photo"
        warnings.warn(f"{name} is not kept as it was filed: {original.loss}", stacklevel=4)


def _require_pose(pipe: Model, task: Task, changes: Changes) -> None:
    """Raise `BadOption` for a pose that the model cannot hold. Where the crop leans along, it takes the roll."""
    if changes.pose is None:
        return
    leans = may_lean(task, changes)
    angles = {name: value for name, value in changes.angles.items() if name != "roll" or not leans}
    Limits.of(pipe.folder).require(angles)
