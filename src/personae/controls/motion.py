"""`motion_guidance` and `motion_interval`: sampling led by the model's own reader towards a pose and an expression.

    pipe(face, expression={"smile": 0.8}, motion_guidance=0.1)      # and pose: what is named is looked for
    pipe.edit("reenact", source="ann.jpg", target="bob.jpg", motion_guidance=0.1)

A model may have a strength of its own for both (`motion_guidance` in its `model_index.json`; nano has); 0 turns it
off. `pose_scale` and `expression_scale` below 1 scale the model's own strength, the smaller one of the two; not one
that the request names. With an assembly, pose, expression and gaze of its source faces are looked for. The reader that
guides is the one that reads photos: what another one measures is less. Both figures: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from personae.controls.control import Control
from personae.controls.expression import ExpressionControl
from personae.controls.pieces import PiecesControl
from personae.controls.pose import PoseControl
from personae.controls.reader_options import interval_option, strength_option
from personae.controls.request import Plan, Request, for_each_person
from personae.errors import BadOption
from personae.shapes import Float32

if TYPE_CHECKING:
    from personae.model import Model
    from personae.sampling.identity_guidance import ReaderScore
    from personae.types import Array


@dataclass(frozen=True, kw_only=True)
class MotionControl(Control):
    """The requested pose and expression, as the model's own motion reader measures them."""

    group: ClassVar[str] = "Pose and expression"
    one_face: ClassVar[bool] = True

    motion_guidance: float | None = strength_option(
        "How strongly the reader pulls towards the requested pose and expression", default_text="the model's own"
    )
    motion_interval: Sequence[float] = interval_option("motion_guidance", (0.1, 0.9))

    @classmethod
    def works_with(cls, model: Model) -> bool:
        """Whether its motion reader has a gradient here."""
        from personae.controls.wanted_motion import motion_reader  # late: it brings onnx

        return motion_reader(model) is not None

    @classmethod
    def of_model(cls, model: Model) -> Mapping[str, Mapping[str, Any]]:
        """The model's own strength, which acts with a pose or an expression."""
        return {"motion_guidance": {"default": float(model.config.motion_guidance)}}

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption` with nothing requested that could be looked for; `WeightsMissing` for a model whose motion
        reader has no gradient here, or without one."""
        own = self.motion_guidance is None
        strength = _own_strength(model, request) if own else self.motion_guidance
        settings = {"motion_guidance": strength, "motion_interval": list(self.motion_interval)}
        if not strength:
            return None if own else Plan(settings=settings)
        import numpy as np  # late: they are slow to import

        from personae.sampling.identity_guidance import ReaderGuidance

        wanted = wanted_of(model, request)
        if np.isnan(wanted).all():
            if own:
                return None
            raise BadOption("motion_guidance looks for a pose or an expression: give pose or expression with it")
        first, last = self.motion_interval
        guidance = ReaderGuidance(
            vae=model.vae, reader_score=_score(model, request, wanted), strength=strength, interval=(first, last)
        )
        return Plan(around=[guidance], settings=settings)


def _own_strength(model: Model, request: Request) -> float:
    """The model's own, for a pose or an expression that is requested of one aligned face; 0: not at all. The less these
    count by their own scales, the weaker it is; above 1 they make it no stronger."""
    side = int(model.unet.config.sample_size)
    alone = request.windows is None and request.regions is None and tuple(request.grid) == (side, side)
    pose, expression = request.control(PoseControl), request.control(ExpressionControl)
    scales = [pose.pose_scale] if pose.pose is not None else []
    scales += [expression.expression_scale] if expression.expression is not None else []
    if not alone or not scales:
        return 0.0
    strength = float(model.config.motion_guidance) * min(1.0, *scales)
    if not strength:
        return 0.0
    from personae.controls.wanted_motion import motion_reader  # late: it brings onnx

    return 0.0 if motion_reader(model) is None else strength


def _score(model: Model, request: Request, wanted: Float32[Array, "P 55"]) -> ReaderScore:
    import torch

    from personae.controls.wanted_motion import ANGLES, required_reader
    from personae.reading.differentiable import AlignedMotion
    from personae.sampling.identity_guidance import MotionScore

    reader, device = required_reader(model), model._execution_device
    network = AlignedMotion(reader.path, source=model.config.crop_template, template=reader.template, size=reader.size)
    each = torch.from_numpy(wanted[list(request.person_index)]).to(device)
    return MotionScore(motion=network.eval().to(device), pose=each[:, :ANGLES], blendshapes=each[:, ANGLES:])


def wanted_of(model: Model, request: Request) -> Float32[Array, "P 55"]:
    """(P, 3 + 52) float32 what the request wants of each person: see `controls.wanted_motion`."""
    from personae.controls.wanted_motion import assembled_motion, wanted_motion

    people, pieces = len(request.people), request.control(PiecesControl)
    if pieces.assembly is not None:
        return assembled_motion(pieces.for_each(people))
    pose, expression = request.control(PoseControl).pose, request.control(ExpressionControl).expression
    poses = None if pose is None else for_each_person(pose, people)
    expressions = None if expression is None else for_each_person(expression, people)
    return wanted_motion(model, poses, expressions)
