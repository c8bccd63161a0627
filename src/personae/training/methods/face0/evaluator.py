"""How text and face together are judged: on held-out people, by the identity encoder and the motion network."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.sampling import codec
from personae.training import captions, sheets
from personae.training.methods.base.setting import Setting, sample
from personae.training.methods.face0.data import WordsAndFaces
from personae.training.methods.face0.network import FacedText
from personae.training.motion_judge import MotionJudge
from personae.training.phrases import PHRASES

_PEOPLE = 32  # of whom samples are drawn
_WATCHED = ("smiling", "serious", "mouth open", "looking left", "looking right", "black and white")


class Face0Evaluator:
    """`images`: the last report's samples with words and face, (M, 3, S, S) in [-1, 1]."""

    images: Tensor

    def __init__(self, setting: Setting, data: WordsAndFaces, judge: MotionJudge) -> None:
        self.setting, self.data, self.judge = setting, data, judge

    def report(self, model: FacedText) -> dict[str, float]:
        """Flow loss at fixed noise, with words and face; likeness (the conditioning encoder's view) of samples with the
        identity prompt, the face, both, and the words alone; and the shares of samples with somebody's face and a
        phrase that do what it says, by our own reader."""
        setting, home = self.setting, model.unet.device
        rng = np.random.default_rng(0)
        measures = captions.measure(setting.held_out.table)
        photos = setting.held_out.noised(home)
        words = self._tokens([captions.parts(one, rng).caption() for one in measures]).to(home)
        beside = torch.zeros(len(words), dtype=torch.bool, device=home)
        report = {"held_out_flow": photos.error(model(photos.noisy, photos.times, words, photos.vectors, beside))}

        count = min(_PEOPLE, len(words))
        noise, vectors, beside = photos.noise[:count], photos.vectors[:count], beside[:count]
        named, nothing = setting.identity_tokens(count, home), self._tokens([""] * count).to(home)
        samples = {
            "named": self._sampled(model, named, vectors, noise, ~beside),
            "face": self._sampled(model, nothing, vectors, noise, beside),
            "both": self._sampled(model, words[:count], vectors, noise, beside),
            "text": self._sampled(model, words[:count], torch.zeros_like(vectors), noise, beside),
        }
        for name, images in samples.items():
            report[f"own_likeness_{name}"] = float(setting.networks.likeness(images, vectors).mean())
        self.images = samples["both"].cpu()
        for phrase in _WATCHED:
            texts = [captions.Parts(subject=one.noun, phrases=(phrase,)).caption() for one in measures[:count]]
            images = self._sampled(model, self._tokens(texts).to(home), vectors, noise, beside)
            report[phrase] = float(PHRASES[phrase].holds(self.judge.readings(images).cpu()).float().mean())
        return report

    def _tokens(self, prompts: list[str]) -> Tensor:
        return torch.from_numpy(self.data.beside(prompts))

    def _sampled(self, model: FacedText, tokens: Tensor, vectors: Tensor, noise: Tensor, named: Tensor) -> Tensor:
        """Faces (N, 3, S, S)."""
        nothing = self._tokens([""]).to(tokens.device)
        conditional = model.conditioning(tokens, vectors, named)
        unconditional = model.conditioning(nothing, torch.zeros_like(vectors[:1]), named[:1])
        return self.setting.networks.decode(sample(model, conditional, unconditional, noise))

    def sheet(self) -> Image.Image:
        """Held-out people, real above `images`."""
        images = codec.to_uint8(self.images)
        return sheets.in_pairs(self.setting.held_out.table.crops[: len(images)], images)
