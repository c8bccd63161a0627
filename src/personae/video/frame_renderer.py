"""A person's photo, made to move: what turns the numbers of a track into pictures.

    puppet = InPhoto(pipe, face, moves_of(track, template), seed=0)     # the whole photo, its head moving
    puppet = Portrait(pipe, face, seed=0)                               # the model's own picture of the person
    frames = puppet.draw(moves[:8])                                     # 8 x (H, W, 3) RGB uint8

Every picture begins at the noise of one and the same seed, so that what is not told to move stays where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from personae.conditioning.facex.assembly import Assembly
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.retarget import retarget
from personae.editing import warp
from personae.editing.inputs import in_crop
from personae.editing.masks import REFERENCES, Scene
from personae.editing.paste import FEATHER, agreement
from personae.editing.tasks import TASKS
from personae.editing.tilt import lean, leaning
from personae.errors import BadOption, WeightsMissing
from personae.model import Model
from personae.models.limits import GEOMETRY
from personae.reading import align
from personae.reading.aligned import Aligned
from personae.types import BLENDSHAPES, Array, Face, Photo, Pose
from personae.video.motion_track import ANGLES, Track

# What of a call is not the user's to say.
_OWN = {"pose", "expression", "pose_map", "image", "mask_image", "assembly", "regions", "seed", "generator", "latents"}


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a frame asks of a face. `pose`: in a crop that stands the face upright, within what a model can be asked;
    `tilt`: degrees clockwise by which that crop leans in the frame. `blendshapes` (52,), 0-1. `limited`: the driver
    turned further."""

    pose: Pose
    tilt: float
    blendshapes: Array
    limited: bool = False

    @property
    def numbers(self) -> dict[str, float]:
        """As the option `pose` takes them."""
        held = {name: getattr(self.pose, name) for name in ANGLES}
        return held | self.expression

    @property
    def expression(self) -> dict[str, float]:
        """As the option `expression` takes them."""
        shapes = zip(BLENDSHAPES, self.blendshapes.tolist(), strict=True)
        return {name: value for name, value in shapes if name != "_neutral" and value > 0}


def moves_of(track: Track, template: str, able: Mapping[str, float] = GEOMETRY) -> list[Move | None]:
    """A move for every frame of a track, None where no face is seen; as crops of `template` stand. able: degrees either
    way that the model can hold, by angle."""
    upright, tilts = track.upright(template)
    most = np.array([able[name] for name in ANGLES])
    return [
        Move(
            pose=Pose(**dict(zip(ANGLES, angles.clip(-most, most).tolist(), strict=True))),
            tilt=float(tilt),
            blendshapes=shapes,
            limited=bool((np.abs(angles) > most).any()),
        )
        if seen
        else None
        for angles, tilt, shapes, seen in zip(upright, tilts, track.blendshapes, track.seen, strict=True)
    ]


class Puppet(Protocol):
    """Draws frames."""

    def draw(self, moves: Sequence[Move]) -> list[Array]:
        """(H, W, 3) RGB uint8 each, all in one batch."""
        ...


class Portrait:
    """The model's own picture of a person, face upright, everything in it generated."""

    def __init__(self, pipe: Model, face: Face, *, seed: int, options: Mapping[str, Any] | None = None) -> None:
        """options: of the pipeline's call. Raises `WeightsMissing` for a model that nothing can move."""
        self._pipe, self._face, self._seed, self._options = pipe, face, seed, options or {}
        self.moved_by = ways_to_move(pipe)

    def draw(self, moves: Sequence[Move]) -> list[Array]:
        """See `Puppet`."""
        asked = _told(moves, self.moved_by)
        return _generated(self._pipe, self._face, self._seed, len(moves), asked, self._options)


