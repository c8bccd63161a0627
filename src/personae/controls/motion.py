"""`motion_guidance` and `motion_interval`: sampling that looks with the model's own reader at what a face does.

    pipe(face, expression={"smile": 0.8}, motion_guidance=0.1)      # and pose: what is named is looked for
    pipe.edit("reenact", source="ann.jpg", target="bob.jpg", motion_guidance=0.1)

A model may have a strength of its own for both (`motion_guidance` in its `model_index.json`; nano has); 0 turns it
off. Of an assembly, its givers' pose, expression and gaze are looked for. The reader that guides is the one that
reads photos: what another one sees is less. Both figures: docs/quality.md.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from personae.conditioning.blendshapes import GAZE, sliders
from personae.conditioning.facex.assembly import Assembly
from personae.controls import expression, pose
from personae.controls.reader_guidance import Guided
from personae.controls.request import Plan, Request, several
from personae.errors import BadOption, WeightsMissing
from personae.model import Model
from personae.reading.face_motion import OnnxMotionReader
from personae.types import BLENDSHAPES, Array

if TYPE_CHECKING:
    from personae.sampling.identity_guidance import ReaderScore

INTERVAL = (0.1, 0.9)
_ANGLES = len(pose.LIMITS)
_COLUMNS = {name: index for index, name in enumerate([*pose.LIMITS, *BLENDSHAPES])}


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption` for an impossible strength or interval, or with nothing asked
    that could be looked for; `WeightsMissing` for a model whose motion reader has no gradient here, or without one."""
    guided = Guided.asked(options, "motion", INTERVAL) or _usual(pipe, request, options)
    if guided is None:
        return None
    return guided.plan(pipe, _score(pipe, request, options) if guided.strength else None)


def _usual(pipe: Model, request: Request, options: Mapping[str, Any]) -> Guided | None:
    """As the model has it, for a pose or an expression that one aligned face is asked for."""
    strength, side = float(pipe.config.motion_guidance), int(pipe.unet.config.sample_size)
    alone = request.windows is None and request.regions is None and tuple(request.grid) == (side, side)
    asked = any(options.get(name) is not None for name in ("pose", "expression"))
    if not strength or not alone or not asked or not guides(pipe):
        return None
    return Guided(name="motion", strength=strength, interval=INTERVAL)


def guides(pipe: Model) -> bool:
    """Whether the model's reader can."""
    return _reader(pipe) is not None


def _reader(pipe: Model) -> OnnxMotionReader | None:
    """The one of which a network can be made."""
    reader = None if pipe.reader is None else pipe.reader.motion
    return reader if isinstance(reader, OnnxMotionReader) else None


def _score(pipe: Model, request: Request, options: Mapping[str, Any]) -> "ReaderScore":
    from personae.reading.differentiable import AlignedMotion  # late: they bring onnx
    from personae.sampling.identity_guidance import MotionScore

    reader, device = _reader(pipe), pipe._execution_device
    if reader is None:
        raise WeightsMissing("motion_guidance looks through the model's own motion reader, and this model has none")
    network = AlignedMotion(reader.path, source=pipe.config.crop_template, template=reader.template, size=reader.size)
    wanted = torch.from_numpy(_wanted(pipe, len(request.people), options)[list(request.person_index)]).to(device)
    return MotionScore(motion=network.eval().to(device), pose=wanted[:, :_ANGLES], blendshapes=wanted[:, _ANGLES:])


def _wanted(pipe: Model, people: int, options: Mapping[str, Any]) -> Array:
    """(P, 3 + 52) float32: pose in degrees and blendshapes, NaN where nothing is asked."""
    if options.get("assembly") is not None:
        asked = options["assembly"]
        return np.stack([_assembled(one) for one in ([asked] * people if isinstance(asked, Assembly) else asked)])
    wanted = np.full((people, _ANGLES + len(BLENDSHAPES)), np.nan, np.float32)
    for name, read in (("pose", pose.held), ("expression", _shapes)):
        asked = options.get(name)
        if asked is None:
            continue
        for row, one in enumerate(asked if several(asked) else [asked] * people):
            for part, value in read(pipe, one).items():
                wanted[row, _COLUMNS[part]] = value
    if np.isnan(wanted).all():
        raise BadOption("motion_guidance looks for a pose or an expression, and none is asked: give pose or expression")
    return wanted


def _shapes(pipe: Model, asked: Any) -> dict[str, float]:
    """Those that an expression names, 0 included; all of a photo's."""
    found = expression.named(pipe, asked)
    names = sliders(dict.fromkeys(asked, 1.0)) if isinstance(asked, Mapping) else BLENDSHAPES[1:]
    return {name: found.get(name, 0.0) for name in names}


def _assembled(assembly: Assembly) -> Array:
    wanted = np.full(_ANGLES + len(BLENDSHAPES), np.nan, np.float32)
    shapes = wanted[_ANGLES:]
    head, mouth, eyes = (assembly.face(token) for token in ("pose", "expression", "gaze"))
    if head is not None:
        wanted[:_ANGLES] = head.pose.yaw, head.pose.pitch, head.pose.roll
    if mouth is not None:
        shapes[1:] = mouth.blendshapes[1:]  # the first is how neutral the rest is
        shapes[GAZE] = np.nan
    if eyes is not None:
        shapes[GAZE] = eyes.blendshapes[GAZE]
    return wanted
