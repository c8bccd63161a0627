"""A person's photo, made to move: what turns the numbers of a track into pictures.

    renderer = PhotoRenderer(pipe, face, moves_of(track, template), seed=0)   # the whole photo, its head moving
    renderer = PortraitRenderer(pipe, face, seed=0)                           # the model's own picture of the person
    frames = renderer.draw(moves[:8])                                         # 8 x (H, W, 3) RGB uint8

Every picture begins at the noise of one and the same seed, so that what does not move stays where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from personae.conditioning.facex.assembly import Assembly, FaceRef
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.retarget import retarget
from personae.controls import registry
from personae.editing import warp
from personae.editing.inputs import in_crop
from personae.editing.masks import REFERENCES
from personae.editing.paste import FEATHER, agreement
from personae.editing.result import OWN_OPTIONS
from personae.editing.scene import Scene
from personae.editing.tasks import TASKS
from personae.editing.tilt import lean, leaning
from personae.editing.tone import tone_of, toned
from personae.errors import BadOption, WeightsMissing
from personae.model import Model
from personae.models.limits import GEOMETRY
from personae.reading import align
from personae.reading.aligned import Aligned
from personae.shapes import Bool, Float, UInt8
from personae.types import BLENDSHAPES, Array, Face, Photo, Pose
from personae.video.motion_track import ANGLES, Track

# Options of the model's call that an animation sets by itself: a caller may not.
_OWN_OPTIONS = {*OWN_OPTIONS, "pose", "expression", "pose_map", "seed", "generator", "measure_likeness"}


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a face does in one frame. `pose`: in a crop that stands the face upright, within what the model can hold;
    `tilt`: degrees clockwise by which that crop leans in the frame. `blendshapes` (52,), 0-1. `limited`: the driver
    turned further."""

    pose: Pose
    tilt: float
    blendshapes: Float[Array, " 52"]
    limited: bool = False

    @property
    def numbers(self) -> dict[str, float]:
        """As the option `pose` takes them."""
        angles = {name: getattr(self.pose, name) for name in ANGLES}
        return angles | self.expression

    @property
    def expression(self) -> dict[str, float]:
        """As the option `expression` takes them."""
        shapes = zip(BLENDSHAPES, self.blendshapes.tolist(), strict=True)
        return {name: value for name, value in shapes if name != "_neutral" and value > 0}


def moves_of(track: Track, template: str, limits: Mapping[str, float] = GEOMETRY) -> list[Move | None]:
    """A move for every frame of a track, None where it shows no face; as crops of `template` stand. limits: degrees
    either way that the model can hold, by angle."""
    upright, tilts = track.upright(template)
    most = np.array([limits[name] for name in ANGLES])
    return [
        Move(
            pose=Pose(**dict(zip(ANGLES, angles.clip(-most, most).tolist(), strict=True))),
            tilt=float(tilt),
            blendshapes=shapes,
            limited=bool((np.abs(angles) > most).any()),
        )
        if visible
        else None
        for angles, tilt, shapes, visible in zip(upright, tilts, track.blendshapes, track.visible, strict=True)
    ]


class FrameRenderer(Protocol):
    """Draws frames."""

    def draw(self, moves: Sequence[Move]) -> list[UInt8[Array, "H W 3"]]:
        """(H, W, 3) RGB uint8 each, all in one batch."""
        ...


class PortraitRenderer:
    """The model's own picture of a person, face upright, everything in it generated."""

    def __init__(self, pipe: Model, face: Face, *, seed: int, options: Mapping[str, Any] | None = None) -> None:
        """options: of the pipeline's call. Raises as `require_drawable`."""
        require_drawable(pipe, options or {}, portrait=True)
        self._pipe, self._face, self._seed, self._options = pipe, face, seed, options or {}
        self.moved_by = ways_to_move(pipe)

    def draw(self, moves: Sequence[Move]) -> list[UInt8[Array, "H W 3"]]:
        """See `FrameRenderer`."""
        options = _motion_options(moves, self.moved_by)
        return _generated(self._pipe, self._face, self._seed, len(moves), options, self._options)


