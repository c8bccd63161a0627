"""Random expression adapters in the published layout, and the same sampling by plain diffusers: what the tests and
the golden file's script (`tests/golden/make_expression.py`) share.
"""

from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPImageProcessorPil

from conftest import sd15_parts

SEEDS = (0, 1, 2)
STEPS, GUIDANCE = 25, 3.0
SCALES = (1.0, 0.5)


def random_adapter(unet, width: int, *, mlp: str | None = None, spread: float = 0.3) -> dict[str, dict[str, Tensor]]:
    """Weights for `unet` that read vectors of `width` numbers: a linear projection to four tokens, as the first
    IP-Adapter's, or one of the later ones with an MLP: `four` tokens, or `one`."""
    rng = torch.Generator().manual_seed(width)
    cross = unet.config.cross_attention_dim

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng) * spread

    sizes = {"proj": (4 * cross, width)}
    if mlp is not None:
        sizes = {"proj.0": (width, width), "proj.2": (4 * cross if mlp == "four" else cross, width)}
    norm = "proj.3" if mlp == "one" else "norm"
    projection = {f"{norm}.weight": torch.ones(cross), f"{norm}.bias": torch.zeros(cross)}
    for name, size in sizes.items():
        projection |= {f"{name}.weight": draw(*size), f"{name}.bias": draw(size[0])}
    layers = {}
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for index, name in enumerate(crossing):
        out = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        layers |= {f"{2 * index + 1}.{part}.weight": draw(out, cross) for part in ("to_k_ip", "to_v_ip")}
    return {"image_proj": projection, "ip_adapter": layers}


def flame_numbers() -> Tensor:
    """(55,) as SMIRK's encoder might give them."""
    numbers = torch.randn(55, generator=torch.Generator().manual_seed(7))
    numbers[50:] = torch.tensor([0.9, 0.1, 0.3, 0.1, -0.1])
    return numbers


def starting_noise() -> Tensor:
    """(3, 4, 8, 8), each row from its own seed."""
    return torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])


def plain_diffusers(file: Path, positive: Tensor, negative: Tensor, scale: float) -> Tensor:
    """(3, 4, 8, 8) final latents by the official recipe: `load_ip_adapter` on diffusers' own pipeline."""
    parts = sd15_parts()
    config = parts["scheduler"].config
    # Without an offset diffusers warns; timesteps spaced evenly do not use it.
    parts["scheduler"] = DPMSolverMultistepScheduler.from_config(config, steps_offset=1)
    pipe = StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=CLIPImageProcessorPil(), requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.load_ip_adapter(str(file.parent), subfolder="", weight_name=file.name, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(scale)
    told = flame_numbers()[None, None].repeat(len(SEEDS), 1, 1)  # (3, 1, 55)
    return pipe(
        prompt_embeds=positive,
        negative_prompt_embeds=negative.repeat(len(SEEDS), 1, 1),
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(told), told])],
        latents=starting_noise(),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type="latent",
    ).images
