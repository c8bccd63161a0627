"""The report of `facex-nano`: held-out people, edited by its lessons and read back by the networks that judge practice.

exam = Exam(task)
exam.taken("swap")            # {"swap_source": 0.7, "swap_yaw": 2.5, ...}
exam.mouths()                 # {"asked_jaw": 0.4, "asked_source": 0.8}
exam.shown                    # rows of pictures, sources and targets first

Legend: N people; S side of a crop.
"""

from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from personae.conditioning import blendshapes
from personae.conditioning.facex.representation import DEGREES, GRID
from personae.reading.differentiable import AlignedRecogniser
from personae.sampling import codec
from personae.training import captions, self_edit_tasks
from personae.training.face_table import FaceTable
from personae.training.loop import to_device
from personae.training.methods.facex.lessons import NAMES
from personae.training.motion_judge import MotionJudge
from personae.training.rollout import Course, Rolled
from personae.types import BLENDSHAPES, Array

PLAIN = "plain"  # no lesson: the source generated, told nothing but who
_OWN = ("reenact", "attribute")  # what is changed is the source's photo
_STEPS, _GUIDANCE = 12, 2.5  # of the samples
_OPEN = 0.8  # of jawOpen, asked
_PEOPLE = 64


class Examined(Protocol):
    """What the report needs of the training: `FaceXTask`, its networks, and its N held-out people."""

    @property
    def model(self) -> Any:
        """`facex.Controlled`."""

    test: FaceTable
    test_marks: Array  # (N, 478, 2) landmarks in the crops
    test_vectors: Array  # (N, D)
    test_latents: Array  # (N, c, h, w)
    embedder: AlignedRecogniser
    judge: MotionJudge

    def tokens(self, prompts: list[str]) -> Array:
        """(M, L)"""

    def test_faces(self, rows: Array) -> dict[str, Array]:
        """What FaceX reads of held-out people, by their rows."""

    def inputs(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[dict[str, Any], Tensor]:
        """The arguments of `FaceX.forward`, and the free region (M, 1, S, S)."""

    def rolled(
        self,
        tokens: Tensor,
        vectors: Tensor,
        told: Tensor | None,
        noise: Tensor,
        canvas: Tensor,
        cells: Tensor,
        course: Course,
        steps: int,
    ) -> Rolled:
        """Faces sampled from `noise`, the canvas fused in where cells are not free."""

    def decoded(self, latents: Tensor) -> Tensor:
        """(M, 3, S, S) images of latents."""


class Exam:
    """Every held-out person's photo is a target, with a source half of them away."""

    def __init__(self, task: Examined) -> None:
        count = min(_PEOPLE, len(task.test))
        self._task, self._home = task, task.model.unet.device
        self._target = np.arange(count)
        self._source = np.roll(self._target, count // 2)
        sides = {"source": task.test_faces(self._source), "target": task.test_faces(self._target)}
        self._faces = to_device(sides, self._home)
        vectors = torch.from_numpy(task.test_vectors).to(self._home)
        self._vectors, self._others = vectors[self._source], vectors[self._target]
        self._tokens = torch.from_numpy(task.tokens([captions.IDENTITY_PROMPT] * count)).to(self._home)
        self.shown = [task.test.crops[self._source], task.test.crops[self._target]]

    def taken(self, name: str) -> dict[str, float]:
        """Of a lesson, or `PLAIN`: own likeness to source and target, and the mean absolute errors to the target's yaw
        and pitch (degrees) and blendshapes, as `MotionJudge` reads them."""
        nobody = np.zeros((len(self._target), GRID, GRID), bool)
        images = self._edited(name, self._faces, nobody)
        seen, (pose, shapes) = self._task.embedder(images), self._task.judge.read(images)
        wanted = self._faces["target"]
        off = (pose - wanted["pose"] * DEGREES).abs().mean(0)
        figures = {
            "source": (seen * self._vectors).sum(-1).mean(),
            "target": (seen * self._others).sum(-1).mean(),
            "yaw": off[0],
            "pitch": off[1],
            "expression": (shapes - wanted["expression"]).abs().mean(),
        }
        return {f"{name}_{what}": float(value) for what, value in figures.items()}

    def mouths(self) -> dict[str, float]:
        """People asked to open their mouths in their own photos: how far they do, of what is asked; their likeness."""
        told = self._task.test_faces(self._source)
        free = np.zeros((len(self._source), GRID, GRID), bool)
        for row, mark in enumerate(self._task.test_marks[self._source]):
            face = self_edit_tasks.motion(told, row, mark)
            making = blendshapes.with_sliders(face.blendshapes, {"jawOpen": _OPEN})
            change = self_edit_tasks.made(face, face.pose, making, template="portrait", size=told["crops"].shape[1])
            free[row] = self_edit_tasks.tell(told, row, change)
        own = self._faces["source"]
        images = self._edited("attribute", {"source": own, "target": to_device(told, self._home)}, free)
        jaw = BLENDSHAPES.index("jawOpen")
        before, after = own["expression"][:, jaw], self._task.judge.read(images)[1][:, jaw]
        return {
            "asked_jaw": float((after - before).mean() / (_OPEN - before).mean()),
            "asked_source": float((self._task.embedder(images) * self._vectors).sum(-1).mean()),
        }

    def _edited(self, name: str, faces: dict[str, Any], free: Array) -> Tensor:
        """(N, 3, S, S): a lesson's pictures. free: (N, G, G) bool, where the lesson leaves it to who asks."""
        task, count = self._task, len(self._target)
        lesson = NAMES.index(name) if name in NAMES else 0
        told = to_device({"pairs": count, "lessons": np.full(count, lesson), "asked": free}, self._home) | faces
        asked, freed = task.inputs(told, torch.Generator(self._home).manual_seed(0))
        kept = self._source if name in _OWN else self._target
        canvas = torch.from_numpy(task.test_latents).float()[kept].to(self._home)
        cells = torch.ones_like(canvas[:, :1]) if name == PLAIN else F.adaptive_max_pool2d(freed, canvas.shape[-1])
        pieces = None if name == PLAIN else task.model.facex(**asked)
        noise = torch.randn(canvas.shape, generator=torch.Generator().manual_seed(0)).to(self._home)
        every = torch.ones(count, 1, 1, 1, device=self._home)
        course = Course(end=0 * every, scale=_GUIDANCE * every)
        made = task.rolled(self._tokens, self._vectors, pieces, noise, canvas, cells, course, _STEPS).noisy
        images = task.decoded(made)
        self.shown.append(codec.to_uint8(images))
        return images
