"""Recipe `nano-base`: text encoder and UNet together, as in Arc2Face; identity, and now and then words, to faces.

Rectified flow (Liu et al. 2022) with logit-normal times (Esser et al. 2024) on the autoencoder's latents. Of the
prompts, most are `photo of a id person`; some add words that hold, some are words alone, some are empty (for
guidance). An identity loss on faces sampled in a few steps from pure noise (as in PuLID and DreamID) can be switched
on: what the noised photo itself gives away of a person, the loss of a photo's own prediction does not have to learn.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
import torch._dynamo as dynamo
from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from personae.conditioning.arc2face import encode_tokens, id_token
from personae.conditioning.types import Conditioning
from personae.data import shards
from personae.io import atomic
from personae.reading import align
from personae.reading.differentiable import AlignedRecogniser
from personae.sampling import schedulers
from personae.sampling.fast import modes
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training import captions
from personae.training.autoencoder import save_half, to_tensor
from personae.training.faces import FaceTable
from personae.training.loop import Metrics
from personae.training.rollout import Rolled, ends_and_scales, roll
from personae.types import Array

WIDTH = 256  # of the text encoder and so of the cross-attention


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """nano's text encoder with fresh weights: 2.6 M parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """nano's UNet with fresh weights: 19.6 M parameters, no attention at the full 16 x 16."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(128, 192, 224),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=(4, 6, 7),  # heads, despite the name: 32 channels each
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        class_embed_type="projection",
        projection_class_embeddings_input_dim=WIDTH,
    )


class IdentityToFace(nn.Module):
    """Tokens and identity vectors to the UNet's prediction: what is trained, as one module."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, placeholder: int) -> None:
        super().__init__()
        self.text_encoder, self.unet, self.placeholder = text_encoder, unet, placeholder

    def condition(self, tokens: Tensor, vectors: Tensor) -> Conditioning:
        """tokens (N, L), vectors (N, D): the vector overwrites the placeholder's embedding wherever it occurs."""
        return encode_tokens(self.text_encoder, tokens, tokens == self.placeholder, vectors)

    def asked(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """(N,) bool: which rows are about their person."""
        return (tokens == self.placeholder).any(-1)

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor, vectors: Tensor) -> Tensor:
        return self.predict(noisy, times, self.condition(tokens, vectors))

    def predict(self, noisy: Tensor, times: Tensor, told: Conditioning) -> Tensor:
        return self.unet(noisy, times * 1000, told.tokens, class_labels=told.pooled, return_dict=False)[0]


@dataclass(frozen=True, kw_only=True)
class PromptMix:
    """Shares of the prompt kinds; the rest is the identity prompt alone."""

    empty: float = 0.1
    words: float = 0.1
    both: float = 0.25


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What the UNet trains on, row by row, plain [0] and mirrored [1]."""

    latents: Array  # (2, N, 8, 16, 16) float16, unit spread
    vectors: Array  # (2, N, V, D) float32: V views of each face
    inside: Array  # (2, N, 16, 16) uint8: latent cells whose pixels lie in the photo


@dataclass(frozen=True, kw_only=True)
class Noised:
    """Photos' latents on the straight line to noise, and where on it: rectified flow, logit-normal times."""

    noisy: Tensor  # (N, 8, 16, 16)
    times: Tensor  # (N,) 0 = clean, 1 = noise
    velocity: Tensor  # (N, 8, 16, 16) what is to be predicted
    inside: Tensor  # (N, 16, 16) 1 where the cell lies in the photo, else 0

    def loss(self, made: Tensor) -> Tensor:
        """The mean squared error of a predicted velocity; cells beyond the photo's edge do not count."""
        error = (made.float() - self.velocity).pow(2).mean(1)
        return (error * self.inside).sum() / self.inside.sum().clamp(min=1)


def noised(batch: dict[str, Tensor], generator: torch.Generator, early: float = 0.0) -> Noised:
    """A batch's `latents` with their `inside`, each at a time and with noise of its own. early: the mean of the times'
    logits; above 0 there is more noise, where layout is decided (pose, an open mouth)."""
    clean = batch["latents"].float().contiguous(memory_format=torch.channels_last)
    times = torch.sigmoid(torch.randn(len(clean), generator=generator, device=clean.device) + early)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    t = times[:, None, None, None]
    noisy = (1 - t) * clean + t * noise
    return Noised(noisy=noisy, times=times, velocity=noise - clean, inside=batch["inside"].float())


