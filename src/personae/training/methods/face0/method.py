"""Recipe `face0-nano`: text, face, and both, by one set of weights: the base goes on, and a projector beside it.

As in Face0 (arXiv 2306.06638) projector and UNet learn together. But *both* can be dropped, some photos are shown
without words, some without their face; and the base's own way of naming somebody, `{person}`, is practised along.
Three terms:

- the flow loss of photos, told caption and face, beside each other or around `{person}`;
- faces sampled from noise, told somebody's face and phrases drawn evenly that need not be true of any photo, are to
  look like that person,
- and to do what the phrases say, as the motion network and the pixels tell (`phrases`). Photos alone do not teach that:
  of an open mouth or of black and white there are too few, and what a noised photo still shows is never asked for.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from personae.conditioning.face0 import CONFIG, SIZES, FaceTokens, Sizes
from personae.sampling import schedulers
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training import captions
from personae.training.jitter import jitter
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.method import BaseTask
from personae.training.methods.face0.network import FacedText
from personae.training.methods.face0.shares import Shares
from personae.training.motion_judge import MotionJudge
from personae.training.phrases import PHRASES, bounds, drawn, readings, short
from personae.training.rollout import Rolled, ends_and_scales, roll
from personae.types import Array

_SHOWN = 32  # held-out people in the report
_TWO = 0.35  # the share of those asked for two phrases
_SUBJECTS = (0.4, 0.4, 0.2)  # how often they are called by their age, `woman` or `man`, `person`
_WATCHED = ("smiling", "serious", "mouth open", "looking left", "looking right", "black and white")


class Face0Task(BaseTask):
    """See `training.loop.Trainable`. `motion`: of the motion reader, which judges; `start`: the folder of the base,
    and of face tokens to go on with, if it has some; `space`: of the embedder's identities."""

    def __init__(
        self,
        cache: Path,
        vae: Path,
        embedder: Path,
        motion: Path,
        *,
        start: Path,
        space: str,
        sizes: Sizes = SIZES["face0-nano"],
        shares: Shares | None = None,
        identity_weight: float = 0.2,
        phrase_weight: float = 0.3,
        asked: int = 16,
    ) -> None:
        """`asked`: faces sampled from noise in each step."""
        super().__init__(cache, vae, embedder, start=start, identity_weight=identity_weight)
        self.shares, self.reserved, self.sampled = shares or Shares(), sizes.tokens, asked
        self.phrase_weight = phrase_weight
        self.judge = MotionJudge(motion, "portrait", np.ones(len(self.test.blendshapes[0]), np.float32))
        folder = start / "face_tokens"
        projector = FaceTokens.load(folder) if (folder / CONFIG).is_file() else FaceTokens(sizes, space)
        self.model: FacedText = FacedText(self.model, projector)

    # ------------------------------------------------------------------ batches

    def _words(self, prompts: list[str]) -> Array:
        """(N, L) tokens with room for a face at the end."""
        return self.tokens(prompts, self.reserved)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """Photos and what each is told; and `asked`: anybody, told what need not be true, and its bounds."""
        rows, who = self._people(rng, size)
        prompts = []
        for row, named, worded, faced in zip(rows, who["named"], who["worded"], who["faced"], strict=True):
            said = captions.parts(self.measures[row[0]][row[1]], rng)
            prompts.append(_prompt(said, named=named, worded=worded, faced=faced))
        return {
            "latents": self.data.latents[rows[:, 0], rows[:, 1]],
            "inside": self.data.inside[rows[:, 0], rows[:, 1]],
            "vectors": who["vectors"],
            "tokens": self._told(prompts, who["named"]),
            "named": who["named"],
            "asked": self._asked(rng),
        }

    def _people(self, rng: np.random.Generator, count: int) -> tuple[Array, dict[str, Array]]:
        """(count, 2) sides and rows of the table, and what is shown of whom."""
        rows = np.stack([rng.integers(2, size=count), rng.integers(self.data.latents.shape[1], size=count)], 1)
        views = rng.integers(self.data.vectors.shape[2], size=count)
        named, worded, faced = self.shares.drawn(rng, count)
        vectors = self.data.vectors[rows[:, 0], rows[:, 1], views] * faced[:, None].astype(np.float32)
        return rows, {"vectors": vectors, "named": named, "worded": worded, "faced": faced}

    def _asked(self, rng: np.random.Generator) -> dict[str, Array]:
        rows, who = self._people(rng, self.sampled)
        prompts, limits = [], []
        for row, named, worded, faced in zip(rows, who["named"], who["worded"], who["faced"], strict=True):
            phrases = drawn(rng, 1 + int(rng.random() < _TWO)) if worded else ()
            person = self.measures[row[0]][row[1]]
            subject = (person.subject, person.noun, "person")[int(rng.choice(3, p=_SUBJECTS))]
            said = captions.Parts(subject=subject, phrases=phrases)
            prompts.append(_prompt(said, named=named, worded=worded, faced=faced))
            limits.append(bounds(phrases))
        low, high = np.stack(limits).transpose(1, 0, 2)
        tokens = self._told(prompts, who["named"])
        return {"vectors": who["vectors"], "tokens": tokens, "named": who["named"], "low": low, "high": high}

    def _told(self, prompts: list[str], named: Array) -> Array:
        """(N, L) tokens: of named rows as the base is told, of the others with room for a face."""
        return np.where(named[:, None], self.tokens(prompts), self._words(prompts))

    # ------------------------------------------------------------------ losses

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        photo, asked = noised(batch, generator), batch["asked"]
        rolled = self._rolled(asked, generator)
        made = model(
            torch.cat([photo.noisy, rolled.noisy]),
            torch.cat([photo.times, rolled.times]),
            *(torch.cat([batch[name], asked[name]]) for name in ("tokens", "vectors", "named")),
        ).float()
        photos = len(photo.times)
        flow = photo.loss(made[:photos])
        images = self.decoded(rolled.clean(made[photos:]))
        seen = self.embedder(images, jitter(len(images), generator))
        alike = _mean((seen * asked["vectors"]).sum(-1), asked["vectors"].any(-1))
        told = torch.isfinite(asked["low"]).any(-1) | torch.isfinite(asked["high"]).any(-1)
        off = _mean(short(self._read(images, generator), asked["low"], asked["high"]), told)
        loss = flow + self.identity_weight * (1 - alike) + self.phrase_weight * off
        return loss, {"flow": flow.detach(), "identity": alike.detach(), "off": off.detach()}

    def _read(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(N, Q), each face seen through its own jittered crop."""
        return readings(*self.judge.read(images, None if generator is None else jitter(len(images), generator)), images)

    @torch.no_grad()
    def _rolled(self, asked: dict[str, Tensor], generator: torch.Generator) -> Rolled:
        """The asked faces on their way from pure noise. The last step has gradients and runs with the batch."""
        tokens, vectors, named = asked["tokens"], asked["vectors"], asked["named"]
        nothing = self._prompted([""]).to(tokens.device).expand(len(tokens), -1)
        told = self.model.told(tokens, vectors, named)
        untold = self.model.told(nothing, torch.zeros_like(vectors), named)
        noise = torch.randn(len(tokens), *self.data.latents.shape[2:], generator=generator, device=tokens.device)
        return roll(
            lambda noisy, times: self.model.predict(noisy, times, told),
            lambda noisy, times: self.model.predict(noisy, times, untold),
            noise,
            ends_and_scales(len(tokens), generator),
        )

    # ------------------------------------------------------------------ report

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out people. Flow loss at fixed noise, told words and face; likeness (the conditioning encoder's view)
        of samples told the identity prompt, the face, both, and the words alone; and the shares of
        samples told somebody's face and a phrase that do what it says, by our own reader."""
        assert isinstance(model, FacedText)
        home = model.unet.device
        rng = np.random.default_rng(0)
        measures = captions.measure(self.test)
        clean = torch.from_numpy(self.test_latents).float().to(home)
        vectors = torch.from_numpy(self.test_vectors).to(home)
        words = self._prompted([captions.parts(one, rng).caption() for one in measures]).to(home)
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        t = times[:, None, None, None]
        beside = torch.zeros(len(clean), dtype=torch.bool, device=home)
        made = model((1 - t) * clean + t * noise, times, words, vectors, beside).float()
        report = {"held_out_flow": float((made - (noise - clean)).pow(2).mean())}

        count = min(_SHOWN, len(clean))
        noise, vectors, beside = noise[:count], vectors[:count], beside[:count]
        alone = torch.from_numpy(self.tokens([captions.IDENTITY_PROMPT] * count)).to(home)
        nothing, nobody = self._prompted([""] * count).to(home), torch.zeros_like(vectors)
        samples = {
            "named": self._made(model, alone, vectors, noise, ~beside),
            "face": self._made(model, nothing, vectors, noise, beside),
            "both": self._made(model, words[:count], vectors, noise, beside),
            "text": self._made(model, words[:count], nobody, noise, beside),
        }
        for name, images in samples.items():
            report[f"own_likeness_{name}"] = float((self.embedder(images) * vectors).sum(-1).mean())
        self.last_images = samples["both"].cpu()
        for phrase in _WATCHED:
            said = [captions.Parts(subject=one.noun, phrases=(phrase,)).caption() for one in measures[:count]]
            images = self._made(model, self._prompted(said).to(home), vectors, noise, beside)
            report[phrase] = float(PHRASES[phrase].holds(self._read(images).cpu()).float().mean())
        return report

    def _prompted(self, prompts: list[str]) -> Tensor:
        return torch.from_numpy(self._words(prompts))

    def _made(self, model: FacedText, tokens: Tensor, vectors: Tensor, noise: Tensor, named: Tensor) -> Tensor:
        """Faces (N, 3, 128, 128) by the package's own loop: 12 Euler steps at guidance 2.5."""
        nothing = self._prompted([""]).to(tokens.device)
        asked = model.told(tokens, vectors, named)
        free = model.told(nothing, torch.zeros_like(vectors[:1]), named[:1])
        scheduler = schedulers.fresh(None, like=FlowMatchEulerDiscreteScheduler(), steps=12, device=noise.device)
        latents = denoise(guided(model.unet, asked, free, 2.5), noise, scheduler)
        return self.decoded(latents)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`face_tokens/`, and with it the base, which has learnt, too: `unet/`, `text_encoder/`, `tokenizer/`; and
        `samples.png`: held-out people, real above made with words of their own photo."""
        assert isinstance(model, FacedText)
        model.projector.save(folder / "face_tokens")
        super().export(model, folder)


def _prompt(said: captions.Parts, *, named: bool, worded: bool, faced: bool) -> str:
    """What a row is told in words."""
    if named:
        return said.about(captions.IDENTITY_PROMPT, worded=worded) if faced else ""
    return said.caption() if worded else ""


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Of those values (N,) for which `where` (N,) bool holds; 0 if there are none."""
    return (values * where).sum() / where.sum().clamp(min=1)
