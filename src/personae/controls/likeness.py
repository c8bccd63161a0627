"""`likeness_guidance` and `likeness_interval`: sampling that looks with the model's own recogniser whether it is them.

    pipe(face, likeness_guidance=0.1)                               # more alike, for more time per image
    pipe(face, likeness_guidance=0.1, likeness_interval=(0.2, 0.8))

The recogniser that guides is the one that conditions and measures: `Generation.likeness` rises more than what another
recogniser sees. Both figures: docs/quality.md.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from personae.controls.reader_guidance import Guided
from personae.controls.request import Plan, Request
from personae.errors import WeightsMissing
from personae.model import Model
from personae.reading.box_crop import BOX_CROPS
from personae.reading.embed import OnnxEmbedder
from personae.reading.insightface import InsightFaceEmbedder

if TYPE_CHECKING:
    from personae.sampling.identity_guidance import ReaderScore

INTERVAL = (0.2, 0.8)


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Where the face lies in an image is the model's own `crop_template`, in which all
    its images are aligned; nothing looks for it.

    Raises `BadOption` for an impossible strength or interval; `WeightsMissing` for a model whose recogniser has no
    gradient here, or without one.
    """
    guided = Guided.asked(options, "likeness", INTERVAL)
    if guided is None:
        return None
    return guided.plan(pipe, _score(pipe, request) if guided.strength else None)


def _score(pipe: Model, request: Request) -> "ReaderScore":
    # Late: they bring onnx, for which a request that does not ask for this does not wait.
    from personae.reading.differentiable import AlignedRecogniser
    from personae.sampling.identity_guidance import IdentityScore

    embedder, template = differentiable_embedder(pipe, "likeness_guidance"), pipe.config.crop_template
    recogniser = AlignedRecogniser(embedder.path, source=template, template=embedder.template, size=embedder.size)
    vectors = np.stack([person.vector for person in request.people])[list(request.person_index)]
    device = pipe._execution_device
    return IdentityScore(recogniser=recogniser.eval().to(device), wanted=torch.from_numpy(vectors).to(device))


def differentiable_embedder(pipe: Model, option: str) -> OnnxEmbedder | InsightFaceEmbedder:
    """The reader's recogniser, of whose file `OnnxModule` makes a network; errors call what needs it `option`.

    Raises `WeightsMissing` for another kind, or a model without a reader.
    """
    if pipe.reader is None:
        raise WeightsMissing(f"{option} looks through the model's reader, and this model came without one")
    embedder = pipe.reader.embedder
    if isinstance(embedder, InsightFaceEmbedder) and embedder.reads_units:
        return embedder
    if not isinstance(embedder, OnnxEmbedder) or embedder.template in BOX_CROPS:
        raise WeightsMissing(
            f"{option} needs the model's recogniser as a network of aligned crops, and {embedder.space!r} "
            f"({type(embedder).__name__}) is none: leave it out"
        )
    return embedder