class PhotoRenderer:
    """A photo whose head moves: each frame repaints the head's region and is put back into the photo, the rest of
    which stays byte for byte."""

    def __init__(
        self,
        pipe: Model,
        face: Face,
        moves: Sequence[Move],
        *,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """moves: all that will be drawn: what any of them covers is repainted in all, so that no border moves.

        Raises `BadData` for a face without photo, motion or identity; else as `require_drawable`.
        """
        require_drawable(pipe, options or {}, portrait=False)
        self._pipe, self._face, self._seed, self._options = pipe, face, seed, options or {}
        self._still = in_crop(pipe, face)
        self.moved_by = ways_to_move(pipe) if not pipe.has_component("facex") else ("facex",)
        # What a face in the crop leans by in the photo.
        self._tilt = lean(self._still)
        self._margin = warp.margin_of(self._still.size)
        self._heads = np.zeros((self._still.size + 2 * self._margin,) * 2, bool)
        for move in moves:
            self._heads |= self._head(self._doing(move))
        self._tone = tone_of(self._still.widened(self._margin))
        # One for all frames: what is painted from less noise in one than in the next would flicker.
        turn = max((warp.angle(self._still.pose, move.pose) for move in moves), default=0.0)
        self._strength = warp.strength(turn, *TASKS["reenact"].warp_strength or (1.0, 1.0))
        self._colours: tuple[Array, Array] | None = None

    def draw(self, moves: Sequence[Move]) -> list[UInt8[Array, "H W 3"]]:
        """See `FrameRenderer`; as large as the photo."""
        gain, shift = self._colours or self._as_photographed()
        canvases = [leaning(self._still, move.tilt) for move in moves]
        masks = [self._edit_mask(canvas) for canvas in canvases]
        photos = [
            warp.within(canvas, warp.doing(self._still, move.pose, move.blendshapes), mask).onto(
                self._photo.pixels, canvas.matrix
            )
            for move, canvas, mask in zip(moves, canvases, masks, strict=True)
        ]
        edit_masks = [mask[warp.middle(self._still.size)] for mask in masks]
        crops = self._repainted(moves, canvases, photos, edit_masks)
        frames = []
        for crop, canvas, photo, mask in zip(crops, canvases, photos, edit_masks, strict=True):
            crop = align.recoloured(crop, gain, shift)
            detail = agreement(crop, align.crop(photo, canvas.matrix, canvas.size))
            frame = align.paste(
                photo,
                crop,
                canvas.matrix,
                mask=mask & canvas.coverage,
                feather=FEATHER * canvas.size,
                detail=detail,
            )
            frames.append(toned(frame, self._photo.pixels, self._tone))
        return frames

    @property
    def _photo(self) -> Photo:
        assert self._face.photo is not None  # `in_crop` has seen to it
        return self._face.photo

    def _repainted(
        self,
        moves: Sequence[Move],
        canvases: Sequence[Aligned],
        photos: Sequence[UInt8[Array, "H W 3"]],
        edit_masks: Sequence[Bool[Array, "S S"]],
    ) -> list[UInt8[Array, "S S 3"]]:
        """Crops (S, S, 3) of photos (H, W, 3) in which each canvas is painted anew inside its edit mask."""
        # Beyond the photo's edge a crop only repeats it: there, too, the model may do as it likes.
        masks = [mask | ~canvas.coverage for mask, canvas in zip(edit_masks, canvases, strict=True)]
        crops = [align.crop(photo, one.matrix, one.size) for photo, one in zip(photos, canvases, strict=True)]
        own: dict[str, Any] = {"image": crops, "mask_image": masks}
        if self.moved_by == ("facex",):
            each = enumerate(zip(moves, canvases, masks, strict=True))
            own["assembly"] = [self._assembly(number, *one) for number, one in each]
        else:
            own |= _motion_options(moves, self.moved_by)
            if self._pipe.has_component("ref_adapter"):
                own["reference"] = Photo(pixels=self._still.crop)
        options = {"strength": self._strength, **self._options}
        return _generated(self._pipe, self._face, self._seed, len(moves), own, options)

    def _assembly(self, number: int, move: Move, canvas: Aligned, edit_mask: Bool[Array, "S S"]) -> Assembly:
        """Of one frame of a batch: as the task `reenact` says, the driver's part played by the face itself, moved."""
        task = TASKS["reenact"]
        still, moving = FaceRef("source"), FaceRef("source", change="pose", image=number)
        refs = {"source": still, "target": moving}
        sources = {token: refs[role] for token, role in task.token_roles.items()}
        faces = {still: self._still, moving: self._doing(move)}
        leaning_canvas = FaceRef("source", change="lean", image=number)
        scene = Scene(canvas=leaning_canvas, sources=sources, faces=faces | {leaning_canvas: canvas})
        reference = REFERENCES[task.reference](scene, edit_mask)
        return Assembly(sources=sources, faces=faces, reference=reference, edit_mask=edit_mask)

    def _as_photographed(self) -> tuple[Array, Array]:
        """The change of colours that takes the face as it is generated, doing what it does in the photo, to the photo:
        the same for all frames, since what is matched frame by frame flickers."""
        still = self._still
        move = Move(pose=still.pose, tilt=self._tilt, blendshapes=still.blendshapes)
        edit_mask = self._edit_mask(still)[warp.middle(still.size)]
        [crop] = self._repainted([move], [still], [self._photo.pixels], [edit_mask])
        face = still.region("face") & still.coverage
        self._colours = align.colour_change(crop, still.crop, face)
        return self._colours

    def _doing(self, move: Move) -> Aligned:
        """The face as it would lie in its crop if it did so."""
        return retarget(self._still, FaceModel.bundled(), pose=move.pose, blendshapes=move.blendshapes)

    def _edit_mask(self, canvas: Aligned) -> Bool[Array, "W W"]:
        """(W, W) bool, of the window around the crop (`warp`): where the head is in the photo, and where any frame has
        it."""
        return self._heads | self._head(canvas)

    def _head(self, face: Aligned) -> Bool[Array, "W W"]:
        return face.region_around("head", self._margin)


def require_drawable(pipe: Model, options: Mapping[str, Any], *, portrait: bool) -> None:
    """Raise `BadOption` for an option of the pipeline's call that there is not or that an animation sets by itself,
    `WeightsMissing` for a model that nothing can move."""
    if reserved := sorted(_OWN_OPTIONS & options.keys()):
        raise BadOption(f"an animation sets {reserved[0]} itself: leave it out")
    for name in options.keys() - {"callback_on_step_end"}:
        registry.require_known(name)
    if portrait or not pipe.has_component("facex"):
        ways_to_move(pipe)


def ways_to_move(pipe: Model) -> tuple[str, ...]:
    """Which options of `pipe` move a face: `pose`, `expression` or both. Raises `WeightsMissing` if neither does."""
    ways = ["pose"] if pipe.has_component("controlnet") else []
    if pipe.has_component("exp_adapter") and pipe.component("exp_adapter").space == "blendshapes":
        ways.append("expression")
    if not ways:
        raise WeightsMissing(
            f"{pipe.name or 'this model'} cannot be moved: it has neither a controlnet/ for poses nor an exp_adapter/ "
            "that reads blendshapes; add one, or use a model that has it (personae models)"
        )
    return tuple(ways)


def _motion_options(moves: Sequence[Move], ways: Sequence[str]) -> dict[str, Any]:
    options = {"pose": [move.numbers for move in moves], "expression": [move.expression for move in moves]}
    return {name: options[name] for name in ways}


def _generated(
    pipe: Model, face: Face, seed: int, count: int, own: Mapping[str, Any], options: Mapping[str, Any]
) -> list[UInt8[Array, "H W 3"]]:
    """(H, W, 3) of each frame. own: options that the animation sets. options: the caller's."""
    together = {"motion_guidance": 0.0, **options, **own}  # each frame by itself: it would flicker, and take long
    out = pipe([face] * count, seed=[seed] * count, measure_likeness=False, batch_size=count, **together)
    return [np.asarray(image) for image in out.images]