class InPhoto:
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
        """moves: all that will be asked for: what any of them covers is repainted in all, so that no border moves.

        Raises `BadData` for a face without photo, motion or identity; `WeightsMissing` as `Portrait`.
        """
        self._pipe, self._face, self._seed, self._options = pipe, face, seed, options or {}
        self._still = in_crop(pipe, face)
        self.moved_by = ways_to_move(pipe) if not pipe.has_component("facex") else ("facex",)
        # What a face in the crop leans by in the photo.
        self._tilt = lean(self._still)
        self._margin = warp.margin_of(self._still.size)
        self._heads = np.any([self._doing(move).widened(self._margin).region("head") for move in moves], axis=0)
        # One for all frames: what is made of less noise in one than in the next would flicker.
        turned = max((warp.angle(self._still.pose, move.pose) for move in moves), default=0.0)
        self._strength = warp.strength(turned, *TASKS["reenact"].carried or (1.0, 1.0))
        self._colours: tuple[Array, Array] | None = None

    def draw(self, moves: Sequence[Move]) -> list[Array]:
        """See `Puppet`; as large as the photo."""
        gain, shift = self._colours or self._as_photographed()
        canvases = [leaning(self._still, move.tilt) for move in moves]
        masks = [self._free(canvas) for canvas in canvases]
        photos = [
            warp.within(canvas, warp.doing(self._still, move.pose, move.blendshapes), mask).onto(
                self._photo.pixels, canvas.matrix
            )
            for move, canvas, mask in zip(moves, canvases, masks, strict=True)
        ]
        free = [mask[warp.middle(self._still.size)] for mask in masks]
        made = self._repainted(moves, canvases, photos, free)
        frames = []
        for crop, canvas, photo, mask in zip(made, canvases, photos, free, strict=True):
            crop = align.recoloured(crop, gain, shift)
            detail = agreement(crop, align.crop(photo, canvas.matrix, canvas.size))
            frames.append(
                align.paste(
                    photo,
                    crop,
                    canvas.matrix,
                    mask=mask & canvas.coverage,
                    feather=FEATHER * canvas.size,
                    detail=detail,
                )
            )
        return frames

    @property
    def _photo(self) -> Photo:
        assert self._face.photo is not None  # `in_crop` has seen to it
        return self._face.photo

    def _repainted(
        self, moves: Sequence[Move], canvases: Sequence[Aligned], photos: Sequence[Array], free: Sequence[Array]
    ) -> list[Array]:
        """Crops (S, S, 3) of photos (H, W, 3) in which the free part of each canvas is made anew."""
        # Beyond the photo's edge a crop only repeats it: there, too, the model may do as it likes.
        masks = [mask | ~canvas.coverage for mask, canvas in zip(free, canvases, strict=True)]
        crops = [align.crop(photo, one.matrix, one.size) for photo, one in zip(photos, canvases, strict=True)]
        asked: dict[str, Any] = {"image": crops, "mask_image": masks}
        if self.moved_by == ("facex",):
            asked["assembly"] = [self._assembly(*one) for one in zip(moves, canvases, masks, strict=True)]
        else:
            asked |= _told(moves, self.moved_by)
            if self._pipe.has_component("ref_adapter"):
                asked["reference"] = Photo(pixels=self._still.crop)
        options = {"strength": self._strength, **self._options}
        return _generated(self._pipe, self._face, self._seed, len(moves), asked, options)

    def _assembly(self, move: Move, canvas: Aligned, free: Array) -> Assembly:
        """As the task `reenact` says, the driver's part played by the face itself, moved."""
        task = TASKS["reenact"]
        parts = {"source": self._still, "target": self._doing(move)}
        givers = {token: parts[role] for token, role in task.givers.items()}
        scene = Scene(canvas=canvas, faces=givers)
        return Assembly(givers=givers, reference=REFERENCES[task.reference](scene, free), free=free)

    def _as_photographed(self) -> tuple[Array, Array]:
        """The change of colours that takes the face as it is generated, doing what it does in the photo, to the photo:
        the same for all frames, since what is matched frame by frame flickers."""
        still = self._still
        move = Move(pose=still.pose, tilt=self._tilt, blendshapes=still.blendshapes)
        free = self._free(still)[warp.middle(still.size)]
        [made] = self._repainted([move], [still], [self._photo.pixels], [free])
        face = still.region("face") & still.coverage
        self._colours = align.colour_change(made, still.crop, face)
        return self._colours

    def _doing(self, move: Move) -> Aligned:
        """The face as it would lie in its crop if it did so."""
        return retarget(self._still, FaceModel.bundled(), pose=move.pose, blendshapes=move.blendshapes)

    def _free(self, canvas: Aligned) -> Array:
        """(W, W) bool, of the window around the crop (`carry`): where the head is in the photo, and where any frame has
        it."""
        return self._heads | canvas.widened(self._margin).region("head")


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


def _told(moves: Sequence[Move], ways: Sequence[str]) -> dict[str, Any]:
    asked = {"pose": [move.numbers for move in moves], "expression": [move.expression for move in moves]}
    return {name: asked[name] for name in ways}


def _generated(
    pipe: Model, face: Face, seed: int, count: int, asked: Mapping[str, Any], options: Mapping[str, Any]
) -> list[Array]:
    if taken := sorted(_OWN & options.keys()):
        raise BadOption(f"an animation says itself what {taken[0]} is: leave it out")
    asked = {"motion_guidance": 0.0, **options, **asked}  # each frame by itself: it would flicker, and take long
    made = pipe([face] * count, seed=[seed] * count, measure_likeness=False, batch_size=count, **asked)
    return [np.asarray(image) for image in made.images]
