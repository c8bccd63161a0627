"""Arc2Face's published folder in small: random weights, but the real classes, file names and formats.

    folder, base = published(tmp_path)      # models/ with a pickle in it; a Stable Diffusion 1.5 beside it

Identities have the real width, 512, so the text encoder is a little wider than that. The base is written as version
1.5 was: a slow tokenizer's two files, a PNDM scheduler's config.
"""

import json
import zlib
from pathlib import Path

import diffusers
import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from conftest import tiny_tokenizer

WIDTH = 528
# scheduler/scheduler_config.json of Stable Diffusion 1.5.
PNDM = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def tokenizer() -> CLIPTokenizer:
    return tiny_tokenizer(length=77)


def text_encoder() -> CLIPTextModel:
    words = tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return filled(CLIPTextModel(config))


def unet() -> diffusers.UNet2DConditionModel:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    return filled(unet)


def vae() -> diffusers.AutoencoderKL:
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=64,
    )
    return filled(vae)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """Weights that depend on their names alone, not on the order in which a library draws them: the golden numbers
    shall change when a computation does."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            rng = np.random.default_rng(zlib.crc32(name.removeprefix("text_model.").encode()))
            drawn = torch.from_numpy(rng.standard_normal(tuple(weight.shape), dtype=np.float32))
            if weight.ndim > 1:
                weight.copy_(drawn / weight[0].numel() ** 0.5)
            else:
                weight.copy_(0.1 * drawn + (1.0 if name.endswith("weight") else 0.0))
    return network.eval()


def published(folder: Path, *, prefix: str = "text_model.", pickled: bool = True) -> tuple[Path, Path]:
    """`models/` and `stable-diffusion/` below `folder`. `prefix`: of the encoder's names, which transformers' versions
    wrote or did not; with it, they also wrote a buffer of positions."""
    models, base = folder / "models", folder / "stable-diffusion"
    unet().save_pretrained(models / "arc2face")
    encoder = text_encoder()
    encoder.config.save_pretrained(models / "encoder")
    state = {prefix + name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    if prefix:
        state[f"{prefix}embeddings.position_ids"] = torch.arange(77)[None]
    if pickled:
        torch.save(state, models / "encoder" / "pytorch_model.bin")
    vae().save_pretrained(base / "vae")
    _write_tokenizer(base / "tokenizer")
    (base / "scheduler").mkdir()
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(PNDM))
    return models, base


def _write_tokenizer(folder: Path) -> None:
    """As Stable Diffusion 1.5 has it: vocabulary and merges."""
    folder.mkdir()
    whole = folder.parent / "whole"
    tokenizer().save_pretrained(whole)
    model = json.loads((whole / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special |= {"pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = special | {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for file in whole.iterdir():
        file.unlink()
    whole.rmdir()
