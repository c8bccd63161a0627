"""A head drawn as sliders move it: the mesh that poses are conditioned on, as clay in soft light.

picture = head_picture(Pose(yaw=20, pitch=0, roll=0), {"smile": 0.8})      # (S, S, 4) RGBA uint8
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np
from PIL import Image

from personae.conditioning.blendshapes import sliders
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place, render
from personae.serving.page.texts import Words
from personae.types import BLENDSHAPES, Array, Pose

SIDE = 288
_TEMPLATE = "portrait"
_CLAY = np.array((0.86, 0.74, 0.66))
_KEY, _FILL = (
    np.array((-0.45, 0.55, 0.7)),
    np.array((0.8, 0.1, 0.45)),
)  # where two lights stand: right, up, to the viewer
_WARM, _COOL = np.array((1.0, 0.97, 0.92)), np.array((0.55, 0.65, 0.72))


def head_picture(pose: Pose, amounts: Mapping[str, float], shape: Array | None = None) -> Array:
    """(S, S, 4) RGBA uint8, transparent around the head.

    Arguments:
        pose: degrees. amounts: of an expression, 0-1, by name (see `conditioning.blendshapes`). shape: (K, 3) the face
            of a person at rest; None: the mean face.

    Raises `BadOption` for an unknown name or an amount out of range.
    """
    moved = sliders(amounts)
    blendshapes = np.array([moved.get(name, 0.0) for name in BLENDSHAPES], np.float32)
    model = FaceModel.bundled()
    vertices = place(model.posed(shape, blendshapes, pose), pose, _TEMPLATE, SIDE)
    return _lit(render(vertices, model.triangles, SIDE))


def _lit(normals: Array) -> Array:
    """A normal map as clay under a warm light and a cool one."""
    inside = normals.any(-1)
    n = normals.astype(np.float32) / 127.5 - 1
    key, fill = (np.clip(n @ (light / np.linalg.norm(light)), 0, 1)[..., None] for light in (_KEY, _FILL))
    rim = (1 - np.clip(n[..., 2:], 0, 1)) ** 3
    colour = _CLAY * (0.24 + 0.72 * key * _WARM + 0.3 * fill * _COOL) + 0.12 * rim * _COOL
    alpha = np.where(inside, 255, 0).astype(np.uint8)
    return np.dstack([(np.clip(colour, 0, 1) * 255).round().astype(np.uint8), alpha])


def head_html(pose: Pose, amounts: Mapping[str, float], words: Words, shape: Array | None = None) -> str:
    """The drawing inside the page, with what it shows in words. shape (K, 3): as in `head_picture`, which also says
    what is raised."""
    buffer = io.BytesIO()
    Image.fromarray(head_picture(pose, amounts, shape)).save(buffer, "WEBP", quality=80, method=2)
    alt = words("head_alt", yaw=pose.yaw, pitch=pose.pitch, roll=pose.roll)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<div class="p-mesh"><img alt="{escape(alt, quote=True)}" src="data:image/webp;base64,{data}"></div>'
