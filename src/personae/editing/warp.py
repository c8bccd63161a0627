"""A face's own pixels, warped to where the edit wants them: what an edit begins with, before the model paints.

    warp = warp_of(scene, edit_mask, row="face", recolour="region")  # None: nothing moves
    photo = warp.onto(photo, scene.place.matrix)                    # sharp as the photo, beyond the model's crop, too
    crop = align.crop(photo, scene.place.matrix, scene.place.size)

The face that the looks come from is drawn as a mesh (`conditioning.head_mesh`) in the pose and with the expression of
their sources, with the photo as its texture: what moves, moves in one piece, and stays the same person. What no photo
shows (the inside of a mouth that opens, a cheek that turns into view, hair's edge) is rough, and the model's to
finish: some of its steps are walked from here (SDEdit, Meng et al., ICLR 2022) rather than all of them from noise.

Legend: S side of a crop, W = S + 2 margin that of the window around it, in which everything here lies; H, W' a photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import LinearNDInterpolator  # type: ignore[import-untyped]
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates  # type: ignore[import-untyped]
from scipy.spatial import QhullError  # type: ignore[import-untyped]

from personae.conditioning.blendshapes import GAZE
from personae.conditioning.head_mesh import IRISES, FaceModel
from personae.conditioning.pose_map import visible
from personae.conditioning.retarget import retarget
from personae.editing.masks import edit_mask_of
from personae.editing.paste import RECOLOURS, Patch
from personae.editing.recolour import Change
from personae.editing.scene import Scene
from personae.reading import align, face_regions
from personae.reading.aligned import Aligned
from personae.reading.rotation import rotation
from personae.shapes import Bool, Float, Num, UInt8
from personae.types import BLENDSHAPES, Array, Pose

# All in shares of the crop's side.
_MARGIN = 3 / 8  # of the window around the crop: a chin that drops leaves the crop
_FEATHER = 3 / 64  # over which what is warped fades into the photo
_REACH = 0.35  # how far beyond the mesh its displacement fades out: ears, hair and neck come along
_SMOOTH = 3 / 128  # of the displacement beyond the mesh
_STILL = 0.004  # of landmarks: a displacement that nobody sees
_MOTION = ("pose", "expression", "gaze")
_SHADE = 0.75  # how much darker a mouth is inside than the lips that were stretched over it
_GUESSWORK = 45  # degrees
# Of a change of blendshapes: the mesh moves by the means of many people, half closed where single ones would be shut.
_GAINS = {"brow": 1.5, "eyeBlink": 2.2, "eyeLook": 2.2, "eyeSquint": 1.8, "cheek": 1.2, "nose": 1.2, "mouth": 1.2}
_GAIN = np.array([next((g for word, g in _GAINS.items() if name.startswith(word)), 1.0) for name in BLENDSHAPES])
# The other way, a narrow eye holds nothing that would fill a wide one: lashes and brows would be stretched over it.
_GAIN_BACK = np.where([name.startswith(("browDown", "eyeBlink", "eyeSquint")) for name in BLENDSHAPES], 1.0, _GAIN)
_FURTHEST = 1.5  # of any blendshape

_ROWS = 256  # of a photo that are composed at once


@dataclass(frozen=True, kw_only=True)
class Warp:
    """What is drawn into a window, which has `margin` more pixels than the crop on every side.

    shift: (W, W, 2), how far from each pixel its texture lies, in crop pixels. share: (W, W) 0-1 of the texture in the
    result. shade: (W, W) 0-1, how dark. mask: (W, W) bool, no other pixel changes. turn: degrees between the pose of
    the source's photo and the pose it takes. missing: (W, W) bool, where the texture would lie beyond the edge of the
    source's photo, so that it is the model's to fill.
    source: whose crop and photo are the texture, None: the photo itself that it is drawn onto. change: of its colours.
    under: (W, W, 3), what lies below it, as far as `covered` (W, W) 0-1 says, else the photo; None: the photo.
    """

    margin: int
    shift: Float[Array, "W W 2"]
    share: Float[Array, "W W"]
    shade: Float[Array, "W W"]
    mask: Bool[Array, "W W"]
    turn: float
    missing: Bool[Array, "W W"]
    source: Aligned | None = None
    change: Change | None = None
    under: Num[Array, "W W 3"] | None = None
    covered: Float[Array, "W W"] | None = None

    def onto(self, photo: UInt8[Array, "H V 3"], matrix: Float[Array, "2 3"]) -> UInt8[Array, "H V 3"]:
        """A copy of `photo` (H, W', 3) uint8 with it, at the photo's own resolution. matrix: of the crop's."""
        matrix = align.widened(matrix, self.margin)
        (left, top, _, _), inside = align.lying(self.mask, matrix, photo.shape)
        texture, to_texture = self._texture(photo, matrix)
        result = photo.copy()
        for first in range(0, len(inside), _ROWS):
            y, x = np.nonzero(inside[first : first + _ROWS])
            y, x = y + top + first, x + left
            places = align.apply(matrix, np.stack([x, y], -1).astype(np.float64))
            shift = np.stack([_sampled(self.shift[..., axis], places) for axis in range(2)], -1)
            colours = _colours(texture, align.apply(to_texture, places + shift))
            if self.change is not None:
                colours = self.change.at(colours, places - self.margin)
            colours *= 1 - _sampled(self.shade, places)[:, None]
            below = photo[y, x].astype(np.float32)
            if self.under is not None and self.covered is not None:
                below += _sampled(self.covered, places)[:, None] * (_colours(self.under, places) - below)
            share = _sampled(self.share, places)[:, None]
            result[y, x] = np.round(below + share * (colours - below)).clip(0, 255)
        return result

    def _texture(
        self, photo: UInt8[Array, "H V 3"], matrix: Float[Array, "2 3"]
    ) -> tuple[UInt8[Array, "_ _ 3"], Float[Array, "2 3"]]:
        """Pixels, and the (2, 3) matrix that takes those of the window there."""
        if self.source is None:
            return photo, align.invert(matrix)
        # As fine as the photo that it comes into, no finer: what is shrunk is averaged first.
        fine = max(1.0, 1 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
        scale = np.array([(fine, 0, (fine - 1) / 2), (0, fine, (fine - 1) / 2)])
        wide = self.source.widened(self.margin)
        if wide.photo is None:
            return wide.crop, np.eye(2, 3)
        finer = scale[:, :2] @ wide.matrix + np.array([(0, 0, scale[0, 2]), (0, 0, scale[1, 2])])
        return align.crop(wide.photo, finer, int(np.ceil(wide.size * fine))), scale


def warp_of(scene: Scene, edit_mask: Bool[Array, "S S"], *, row: str, recolour: str) -> Warp | None:
    """The face that the skin of a scene comes from, in the pose and with the expression of their sources.

    None where the looks are not one person's photo, and where nothing moves. edit_mask: (S, S) bool, of the crop. row:
    of `masks.EDIT_MASKS`, for what may change beyond the crop. recolour: of `paste.RECOLOURS`, how another's colours
    are matched to the photo's.
    """
    ref = scene.source("skin")
    if "skin" not in scene.sources or scene.shifted or not _one_person(scene):
        return None
    look, place = scene.faces[ref], scene.place
    blendshapes = scene.source_face("expression").blendshapes.copy()
    blendshapes[GAZE] = scene.source_face("gaze").blendshapes[GAZE]
    after = doing(look, scene.source_face("pose").pose, blendshapes)
    if scene.is_own(ref) and np.abs(after.landmarks - place.landmarks)[:, :2].max() < _STILL * place.size:
        return None
    margin = margin_of(place.size)
    window, mask = _widened(scene, margin), np.pad(edit_mask, margin)
    if not scene.region and scene.mask is None:
        mask = edit_mask_of(row, window)
        mask[middle(place.size)] = edit_mask
    if scene.is_own(ref):
        # A crop that leans turns nothing out of sight.
        return replace(within(place, after, mask), turn=angle(look.pose, after.pose))
    hair = scene.source("hair").photo == ref.photo
    return _into(look, after, place, window.place, mask, hair=hair, recolour=recolour)


def within(before: Aligned, after: Aligned, mask: Bool[Array, "W W"]) -> Warp:
    """A photo's own face, which lies `before` in the crop, doing what it does `after`. It moves inside `mask` (W, W)
    bool, of the window, so that nothing shows twice."""
    warp, fade, _ = _drawn(before, after, mask)
    shift = warp.shift * fade[..., None]
    known = _known(before, shift)
    moving = np.abs(shift).max(-1) > 1
    return replace(warp, shift=shift, shade=warp.shade * fade, share=known, missing=mask & moving & (known < 1))


def _into(
    look: Aligned,
    after: Aligned,
    canvas: Aligned,
    window: Aligned,
    mask: Bool[Array, "W W"],
    *,
    hair: bool,
    recolour: str,
) -> Warp:
    """Another's face, or with its hair the head, in the window of a canvas."""
    warp, fade, inside = _drawn(look, after, mask)
    warp = replace(warp, source=look)
    where = after.widened(warp.margin).region("head") if hair else inside
    known = _known(look, warp.shift)
    inner = middle(canvas.size)
    in_crop = replace(warp, mask=np.ones_like(mask)).onto(canvas.crop, np.eye(2, 3))
    patch = Patch(place=canvas, edit_mask=(mask & where & (known == 1))[inner], cells=mask[inner])
    missing = mask & where & (known < 1)
    # Beyond the crop, and where what fills it fades out, the photo's own head is better than a hole.
    bare, border = missing.copy(), warp.margin + round(_FEATHER * canvas.size)
    bare[border:-border, border:-border] = False
    blur = _FEATHER * canvas.size / 4
    return replace(
        warp,
        share=gaussian_filter(where.astype(np.float64), blur) * fade * known,
        missing=missing,
        change=RECOLOURS[recolour](in_crop, canvas.crop, patch),
        under=closed(window.crop, mask | ~window.coverage, 2 * _SMOOTH * canvas.size) if hair else None,
        covered=1 - gaussian_filter(bare.astype(np.float64), blur) if hair else None,
    )


def _drawn(
    before: Aligned, after: Aligned, mask: Bool[Array, "W W"]
) -> tuple[Warp, Float[Array, "W W"], Bool[Array, "W W"]]:
    """The face `before` as it does what it does `after`, all of it; how it should fade out towards the border of the
    mask, (W, W) 0-1; and where in the window it lies, (W, W) bool."""
    margin = margin_of(before.size)
    was, now = (one.landmarks + np.array((margin, margin, 0), np.float32) for one in (before, after))
    shift, inside = displacement(was, now, len(mask), unit=before.size)
    fade = align.depth(mask) / (_FEATHER * before.size)
    warp = Warp(
        margin=margin,
        mask=mask,
        shift=shift,
        share=np.ones(mask.shape),
        missing=np.zeros_like(mask),
        shade=_SHADE * _opened(was, now, len(mask), blur=_FEATHER * before.size / 12),
        turn=angle(before.pose, after.pose),
    )
    return warp, fade.clip(0, 1), inside


def _known(face: Aligned, shift: Float[Array, "W W 2"]) -> Float[Array, "W W"]:
    """(W, W) 0-1: whether what each pixel of another window shows, which is `shift` (W, W, 2) away in the window of a
    face, lies in the photo of the face. Beyond it there is only its edge, repeated: nobody notices that over a
    feather's width, and over another one it fades; what is further away would be streaks."""
    coverage = face.widened(margin_of(face.size)).coverage
    if coverage.all():
        return np.ones(coverage.shape)
    inside = (distance_transform_edt(coverage) - distance_transform_edt(~coverage)) / (_FEATHER * face.size)
    y, x = np.mgrid[0 : len(shift), 0 : len(shift)]
    places = (y + shift[..., 1], x + shift[..., 0])
    found = map_coordinates(inside, places, output=np.float64, order=1, mode="constant", cval=-2)
    return np.asarray((2 + found).clip(0, 1))


def margin_of(size: int) -> int:
    """Of the window around a crop `size` pixels wide."""
    return round(_MARGIN * size)


def middle(size: int) -> tuple[slice, slice]:
    """Where in its window the crop lies."""
    inner = slice(margin_of(size), margin_of(size) + size)
    return inner, inner


def doing(face: Aligned, pose: Pose, blendshapes: Float[Array, " 52"]) -> Aligned:
    """A face as it would lie in its crop in another `pose` and with other `blendshapes` (52,), 0-1."""
    change = blendshapes - face.blendshapes
    goal = face.blendshapes + np.where(change > 0, _GAIN, _GAIN_BACK) * change
    goal = goal.clip(-_FURTHEST, _FURTHEST)
    return retarget(face, FaceModel.bundled(), pose=pose, blendshapes=goal.astype(np.float32))


def displacement(
    before: Float[Array, "K 3"], after: Float[Array, "K 3"], size: int, *, unit: int
) -> tuple[Float[Array, "S S 2"], Bool[Array, "S S"]]:
    """(size, size, 2): how far from each pixel of a picture in which a face's landmarks lie `after` (K, 3) the same
    place of the face lay `before` (K, 3), in pixels; and where the face itself is, (size, size) bool. Beyond it the
    displacement of its outline fades out, by what is usual in a crop of `unit` pixels.

    Hidden parts stay hidden: of what lies over each other the nearest counts. Raises `BadData` for what is no face.
    """
    model, marks = FaceModel.bundled(), face_regions.checked(after)[: IRISES.start].astype(np.float32)
    pixels, triangle, weights = visible(marks, model.triangles, size)
    source = (weights[:, :, None] * before[model.triangles[triangle], :2]).sum(1)
    inside = np.zeros((size, size), bool)
    inside.flat[pixels] = True
    shift = np.zeros((size, size, 2))
    shift.reshape(-1, 2)[pixels] = source - np.stack([pixels % size, pixels // size], -1)
    if not inside.any():
        return shift, inside
    for eye, iris in zip(face_regions.EYES, (slice(468, 473), slice(473, 478)), strict=True):
        _look(
            shift, before, after, [*eye, *range(iris.start, iris.stop)], face_regions.enclosed(after[list(eye)], size)
        )
    blur = (_SMOOTH * unit, _SMOOTH * unit, 0)
    amount = gaussian_filter(inside[..., None].astype(np.float64), blur).clip(1e-6)
    outline = gaussian_filter(shift, blur) / amount
    away, (y, x) = distance_transform_edt(~inside, return_indices=True)
    fading = (1 - away / (_REACH * unit)).clip(0, 1)
    beyond = gaussian_filter(outline[y, x] * fading[..., None], blur)
    return np.where(inside[..., None], shift, beyond), inside


# ---------------------------------------------------------------------- its parts


def _one_person(scene: Scene) -> bool:
    """Whether all looks come from the photo that the skin comes from, or stay as the canvas has them; and whether it is
    that person's identity that the edit wants."""
    look = scene.source("skin").photo
    looks = [ref for token, ref in scene.sources.items() if token not in _MOTION]
    return scene.source("identity").photo == look and all(ref.photo == look or scene.is_own(ref) for ref in looks)


def _widened(scene: Scene, margin: int) -> Scene:
    """The scene in the window, without the caller's region and mask."""
    faces = {ref: face.widened(margin) for ref, face in scene.faces.items()}
    return replace(scene, faces=faces, region=(), mask=None)


def _look(
    shift: Float[Array, "S S 2"],
    before: Float[Array, "K 3"],
    after: Float[Array, "K 3"],
    points: Sequence[int],
    open_: Float[Array, "S S"],
) -> None:
    """Between its lids, `open_` (size, size) 0-1, an eye's iris goes where its landmarks go: the lids alone would take
    it along."""
    y, x = np.nonzero(open_ > 0)
    if not len(y):
        return
    goal, source = (marks[points, :2].astype(np.float64) for marks in (after, before))
    try:
        found = LinearNDInterpolator(goal, source - goal)(np.stack([x, y], -1))
    except QhullError:  # a closed eye has no inside
        return
    inside = np.isfinite(found).all(1)
    y, x, found = y[inside], x[inside], found[inside]
    shift[y, x] += open_[y, x, None] * (found - shift[y, x])


def strength(turn: float, least: float, most: float) -> float:
    """The share of the steps, 0-1, to walk from a warp: `least` of them for a head that stays as it was, `most` for one
    that turns so far, in degrees, that half of it is guesswork."""
    return least + (most - least) * min(turn / _GUESSWORK, 1.0)


def angle(one: Pose, other: Pose) -> float:
    """Degrees of the turn from one to the other."""
    before, after = (rotation(np.array((pose.yaw, pose.pitch, pose.roll))) for pose in (one, other))
    return float(np.degrees(np.arccos(((np.trace(before.T @ after) - 1) / 2).clip(-1, 1))))


def _opened(before: Float[Array, "K 3"], after: Float[Array, "K 3"], size: int, *, blur: float) -> Float[Array, "S S"]:
    """(size, size) 0-1: how much of what shows between the lips did not show before."""
    gaps = [face_regions.opening(marks, size) for marks in (before, after)]
    was, now = (float(gap.sum()) for gap in gaps)
    return np.asarray(gaussian_filter(gaps[1], blur) * (1 - was / now if now > was else 0.0))


def closed(window: UInt8[Array, "H V 3"], mask: Bool[Array, "H V"], blur: float) -> Num[Array, "H V 3"]:
    """A window (W, W, 3), or any picture, without what the mask covers: the colours around it, drawn in."""
    if mask.all():
        return window
    y, x = distance_transform_edt(mask, return_distances=False, return_indices=True)
    return np.asarray(gaussian_filter(window[y, x].astype(np.float64), (blur, blur, 0)))


def _sampled(field: Num[Array, "W W"], places: Float[Array, "M 2"]) -> Float[Array, " M"]:
    """A field (W, W) at places (M, 2), linearly."""
    return np.asarray(map_coordinates(field, places.T[::-1], output=np.float32, order=1, mode="nearest"))


def _colours(pixels: Num[Array, "H V 3"], places: Float[Array, "M 2"]) -> Float[Array, "M 3"]:
    """(M, 3) of pixels (H, W', 3) at places (M, 2), linearly; beyond the edge, the edge."""
    return np.stack([_sampled(pixels[..., channel], places) for channel in range(3)], -1)