def compile_blocks(unet: Any) -> None:
    """Compile a UNet or a ControlNet for training, block by block, one graph for each size of batch.

    Not whole: with autocast on a CPU, torch 2.13 then computes the right output and gradients that are zero for every
    attention block. Block by block they equal those of the plain network (`tests/test_training.py`).
    """
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, 64)  # blocks of a kind share one limit
    for block in (*unet.down_blocks, unet.mid_block, *getattr(unet, "up_blocks", ())):
        block.compile(dynamic=False)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _encode(vae: AutoencoderDC, images: Array) -> Array:
    home = modes.device_for(None)
    vae.to(home)
    with torch.no_grad(), torch.autocast(home.type, torch.bfloat16):
        batches = (to_tensor(np.ascontiguousarray(images[i : i + 64])) for i in range(0, len(images), 64))
        latents = torch.cat([vae.encoder(batch.to(home)).float() for batch in batches])
    return (latents * vae.config.scaling_factor).cpu().numpy().astype(np.float16)


def _views(embedder: AlignedRecogniser, images: Array, count: int, seed: int) -> Array:
    """(N, count, D): the plain crop and jittered ones, so that no single crop's vector is learnt by heart."""
    home = modes.device_for(None)
    rng, result = torch.Generator(home).manual_seed(seed), []
    embedder.to(home)
    with torch.no_grad(), torch.autocast(home.type, torch.bfloat16):
        for start in range(0, len(images), 64):
            batch = to_tensor(np.ascontiguousarray(images[start : start + 64])).to(home)
            views = [embedder(batch)]
            for _ in range(count - 1):
                views.append(embedder(batch, jitter(len(batch), rng)))
            result.append(torch.stack(views, 1))
    return torch.cat(result).cpu().numpy()


def jitter(count: int, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """(count, 2, 3) small similarity maps of the unit square: shift, turn, scale."""
    turn, scale = torch.randn(2, count, generator=generator, device=generator.device) * 0.05 * strength
    shift = torch.randn(count, 2, generator=generator, device=generator.device) * 0.02 * strength
    cosine, sine = torch.exp(scale) * torch.cos(turn), torch.exp(scale) * torch.sin(turn)
    rows = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], 1)
    return torch.cat([rows, shift[..., None]], -1)


