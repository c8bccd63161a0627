"""`reference`: a photo whose look (light, colour, hair, background) is kept, by the model's adapter (`ref_adapter/`).

Its scale is the strength of the adapter's LoRA, as published; the appended keys have none. So even a small scale
shows, and 0 means no reference at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from personae.conditioning.reference_attention import ReferenceAttention, record_self_attention
from personae.conditioning.types import Rows
from personae.controls.request import Plan, Request
from personae.errors import BadOption, NoFaceFound, WeightsMissing
from personae.model import Model
from personae.reading import align
from personae.reading.photo import PhotoSource, load_photo, record_of
from personae.sampling import codec
from personae.sampling.guidance import call
from personae.types import Identity

SCALE = 0.8  # what the authors' demo recommends between likeness to the photo and freedom from it


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption` for a scale out of 0-1 or without a photo, `BadImage`,
    `NoFaceFound`, `WeightsMissing`, `WeightsCorrupt`."""
    source, scale = options.get("reference"), options.get("reference_scale")
    if source is None:
        if scale is not None:
            raise BadOption(f"reference_scale {scale} needs a reference: give the photo too")
        return None
    scale = _checked(SCALE if scale is None else scale)
    photo = load_photo(source)
    settings = {"reference": record_of(photo), "reference_scale": scale}
    if scale == 0:
        return Plan(settings=settings)
    lora = pipe.component("ref_adapter")
    features = look(pipe, latents_of(pipe, photo), request.people)
    return Plan(hooks=[ReferenceAttention(features, request.person_index), lora.at(scale)], settings=settings)


def latents_of(pipe: Model, source: PhotoSource) -> Tensor:
    """The largest face of a photo, aligned as the model's own images are, as latents (1, c, h, w) float32.

    Deterministic: the published code draws from the autoencoder's posterior, we take its mode. Raises `BadImage`,
    `NoFaceFound`, `WeightsMissing` for a model without a reader.
    """
    if pipe.reader is None:
        raise WeightsMissing("this model has no reader to find the face in a reference photo: load it with reader=...")
    photo = load_photo(source)
    faces = pipe.reader.read(photo, motion=False, identity=False)
    if not faces:
        raise NoFaceFound(f"no face was found in the reference {photo.source or 'photo'}: give one that shows a face")
    size = _side(pipe)
    matrix = align.similarity(faces[0].detection.points, pipe.config.crop_template, size)
    crop = codec.to_tensor(align.crop(photo.pixels, matrix, size)[None])
    return codec.encode(pipe.vae, crop.to(pipe._execution_device))


@torch.no_grad()
def look(pipe: Model, latents: Tensor, people: Sequence[Identity]) -> dict[str, Tensor]:
    """One pass of the bare UNet over clean latents (1, c, h, w) at t = 0, once per person, with the identity prompt:
    what `Reference` takes."""
    told = pipe.condition(people)[0].to(pipe.unet.dtype)
    rows = Rows(images=torch.arange(len(people)), conditional=torch.ones(len(people)).bool())
    start = torch.zeros((), device=latents.device)
    with record_self_attention(pipe.unet) as features:
        call(pipe.unet, latents.expand(len(people), -1, -1, -1), start, told, rows)
    return features


def _side(pipe: Model) -> int:
    """Pixels along a side of the model's images."""
    return int(pipe.unet.config.sample_size) * codec.pixels_per_cell(pipe.vae)


def _checked(scale: Any) -> float:
    if not isinstance(scale, int | float) or not 0 <= scale <= 1:
        raise BadOption(f"reference_scale lies between 0 and 1, got {scale!r}")
    return float(scale)
