"""A saved image made again from the recipe inside it.

    image, drift = replay("me-seed7.png")                                    # drift.mean in grey levels
    replay("me-swap-seed1.png", inputs={"source": "ann.jpg", "target": "party.jpg"})

Read and check the recipe -> take the files that the caller gives -> load the model -> is it worth its time? -> make it
again -> compare. The recipe is a stranger's text: it opens no file, fetches no model and costs no more than `budget`.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from personae.controls.registry import options, work_of_a_step
from personae.errors import BadImage, BadOption, BadRecipe, SpaceMismatch, WeightsMissing, unknown_name
from personae.models import catalog, hub
from personae.provenance import pixel_mark
from personae.provenance.marks import WATERMARK
from personae.provenance.message import message_of
from personae.provenance.recipe import EDIT, MASK, PHOTO, checked, needed, read_recipe, recipe_identity, stored_identity
from personae.reading.onnx_file import file_sha256
from personae.reading.photo import PhotoSource, load_photo, pixels_sha256, size_of
from personae.types import Array, Edit, Face, Generation, Ingredient, Photo, described_space
from personae.version import __version__

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

# In UNet calls of one picture of the model's own size: a thousand plain steps, or three hundred that look back.
BUDGET = 1000
_MOST_AREA = 16  # a picture's pixels in those of the model's own: memory grows with them
_MOST_BYTES = 2**28  # of the saved image: an edited photo as a PNG is larger than the photo
_NO_MATTER = ("earlier", "verified", "versions")  # of what a recipe had no room for, not needed here
_ROLES = ("source", "target")
_MEASURED = ("likeness", "verified", "tries")  # of the picture before, by what looked at that one

Input = PhotoSource


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a replayed image is from the saved one, in grey levels 0-255; `same_model`: whether the weights are
    known, by their hash, to be those that made it. Where the saved one is watermarked, the replayed one is compared
    with the same watermark in it; `mark`: how large that is by itself, as a mean, None: there is none."""

    mean: float
    max: int
    same_model: bool
    mark: float | None = None


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The `image` made again, without a watermark; its `drift`; the `recipe` by which it was made now, without what was
    measured of the picture before; and, of an edit, the pixels that it changed, `area` (H, W) bool, and the photos that
    it was made of, `ingredients`."""

    image: Image.Image
    drift: Drift
    recipe: dict[str, Any]
    area: Array | None = None
    ingredients: Sequence[Ingredient] = ()


def replay(
    path: str | Path,
    *,
    pipe: "FacePipeline | None" = None,
    inputs: Mapping[str, Input] | None = None,
    budget: float = BUDGET,
    photo: Input | None = None,
    photos: Mapping[str, Input] | None = None,
) -> tuple[Image.Image, Drift]:
    """Make a saved image again from the recipe inside it, and say how far the two are apart.

    pipe: the model to use; None: the one that the recipe names, in the precision that it names, if it is a named one
    whose files are here. inputs: the files that took part, by what the recipe calls them: of an edit its photos
    ("source", "target", a token, "mask"), of both the settings that are files ("reference", "image", "pose_map",
    "lora"); and "photo", the person, if the recipe holds no identity, or a pose, whose map has the shape of the face in
    the photo. Each must be the very file that the recipe knows by its sha256. budget: the most work that a recipe may
    ask for, in sampling steps of one picture of the model's own size. photo: as inputs["photo"]; photos: as inputs.
    A JPEG or WebP drifts by its own compression.

    Raises `BadImage`; `BadRecipe` for a damaged recipe; `BadOption` for a missing or another file, a picture that was
    resized, more work than the budget; `SpaceMismatch` for a model that knows people by another encoder; whatever the
    pipeline raises.
    """
    files = dict(photos or {}) | dict(inputs or {}) | ({} if photo is None else {PHOTO: photo})
    again = remake(path, pipe=pipe, inputs=files, budget=budget)
    return again.image, again.drift


def remake(
    path: str | Path,
    *,
    pipe: "FacePipeline | None" = None,
    inputs: Mapping[str, Input] | None = None,
    budget: float = BUDGET,
) -> Replayed:
    """As `replay`, with the new recipe."""
    recipe = readable(path)
    files = taken(recipe, inputs or {})
    size = size_of(path)  # by the header alone: nothing is unpacked before it is known to be worth it
    if size is None:
        raise BadImage(f"{path} is not an image that can be read: its header is damaged")
    with ExitStack() as stack:
        if pipe is None:
            stack.enter_context(hub.only_cached())  # also what it asks of the model later
            pipe = _named_model(recipe)
        _require_space(pipe, recipe, path)
        _require_size(pipe, recipe, files, size[::-1], path)
        _require_budget(pipe, recipe, size[::-1], budget)
        before = load_photo(path, max_bytes=_MOST_BYTES).pixels
        settings = recipe["settings"] | {name: files[name] for name in recipe["settings"] if name in files}
        again: Generation | Edit
        if recipe["task"] == EDIT:
            again = _edited_again(pipe, recipe, files, settings)
        else:
            again = _generated_again(pipe, recipe, files, settings)
    area = again.mask if isinstance(again, Edit) else None
    after, mark = load_photo(again.images[0]).pixels, None
    if after.shape != before.shape:
        raise _resized(path, before.shape[:2], after.shape[:2])
    if _is_marked(recipe) and pixel_mark.why_not(again.images[0], area) is None:
        # By the recipe as the file holds it, keys included that this version does not know.
        bare, after = (
            after,
            load_photo(pixel_mark.with_mark(again.images[0], message_of(read_recipe(path)), area)).pixels,
        )
        mark = float(_apart_by(bare, after).mean())
    apart, same = _apart_by(before, after), again.recipe["model"]["sha256"]
    drift = Drift(
        mean=float(apart.mean()),
        max=int(apart.max()),
        same_model=same is not None and same == recipe["model"].get("sha256"),
        mark=mark,
    )
    now = ("dtype", "device", "versions", "sampler")
    model = {"name": Path(again.recipe["model"]["name"] or "unnamed").name, "sha256": same}
    recipe = {name: value for name, value in recipe.items() if name not in _MEASURED}
    recipe |= {"model": recipe["model"] | model, "software": f"personae {__version__}"}
    recipe |= {name: again.recipe[name] for name in now if name in again.recipe}
    ingredients = again.ingredients if isinstance(again, Edit) else ()
    return Replayed(image=again.images[0], drift=drift, recipe=recipe, area=area, ingredients=ingredients)


def _is_marked(recipe: Mapping[str, Any]) -> bool:
    return bool(recipe.get("marks", {}).get(WATERMARK))


def _apart_by(one: Array, other: Array) -> Array:
    """(H, W, 3) uint8 of two such, without the memory of wider numbers for a large photo."""
    apart: Array = np.maximum(one, other) - np.minimum(one, other)
    return apart


def readable(path: str | Path) -> dict[str, Any]:
    """The checked recipe of an image that can be made again at all. Raises `BadImage`, `BadRecipe`, `BadOption`."""
    try:
        recipe = checked(read_recipe(path))
    except BadRecipe as error:
        raise BadRecipe(f"{path} cannot be made again: {error}") from error
    if recipe["noise"] != "seed":
        raise BadOption(f"{path} was made from latents given by the caller, which no recipe holds")
    lost = [name for name in recipe.get("left_out", []) if name not in _NO_MATTER]
    if lost:
        raise BadOption(
            f"{path} had no room for its whole recipe ({', '.join(lost)}): only a PNG of it can be replayed"
        )
    people = 1 + len(recipe.get("others", []))
    if recipe["task"] != EDIT and people < len(recipe["settings"].get("regions", [])):
        raise BadOption(f"{path} shows several people and was written without their identities: it cannot be replayed")
    return recipe


# ---------------------------------------------------------------------- what the caller gives


def taken(recipe: Mapping[str, Any], inputs: Mapping[str, Input]) -> dict[str, Any]:
    """The files that a checked recipe needs, as the caller gives them: photos read, all compared with the hashes that
    the recipe holds. Raises `BadOption`."""
    wanted = needed(recipe)
    may = dict(wanted)
    if recipe["task"] != EDIT and recipe.get("input") is not None:
        may.setdefault(PHOTO, {"sha256": recipe["input"]["sha256"]})
    for name in inputs:
        if not may:
            raise BadOption(f"this image was made of no file: leave the input {name} out")
        if name not in may:
            raise unknown_name("input of this image", name, may)
    lacking = [name for name in wanted if name not in inputs]
    if lacking:
        each = ", ".join(f"the {name} file{_called(wanted[name])}" for name in lacking)
        raise BadOption(f"no recipe opens a file: give {each}: {' '.join(f'--input {name}=FILE' for name in lacking)}")
    return {name: _input(name, one, may[name]) for name, one in inputs.items()}


def _called(facts: Mapping[str, Any]) -> str:
    return f" ({facts['name']})" if facts.get("name") else ""


def _input(name: str, source: Input, facts: Mapping[str, Any]) -> Any:
    """A photo; of an option that is a file, and of an expression's numbers, the path."""
    known = facts.get("sha256")
    declared = options().get(name)
    by_path = declared is not None and declared.type == "file"
    if by_path or (isinstance(source, str | Path) and Path(source).suffix.lower() in (".npy", ".json")):
        if not isinstance(source, str | Path):
            raise BadOption(f"the input {name} is the path of a file, got a {type(source).__name__}")
        found: list[str | None] = [file_sha256(Path(source))]
        photo = None
    else:
        try:
            photo = load_photo(source)
        except BadImage as error:
            raise BadOption(f"{error}: give the {name} file{_called(facts)}, --input {name}=FILE") from error
        found = [photo.sha256, pixels_sha256(photo)]
    if known is not None and known not in found:
        path = source if isinstance(source, str | Path) else "it"
        label = photo.source if photo is not None and photo.source else path
        raise BadOption(
            f"{label} is not the {name} file that this image was made from{_called(facts)}: its sha256 is another; "
            f"give that one, --input {name}=FILE"
        )
    return source if photo is None else photo