def _inside(table: FaceTable, size: int) -> Array:
    """(N, 16, 16) uint8: cells of 8 x 8 crop pixels that lie wholly inside the photo."""
    cells = []
    for row in range(len(table)):
        side = 224  # FairFace's padded crops
        seen = align.coverage(table.matrix[row], size, (side, side))
        cells.append(seen.reshape(16, size // 16, 16, size // 16).all((1, 3)))
    return np.stack(cells).astype(np.uint8)


def sharpness(crops: Array) -> Array:
    """(N,) variance of the Laplacian of the grey crop, on its middle half: low means blurred."""
    grey = crops.mean(-1, dtype=np.float32)[:, 24:104, 24:104]
    laplacian = (
        -4 * grey[:, 1:-1, 1:-1] + grey[:, 2:, 1:-1] + grey[:, :-2, 1:-1] + grey[:, 1:-1, 2:] + grey[:, 1:-1, :-2]
    )
    return laplacian.var(axis=(1, 2))


class BaseTask:
    """See `training.loop.Trainable`."""

    def __init__(
        self,
        cache: Path,
        vae: Path,
        embedder: Path,
        *,
        mix: PromptMix | None = None,
        views: int = 3,
        blurred: float = 0.1,
        identity_weight: float = 0.0,
        identity_images: int = 8,
        start: Path | None = None,
    ) -> None:
        """`blurred`: the share of the least sharp photos to leave out. `start`: an export folder to begin from."""
        self.mix = mix or PromptMix()
        self.vae = AutoencoderDC.from_pretrained(vae).requires_grad_(False).to(memory_format=torch.channels_last)
        self.identity_weight, self.identity_images = identity_weight, identity_images
        self.embedder = AlignedRecogniser(embedder).eval()
        table = FaceTable.load(cache)
        sharp = sharpness(table.crops)
        table = table.where((table.coverage > 0.93) & (sharp > np.quantile(sharp, blurred)))
        plain = captions.measure(table)
        self.measures = (plain, [captions.mirrored(m) for m in plain])
        if start is None:
            folder = cache / "tokenizer"
            rng = np.random.default_rng(0)
            said = [captions.caption(m, rng, identity=bool(i % 2)) for i in range(4) for m in plain]
            captions.train_tokenizer(folder, said)
            self.tokenizer = CLIPTokenizer.from_pretrained(folder)
            text_encoder, unet = build_text_encoder(self.tokenizer), build_unet()
        else:
            self.tokenizer = CLIPTokenizer.from_pretrained(start / "tokenizer")
            text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder", dtype=torch.float32)
            unet = UNet2DConditionModel.from_pretrained(start / "unet", torch_dtype=torch.float32)
        self._tokenizing = Lock()  # a tokenizer keeps how it cuts, and batches are made in a thread of their own
        placeholder = id_token(self.tokenizer)
        if modes.device_for(None).type == "cpu":
            # Over sequences this short, the backward of torch's fused attention takes a third of a CPU's step.
            unet.set_attn_processor(AttnProcessor())
            text_encoder.set_attn_implementation("eager")
        self.model = IdentityToFace(text_encoder, unet, placeholder)
        key = hashlib.sha256(
            f"{_sha256(vae / 'diffusion_pytorch_model.safetensors')}{_sha256(embedder)}{blurred}{views}".encode()
        )
        self.data = self._prepare(table, views, cache / f"latents-{key.hexdigest()[:12]}.npz")
        self.test = FaceTable.load(cache, held_out=True, limit=128)
        self.test_vectors = _views(self.embedder, self.test.crops, 1, 0)[:, 0]
        self.test_latents = _encode(self.vae, self.test.crops)

    def compile(self) -> None:
        compile_blocks(self.model.unet)

    def _prepare(self, table: FaceTable, views: int, path: Path) -> _Prepared:
        """Latents and vectors of every row, cached in `path`: they depend on the files that its name hashes."""
        if path.is_file():
            with np.load(path) as file:
                return _Prepared(**{name: file[name] for name in file.files})
        sides = (table.crops, table.crops[:, :, ::-1])
        inside = _inside(table, table.crops.shape[1])
        prepared = {
            "latents": np.stack([_encode(self.vae, side) for side in sides]),
            "vectors": np.stack([_views(self.embedder, side, views, i) for i, side in enumerate(sides)]),
            "inside": np.stack([inside, inside[:, :, ::-1]]),
        }
        atomic.write(path, shards.pack_arrays(prepared), replace=True)
        return _Prepared(**prepared)

    def tokens(self, prompts: list[str], reserved: int = 0) -> Array:
        """(N, L) tokens, the last `reserved` of which hold no word; what is too long is cut."""
        with self._tokenizing:
            words = self.tokenizer(prompts, truncation=True, max_length=captions.MAX_TOKENS - reserved)
            padded = self.tokenizer.pad(words, padding="max_length", max_length=captions.MAX_TOKENS)
        return np.array(padded["input_ids"], np.int64)

    def _prompt(self, measures: captions.Measures, rng: np.random.Generator) -> str:
        draw = rng.random()
        for share, made in (
            (self.mix.empty, lambda: ""),
            (self.mix.words, lambda: captions.caption(measures, rng, identity=False)),
            (self.mix.both, lambda: captions.caption(measures, rng, identity=True)),
        ):
            if draw < share:
                return made()
            draw -= share
        return captions.IDENTITY_PROMPT

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        rows = rng.integers(self.data.latents.shape[1], size=size)
        sides = rng.integers(2, size=size)
        views = rng.integers(self.data.vectors.shape[2], size=size)
        prompts = [self._prompt(self.measures[side][row], rng) for side, row in zip(sides, rows, strict=True)]
        return {
            "latents": self.data.latents[sides, rows],
            "vectors": self.data.vectors[sides, rows, views],
            "inside": self.data.inside[sides, rows],
            "tokens": self.tokens(prompts),
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        drawn = noised(batch, generator)
        noisy, times = drawn.noisy, drawn.times
        tokens, vectors = batch["tokens"], batch["vectors"]
        rolled = None
        if self.identity_weight:
            rolled, rows = self._from_noise(tokens, vectors, generator)
            people = vectors[rows]
            noisy, times = torch.cat([noisy, rolled.noisy]), torch.cat([times, rolled.times])
            tokens, vectors = torch.cat([tokens, tokens[rows]]), torch.cat([vectors, people])
        made = model(noisy, times, tokens, vectors).float()
        photos = len(drawn.times)
        loss = drawn.loss(made[:photos])
        figures: Metrics = {"flow": loss.detach()}
        if rolled is not None:
            alike = self._alike(rolled.clean(made[photos:]), people, generator)
            loss = loss + self.identity_weight * (1 - alike)
            figures["identity"] = alike.detach()
        return loss, figures

    @torch.no_grad()
    def _from_noise(self, tokens: Tensor, vectors: Tensor, generator: torch.Generator) -> tuple[Rolled, Tensor]:
        """Some of the batch's people on their way from pure noise, and which: rows (R,). The last step has gradients
        and runs with the rest of the batch."""
        device = tokens.device
        asked = self.model.asked(tokens, vectors)
        lot = torch.rand(len(tokens), generator=generator, device=device)
        rows = torch.where(asked, lot, 2.0).argsort()[: self.identity_images]
        course = ends_and_scales(len(rows), generator)
        noise = torch.randn(len(rows), *self.data.latents.shape[2:], generator=generator, device=device)
        told = self.model.condition(tokens[rows], vectors[rows])
        nobody = torch.zeros_like(vectors[:1])
        untold = self.model.condition(torch.from_numpy(self.tokens([""])).to(device), nobody)
        untold = untold.rows(torch.zeros(len(rows), dtype=torch.long))
        rolled = roll(
            lambda noisy, times: self.model.predict(noisy, times, told),
            lambda noisy, times: self.model.predict(noisy, times, untold),
            noise,
            course,
        )
        return rolled, rows

    def decoded(self, latents: Tensor) -> Tensor:
        """Images (N, 3, S, S) float32 of latents (N, c, h, w), with a gradient and not clamped."""
        images: Tensor = self.vae.decoder(latents / self.vae.config.scaling_factor)
        return images.float()

    def _alike(self, clean: Tensor, vectors: Tensor, generator: torch.Generator) -> Tensor:
        """Mean cosine between the identities of the finished faces' latents and the ones asked for, each face seen
        through its own jittered crop."""
        images = self.decoded(clean)
        seen = self.embedder(images, jitter(len(images), generator))
        return (seen * vectors).sum(-1).mean()

    def _sample(self, model: IdentityToFace, vectors: Tensor, noise: Tensor) -> Tensor:
        """Faces (N, 3, 128, 128) in [-1, 1], float32, by the package's own loop: 12 Euler steps at guidance 2.5."""
        asked, free = (
            model.condition(torch.from_numpy(self.tokens([prompt] * len(rows))).to(rows.device), rows)
            for prompt, rows in ((captions.IDENTITY_PROMPT, vectors), ("", vectors[:1]))
        )
        scheduler = schedulers.fresh(None, like=FlowMatchEulerDiscreteScheduler(), steps=12, device=noise.device)
        latents = denoise(guided(model.unet, asked, free, 2.5), noise, scheduler)
        return self.decoded(latents)

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out flow loss at fixed noise, and likeness (the conditioning encoder's own view) of 64 samples."""
        assert isinstance(model, IdentityToFace)
        home = model.unet.device
        clean = torch.from_numpy(self.test_latents).float().to(home)
        vectors = torch.from_numpy(self.test_vectors).to(home)
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        t = times[:, None, None, None]
        tokens = torch.from_numpy(self.tokens([captions.IDENTITY_PROMPT] * len(clean))).to(home)
        made = model((1 - t) * clean + t * noise, times, tokens, vectors).float()
        images = self._sample(model, vectors[:64], noise[:64])
        alike = (self.embedder(images) * vectors[:64]).sum(-1).mean()
        self.last_images = images.cpu()
        return {"held_out_flow": float((made - (noise - clean)).pow(2).mean()), "own_likeness": float(alike)}

    def export(self, model: nn.Module, folder: Path) -> None:
        """`unet/`, `text_encoder/`, `tokenizer/`, and `samples.png`: held-out people, real above made."""
        self.tokenizer.backend_tokenizer.no_truncation()  # how a batch was cut last is nobody's business
        self.tokenizer.save_pretrained(folder / "tokenizer")
        for name, part in (("unet", self.model.unet), ("text_encoder", self.model.text_encoder)):
            save_half(part, folder / name)
        self.save_samples(folder)

    def save_samples(self, folder: Path) -> None:
        """`samples.png`: held-out people, real above `last_images`."""
        from PIL import Image

        made = ((self.last_images.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
        pairs = np.stack([self.test.crops[: len(made)], made], 1)  # (n, 2, H, W, 3): real, made
        columns = min(12, len(pairs))
        pairs = pairs[: len(pairs) // columns * columns].reshape(-1, columns, *pairs.shape[1:])
        sheet = pairs.transpose(0, 2, 3, 1, 4, 5).reshape(-1, columns * made.shape[2], 3)
        Image.fromarray(sheet).save(folder / "samples.png")
