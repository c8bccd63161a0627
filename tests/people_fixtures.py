"""A tiny random generator of the real class, in a wheel of the real layout, and labellers that find a face in noise."""

import hashlib
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import numpy as np
import torch

from personae.data.mobile_stylegan import MappingNet, Network, SynthesisNet
from personae.types import Array, Detection, Motion, Pose

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 4}
WIDTH = 16


def tiny_networks(seed: int = 0) -> tuple[MappingNet, SynthesisNet]:
    """Frozen random networks: 64-px pictures, 11 rows of styles."""
    torch.manual_seed(seed)
    mapping, synthesis = MappingNet(WIDTH, 2), SynthesisNet(CHANNELS, WIDTH)
    with torch.no_grad():
        for name, tensor in synthesis.state_dict().items():
            tensor.copy_(torch.randn(tensor.shape) * (0.5 if "noise" in name else 1))
    return mapping.eval().requires_grad_(False), synthesis.eval().requires_grad_(False)


def as_network(tensors: list[tuple[str, torch.Tensor]]) -> Network:
    """Tensors as an OpenVINO file holds them, under their names and in their order."""
    root, content = ET.Element("net"), b""
    layers = ET.SubElement(root, "layers")
    for name, tensor in tensors:
        values = tensor.detach().numpy().astype(np.float32)
        layer = ET.SubElement(layers, "layer", name=name, type="Const")
        shape = ", ".join(map(str, values.shape))
        ET.SubElement(layer, "data", element_type="f32", offset=str(len(content)), shape=shape)
        content += values.tobytes()
    return Network(ET.tostring(root), content)


def stored(mapping: MappingNet, synthesis: SynthesisNet) -> dict[str, Network]:
    """Both networks as the wheel holds them: kernels and noise without a name of their own, in the graph's order."""
    convs = dict(synthesis._convs())
    named = list(synthesis._names(convs).items())
    for number, conv in enumerate(convs.values()):
        named += [(f"Mul_{number}_copy", conv.conv.weight), (f"noise_{number}", conv.noise)]
    linear = [(name, tensor) for name, tensor in mapping.state_dict().items()]
    return {"Mapping": as_network(linear), "Synthesis": as_network(named)}


def tiny_wheel(path: Path, seed: int = 0) -> str:
    """Write a wheel that holds the tiny networks; its sha256."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, network in stored(*tiny_networks(seed)).items():
            for ending, content in (("xml", network.graph), ("bin", network.constants)):
                # With a fixed time, or the hash would be another one every two seconds.
                archive.writestr(zipfile.ZipInfo(f"random_face/data/{name}Network.{ending}"), content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class FakeTeachers:
    """Labellers in the place of the published ones, which find nothing in noise: a face everywhere, measured by the
    picture's colours, so that labels depend on pixels alone."""

    def __init__(self, folder: object = None) -> None:
        self.calls = 0

    def detect(self, pixels: Array) -> list[Detection]:
        side = pixels.shape[0]
        points = np.array([(0.38, 0.47), (0.62, 0.47), (0.5, 0.6), (0.4, 0.7), (0.6, 0.7)], np.float32) * side
        box = np.array([0.25, 0.25, 0.75, 0.8], np.float32) * side
        return [Detection(box=box, points=points, score=0.9)]

    def motion(self, pixels: Array) -> Motion | None:
        red, green, blue = (float(value) for value in pixels.reshape(-1, 3).mean(0) / 255)
        return Motion(
            landmarks=np.zeros((478, 3), np.float32),
            pose=Pose(yaw=90 * (red - 0.5), pitch=90 * (green - 0.5), roll=0.0),
            blendshapes=np.full(52, blue, np.float32),
        )

    def embed_crop(self, crop: Array) -> Array:
        self.calls += 1
        rng = np.random.default_rng(int(crop.astype(np.int64).sum()))
        vector = rng.normal(size=128)
        return (vector / np.linalg.norm(vector)).astype(np.float32)