# ---------------------------------------------------------------------- the model, and what it may cost


def _named_model(recipe: Mapping[str, Any]) -> "FacePipeline":
    """The catalog's model that a recipe names, in its precision. Never a path, never a download: a recipe is a
    stranger's text."""
    name = recipe["model"]["name"]
    model = catalog.MODELS.get(name)
    if model is None:
        raise BadOption(f"this image was made by a model folder called {name!r}: give its path with --model")
    if not catalog.present(model):
        raise WeightsMissing(
            f"this image was made by {name}, which is not on this machine, and no file makes personae fetch a model: "
            f"if you want it, pass --model {name}"
        )
    from personae.pipeline import load  # late: it brings torch

    return load(name, torch_dtype=dtype_of(recipe))


def dtype_of(recipe: Mapping[str, Any]) -> Any:
    """The torch dtype that a checked recipe names, None if it names none."""
    import torch

    return None if recipe.get("dtype") is None else getattr(torch, recipe["dtype"])


def _own_size(pipe: "FacePipeline") -> int:
    from personae.sampling.latent_grid import own_side  # late: it brings torch

    return own_side(pipe.vae, pipe.unet)


def _require_space(pipe: "FacePipeline", recipe: Mapping[str, Any], path: str | Path) -> None:
    """Raise `SpaceMismatch` if the model knows people by another encoder than the one that made the image: it
    conditions on other numbers."""
    space = recipe["model"].get("identity_space")
    if space not in (None, pipe.config.identity_space):
        raise SpaceMismatch(
            f"{path} was made by a model that knows people by {described_space(space)}, this one by "
            f"{pipe.config.identity_space!r}: name the model that made it with --model, or install that release; or "
            "read the photo again and generate anew"
        )


