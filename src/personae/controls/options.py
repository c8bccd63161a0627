"""The options of a request beside people, by name and type.

Do not edit: `python -m personae.controls.options_file` writes it from the declarations of `controls.registry`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from personae.conditioning.facex.assembly import Assembly
    from personae.conditioning.regional_attention import Region
    from personae.reading.photo import PhotoSource
    from personae.types import Pose


class Options(TypedDict, total=False):
    """What `FacePipeline.__call__` takes beside people. Absent or None: the option's default."""

    # Words around the person: "a smiling {person}, black and white". Words without {person} stand beside the face
    # (Face0), each with its weight.
    prompt: str | None

    # Words to lead away from.
    negative_prompt: str | None

    # Images per person; with --region, in all. Default: 1.
    num_images_per_prompt: int | None

    # Of the first image; the next ones count on. Default: random.
    seed: int | Sequence[int] | None

    # The most images in one call of the networks; changes no result. Default: 16.
    batch_size: int | None

    # Sampling steps; more is slower and finer. Default: the model's.
    num_inference_steps: int | None

    # How strictly to follow the identity. Default: the model's.
    guidance_scale: float | None

    # How to sample, e.g. dpm++. Default: the model's.
    scheduler: str | None

    # Of the images, in pixels. Default: the model's.
    height: int | None

    # Of the images, in pixels. Default: the model's.
    width: int | None

    # Of the head: yaw,pitch,roll in degrees, or a photo.
    pose: PhotoSource | Pose | Sequence[float] | Mapping[str, float] | Sequence[Pose | Mapping[str, float]] | None

    # A normal map of your own instead.
    pose_map: PhotoSource | None

    # How strictly to hold the pose, 0-2. Default: 1.
    pose_scale: float | None

    # Amounts by name, e.g. smile=0.8,jawOpen=0.2; or a photo, or a .npy.
    expression: PhotoSource | Mapping[str, float] | Sequence[float] | Sequence[Mapping[str, float]] | None

    # How strongly to express it, 0-1. Default: 1.
    expression_scale: float | None

    # Pieces of faces to put together, one assembly for all people or one for each.
    assembly: Assembly | Sequence[Assembly] | None

    # Steps of the model's distilled sampler, 2-8. Default: off.
    fast: int | None

    # The safetensors file of a LoRA made for the model.
    lora: str | os.PathLike[str] | None

    # How strongly it acts, 0-2. Default: 1.
    lora_scale: float | None

    # A photo whose look (light, hair, background) is kept.
    reference: PhotoSource | None

    # How closely to keep it, 0-1. Default: 0.8.
    reference_scale: float | None

    # A picture of the size of those to be generated, of which a part is preserved.
    image: PhotoSource | Sequence[PhotoSource] | None

    # Of the image's size, white where it is repainted.
    mask_image: PhotoSource | Sequence[PhotoSource | Sequence[object]] | None

    # How much of the repainted region is new, 0-1. Default: 1.
    strength: float | None

    # exact, balanced or fast: what may be skipped. Default: exact.
    speed: str | None

    # Between which shares of the steps guidance acts. Default: as the speed has it.
    guidance_interval: Sequence[float] | None

    # The UNet's deep features are computed in every n-th step. Default: as the speed has it.
    cache_interval: int | None

    # full, or tiny: the model's taesd/. Default: as the speed has it.
    decoder: str | None

    # How strongly the reader pulls towards the requested pose and expression; 0.1 is a good start, 0 is off. Default:
    # the model's own.
    motion_guidance: float | None

    # Between which shares of the steps it pulls. Default: 0.1,0.9.
    motion_interval: Sequence[float] | None

    # How strongly the recogniser pulls towards the person; 0.1 is a good start, 0 is off. Default: off.
    likeness_guidance: float | None

    # Between which shares of the steps it pulls. Default: 0.2,0.8.
    likeness_interval: Sequence[float] | None

    # How much the words alone count; one weight is always 0. Default: 0.
    text_weight: float | None

    # How much the face alone counts. Default: 0.
    face_weight: float | None

    # How much words and face together count. Default: 1.
    both_weight: float | None

    # Between which shares of the steps the words alone act, e.g. 0,0.5. Default: 0,1.
    text_interval: Sequence[float] | None

    # The same of the face alone. Default: 0,1.
    face_interval: Sequence[float] | None

    # The same of both together. Default: 0,1.
    both_interval: Sequence[float] | None

    # photo, stylised or painting, instead of weights.
    look: str | None

    # All people in one picture: where one of them is, x0,y0,x1,y1 in shares of it, or a mask file. Once per person, in
    # the photos' order; with a --width that has room for all of them.
    regions: Sequence[Region] | None
