"""A simple body below a face: what a person who does not fill the picture looks like to a detector from afar.

draw_body(image, matrix, box, rng)      # before the face is drawn; `matrix` (2, 3) takes the face's photo to the image
"""

import numpy as np
from PIL import Image, ImageDraw

from personae.reading import align
from personae.training.textures import colour
from personae.types import Array


def outlines(box: Array, rng: np.random.Generator) -> list[Array]:
    """Polygons (M, 2) of a body below an upright face's `box` (4,), in its pixels: neck, trunk, two arms, two legs."""
    width, height = box[2:] - box[:2]
    middle, chin = (box[0] + box[2]) / 2, box[3] - 0.08 * height
    shoulder, hip = rng.uniform(1.0, 1.5) * width, rng.uniform(0.7, 1.2) * width
    trunk, leg = rng.uniform(2.0, 2.8) * height, rng.uniform(2.5, 3.5) * height
    top = chin + 0.25 * height
    waist = top + trunk
    parts = [
        [
            (-0.3 * width, chin - 0.3 * height),
            (0.3 * width, chin - 0.3 * height),
            (0.35 * width, top),
            (-0.35 * width, top),
        ],
        [(-shoulder, top + 0.1 * height), (shoulder, top + 0.1 * height), (hip, waist), (-hip, waist)],
    ]
    for side in (-1, 1):
        swing, thick = rng.uniform(-0.2, 1.2) * width, 0.4 * width
        hand = (side * (shoulder + swing), top + rng.uniform(0.7, 1.1) * trunk)
        parts.append(
            [(side * shoulder, top), (side * (shoulder - thick), top), (hand[0] - side * thick / 2, hand[1]), hand]
        )
        foot = side * (hip + rng.uniform(-0.4, 0.6) * width)
        parts.append([(0, waist), (side * hip, waist), (foot, waist + leg), (foot - side * thick, waist + leg)])
    return [np.array(part, np.float64) * (1, 1) + (middle, 0) for part in parts]


def draw_body(image: Image.Image, matrix: Array, box: Array, rng: np.random.Generator) -> Array:
    """Draw a body in clothes of flat colours below the face in `box` (4,) of a photo that `matrix` (2, 3) takes to the
    image; the rectangle (4,) around it, image pixels."""
    draw, clothes, skin = ImageDraw.Draw(image), [colour(rng), colour(rng)], colour(rng)
    parts = [align.apply(matrix, part) for part in outlines(box, rng)]
    paints = [skin, clothes[0], clothes[0], clothes[1], clothes[0], clothes[1]]
    for part, paint in zip(parts, paints, strict=True):
        draw.polygon([(float(x), float(y)) for x, y in part], fill=paint)
    corners = np.concatenate(parts)
    return np.concatenate([corners.min(0), corners.max(0)])


def roll(rng: np.random.Generator) -> float:
    """Degrees by which a head is turned in a picture: most a little, many up to 45 either way, some any way at all."""
    kind = rng.random()
    if kind < 0.45:
        return float(rng.normal(0, 10))
    return float(rng.uniform(-45, 45) if kind < 0.85 else rng.uniform(-180, 180))
