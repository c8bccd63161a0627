"""Guidance by the reader's networks: each prediction is moved towards an identity, a pose or an expression.

    score = IdentityScore(recogniser=recogniser, wanted=vectors)     # or MotionScore(...): pose and expression
    guidance = ReaderGuidance(vae=vae, reader_score=score, strength=0.1, interval=(0.2, 0.8))
    denoise(guidance(predict, scheduler), noise, scheduler)

Face0 (arXiv 2306.06638) proposes it for a recogniser, as future work. Each prediction is converted to the clean latents
that it stands for; these are decoded and scored, and moved along the gradient of the score. The gradient goes through
decoder and reader only, not through the UNet: shifting the clean estimate itself, as in MPGD (He et al., ICLR 2024),
needs no backward pass through the largest network (FreeDoM, Yu et al., ICCV 2023, takes one).

Legend: N images; M of them that are scored together.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from personae.reading.differentiable import AlignedMotion, AlignedRecogniser
from personae.sampling import codec, parameterisation
from personae.sampling.fast.modes import decoded_at_once, guided_times
from personae.sampling.guidance import Predict
from personae.shapes import Float, Int64

_BACKWARD = 4  # times the memory of decoding alone that decoding with a gradient takes, roughly
_DEGREES = 8.0  # of a pose, an error that counts as one
_SHAPE = 0.15  # of a blendshape


class ReaderScore(Protocol):
    """A differentiable score of images in which the face lies where the model's own images have it."""

    def __call__(
        self, images: Float[Tensor, "M 3 H W"], which: Int64[Tensor, " M"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        """Score images.

        Arguments:
            images: (M, 3, H, W) in [-1, 1].
            which: (M,) int64, their numbers among the request's images.

        Returns the scores (M,), more is better, and how strongly to pull, (M,) shares of the strength, 0-1.
        """


@dataclass(frozen=True, kw_only=True)
class IdentityScore:
    """The cosine to the identity that each image is to show, averaged over the image and its mirror image, so that a
    detail which only one of the two has counts less.

    Attributes:
        recogniser: with a gradient, on the sampler's device.
        wanted: (N, D) unit vectors in the recogniser's space.
    """

    recogniser: AlignedRecogniser
    wanted: Float[Tensor, "N D"]

    def __call__(
        self, images: Float[Tensor, "M 3 H W"], which: Int64[Tensor, " M"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        vectors = self.recogniser(torch.cat([images, images.flip(-1)])).unflatten(0, (2, -1))
        cosine = (vectors * self.wanted[which]).sum(-1).mean(0)
        return cosine, torch.ones_like(cosine)


@dataclass(frozen=True, kw_only=True)
class MotionScore:
    """How near pose and expression are to the requested ones; the nearer, the weaker the pull.

    Attributes:
        motion: the motion reader with a gradient, on the sampler's device.
        pose: (N, 3) degrees, yaw, pitch, roll; NaN where nothing is requested.
        blendshapes: (N, 52), 0-1; NaN where nothing is requested.
    """

    motion: AlignedMotion
    pose: Float[Tensor, "N 3"]
    blendshapes: Float[Tensor, "N 52"]

    def __call__(
        self, images: Float[Tensor, "M 3 H W"], which: Int64[Tensor, " M"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        pose, blendshapes = self.motion(images)
        errors = [(pose - self.pose[which]) / _DEGREES, (blendshapes - self.blendshapes[which]) / _SHAPE]
        each = torch.cat(errors, 1)
        requested = ~each.isnan()
        # Huber's: what is far off does not count out of proportion.
        off = F.smooth_l1_loss(each.nan_to_num(), torch.zeros_like(each), reduction="none") * requested
        most = off.detach().amax(1)
        return -off.sum(1), most.clamp(max=1)


@dataclass(frozen=True, kw_only=True)
class ReaderGuidance:
    """A wrapper of a prediction function that raises a score of the images.

    Attributes:
        vae: decodes the clean latents; on the sampler's device.
        reader_score: what is raised.
        strength: how far each step moves the clean latents, as a root mean square; theirs is about 1.
        interval: (first, last) shares of the scheduler's steps, 0-1, between which it acts; steps that are left out
            (`MaskBlend.strength`) count as well.
    """

    vae: Any
    reader_score: ReaderScore
    strength: float
    interval: tuple[float, float]

    def __call__(self, predict: Predict, scheduler: Any) -> Predict:
        """`predict` with this guidance. scheduler: the one that will sample with it, its timesteps set."""
        earliest, latest = guided_times(scheduler.timesteps, self.interval)

        def steered(x: Tensor, t: Tensor) -> Tensor:
            prediction = predict(x, t)
            if not earliest <= float(t) <= latest:
                return prediction
            form = parameterisation.at(scheduler, t)
            clean = form.to_clean(prediction, x)
            return form.from_clean(clean + self.strength * self.direction(clean), x)

        return steered

    def direction(self, clean: Float[Tensor, "N c h w"]) -> Float[Tensor, "N c h w"]:
        """The direction (N, c, h, w) in which the score of each of the clean latents (N, c, h, w) grows: its gradient,
        scaled so that its root mean square is the pull (0 where there is no gradient)."""
        at_once = max(1, decoded_at_once(self.vae, clean) // _BACKWARD)
        batches = torch.arange(len(clean), device=clean.device).split(at_once)
        return torch.cat([self._uphill(clean[batch], batch) for batch in batches])

    def _uphill(self, clean: Float[Tensor, "M c h w"], which: Int64[Tensor, " M"]) -> Float[Tensor, "M c h w"]:
        with torch.enable_grad():
            moved = clean.detach().requires_grad_()
            score, pull = self.reader_score(codec.decode(self.vae, moved, batch_size=len(moved)), which)
            # Each image has a score of its own: the gradient of their sum is each one's gradient.
            (gradient,) = torch.autograd.grad(score.sum(), moved)
        length = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
        return gradient / length * pull.detach()[:, None, None, None]
