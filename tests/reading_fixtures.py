"""A reader of tiny real ONNX networks, with the contract of the bundled ones: `tiny_reader_folder(folder)`.

Its "faces" are white rectangles on a darker picture, at most one in the left half and one in the right half of the
canvas. Their eyes, nose and mouth lie where `FACE` says; motion is the same for every face (`LANDMARKS` are the mean
face's), identity follows the pixels.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place
from personae.reading.reader import ReaderConfig, pack
from personae.types import BLENDSHAPES, Pose

FACE = np.array(((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)), np.float32)
POSE = (10.0, -5.0, 3.0)  # yaw, pitch, roll in the crop
LANDMARKS = place(FaceModel.bundled().mean, Pose(yaw=0, pitch=0, roll=0), "motion", 128).astype(np.float32)  # crop
SMILE = 0.25  # of every blendshape


def white_face(pixels: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """A copy of `pixels` with a white rectangle over [left, right) x [top, bottom)."""
    painted = pixels.copy()
    painted[top:bottom, left:right] = 255
    return painted


def tiny_reader_folder(folder: Path) -> ReaderConfig:
    """Write a reader folder: three networks and their `reader.json`."""
    parts = folder / "parts"
    parts.mkdir(parents=True)
    for name, model in (("detector", _detector()), ("motion", _motion()), ("embedder", _embedder())):
        onnx.save(model, parts / f"{name}.onnx")
    return pack(
        folder / "reader",
        detector=parts / "detector.onnx",
        motion=parts / "motion.onnx",
        embedder=parts / "embedder.onnx",
        recogniser="tiny",
        width=128,
    )


def model_of(nodes: list, source: tuple, results: list[tuple], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """An ONNX model; `source` and `results` are (name, shape)."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in results],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def _detector() -> onnx.ModelProto:
    """Four anchors: the white rectangle of each half, and each once more, shifted and with a lower score."""
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        node("Greater", ["grey", "nearly_white"], ["is_white"]),
        node("Cast", ["is_white"], ["white"], to=TensorProto.FLOAT),
        node("Mul", ["white", "halves"], ["shown"]),  # (N, 2, 320, 320)
        node("ReduceMax", ["shown"], ["columns"], axes=[2], keepdims=0),
        node("ReduceMax", ["shown"], ["rows"], axes=[3], keepdims=0),
        node("ArgMax", ["columns"], ["left"], axis=2, keepdims=1),
        node("ArgMax", ["rows"], ["top"], axis=2, keepdims=1),
        node("ArgMax", ["columns"], ["right"], axis=2, keepdims=1, select_last_index=1),
        node("ArgMax", ["rows"], ["bottom"], axis=2, keepdims=1, select_last_index=1),
        node("Concat", ["left", "top", "right", "bottom"], ["whole_box"], axis=2),
        node("Cast", ["whole_box"], ["box"], to=TensorProto.FLOAT),
        node("Add", ["box", "aside"], ["shifted"]),
        node("Concat", ["shifted", "box"], ["boxes"], axis=1),
        node("MatMul", ["boxes", "to_points"], ["points"]),
        node("ReduceMax", ["shown"], ["any"], axes=[2, 3], keepdims=0),
        node("Mul", ["any", "high"], ["best"]),
        node("Mul", ["any", "low"], ["second"]),
        node("Concat", ["second", "best"], ["scores"], axis=1),
    ]
    halves = np.zeros((1, 2, 320, 320), np.float32)
    halves[:, 0, :, :160] = halves[:, 1, :, 160:] = 1
    to_points = np.zeros((4, 10), np.float32)  # x = left + f (right - left)
    to_points[0, 0::2], to_points[2, 0::2] = 1 - FACE[:, 0], FACE[:, 0]
    to_points[1, 1::2], to_points[3, 1::2] = 1 - FACE[:, 1], FACE[:, 1]
    constants = {
        "nearly_white": np.float32(0.9),
        "halves": halves,
        "aside": np.array((2, 0, 2, 0), np.float32),
        "to_points": to_points,
        "high": np.float32(0.9),
        "low": np.float32(0.7),
    }
    results = [("boxes", ["N", 4, 4]), ("points", ["N", 4, 10]), ("scores", ["N", 4])]
    return model_of(nodes, ("image", ["N", 3, 320, 320]), results, constants)


def _motion() -> onnx.ModelProto:
    """The same motion for every crop."""
    node = helper.make_node
    constants = {
        "zero": np.float32(0),
        "marks": LANDMARKS[None],
        "angles": np.array([POSE], np.float32),
        "shapes": np.full((1, len(BLENDSHAPES)), SMILE, np.float32),
    }
    nodes = [
        node("ReduceMean", ["crop"], ["mean"], axes=[1, 2, 3], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Unsqueeze", ["nothing", "one"], ["nothing_2d"]),
        node("Unsqueeze", ["nothing_2d", "two"], ["nothing_3d"]),
        node("Add", ["nothing_3d", "marks"], ["landmarks"]),
        node("Add", ["nothing_2d", "angles"], ["pose"]),
        node("Add", ["nothing_2d", "shapes"], ["blendshapes"]),
    ]
    constants |= {"one": np.array([1], np.int64), "two": np.array([2], np.int64)}
    results = [("landmarks", ["N", 478, 3]), ("pose", ["N", 3]), ("blendshapes", ["N", len(BLENDSHAPES)])]
    return model_of(nodes, ("crop", ["N", 3, 128, 128]), results, constants)


def _embedder() -> onnx.ModelProto:
    """Pool to 8 x 8, project at random, normalise."""
    node = helper.make_node
    nodes = [
        node("AveragePool", ["crop"], ["pooled"], kernel_shape=[14, 14], strides=[14, 14]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "projection"], ["raw"]),
        node("LpNormalization", ["raw"], ["identity"], axis=1, p=2),
    ]
    projection = np.random.default_rng(0).standard_normal((192, 128)).astype(np.float32)
    return model_of(nodes, ("crop", ["N", 3, 112, 112]), [("identity", ["N", 128])], {"projection": projection})
