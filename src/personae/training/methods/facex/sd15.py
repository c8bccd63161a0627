"""Recipe `facex-sd15`: FaceX on a Stable Diffusion 1.5 that knows faces, as the published Arc2Face (arXiv 2401.00551).

    personae train facex-sd15 --data photos/ --base models --backbone dinov2-small/
    cp -r runs/facex-sd15/export/facex models/

The base, a model that `personae.load` opens, stays as it is, autoencoder and all; what it was trained to predict is
read off its scheduler. FaceX beside it learns what `facex-nano` learns: photos are made from decoupled views of
themselves; and pictures that no photo shows, of two people or of one person changed, are sampled from noise,
which the reader's own networks judge.

The data are photos with a face (`data.captioned`; captions, if there are any, are not read), read by the base's own
reader; the largest face counts. For the decoupled view half of them are mirrored, and then read as they are.

Legend: M rows of a batch, the last R of which no photo shows; S side of a crop; c, h, w of latents; G the regions'
grid; D numbers of an identity.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.conditioning.arc2face import encode_identities, encode_text
from personae.conditioning.facex.controller import widths_of
from personae.conditioning.facex.network import SIZES, FaceX, Sizes
from personae.conditioning.types import Conditioning
from personae.data.captioned import Records
from personae.editing.inputs import side
from personae.errors import WeightsMissing
from personae.pipeline import FacePipeline
from personae.reading.differentiable import AlignedMap, AlignedRecogniser, differentiable_embedder, last_map
from personae.reading.face_motion import OnnxMotionReader
from personae.sampling import codec
from personae.shapes import Float
from personae.training.flow_schedule import Straight
from personae.training.images import to_tensor
from personae.training.jitter import jitter
from personae.training.loop import Metrics
from personae.training.methods.facex.lessons import facex_inputs, still
from personae.training.methods.facex.photos import PhotosToEdit
from personae.training.motion_judge import MotionJudge
from personae.training.rollout import STEPS, Rolled, ends_and_scales, roll

_CANVAS_WEIGHT = 0.25  # the weight in the loss of what an edit keeps, which is fused in anyway
_LEAST = 0.05  # spread of a blendshape: no motion counts for more
_DINO = ("hidden_size", "num_hidden_layers", "num_attention_heads", "mlp_ratio", "image_size", "patch_size")


class Beside(nn.Module):
    """What learns: FaceX, engaged in a base that does not. The base is no submodule: it is neither averaged nor kept in
    checkpoints."""

    def __init__(self, facex: FaceX, base: FacePipeline, path: Straight) -> None:
        super().__init__()
        self.facex, self._base, self._path = facex, base, path
        self.engaged = ExitStack()
        self.engaged.enter_context(facex.controller.engaged(base.unet))

    def forward(
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        words: Float[Tensor, "N L C"],
        pooled: Float[Tensor, "N C"] | None,
        inputs: dict[str, Any],
    ) -> Any:
        """The base's prediction about pictures on `Straight`'s line. words (M, L, C), pooled (M, C): the conditioning.
        inputs: the arguments of `FaceX.forward`."""
        return self.led(noisy, times, Conditioning(tokens=words, pooled=pooled), self.facex(**inputs))

    def led(
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        words: Conditioning,
        face_tokens: Float[Tensor, "N T C"] | None,
    ) -> Float[Tensor, "N c h w"]:
        """face_tokens: (M, T, C), or None for the base alone."""
        self.facex.controller.set_tokens(face_tokens)
        x, steps = self._path.scaled(noisy, times), self._path.steps(times)
        labels = words.pooled if self._base.unet.config.class_embed_type is not None else None
        prediction = self._base.unet(x, steps, words.tokens, class_labels=labels, return_dict=False)[0]
        return torch.as_tensor(prediction).float()


class FaceXSd15Task:
    """See `training.loop.Trainable`."""

    def __init__(
        self,
        records: Records,
        base: FacePipeline,
        *,
        sizes: Sizes = SIZES["facex-sd15"],
        backbone: Path | None = None,
        pairs: float = 0.25,
        identity_weight: float = 0.1,
        motion_weight: float = 0.1,
        dropout: float = 0.08,
    ) -> None:
        """base: in float32, on the CPU. sizes: `side` and the map are taken from it. backbone: a DINOv2 in
        transformers' layout, whose sizes and weights phi_Reg begins with. pairs: the share of a batch's rows that no
        photo shows, 0: none. dropout: of tokens that nobody gives.

        Raises `WeightsMissing` for a base without a reader whose networks can be looked through, `BadData` for one of
        another kind, or if none of the held-out photos can be used.
        """
        embedder, motion = differentiable_embedder(base.reader, "facex-sd15"), base.reader and base.reader.motion
        if base.reader is None or not isinstance(motion, OnnxMotionReader):
            raise WeightsMissing("facex-sd15 needs a base whose reader reads motion, too")
        self.base, self.reader = base, base.reader
        for part in (base.unet, base.vae, base.text_encoder):
            part.eval().requires_grad_(requires_grad=False)
        self.path = Straight(base.scheduler)
        self.dropout = dropout
        self.identity_weight, self.motion_weight = identity_weight, motion_weight
        name, shape = last_map(embedder.path)
        facex = _fresh(base, replace(sizes, side=side(base), map_name=name, map_shape=shape), backbone)
        self.model = Beside(facex, base, self.path)
        where = {"source": base.config.crop_template, "template": embedder.template, "size": embedder.size}
        self.maps = AlignedMap(embedder.path, name, **where).eval()
        self.recogniser = AlignedRecogniser(embedder.path, **where).eval()
        self.data = PhotosToEdit(records, base, motion, share=pairs)
        self.judged = self.data.held_out()
        spread = np.concatenate([part["target"]["expression"] for part in self.judged]).std(0)
        self.judge = MotionJudge(motion.path, base.config.crop_template, np.maximum(spread, _LEAST))

    def compile(self) -> None:
        """Not: hooks and all, torch compiles each request's anew."""

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """See `PhotosToEdit`."""
        return self.data.batch(rng, size)

    # ------------------------------------------------------------------ losses

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        inputs, free = facex_inputs(batch, self.maps, generator, dropout=self.dropout)
        canvas, cells, words = self._canvas(batch, free)
        photos = len(canvas) - batch["pairs"]
        photo = self._noised(batch, canvas, cells, generator)
        if not batch["pairs"]:
            prediction = model(photo.noisy, photo.times, words.tokens, words.pooled, inputs)
            loss = photo.loss(prediction)
            return loss, {"predicted": loss.detach()}
        last = range(photos, len(canvas))
        rolled = self._rolled(words.rows(torch.tensor(last)), inputs, canvas[photos:], cells[photos:], generator)
        times = torch.cat([photo.times, rolled.times * self.path.last])
        prediction = model(torch.cat([photo.noisy, rolled.noisy]), times, words.tokens, words.pooled, inputs)
        predicted = photo.loss(prediction[:photos])
        finished = rolled.clean(self._velocity(prediction[photos:], rolled.noisy, rolled.times))
        images = codec.decode(self.base.vae, torch.where(cells[photos:] > 0, finished, canvas[photos:]))
        vectors = self.recogniser.to(images.device)(images, jitter(len(images), generator))
        alike = (vectors * batch["vectors"][photos:]).sum(-1).mean()
        motion = {name: batch["target"][name][photos:] for name in ("pose", "expression")}
        off = self.judge.off(images, motion, jitter=jitter(len(images), generator), before=still(batch)[photos:])
        loss = predicted + self.identity_weight * (1 - alike) + self.motion_weight * off
        return loss, {"predicted": predicted.detach(), "identity": alike.detach(), "off": off.detach()}

    @torch.no_grad()
    def _canvas(self, batch: dict[str, Any], free: Tensor) -> tuple[Tensor, Tensor, Conditioning]:
        """The canvas's latents (M, c, h, w), their free cells (M, 1, h, w), the identity prompts."""
        if self.base.device != free.device:
            self.base.to(free.device)
        canvas = codec.encode(self.base.vae, to_tensor(batch["canvas"]))
        cells = F.adaptive_max_pool2d(free, canvas.shape[-1])
        return canvas, cells, encode_identities(batch["vectors"], self.base.tokenizer, self.base.text_encoder)

    def _noised(self, batch: dict[str, Any], canvas: Tensor, cells: Tensor, generator: torch.Generator) -> "_Noised":
        """The rows of one person."""
        count = len(canvas) - batch["pairs"]
        clean, times = canvas[:count], self.path.drawn(count, generator)
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        return _Noised(
            noisy=self.path.between(clean, noise, times),
            times=times,
            goal=self.path.wanted(clean, noise, times),
            weight=batch["inside"][:count].float() * (_CANVAS_WEIGHT + (1 - _CANVAS_WEIGHT) * cells[:count, 0]),
        )

    @torch.no_grad()
    def _rolled(
        self, words: Conditioning, inputs: dict[str, Any], canvas: Tensor, cells: Tensor, generator: torch.Generator
    ) -> Rolled:
        """Faces (R, c, h, w) on their way, the canvas fused in where cells (R, 1, h, w) are not free; times are shares
        of the base's last."""
        course = ends_and_scales(len(canvas), generator)
        noise = torch.randn(canvas.shape, generator=generator, device=canvas.device)
        face_tokens = self.model.facex(**inputs)[-len(canvas) :]
        nothing = encode_text([""], self.base.tokenizer, self.base.text_encoder).rows(torch.zeros(len(canvas)).long())

        def led(words: Conditioning, face_tokens: Tensor | None, noisy: Tensor, times: Tensor) -> Tensor:
            prediction = self.model.led(noisy, times * self.path.last, words, face_tokens)
            return self._velocity(prediction, noisy, times)

        return roll(
            lambda noisy, times: led(words, face_tokens, noisy, times),
            lambda noisy, times: led(nothing, None, noisy, times),
            self.path.begun(noise),
            course,
            steps=STEPS,
            fuse=lambda noisy, t: torch.where(
                cells > 0, noisy, self.path.between(canvas, noise, t.flatten() * self.path.last)
            ),
        )

    def _velocity(self, prediction: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """By shares of the base's last time."""
        return self.path.velocity(prediction, noisy, times * self.path.last) * self.path.last

    # ------------------------------------------------------------------ report

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out photos at fixed times and noise: the loss of their predictions with their pieces
        (`held_out_told`) and not (`held_out_base`); of two people each, `held_out_identity` and `held_out_off` as in
        training."""
        assert isinstance(model, Beside)
        home, found = next(model.parameters()).device, dict[str, list[float]]()
        for part in self.judged:
            batch = _on(part, home)
            _, figures = self.loss(model, batch, torch.Generator(home).manual_seed(0))
            generator = torch.Generator(home).manual_seed(0)  # the same draws again
            _, free = facex_inputs(batch, self.maps, generator, dropout=self.dropout)
            canvas, cells, words = self._canvas(batch, free)
            photo = self._noised(batch, canvas, cells, generator)
            alone = words.rows(torch.arange(len(photo.times)))
            figures = {"told" if name == "predicted" else name: float(value) for name, value in figures.items()}
            figures["base"] = float(photo.loss(model.led(photo.noisy, photo.times, alone, None)))
            for name, value in figures.items():
                found.setdefault(f"held_out_{name}", []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}

    def export(self, model: nn.Module, folder: Path) -> None:
        """`facex/`, for the folder of the base."""
        assert isinstance(model, Beside)
        model.facex.save(folder / "facex")


@dataclass(frozen=True, kw_only=True)
class _Noised:
    """Photos on their line to noise: `noisy` and `wanted` (N, c, h, w), `times` (N,), `weight` (N, h, w)."""

    noisy: Tensor
    times: Tensor
    goal: Tensor
    weight: Tensor

    def loss(self, prediction: Tensor) -> Tensor:
        error = (prediction.float() - self.goal).pow(2).mean(1)
        return (error * self.weight).sum() / self.weight.sum().clamp(min=1)


def _on(part: dict[str, Any], home: torch.device) -> dict[str, Any]:
    return {
        name: _on(value, home)
        if isinstance(value, dict)
        else torch.from_numpy(value).to(home)
        if isinstance(value, np.ndarray)
        else value
        for name, value in part.items()
    }


def _fresh(base: FacePipeline, sizes: Sizes, backbone: Path | None) -> FaceX:
    """For `base`; phi_Reg with the sizes and weights of the `backbone`, if there is one. Raises `WeightsMissing`."""
    pretrained = None if backbone is None else _dino(backbone)
    if pretrained is not None:
        sizes = replace(sizes, backbone={name: getattr(pretrained.config, name) for name in _DINO})
    facex = FaceX(sizes, widths_of(base.unet), base.config.identity_space)
    if pretrained is not None:
        facex.decomposer.regions.backbone.load_state_dict(
            {f"network.{name}": weight for name, weight in pretrained.state_dict().items()}
        )
    return facex


def _dino(folder: Path) -> Any:
    from transformers import AutoConfig, Dinov2Backbone  # late: of all recipes only this one asks for them

    if not (folder / "config.json").is_file():
        raise WeightsMissing(f"{folder} holds no model: name a DINOv2's folder, as transformers saves it")
    kind = AutoConfig.from_pretrained(folder).model_type
    if kind != "dinov2":
        raise WeightsMissing(f"{folder} holds a {kind}: name a DINOv2's folder, as transformers saves it")
    return Dinov2Backbone.from_pretrained(folder)
