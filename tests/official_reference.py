"""What the official code computes, written out with the libraries' public parts alone: nothing of personae's in it.

    python tests/official_reference.py      # writes tests/golden/arc2face.npz

Prompt: the text model's own submodules, in the order of the authors' wrapper. Pictures: diffusers' pipeline for Stable
Diffusion as the authors' README drives it. The golden file holds its numbers on the tiny random weights, so that a
library that computes something else from one day on is noticed.
"""

import json
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

GOLDEN = Path(__file__).parent / "golden" / "arc2face.npz"
SEEDS = (3, 14, 15)


def people(count: int = 3) -> Tensor:
    """(count, 512) unit vectors."""
    rows = torch.from_numpy(np.random.default_rng(7).standard_normal((count, 512), dtype=np.float32))
    return rows / rows.norm(dim=1, keepdim=True)


class Official:
    """The official recipe on a published folder."""

    def __init__(self, models: Path, base: Path) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
        self.encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(models / "encoder")).eval()
        pickled = torch.load(models / "encoder" / "pytorch_model.bin", weights_only=True)
        named = {name.removeprefix("text_model."): tensor for name, tensor in pickled.items()}
        self.encoder.load_state_dict(
            {name: named[name.removeprefix("text_model.")] for name in self.encoder.state_dict()}
        )
        config = json.loads((base / "scheduler" / "scheduler_config.json").read_text())
        self.pipeline = diffusers.StableDiffusionPipeline(
            vae=diffusers.AutoencoderKL.from_pretrained(base / "vae"),
            text_encoder=self.encoder,
            tokenizer=self.tokenizer,
            unet=diffusers.UNet2DConditionModel.from_pretrained(models / "arc2face"),
            scheduler=diffusers.PNDMScheduler.from_config(config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self.pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(self.pipeline.scheduler.config)
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def prompt(self, person: Tensor | None) -> Tensor:
        """(1, 77, C): of one unit vector (512,), or of the empty prompt."""
        text = "" if person is None else "photo of a id person"
        ids = self.tokenizer(text, truncation=True, padding="max_length", max_length=77, return_tensors="pt").input_ids
        layers = getattr(self.encoder, "text_model", self.encoder)
        tokens = layers.embeddings.token_embedding(ids)
        if person is not None:
            word = self.tokenizer.encode("id", add_special_tokens=False)[0]
            tokens[ids == word] = torch.nn.functional.pad(person, (0, tokens.shape[-1] - 512))
        hidden = tokens + layers.embeddings.position_embedding(torch.arange(77))
        causal = torch.full((77, 77), torch.finfo(torch.float32).min).triu(1)[None, None]
        for layer in layers.encoder.layers:
            out = layer(hidden, attention_mask=causal)
            hidden = out[0] if isinstance(out, tuple) else out
        return layers.final_layer_norm(hidden)

    def latents(self, person: Tensor, seed: int) -> Tensor:
        """(1, 4, h, w) after 25 steps of DPM-Solver++ at guidance 3."""
        return self.pipeline(
            prompt_embeds=self.prompt(person),
            num_inference_steps=25,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
        ).images


def main() -> None:
    from official_fixtures import published

    with tempfile.TemporaryDirectory() as folder:
        official = Official(*published(Path(folder)))
        rows = [official.prompt(person) for person in people()]
        latents = [official.latents(person, seed) for person, seed in zip(people(), SEEDS, strict=True)]
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        GOLDEN,
        prompts=thinned(torch.cat(rows)).numpy(),
        empty=thinned(official.prompt(None)).numpy(),
        latents=torch.cat(latents).numpy(),
    )


def thinned(tokens: Tensor) -> Tensor:
    """A part of (N, 77, C) that every token and every channel group has a share in, to keep the file small."""
    return tokens[:, :, ::24]


if __name__ == "__main__":
    main()
