"""How a ControlNet for poses is judged: held-out people in the pose of another, read back by the motion reader."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place, render
from personae.reading.face_motion import MotionConfig, OnnxMotionReader
from personae.reading.onnx_file import file_sha256
from personae.sampling import codec
from personae.sampling.controlnet import PoseHook, to_maps
from personae.training import sheets
from personae.training.crop_motion import crop_poses, marks_in_crops
from personae.training.methods.base.setting import Setting, sample
from personae.training.methods.pose.network import posed
from personae.types import Array, Motion, Pose

_PEOPLE = 64  # of whom samples are drawn
_ANGLES = ("yaw", "pitch", "roll")


class PoseEvaluator:
    """motion: of the motion reader. `images`: the last report's faces, (M, 3, S, S) in [-1, 1]; `maps` (M, S, S, 3)
    uint8: what led to them."""

    images: Tensor
    maps: Array

    def __init__(self, setting: Setting, motion: Path) -> None:
        self.setting, self.mesh = setting, FaceModel.bundled()
        config = MotionConfig(file=motion.name, sha256=file_sha256(motion))
        self.reader = OnnxMotionReader(motion.parent, config, threads=1)

    def report(self, controlnet: nn.Module) -> dict[str, float]:
        """Flow loss at fixed noise with the map of the photo, and without the ControlNet; then faces sampled in a pose
        that another of them holds: mean absolute error of yaw and pitch in degrees, read back by the motion reader,
        with and without the ControlNet; and likeness (the conditioning encoder's own view)."""
        table, networks = self.setting.held_out.table, self.setting.networks
        report = self._flows(controlnet)
        photos = self.setting.held_out.noised(self.setting.base.unet.device)
        count = min(_PEOPLE, len(table))
        vectors, noise = photos.vectors[:count], photos.noise[:count]
        poses = crop_poses(table)[np.roll(np.arange(count), 1)]
        self.maps = np.stack([self._map_in_pose(row, pose) for row, pose in enumerate(poses)])
        for name, network in (("", controlnet), ("_without", None)):
            hooks = () if network is None else (PoseHook(network=network, maps=to_maps(self.maps)),)
            images = networks.decode(
                sample(self.setting.base, *self.setting.conditions(self.setting.base, vectors), noise, hooks)
            )
            off = np.abs(self._poses(images) - poses)
            report[f"yaw_off{name}"], report[f"pitch_off{name}"] = (float(off[:, axis].mean()) for axis in (0, 1))
            report[f"own_likeness{name}"] = float(networks.likeness(images, vectors).mean())
            if network is not None:
                self.images = images.cpu()
        return report

    def _flows(self, controlnet: nn.Module) -> dict[str, float]:
        home, side = self.setting.base.unet.device, self.setting.frame.side
        photos, marks = self.setting.held_out.noised(home), marks_in_crops(self.setting.held_out.table)
        maps = torch.from_numpy(np.stack([render(m, self.mesh.triangles, side) for m in marks])).to(home)
        tokens = self.setting.identity_tokens(len(maps), home)
        row = photos.noisy, photos.times, tokens, photos.vectors, maps
        names = (("held_out_flow", controlnet), ("held_out_flow_without", None))
        return {name: photos.error(posed(self.setting.base, network, *row)) for name, network in names}

    def _map_in_pose(self, row: int, pose: Array) -> Array:
        """A held-out person's own shape and expression in the pose (3,)."""
        table = self.setting.held_out.table
        goal = Pose(**dict(zip(_ANGLES, map(float, pose), strict=True)))
        photo = Pose(**dict(zip(_ANGLES, map(float, table.pose[row]), strict=True)))
        shapes = table.blendshapes[row]
        own = self.mesh.shape_of(Motion(landmarks=table.landmarks[row], pose=photo, blendshapes=shapes))
        frame = self.setting.frame
        placed = place(self.mesh.posed(own, shapes, goal), goal, frame.template, frame.side)
        return render(placed, self.mesh.triangles, frame.side)

    def _poses(self, images: Tensor) -> Array:
        """(M, 3) degrees that the motion reader reads off aligned faces."""
        points = self.setting.frame.points()
        read = [self.reader.read(pixels, points).pose for pixels in codec.to_uint8(images)]
        return np.array([(pose.yaw, pose.pitch, pose.roll) for pose in read])

    def sheet(self) -> Image.Image:
        """`maps` above `images`."""
        return sheets.in_pairs(self.maps, codec.to_uint8(self.images))
