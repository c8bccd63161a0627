"""A normal map of a face: the input of the pose ControlNet.

    model = FaceModel.bundled()
    vertices = model.posed(model.shape_of(source.motion), reference.motion.blendshapes, Pose(yaw=20, pitch=0, roll=0))
    map = render(place(vertices, pose, "portrait", 128), model.triangles, 128)      # (128, 128, 3) RGB uint8

Colours are the surface's unit normal n as (n + 1) / 2 in R, G, B: R grows to the right of the picture, G upwards, B
towards the viewer; a cheek that faces the camera is light blue. The background is black. The axes are those of the
maps that Arc2Face's ControlNet was trained on: EMOCA renders world normals of FLAME, whose axes are the same. What
differs: theirs is a head mesh of 5023 vertices with eyeballs, ears and neck, cut to the face, with EMOCA's fine
wrinkles; ours is the surface of 468 landmarks from chin to hairline, lids and lips closed over.
"""

import numpy as np

from personae.conditioning.head_mesh import IRISES, FaceModel, five_points, in_photo
from personae.reading import align
from personae.reading.rotation import image_turn
from personae.shapes import Float, Int, UInt8
from personae.types import Array, Pose


def place(vertices: Float[Array, "K 3"], pose: Pose, template: str, size: int) -> Float[Array, "K 3"]:
    """(K, 3) pixels of a `size` crop (x right, y down, smaller z is nearer) of posed model vertices (K, 3).

    The five points lie where `template` puts them, as if the photo of this face had been aligned; aligning takes a
    head's roll away, so it is put back by turning the template about the middle of the crop.
    """
    points = in_photo(vertices)
    source, middle = five_points(points), (size - 1) / 2
    goal = np.array(align.template(template).points) * size - 0.5
    angle = np.radians(pose.roll)
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    goal = (goal - middle) @ turn.T + middle
    # Scale and shift in the least squares; no rotation, since the angles are what was asked for.
    off, wanted = source - source.mean(0), goal - goal.mean(0)
    scale = (off * wanted).sum() / (off**2).sum()
    shift = goal.mean(0) - scale * source.mean(0)
    return np.column_stack([points[:, :2] * scale + shift, points[:, 2] * scale])


def tilt_of(model: FaceModel, pose: Pose, blendshapes: Float[Array, " 52"], template: str) -> float:
    """Degrees clockwise by which a crop of `template` that stands a face upright leans in the photo that shows the
    face in `pose`, making `blendshapes` (52,): the crop that the mean face gets.

    A detector's five points would say the same less steadily: what they err by is in the roll read off their crop,
    too, and only the sum is right.
    """
    points = five_points(in_photo(model.posed(None, blendshapes, pose)))
    return -image_turn(align.similarity(points * 100, template))  # in pixels: any scale will do


def render(vertices: Float[Array, "K 3"], triangles: Int[Array, "T 3"], size: int) -> UInt8[Array, "S S 3"]:
    """(size, size, 3) RGB uint8 normal map of vertices (K, 3) in crop pixels (see `place`), smoothly shaded.

    triangles: (T, 3). What faces away is not drawn: a head is not hollow.
    """
    points = vertices[: IRISES.start].astype(np.float32)
    faces = _crossed(points[triangles])
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    normals = normals * (1, -1, -1) / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
    pixels, row, weights = visible(points, triangles, size)
    n = (weights[:, :, None] * normals[triangles[row]]).sum(1)
    n /= np.linalg.norm(n, axis=1, keepdims=True).clip(1e-9)
    image = np.zeros((size * size, 3), np.uint8)
    image[pixels] = np.round((n + 1) * 127.5)
    return image.reshape(size, size, 3)


def visible(
    points: Float[Array, "K 3"], triangles: Int[Array, "T 3"], size: int
) -> tuple[Int[Array, " M"], Int[Array, " M"], Float[Array, "M 3"]]:
    """Which pixels show a mesh, and what of it.

    Arguments:
        points: (K, 3), crop pixels, smaller z is nearer.
        triangles: (T, 3), counter-clockwise from outside.
        size: the side of the crop.

    Returns the flat numbers (M,) of the pixels that show the mesh, the triangle nearest to the viewer in each, (M,),
    and its barycentric weights there, (M, 3).
    """
    corners = points[triangles]  # (T, 3, 3)
    # Triangles are counter-clockwise from outside with y up; in a picture's axes that leaves z pointing at the viewer
    # negative.
    front = np.flatnonzero(_crossed(corners)[:, 2] < 0)
    pixel, triangle, weights = _covered(corners[front, :, :2], size)
    depth = (weights * corners[front][triangle, :, 2]).sum(1)
    order = np.argsort(-depth, kind="stable")  # far to near: the nearest is written last
    nearest = np.full(size * size, -1)
    nearest[pixel[order]] = order
    pixels = np.flatnonzero(nearest >= 0)
    row = nearest[pixels]
    return pixels, front[triangle[row]], weights[row]


def _crossed(corners: Float[Array, "T 3 3"]) -> Float[Array, "T 3"]:
    """(T, 3) normals of triangles (T, 3, 3), as long as twice their area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def mirrored(image: UInt8[Array, "*N H W 3"]) -> UInt8[Array, "*N H W 3"]:
    """The normal map (..., H, W, 3) of the mirrored face: normals that pointed right point left."""
    flipped = image[..., :, ::-1, :].copy()
    flipped[..., 0] = np.where(flipped.any(-1), 255 - flipped[..., 0], 0)
    return flipped


def _covered(
    corners: Float[Array, "T 3 2"], size: int
) -> tuple[Int[Array, " M"], Int[Array, " M"], Float[Array, "M 3"]]:
    """Which pixels lie in which triangles (T, 3, 2): M flat pixel numbers, M triangle numbers, (M, 3) barycentric
    weights. All pixels of all bounding boxes are tried at once."""
    low = np.ceil(corners.min(1)).clip(0, size).astype(np.int64)
    high = np.floor(corners.max(1)).clip(-1, size - 1).astype(np.int64)
    width, height = (high - low + 1).clip(0).T
    count = width * height
    triangle = np.repeat(np.arange(len(corners)), count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    y, x = np.divmod(number, width[triangle])
    x, y = x + low[triangle, 0], y + low[triangle, 1]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    # Each weight is linear in x and y: one multiply-add per pixel and corner.
    weights = []
    for p, q in ((b, c), (c, a)):
        slope_x, slope_y = (p[:, 1] - q[:, 1]) / area, (q[:, 0] - p[:, 0]) / area
        start = -(slope_x * p[:, 0] + slope_y * p[:, 1])
        weights.append(slope_x[triangle] * x + slope_y[triangle] * y + start[triangle])
    third = 1 - weights[0] - weights[1]
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (third >= 0)
    barycentric = np.stack([weights[0][inside], weights[1][inside], third[inside]], 1)
    return y[inside] * size + x[inside], triangle[inside], barycentric
