"""What the fields of the tab Edit order: which of them a task takes, the request, and its command."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from personae.provenance import writer
from personae.serving.engine.requests import Edit
from personae.serving.page import commands
from personae.serving.page.results import Shelf
from personae.serving.page.texts import Words
from personae.serving.page.work import Order

# Of `personae edit`, beside what only some tasks take; tests/test_page.py compares.
OPTIONS = ("num_inference_steps", "guidance_scale", "likeness_guidance", "motion_guidance", "strength")
REGIONS = ("face", "head", "skin", "brows", "eyes", "nose", "mouth", "hair", "surroundings")
ALL_FACES = 0  # in place of a face's number
PIECES = (
    *("identity", "skin", "brows", "eyes", "nose", "mouth", "hair", "surroundings"),
    *("pose", "expression", "texture", "light", "gaze"),
)
# The fields of a task beside its photos; `editing.tasks.TASKS` has the tasks, and tests compare.
FIELDS: Mapping[str, Sequence[str]] = {
    "swap": (),
    "head": (),
    "reenact": (),
    "inpaint": ("regions", "mask"),
    "attribute": ("shift",),
    "style": ("prompt",),
    "mix": ("pieces",),
}


def takes_two(task: str) -> bool:
    """Whether the first photo is wanted, too."""
    return task in ("swap", "head", "reenact", "mix")


def changes_source(task: str) -> bool:
    """Whether the first photo is the one that is changed."""
    return task == "reenact"


@dataclass(frozen=True, kw_only=True)
class EditFields:
    """What the fields hold.

    face: its number, 1 the largest, or `ALL_FACES`. mask: (H, W) bool, painted; None: nothing is. moved: pose and
    expression as a request has them, of the tab of that name."""

    task: str
    source: Path | None
    target: Path | None
    face: int = 1
    regions: Sequence[str] = ()
    mask: Any = None
    shift: Mapping[str, float] = field(default_factory=dict)
    prompt: str = ""
    pieces: Sequence[str] = ()
    moved: Mapping[str, Any] = field(default_factory=dict)

    @property
    def canvas(self) -> Path | None:
        """The photo that is changed."""
        return self.source if changes_source(self.task) else self.target

    def require_whole(self, words: Words) -> None:
        """Raise `Mistake` for a photo or a wish that is missing."""
        if self.target is None or (takes_two(self.task) and self.source is None):
            raise words.mistake("photo_missing")
        wanted = {
            "inpaint": (self.regions, self.mask is not None),
            "attribute": (self.shift, self.moved),
            "mix": (self.pieces,),
        }
        if not any(wanted.get(self.task, (True,))):
            raise words.mistake("nothing_to_change")


def order_of(fields: EditFields, options: Mapping[str, Any], *, model: str, words: Words, shelf: Shelf) -> Order:
    """The edits of one photo."""
    fields.require_whole(words)
    task, canvas = fields.task, fields.canvas
    assert canvas is not None  # the fields are whole
    wishes, flags, more = _wishes(fields, shelf, words)
    options = {**options, **({"prompt": fields.prompt.strip()} if task == "style" and fields.prompt.strip() else {})}

    def encode(result: Any) -> bytes:
        return next(writer.files_of_edit(result))

    return Order(
        kind=f"edit {task}",
        stem=f"{canvas.stem}-{task}",
        request=lambda seed: Edit(task=task, seed=seed, options=options, model=model, **wishes),
        encode=encode,
        command=lambda seed, source: commands.edit(
            task, _typed_photos(fields), options, seed=seed, model=source, **flags
        ),
        alt=lambda seed: words("alt_edit", seed=seed),
        before=canvas,
        more=more,
    )


def _wishes(
    fields: EditFields, shelf: Shelf, words: Words
) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, Path]]]:
    """Photos and changes as a request has them; the same as flags; files that the flags name."""
    task, more = fields.task, list[tuple[str, Path]]()
    all_faces = fields.face == ALL_FACES
    wishes: dict[str, Any] = {"target": fields.target, "all_faces": all_faces, "face": 1 if all_faces else fields.face}
    flags: dict[str, Any] = {"all_faces": True} if all_faces else {"face": fields.face} if fields.face != 1 else {}
    if takes_two(task) and task != "mix":
        wishes["source"] = fields.source
    if task == "mix":
        assert fields.source is not None  # the fields are whole
        wishes["tokens"] = dict.fromkeys(fields.pieces, fields.source)
        flags |= dict.fromkeys(fields.pieces, fields.source.name)
    if task == "inpaint":
        wishes["region"] = tuple(fields.regions)
        flags |= {"region": list(fields.regions)} if fields.regions else {}
        if fields.mask is not None:
            picture = Image.fromarray(np.where(fields.mask, 255, 0).astype(np.uint8))
            wishes["mask"] = picture
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            place = shelf.put("mask.png", buffer.getvalue())
            flags["mask"], more = place.name, [(words("save_mask"), place)]
    if task == "attribute":
        wishes |= {"shift": dict(fields.shift), **fields.moved}
        flags |= {name: commands.number(amount) for name, amount in fields.shift.items()} | commands.flags(fields.moved)
    return wishes, flags, more


def _typed_photos(fields: EditFields) -> list[Path]:
    """In the order in which `personae edit TASK` takes them."""
    if takes_two(fields.task) and fields.task != "mix":
        return [one for one in (fields.source, fields.target) if one is not None]
    return [] if fields.target is None else [fields.target]


def painted(editor: Any, size: tuple[int, int]) -> Any:
    """(H, W) bool: where something was painted over a photo of `size` (width, height); None: nowhere.

    editor: the value of a `gr.ImageMask` of type "pil".
    """
    if not editor or not editor.get("layers"):
        return None
    found = np.zeros(size[::-1], bool)
    for layer in editor["layers"]:
        alpha = layer.convert("RGBA").getchannel("A").resize(size, Image.Resampling.NEAREST)
        found |= np.asarray(alpha) > 127
    return found if found.any() else None
