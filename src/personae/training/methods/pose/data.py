"""What `nano-controlnet` learns from: photos with their normal maps, and faces to be held and moved otherwise.

Legend: N photos; R requests; S side of a picture.
"""

from typing import Any

import numpy as np

from personae.conditioning.facex.representation import pose_numbers
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import mirrored, render
from personae.training import captions, self_edit_tasks
from personae.training.crop_motion import crop_poses, marks_in_crops
from personae.training.face_table import FaceTable
from personae.training.methods.base.prompts import PromptMix
from personae.training.methods.base.setting import Setting, draw_rows_and_tokens
from personae.types import Array, Motion, Pose

_TURNED = 0.5  # the share of requests for somebody else's pose; the rest may be for anything


class FacesWithMaps:
    """Of each photo of the table: `marks` (N, 478, 3) in its crop, `poses` (N, 3) degrees, `shapes` (N, 52)."""

    def __init__(self, setting: Setting, table: FaceTable, *, requests: int) -> None:
        self.setting, self.mix, self.requests = setting, PromptMix(), requests
        self.marks, self.poses, self.shapes = marks_in_crops(table), crop_poses(table), table.blendshapes
        self.mesh = FaceModel.bundled()

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """As the base recipe's, with `maps` (N, S, S, 3) uint8 drawn on the way, 5 ms each; and `requests`: who is
        to do what."""
        sides, rows, tokens = draw_rows_and_tokens(self.setting, self.mix, rng, size)
        maps = [render(self.marks[row], self.mesh.triangles, self.setting.frame.side) for row in rows]
        return {
            **self.setting.faces.photos(rng, sides, rows),
            "tokens": tokens,
            "maps": np.stack([mirrored(one) if side else one for one, side in zip(maps, sides, strict=True)]),
            "requests": self._requests(rng),
        }

    def _requests(self, rng: np.random.Generator) -> dict[str, Array]:
        """`vectors`, `tokens`, `maps` as above, the `pose` (R, 3), as `representation` scales it, the `expression` (R,
        52), and the expression `before` it (R, 52)."""
        frame = self.setting.frame
        place: dict[str, Any] = {"template": frame.template, "size": frame.side}
        who, others = (self.setting.faces.kinds.rows(rng, self.requests) for _ in range(2))
        changes = []
        for row, other in zip(who, others, strict=True):
            face, lender = (self.motion(one) for one in (row, other))
            if rng.random() < _TURNED:
                change = self_edit_tasks.change_to(face, lender.pose, face.blendshapes, **place)
            else:
                change = self_edit_tasks.drawn(rng, face, lender, **place)
            changes.append(change)
        return {
            "vectors": self.setting.faces.vectors[0, who, 0],
            "tokens": self.setting.prompts.tokens([captions.IDENTITY_PROMPT] * len(who)),
            "maps": np.stack([change.mesh(frame.side, frame.side) for change in changes]),
            "pose": np.stack([pose_numbers(change.pose) for change in changes]),
            "expression": np.stack([change.expression for change in changes]),
            "before": self.shapes[who],
        }

    def motion(self, row: int) -> Motion:
        """What the face of a row does."""
        yaw, pitch, roll = map(float, self.poses[row])
        return Motion(
            landmarks=self.marks[row], pose=Pose(yaw=yaw, pitch=pitch, roll=roll), blendshapes=self.shapes[row]
        )
