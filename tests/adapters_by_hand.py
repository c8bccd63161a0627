"""LoRA files, and what sampling with them must give: computed by plain diffusers, or by hand, never by personae.

`write_lora(folder, unet)` writes one in a published dialect; `plain_lcm`, `euler_by_hand` and `reference_by_hand` make
final latents.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import diffusers
import torch
from diffusers.models.attention import BasicTransformerBlock
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from personae.conditioning.types import Conditioning
from personae.pipeline import FacePipeline
from personae.sampling import schedulers

FILE = "pytorch_lora_weights.safetensors"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# Every kind of layer that the published LCM-LoRA changes.
EVERYWHERE = (
    *ATTENTION,
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "time_emb_proj"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
)


def adapted(unet, targets: Sequence[str] = EVERYWHERE, rank: int = 4, seed: int = 0):
    """A copy of `unet` with a random LoRA attached by peft."""
    copied = deepcopy(unet)
    copied.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in copied.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return copied


def write_lora(
    folder: Path, unet, *, targets: Sequence[str] = EVERYWHERE, rank: int = 4, seed: int = 0, kohya: bool = False
) -> Path:
    """A random LoRA for `unet` as diffusers' trainers save it, or with kohya's names and alphas, as
    latent-consistency/lcm-lora-sdv1-5 has them: the same changes either way."""
    state = get_peft_model_state_dict(adapted(unet, targets, rank, seed))
    if not kohya:
        diffusers.StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=state)
        return folder / FILE
    renamed = {}
    for key, value in state.items():
        module, side = key.removesuffix(".weight").rsplit(".", 1)
        name = "lora_unet_" + module.replace(".", "_")
        # An alpha of half the rank halves the product: doubled here, it must come out the same.
        up = side == "lora_B"
        renamed[f"{name}.{'lora_up' if up else 'lora_down'}.weight"] = value.contiguous() * (2 if up else 1)
        renamed[f"{name}.alpha"] = torch.tensor(rank / 2)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(renamed, folder / FILE)
    return folder / FILE


@torch.no_grad()
def plain_lcm(pipe: FacePipeline, lora: Path, told: Conditioning, seeds: Sequence[int], steps: int) -> Tensor:
    """The recipe of the official README: StableDiffusionPipeline, LCMScheduler, load_lora_weights, guidance 1."""
    plain = diffusers.StableDiffusionPipeline(
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        unet=deepcopy(pipe.unet),
        scheduler=diffusers.LCMScheduler.from_config(pipe.scheduler.config, steps_offset=1),  # as it wants it
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    plain.set_progress_bar_config(disable=True)
    plain.load_lora_weights(lora.parent, weight_name=lora.name, local_files_only=True)
    return plain(
        prompt_embeds=told.tokens,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="latent",
    ).images


@torch.no_grad()
def euler_by_hand(pipe: FacePipeline, lora: Path, told: Conditioning, seeds: Sequence[int], steps: int) -> Tensor:
    """Even Euler steps along a flow, unguided, by the UNet with the LoRA attached by diffusers."""
    student, shift = deepcopy(pipe.unet), pipe.scheduler.config.shift
    student.load_lora_adapter(load_file(lora), prefix="unet")
    x = torch.cat([torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    even = torch.linspace(1, 0, steps + 1)
    times = (shift * even / (1 + (shift - 1) * even)).tolist()
    for now, then in pairwise(times):
        x = x + (then - now) * student(x, now * 1000, told.tokens, class_labels=told.pooled).sample
    return x


@torch.no_grad()
def reference_by_hand(
    pipe: FacePipeline,
    lora: Path,
    scale: float,
    latents: Tensor,
    people: tuple[Conditioning, Conditioning],
    seeds: Sequence[int],
    steps: int,
    guidance: float,
) -> Tensor:
    """Image n of person n, each on its own: a second, frozen UNet looks at the clean `latents` (1, c, h, w); the
    denoiser's self-attention, written out head by head, has its normed inputs as further keys and values."""
    told, untold = people
    classes = pipe.unet.config.class_embed_type is not None
    frozen, denoiser, banks = deepcopy(pipe.unet), deepcopy(pipe.unet), {}
    weights = denoiser.state_dict()
    file = load_file(lora)
    for key in (key for key in file if ".lora_A." in key):
        name = key.removeprefix("unet.").replace(".lora_A", "")
        up, down = file[key.replace("lora_A", "lora_B")], file[key]
        weights[name].add_((up.flatten(1) @ down.flatten(1)).view_as(weights[name]), alpha=scale)
    for (name, writer), (_, reader) in zip(_blocks(frozen), _blocks(denoiser), strict=True):
        writer.forward = _noting(writer, banks, name)
        reader.forward = _looking(reader, banks, name)

    results = []
    for row, seed in enumerate(seeds):
        tokens = torch.cat([untold.tokens, told.tokens[row : row + 1]])
        labels = torch.cat([untold.pooled, told.pooled[row : row + 1]]) if classes else None
        frozen(latents, 0, tokens[1:], class_labels=None if labels is None else labels[1:])
        scheduler = schedulers.fresh(None, like=pipe.scheduler, steps=steps)
        x = torch.randn(1, *latents.shape[1:], generator=torch.Generator().manual_seed(seed))
        for t in scheduler.timesteps:
            blind, seeing = denoiser(torch.cat([x, x]), t, tokens, class_labels=labels).sample.chunk(2)
            x = scheduler.step(blind + guidance * (seeing - blind), t, x).prev_sample
        results.append(x)
    return torch.cat(results)


def _blocks(unet) -> list[tuple[str, BasicTransformerBlock]]:
    return [(name, module) for name, module in unet.named_modules() if isinstance(module, BasicTransformerBlock)]


def _normed(norm, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def _noting(block: BasicTransformerBlock, banks: dict[str, Tensor], name: str) -> Callable[..., Tensor]:
    ordinary = block.forward

    def forward(x: Tensor, *args, **kwargs) -> Tensor:
        banks[name] = _normed(block.norm1, x)[0]
        return ordinary(x, *args, **kwargs)

    return forward


def _looking(block: BasicTransformerBlock, banks: dict[str, Tensor], name: str) -> Callable[..., Tensor]:
    attention = block.attn1

    def heads(layer, x: Tensor) -> Tensor:
        return linear(x, layer.weight, layer.bias).unflatten(-1, (attention.heads, -1)).transpose(0, 1)

    def seen(own: Tensor, others: Tensor) -> Tensor:
        q, k, v = heads(attention.to_q, own), heads(attention.to_k, others), heads(attention.to_v, others)
        mixed = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        return linear(mixed.transpose(0, 1).flatten(1), attention.to_out[0].weight, attention.to_out[0].bias)

    def forward(x: Tensor, encoder_hidden_states: Tensor, **_) -> Tensor:
        blind, seeing = _normed(block.norm1, x)
        x = x + torch.stack([seen(blind, blind), seen(seeing, torch.cat([seeing, banks[name]]))])
        x = x + block.attn2(block.norm2(x), encoder_hidden_states)
        return x + block.ff(block.norm3(x))

    return forward
