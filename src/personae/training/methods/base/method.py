"""Recipe `nano-base`: text encoder and UNet together, as in Arc2Face; identity, and now and then words, to faces.

Rectified flow (Liu et al. 2022) with logit-normal times (Esser et al. 2024) on the autoencoder's latents. Of the
prompts, most are `photo of a id person`; some add words that hold, some are words alone, some are empty (for
guidance). An identity loss on faces sampled in a few steps from pure noise (as in PuLID and DreamID) can be switched
on: what the noised photo itself gives away of a person, the loss of a photo's own prediction does not have to learn.
"""

import hashlib
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from personae.conditioning.arc2face import id_token
from personae.data import shards
from personae.io import atomic
from personae.reading.differentiable import AlignedRecogniser
from personae.sampling import schedulers
from personae.sampling.fast import modes
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training import captions
from personae.training.compilation import compile_blocks
from personae.training.export import save_half
from personae.training.face_table import FaceTable
from personae.training.jitter import jitter
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import Prepared, PromptMix, _sha256, encode, inside, sharpness, views_of
from personae.training.methods.base.network import IdentityToFace, build_text_encoder, build_unet
from personae.training.rollout import Rolled, ends_and_scales, roll
from personae.types import Array


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
        self.test_vectors = views_of(self.embedder, self.test.crops, 1, 0)[:, 0]
        self.test_latents = encode(self.vae, self.test.crops)

    def compile(self) -> None:
        compile_blocks(self.model.unet)

    def _prepare(self, table: FaceTable, views: int, path: Path) -> Prepared:
        """Latents and vectors of every row, cached in `path`: they depend on the files that its name hashes."""
        if path.is_file():
            with np.load(path) as file:
                return Prepared(**{name: file[name] for name in file.files})
        sides = (table.crops, table.crops[:, :, ::-1])
        cells = inside(table, table.crops.shape[1])
        prepared = {
            "latents": np.stack([encode(self.vae, side) for side in sides]),
            "vectors": np.stack([views_of(self.embedder, side, views, i) for i, side in enumerate(sides)]),
            "inside": np.stack([cells, cells[:, :, ::-1]]),
        }
        atomic.write(path, shards.pack_arrays(prepared), replace=True)
        return Prepared(**prepared)

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
