"""Recipe `face0-sd15`: text and face together on Stable Diffusion 1.5, as Face0 was trained (arXiv 2306.06638).

    personae train face0-sd15 --data photos/ --base stable-diffusion-v1-5/ --reader arc2face

UNet and projector learn; text encoder and autoencoder stay as they are. The data are captioned pictures with a face
(`data.captioned`), whose largest face takes the last places of the text encoder's output. The paper drops the face
alone, as zeros in these places, and calls it improvable that words are never dropped: here both are.

Legend: N pictures, S their side, L positions of the text encoder, C its width, T the last ones, D numbers of a face.
"""

from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from personae.conditioning.arc2face import encode_tokens
from personae.conditioning.face0 import SIZES, FaceTokens, Sizes, override
from personae.conditioning.types import Conditioning
from personae.data.captioned import CaptionedFace, CaptionedFaces, Part, Records
from personae.errors import BadData, WeightsMissing
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.reading.box_crop import square_with
from personae.reading.reader import FaceReader
from personae.sampling import codec
from personae.shapes import Float, Num, Shaped
from personae.training.compilation import compile_blocks
from personae.training.loop import Metrics
from personae.training.methods.face0.shares import Dropped
from personae.types import Array

# The paper drops the face of every tenth picture, with words or without; here half of these lose their words as well.
DROPPED = Dropped(words=0.05, face=0.05, both=0.05)
_JUDGED = 64  # held-out pictures in the report
_AT_ONCE = 8  # of them
_CASES = {"both": (True, True), "text": (True, False), "face": (False, True), "nothing": (False, False)}  # words, face
_STEPS, _GUIDANCE = 25, 7.5  # of the exported model: the paper's w
# Its faces lie anywhere in the picture; what looks for one in its usual place looks where FFHQ's photos have it.
_TEMPLATE = "ffhq"
_PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")


class TextAndFace(nn.Module):
    """What learns: the UNet, and the projector that makes a face's tokens."""

    def __init__(self, unet: UNet2DConditionModel, projector: FaceTokens) -> None:
        super().__init__()
        self.unet, self.projector = unet, projector

    def forward(
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Num[Tensor, " N"],
        words: Float[Tensor, "N L C"],
        vectors: Float[Tensor, "N D"],
        faced: Shaped[Tensor, " N"],
    ) -> Float[Tensor, "N c h w"]:
        """The prediction about noisy (N, c, h, w) at timesteps (N,), with words (N, L, C) and the faces of vectors
        (N, D) where `faced` (N,)."""
        tokens, _ = self.projector(vectors)
        conditioning = override(Conditioning(tokens=words, pooled=None), tokens * faced[:, None, None])
        return self.unet(noisy, times, conditioning.tokens, return_dict=False)[0]


