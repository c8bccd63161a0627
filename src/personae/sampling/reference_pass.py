"""One pass of the UNet over a reference photo: the features that its self-attention attends to afterwards.

features = look(model, reference_latents(model, "evening.jpg"), people)
hook = ReferenceAttention(features, person_index)        # conditioning.reference_attention
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from personae.conditioning.reference_attention import record_self_attention
from personae.conditioning.types import Rows
from personae.errors import NoFaceFound, WeightsMissing
from personae.model import Model
from personae.reading import align
from personae.reading.photo import PhotoSource, load_photo
from personae.sampling import codec
from personae.sampling.guidance import call
from personae.sampling.latent_grid import own_side
from personae.shapes import Float, Float32
from personae.types import Identity


def reference_latents(model: Model, source: PhotoSource) -> Float32[Tensor, "1 c h w"]:
    """The largest face of a photo, aligned as the model's own images are, as latents (1, c, h, w) float32.

    Deterministic: the published code draws from the autoencoder's posterior, we take its mode. Raises `BadImage`,
    `NoFaceFound`, `WeightsMissing` for a model without a reader.
    """
    if model.reader is None:
        raise WeightsMissing("this model has no reader to find the face in a reference photo: load it with reader=...")
    photo = load_photo(source)
    faces = model.reader.read(photo, motion=False, identity=False)
    if not faces:
        raise NoFaceFound(f"no face was found in the reference {photo.source or 'photo'}: give one that shows a face")
    size = own_side(model.vae, model.unet)
    matrix = align.similarity(faces[0].detection.points, model.config.crop_template, size)
    crop = codec.to_tensor(align.crop(photo.pixels, matrix, size)[None])
    return codec.encode(model.vae, crop.to(model._execution_device))


@torch.no_grad()
def look(
    model: Model, latents: Float[Tensor, "1 c h w"], people: Sequence[Identity]
) -> dict[str, Float[Tensor, "P L C"]]:
    """One pass of the bare UNet over clean latents (1, c, h, w) at t = 0, once per person, with the identity prompt:
    what `ReferenceAttention` takes."""
    conditioning = model.condition(people)[0].to(model.unet.dtype)
    rows = Rows(images=torch.arange(len(people)), conditional=torch.ones(len(people)).bool())
    start = torch.zeros((), device=latents.device)
    with record_self_attention(model.unet) as features:
        call(model.unet, latents.expand(len(people), -1, -1, -1), start, conditioning, rows)
    return features
