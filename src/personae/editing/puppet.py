"""A person's photo, made to move: what turns the numbers of a track into pictures.

    puppet = InPhoto(pipe, face, moves_of(track, template), seed=0)     # the whole photo, its head moving
    puppet = Portrait(pipe, face, seed=0)                               # the model's own picture of the person
    frames = puppet.draw(moves[:8])                                     # 8 x (H, W, 3) RGB uint8

Every picture begins at the noise of one and the same seed, so that what is not told to move stays where it was.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from personae.conditioning.mesh import FaceModel
from personae.conditioning.moved import moved
from personae.editing.track import ANGLES, Track
from personae.errors import BadOption, WeightsMissing
from personae.reading import align, regions
from personae.reading.aligned import Aligned, aligned
from personae.reading.motion import marks_in_crop
from personae.sampling import codec
from personae.steers.pose import LIMITS
from personae.types import BLENDSHAPES, Array, Face, Pose

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

_FEATHER = 1 / 16  # of the crop's side: over which the moving head fades into the photo


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


def moves_of(track: Track, template: str) -> list[Move | None]:
    """A move for every frame of a track, None where no face is seen; as crops of `template` stand."""
    upright, tilts = track.upright(template)
    most = np.array([LIMITS[name] for name in ANGLES])
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

    def __init__(
        self, pipe: "FacePipeline", face: Face, *, seed: int, options: Mapping[str, Any] | None = None
    ) -> None:
        """options: of the pipeline's call. Raises `WeightsMissing` for a model that nothing can move."""
        self._pipe, self._face, self._seed, self._options = pipe, face, seed, options or {}
        self.moved_by = ways_to_move(pipe)

    def draw(self, moves: Sequence[Move]) -> list[Array]:
        """See `Puppet`."""
        return _generated(self._pipe, self._face, moves, self._seed, self.moved_by, self._options)


class InPhoto:
    """A photo whose head moves: each frame repaints the head's region and is put back into the photo, the rest of
    which stays byte for byte."""

    def __init__(
        self,
        pipe: "FacePipeline",
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
        self.moved_by = ways_to_move(pipe)
        size = int(pipe.unet.config.sample_size * codec.pixels_per_cell(pipe.vae))
        self._still = aligned(face, pipe.config.crop_template, size)
        self._tilt = -math.degrees(math.atan2(self._still.matrix[1, 0], self._still.matrix[0, 0]))
        model = FaceModel.bundled()
        covered = [moved(self._still, model, pose=m.pose, blendshapes=m.blendshapes).landmarks for m in moves]
        self._heads = np.any([regions.head(landmarks, size) for landmarks in covered], axis=0)

    def draw(self, moves: Sequence[Move]) -> list[Array]:
        """See `Puppet`; as large as the photo."""
        leaning = [self._leaning(move.tilt) for move in moves]
        free = [self._heads | regions.head(one.landmarks, one.size) for one in leaning]
        canvas: dict[str, Any] = {"image": [one.crop for one in leaning], "mask_image": free}
        made = _generated(self._pipe, self._face, moves, self._seed, self.moved_by, {**self._options, **canvas})
        assert self._face.photo is not None  # `aligned` has seen to it
        pixels = self._face.photo.pixels
        return [
            align.paste(pixels, crop, one.matrix, mask=mask, feather=_FEATHER * one.size)
            for crop, one, mask in zip(made, leaning, free, strict=True)
        ]

    def _leaning(self, tilt: float) -> Aligned:
        """The photo's face in a crop turned about its middle, so that a face upright in the crop leans by `tilt`."""
        still, middle = self._still, (self._still.size - 1) / 2
        angle = math.radians(self._tilt - tilt)
        spin = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
        matrix = np.column_stack([spin @ still.matrix[:, :2], spin @ (still.matrix[:, 2] - middle) + middle])
        assert self._face.photo is not None
        assert self._face.motion is not None
        return replace(
            still,
            crop=align.crop(self._face.photo.pixels, matrix, still.size),
            matrix=matrix,
            landmarks=marks_in_crop(self._face.motion.landmarks, matrix),
        )


def ways_to_move(pipe: "FacePipeline") -> tuple[str, ...]:
    """Which options of `pipe` move a face: `pose`, `expression` or both. Raises `WeightsMissing` if neither does."""
    ways = ["pose"] if pipe.part("controlnet") is not None else []
    if pipe.part("exp_adapter") is not None and pipe.extra("expression").space == "blendshapes":
        ways.append("expression")
    if not ways:
        raise WeightsMissing(
            f"{pipe.name or 'this model'} cannot be moved: it has neither a controlnet/ for poses nor an exp_adapter/ "
            "that reads blendshapes; add one, or use a model that has it (personae models)"
        )
    return tuple(ways)


def _generated(
    pipe: "FacePipeline",
    face: Face,
    moves: Sequence[Move],
    seed: int,
    ways: Sequence[str],
    options: Mapping[str, Any],
) -> list[Array]:
    if taken := sorted({"pose", "expression", "pose_map", "seed"} & options.keys()):
        raise BadOption(f"{', '.join(taken)} of every frame is the driver's to say: leave it out")
    asked: dict[str, Any] = {
        "pose": [move.numbers for move in moves],
        "expression": [move.expression for move in moves],
    }
    made = pipe(
        [face] * len(moves),
        seed=[seed] * len(moves),
        measure_likeness=False,
        batch_size=len(moves),
        **{name: asked[name] for name in ways},
        **options,
    )
    return [np.asarray(image) for image in made.images]