class Face0Sd15Task:
    """See `training.loop.Trainable`."""

    def __init__(
        self,
        records: Records,
        base: Path,
        reader: FaceReader,
        *,
        sizes: Sizes = SIZES["face0-sd15"],
        dropped: Dropped = DROPPED,
    ) -> None:
        """base: a folder in diffusers' layout. reader: finds the faces and measures them; a model's users need the
        same one. sizes: `features` and `text_width` are taken from reader and base.

        Raises `WeightsMissing` if the folder lacks a part, `BadData` if it predicts something else than noise or v, or
        if none of the held-out pictures can be used.
        """
        for part in _PARTS:
            if not (base / part).is_dir():
                raise WeightsMissing(f"{base} has no {part}/: name a Stable Diffusion 1.5 folder, diffusers' layout")
        self.base, self.reader, self.dropped = base, reader, dropped
        self.tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder").eval().requires_grad_(False)
        self.vae = AutoencoderKL.from_pretrained(base / "vae").eval().requires_grad_(False)
        self.scheduler = DDPMScheduler.from_pretrained(base / "scheduler")
        predicts = self.scheduler.config.prediction_type
        if predicts not in _TARGETS:
            raise BadData(f"{base} predicts {predicts!r}, and this recipe trains what predicts {' or '.join(_TARGETS)}")
        unet = UNet2DConditionModel.from_pretrained(base / "unet")
        self.size = unet.config.sample_size * codec.pixels_per_cell(self.vae)
        sizes = replace(sizes, features=reader.width, text_width=self.text_encoder.config.hidden_size)
        self.model = TextAndFace(unet, FaceTokens(sizes, reader.space))
        self.faces = CaptionedFaces(Part(records, held_out=False), reader)
        judged = list(islice(CaptionedFaces(Part(records, held_out=True), reader).epoch(), _JUDGED))
        self.judged = self._read(judged, [one.caption for one in judged], np.ones(len(judged), bool))

    def compile(self) -> None:
        compile_blocks(self.model.unet)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """`pixels` (N, S, S, 3) uint8, `tokens` (N, L), `vectors` (N, D), `faced` (N,) bool."""
        drawn = self.faces.draw(rng, size)
        worded, faced = self.dropped.drawn(rng, size)
        return self._read(
            drawn, [one.caption if has_words else "" for one, has_words in zip(drawn, worded, strict=True)], faced
        )

    def _read(self, faces: list[CaptionedFace], prompts: list[str], faced: Array) -> dict[str, Array]:
        found = self.reader.identities([(one.photo, one.found) for one in faces])
        return {
            "pixels": np.stack([square_with(one.photo, one.box, self.size) for one in faces]),
            "tokens": self.tokens(prompts),
            "vectors": np.stack([one.vector for one in found]),
            "faced": faced,
        }

    def tokens(self, prompts: list[str]) -> Array:
        """(N, L), the last T of which hold no word; what is too long is cut."""
        length = self.text_encoder.config.max_position_embeddings
        free = length - self.model.projector.sizes.tokens
        words = self.tokenizer(prompts, truncation=True, max_length=free)
        padded = self.tokenizer.pad(words, padding="max_length", max_length=length)
        return np.array(padded["input_ids"], np.int64)

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        device = generator.device
        clean = self._latents(batch["pixels"], generator)
        times = torch.randint(
            self.scheduler.config.num_train_timesteps, (len(clean),), generator=generator, device=device
        )
        noise = torch.randn(clean.shape, generator=generator, device=device)
        loss = self._loss(model, clean, noise, times, batch)
        return loss, {"noise": loss.detach()}

    def _loss(self, model: nn.Module, clean: Tensor, noise: Tensor, times: Tensor, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            words = encode_tokens(self.text_encoder.to(clean.device), batch["tokens"]).tokens
        noisy = self.scheduler.add_noise(clean, noise, times)
        prediction = model(noisy, times, words, batch["vectors"], batch["faced"])
        goal = _TARGETS[self.scheduler.config.prediction_type](self.scheduler, clean, noise, times)
        return F.mse_loss(prediction.float(), goal)

    @torch.no_grad()
    def _latents(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(N, c, h, w) of (N, S, S, 3) uint8: drawn as the autoencoder says, or without a generator the likeliest."""
        images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        distribution = self.vae.to(images.device).encode(images).latent_dist
        latents = distribution.mode() if generator is None else distribution.sample(generator)
        return latents.float() * self.vae.config.scaling_factor

    def report(self, model: nn.Module) -> dict[str, float]:
        """The loss of held-out pictures at fixed times and noise: with words and face, with either, with neither."""
        assert isinstance(model, TextAndFace)
        home, count = model.unet.device, len(self.judged["pixels"])
        nothing = torch.from_numpy(self.tokens([""])).to(home)
        times = torch.linspace(0, self.scheduler.config.num_train_timesteps - 1, count + 2, device=home).long()[1:-1]
        generator, losses = torch.Generator().manual_seed(0), dict.fromkeys(_CASES, 0.0)
        for start in range(0, count, _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            batch = {name: torch.from_numpy(value[rows]).to(home) for name, value in self.judged.items()}
            clean = self._latents(batch["pixels"])
            noise = torch.randn(clean.shape, generator=generator).to(home)
            for name, (worded, faced) in _CASES.items():
                case = batch | {"faced": batch["faced"] & faced}
                case["tokens"] = batch["tokens"] if worded else nothing.expand(len(clean), -1)
                losses[name] += float(self._loss(model, clean, noise, times[rows], case)) * len(clean) / count
        return {f"held_out_{name}": loss for name, loss in losses.items()}

    def export(self, model: nn.Module, folder: Path) -> None:
        """A model folder in half precision: the base with the trained `unet/`, the reader, and `face_tokens/`."""
        assert isinstance(model, TextAndFace)
        networks = {"vae": self.vae, "text_encoder": self.text_encoder, "unet": model.unet}
        halved: dict[str, Any] = {}
        for name, network in networks.items():
            # nn.Module's own `to`: diffusers' warns of modules to keep in float32 even where there are none.
            halved[name] = nn.Module.to(deepcopy(network), "cpu", torch.float16)
        pipe = FacePipeline(
            **halved,
            tokenizer=self.tokenizer,
            scheduler=DPMSolverMultistepScheduler.from_pretrained(self.base / "scheduler"),
            reader=self.reader,
            crop_template=_TEMPLATE,
            steps=_STEPS,
            guidance_scale=_GUIDANCE,
        )
        pipe.save_pretrained(folder)
        model.projector.save(folder / "face_tokens")
        catalog.seal(folder)


def _noise(_scheduler: DDPMScheduler, _clean: Tensor, noise: Tensor, _times: Tensor) -> Tensor:
    return noise


def _velocity(scheduler: DDPMScheduler, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    return scheduler.get_velocity(clean, noise, times)


_TARGETS = {"epsilon": _noise, "v_prediction": _velocity}  # what is to be predicted, by the base's kind
