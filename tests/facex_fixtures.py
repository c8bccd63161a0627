"""A tiny FaceX and faces for it: no photo, landmarks of the bundled face model placed as an aligned face's are."""

from pathlib import Path

import numpy as np
import onnx

from personae.conditioning.facex.network import Sizes
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place
from personae.reading.aligned import Aligned
from personae.types import BLENDSHAPES, Identity, Pose

SPACE = "tiny/arcface/000000000000"


def last_map(embedder: Path) -> str:
    """The name of the spatial map that an exported `Embedder`'s head reads."""
    nodes = onnx.load(str(embedder)).graph.node
    return next(node.input[0] for node in nodes if node.name == "/head/head.0/Conv")


def tiny_sizes(map_name: str, side: int = 128) -> Sizes:
    return Sizes(
        side=side, map_name=map_name, map_shape=(128, 7, 7), width=32, inner=32, backbone=(8, 16, 32), region=(8, 16)
    )


def made_up_face(seed: int = 0, side: int = 128, yaw: float = 0.0) -> Aligned:
    """A random picture with the landmarks of a mean face that turns by `yaw`."""
    rng = np.random.default_rng(seed)
    model, pose = FaceModel.bundled(), Pose(yaw=yaw, pitch=0, roll=0)
    blendshapes = (rng.random(len(BLENDSHAPES)) * 0.3).astype(np.float32)
    marks = place(model.posed(None, blendshapes, pose), pose, "portrait", side).astype(np.float32)
    return Aligned(
        crop=rng.integers(0, 255, (side, side, 3), np.uint8),
        template="portrait",
        matrix=np.eye(3)[:2],
        landmarks=marks,
        pose=pose,
        blendshapes=blendshapes,
        identity=Identity(vector=rng.normal(size=128), space=SPACE),
        coverage=np.ones((side, side), bool),
    )
