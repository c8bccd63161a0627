"""A random ControlNet for the tiny models, maps for it, and diffusers' own pipeline: what the tests and the golden
file's script (`tests/golden/make_controlnet.py`) share."""

import diffusers
import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor

from conftest import sd15_parts
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place, render
from personae.sampling.controlnet import ADDED, to_maps
from personae.types import Pose

SEEDS = (7, 8, 9)
SCALES = (1.0, 0.5)
STEPS, GUIDANCE = 25, 3.0
SIDE = 32  # of the tiny models' images
CHANNELS = (4, 8, 8)  # two halvings of the map: 32 px to the 8 cells of the latents


def random_controlnet(unet: diffusers.UNet2DConditionModel) -> ControlNetModel:
    """The UNet's encoder, and random numbers where a fresh ControlNet has zeros."""
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=CHANNELS).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(ADDED):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network


def drawn(yaw: float, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """(32, 32, 3) uint8: the mean face, turned."""
    model, pose = FaceModel.bundled(), Pose(yaw=yaw, pitch=pitch, roll=roll)
    return render(place(model.posed(None, None, pose), pose, "portrait", SIDE), model.triangles, SIDE)


def three_maps() -> Tensor:
    """(3, 3, 32, 32): one pose for each seed."""
    return to_maps(np.stack([drawn(-40), drawn(0, 20), drawn(30, -10, 15)]))


@torch.no_grad()
def plain_diffusers(positive: Tensor, negative: Tensor, scale: float) -> Tensor:
    """(3, 4, 8, 8) final latents by `StableDiffusionControlNetPipeline`, one seed per row."""
    parts = sd15_parts()
    pipe = diffusers.StableDiffusionControlNetPipeline(
        **parts,
        controlnet=random_controlnet(parts["unet"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt_embeds=positive,
        negative_prompt_embeds=negative.expand(len(positive), -1, -1),
        image=three_maps(),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        controlnet_conditioning_scale=scale,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="latent",
    ).images
