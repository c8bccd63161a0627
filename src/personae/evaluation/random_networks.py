"""Stable Diffusion 1.5's networks with random weights, from their configurations alone: nothing is downloaded.

    parts = build(FULL, tokenizer, torch.bfloat16)      # UNet of 859.5 million weights, AutoencoderKL, CLIP-L
    parts = build(TINY, tokenizer, torch.float32)       # the same classes, for rehearsals

What arithmetic costs does not depend on what the numbers are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer


@dataclass(frozen=True, kw_only=True)
class Size:
    """The options of each class, where they are not the class's own, and the width of an identity."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    taesd: dict[str, Any]
    text: dict[str, Any]
    identity: int


FULL = Size(
    unet={"sample_size": 64, "cross_attention_dim": 768},
    vae={
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "sample_size": 512,
    },
    taesd={},
    text={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
    identity=512,
)
TINY = Size(
    unet={
        "sample_size": 8,
        "cross_attention_dim": 32,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    vae={
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "sample_size": 16,
    },
    taesd={
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    },
    text={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    identity=16,
)


def build(size: Size, tokenizer: CLIPTokenizer, dtype: torch.dtype, seed: int = 0) -> dict[str, Any]:
    """The parts of a pipeline, by their names in diffusers, on the CPU. Made in `dtype` at once, so that building
    takes no more memory than keeping."""
    torch.manual_seed(seed)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=min(tokenizer.model_max_length, 77),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **size.text,
    )
    with _default(dtype):
        return {
            "unet": diffusers.UNet2DConditionModel(**size.unet).eval(),
            "vae": diffusers.AutoencoderKL(latent_channels=4, **size.vae).eval(),
            "text_encoder": CLIPTextModel(text).eval(),
            "tokenizer": tokenizer,
            "scheduler": diffusers.DPMSolverMultistepScheduler(
                beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
            ),
        }


def tiny_decoder(size: Size) -> diffusers.AutoencoderTiny:
    """TAESD, float32."""
    return diffusers.AutoencoderTiny(latent_channels=4, **size.taesd).eval()


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
