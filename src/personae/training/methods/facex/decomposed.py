"""What FaceX reads off every photo of the training table, computed once and stored beside the cache.

rows = Decomposed.of(table, cache / "facex")
rows.at(np.array([3, 5]), mirrored=np.array([False, True]))     # {"regions", "meshes", "pose", ...}
"""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from personae.conditioning import pose_map
from personae.conditioning.facex import representation
from personae.conditioning.head_mesh import FaceModel
from personae.data import shards
from personae.io import atomic
from personae.reading import face_regions as regions
from personae.reading.aligned import resized
from personae.reading.onnx_file import file_sha256
from personae.shapes import Bool, Float32, Int, Shaped, UInt8
from personae.training.crop_motion import crop_poses, marks_in_crops
from personae.training.face_table import FaceTable
from personae.training.mirror import mirrored_blendshapes
from personae.types import Array, Pose

MESH = 64  # side of the normal maps
_AT_ONCE = 256  # rows that a process works on
_SHARES = 252  # of a uint8, for regions' shares
_FLIPPED = (1, 4, 6)  # the harmonics that change sign with x
_CODE = (regions, representation, pose_map)


@dataclass(frozen=True, kw_only=True)
class Decomposed:
    """N rows. `regions` (N, R, G, G) uint8; `meshes` (N, 64, 64, 3) uint8 normal maps; the rest (N, n) float32, as
    `representation.MEASURES`."""

    regions: UInt8[Array, "N R G G"]
    meshes: UInt8[Array, "N m m 3"]
    pose: Float32[Array, "N 3"]
    expression: Float32[Array, "N 52"]
    texture: Float32[Array, "N 15"]
    light: Float32[Array, "N 27"]
    gaze: Float32[Array, "N 4"]

    @classmethod
    def of(cls, table: FaceTable, folder: Path) -> "Decomposed":
        """Read from `folder` if the same was worked out before, by the same code; else a few minutes of all cores."""
        key = hashlib.sha256("".join(table.keys).encode() + table.matrix.tobytes())
        for module in _CODE:
            key.update(file_sha256(Path(str(module.__file__))).encode())
        path = folder / f"{key.hexdigest()[:12]}.npz"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            atomic.write(path, shards.pack_arrays(_worked_out(table)), replace=True)
        with np.load(path) as file:
            return cls(**{name: file[name] for name in file.files})

    def at(self, rows: Int[Array, " M"], mirrored: Bool[Array, " M"]) -> dict[str, Shaped[Array, "M ..."]]:
        """Copies of rows (M,), those of `mirrored` (M,) as if their photos were; regions as shares."""
        picked = {part.name: getattr(self, part.name)[rows] for part in fields(self)}
        picked["regions"] = picked["regions"] / np.float32(_SHARES)
        if mirrored.any():
            swapped = picked["expression"][mirrored][:, mirrored_blendshapes()]
            picked["regions"][mirrored] = picked["regions"][mirrored][..., ::-1]
            picked["meshes"][mirrored] = pose_map.mirrored(picked["meshes"][mirrored])
            picked["pose"][mirrored] *= np.array((-1, 1, -1), np.float32)
            picked["expression"][mirrored] = swapped
            picked["gaze"][mirrored] = [representation.gaze(row) for row in swapped]
            signs = np.ones(representation.HARMONICS, np.float32)
            signs[list(_FLIPPED)] = -1
            picked["light"][mirrored] *= np.tile(signs, 3)
        return picked


def _worked_out(table: FaceTable) -> dict[str, Array]:
    marks, poses = marks_in_crops(table), crop_poses(table)
    rows = list(zip(table.crops, marks, poses, table.blendshapes, strict=True))
    if len(rows) <= _AT_ONCE:  # quicker than the start of a process
        found = [_row(row) for row in rows]
    else:
        # Not forked: torch's threads do not survive it.
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_row, rows, chunksize=_AT_ONCE))
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


def _row(row: tuple[Array, Array, Array, Array]) -> dict[str, Array]:
    crop, marks, (yaw, pitch, roll), blendshapes = row
    model = FaceModel.bundled()
    pose = Pose(yaw=float(yaw), pitch=float(pitch), roll=float(roll))
    shares = regions.partition(resized(marks, len(crop), representation.GRID), representation.GRID)
    read = representation.measures_of(crop, marks, pose, blendshapes, shares, model)
    at_mesh = resized(marks, len(crop), MESH)
    return {name: getattr(read, name)[0] for name in representation.MEASURES} | {
        "regions": np.round(read.regions[0] * _SHARES).astype(np.uint8),
        "meshes": pose_map.render(at_mesh, model.triangles, MESH),
    }