def _require_size(
    pipe: "FacePipeline", recipe: Mapping[str, Any], files: Mapping[str, Any], size: tuple[int, ...], path: str | Path
) -> None:
    """Raise `BadOption` unless what the recipe makes is as large as the image that holds it."""
    own = _own_size(pipe)
    sizes = [tuple(recipe["settings"].get(side) or own for side in ("height", "width"))]
    if recipe["task"] == EDIT:
        sizes = [files[role].pixels.shape[:2] for role in _ROLES if isinstance(files.get(role), Photo)]
    if tuple(size) not in sizes:
        raise _resized(path, size, *sizes)


def _resized(path: str | Path, size: Sequence[int], *sizes: Sequence[int]) -> BadImage:
    makes = " or ".join(f"{width} x {height}" for height, width in sizes) or "no photo"
    return BadImage(f"{path} was resized: it is {size[1]} x {size[0]} pixels, its recipe makes {makes}")


def _require_budget(pipe: "FacePipeline", recipe: Mapping[str, Any], size: tuple[int, ...], budget: float) -> None:
    """Raise `BadOption` for a recipe that would take too much time or memory."""
    settings, own = recipe["settings"], _own_size(pipe) ** 2
    area = 1.0 if recipe["task"] == EDIT else math.prod(size) / own
    faces = 1
    if recipe["task"] == EDIT:
        faces = max(len(facts.get("boxes", [])) for facts in recipe["inputs"].values())
    steps = settings.get("num_inference_steps") or pipe.config.steps
    work = math.ceil(steps * work_of_a_step(settings) * max(area, 1) * faces)
    if work > budget:
        raise BadOption(
            f"making it again takes the work of {work} steps, {budget:g} are allowed: --budget {work} if you want it"
        )
    if area > _MOST_AREA and budget <= BUDGET:
        raise BadOption(
            f"making it again takes the memory of a picture {area:.0f} times as large as the model's own, "
            f"{_MOST_AREA} are allowed: --budget {max(work, BUDGET + 1)} if you want it"
        )


