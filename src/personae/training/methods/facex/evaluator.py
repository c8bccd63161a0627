"""The report of `facex-nano`: held-out people, edited by its lessons and read back by the networks that judge practice.

exam = Exam(task)
exam.lesson("swap")           # {"swap_source": 0.7, "swap_yaw": 2.5, ...}
exam.mouths()                 # {"asked_jaw": 0.4, "asked_source": 0.8}
exam.pictures                 # rows of pictures, sources and targets first

Legend: N people; S side of a crop.
"""

from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from personae.conditioning import blendshapes as expression
from personae.conditioning.facex.representation import DEGREES, GRID
from personae.sampling import codec
from personae.shapes import Float, Int
from personae.training import self_edit_tasks
from personae.training.loop import to_device
from personae.training.methods.base.setting import Setting
from personae.training.methods.facex.data import FacesToEdit
from personae.training.methods.facex.lessons import NAMES
from personae.training.methods.facex.network import Controlled
from personae.training.motion_judge import MotionJudge
from personae.training.rollout import Course, Rolled
from personae.types import BLENDSHAPES, Array

PLAIN = "plain"  # no lesson: the source generated, from the identity prompt alone
_OWN = ("reenact", "attribute")  # what is changed is the source's photo
_STEPS, _GUIDANCE = 12, 2.5  # of the samples
_OPEN = 0.8  # of jawOpen, requested
_PEOPLE = 64


class Examined(Protocol):
    """What the report needs of the training, `FaceXTask`."""

    setting: Setting
    data: FacesToEdit
    model: Controlled
    judge: MotionJudge

    def inputs(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[dict[str, Any], Tensor]:
        """The arguments of `FaceX.forward`, and the free region (M, 1, S, S)."""

    def rolled(
        self,
        tokens: Int[Tensor, "R L"],
        vectors: Float[Tensor, "R D"],
        face_tokens: Float[Tensor, "R T C"] | None,
        noise: Float[Tensor, "R c h w"],
        canvas: Float[Tensor, "R c h w"],
        cells: Float[Tensor, "R 1 h w"],
        course: Course,
        steps: int,
    ) -> Rolled:
        """Faces sampled from `noise`, the canvas fused in where cells are not free."""


class Exam:
    """Every held-out person's photo is a target, with a source half of them away."""

    def __init__(self, task: Examined) -> None:
        held_out = task.setting.held_out
        count = min(_PEOPLE, len(held_out))
        self._task, self._home = task, task.model.unet.device
        self._target = np.arange(count)
        self._source = np.roll(self._target, count // 2)
        sides = {"source": task.data.held_out(self._source), "target": task.data.held_out(self._target)}
        self._faces = to_device(sides, self._home)
        vectors = torch.from_numpy(held_out.vectors).to(self._home)
        self._vectors, self._others = vectors[self._source], vectors[self._target]
        self._tokens = task.setting.identity_tokens(count, self._home)
        self.pictures = [held_out.table.crops[self._source], held_out.table.crops[self._target]]

    def lesson(self, name: str) -> dict[str, float]:
        """Of a lesson, or `PLAIN`: own likeness to source and target, and the mean absolute errors to the target's yaw
        and pitch (degrees) and blendshapes, as `MotionJudge` reads them."""
        nobody = np.zeros((len(self._target), GRID, GRID), bool)
        images = self._edited(name, self._faces, nobody)
        found, (pose, shapes) = self._task.setting.networks.embedder(images), self._task.judge.read(images)
        goal = self._faces["target"]
        off = (pose - goal["pose"] * DEGREES).abs().mean(0)
        figures = {
            "source": (found * self._vectors).sum(-1).mean(),
            "target": (found * self._others).sum(-1).mean(),
            "yaw": off[0],
            "pitch": off[1],
            "expression": (shapes - goal["expression"]).abs().mean(),
        }
        return {f"{name}_{what}": float(value) for what, value in figures.items()}

    def mouths(self) -> dict[str, float]:
        """People with a request to open their mouths in their own photos: how far they do, as a share of the request;
        their likeness."""
        measures = self._task.data.held_out(self._source)
        free = np.zeros((len(self._source), GRID, GRID), bool)
        frame = self._task.setting.frame
        for row, mark in enumerate(self._task.data.held_out_marks[self._source]):
            face = self_edit_tasks.motion(measures, row, mark)
            opened = expression.with_sliders(face.blendshapes, {"jawOpen": _OPEN})
            change = self_edit_tasks.change_to(face, face.pose, opened, template=frame.template, size=frame.side)
            free[row] = self_edit_tasks.write_change(measures, row, change)
        own = self._faces["source"]
        images = self._edited("attribute", {"source": own, "target": to_device(measures, self._home)}, free)
        jaw = BLENDSHAPES.index("jawOpen")
        before, after = own["expression"][:, jaw], self._task.judge.read(images)[1][:, jaw]
        return {
            "asked_jaw": float((after - before).mean() / (_OPEN - before).mean()),
            "asked_source": float(self._task.setting.networks.likeness(images, self._vectors).mean()),
        }

    def _edited(self, name: str, faces: dict[str, Any], free: Array) -> Tensor:
        """(N, 3, S, S): a lesson's pictures. free: (N, G, G) bool, where the lesson leaves it to who requests."""
        task, count = self._task, len(self._target)
        lesson = NAMES.index(name) if name in NAMES else 0
        batch = to_device({"pairs": count, "lessons": np.full(count, lesson), "free": free}, self._home) | faces
        inputs, freed = task.inputs(batch, torch.Generator(self._home).manual_seed(0))
        rows = self._source if name in _OWN else self._target
        canvas = torch.from_numpy(task.setting.held_out.latents).float()[rows].to(self._home)
        cells = torch.ones_like(canvas[:, :1]) if name == PLAIN else F.adaptive_max_pool2d(freed, canvas.shape[-1])
        face_tokens = None if name == PLAIN else task.model.facex(**inputs)
        noise = torch.randn(canvas.shape, generator=torch.Generator().manual_seed(0)).to(self._home)
        every = torch.ones(count, 1, 1, 1, device=self._home)
        course = Course(end=0 * every, scale=_GUIDANCE * every)
        identity = self._tokens, self._vectors
        latents = task.rolled(*identity, face_tokens, noise, canvas, cells, course, _STEPS).noisy
        images = task.setting.networks.decode(latents)
        self.pictures.append(codec.to_uint8(images))
        return images