# ---------------------------------------------------------------------- making it


def _generated_again(
    pipe: "FacePipeline", recipe: Mapping[str, Any], files: Mapping[str, Any], settings: Mapping[str, Any]
) -> Generation:
    person = _person(pipe, recipe, files)
    people = [person, *(stored_identity(one) for one in recipe.get("others", []))]
    return pipe(people, seed=recipe["seed"], measure_likeness=False, **settings)


def _person(pipe: "FacePipeline", recipe: Mapping[str, Any], files: Mapping[str, Any]) -> Any:
    if PHOTO not in files:
        found = recipe_identity(recipe)
        if found is None:
            raise BadOption(
                "this recipe was written without the identity, and its person came from no photo: no replay"
            )
        return found
    return _nearest(pipe.read(files[PHOTO]), recipe["input"]["box"], "person's")


def _edited_again(
    pipe: "FacePipeline", recipe: Mapping[str, Any], files: Mapping[str, Any], settings: Mapping[str, Any]
) -> Edit:
    edit, inputs = dict(recipe["edit"]), recipe["inputs"]
    faces: dict[str, Any] = {}
    for name, facts in inputs.items():
        if name == MASK:
            continue
        boxes = facts.get("boxes", [])
        if not boxes:
            raise BadRecipe(f"the recipe does not say which face of the {name} photo took part")
        # The very face, which need not be the largest; or, of several, the photo.
        faces[name] = files[name] if len(boxes) > 1 else _nearest(pipe.read(files[name]), boxes[0], name)
    roles = {name: faces.pop(name) for name in _ROLES if name in faces}
    return pipe.edit(
        edit.pop("task"),
        **roles,
        tokens=faces,
        mask=files.get(MASK),
        all_faces=any(len(facts.get("boxes", [])) > 1 for facts in inputs.values()),
        seed=recipe["seed"],
        measure_likeness=False,
        **edit,
        **settings,
    )


def _nearest(faces: Sequence[Face], box: Sequence[float], name: str) -> Face:
    if not faces:
        raise BadOption(f"this model finds no face in the {name} photo: replay with the model that made the image")
    return min(faces, key=lambda face: _apart(face.detection.box, box))


def _apart(one: Array, box: Sequence[float]) -> float:
    return float(np.abs(one.astype(np.float64) - np.asarray(box, np.float64)).sum())
