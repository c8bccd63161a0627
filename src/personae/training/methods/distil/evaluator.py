"""How a student of few steps is judged: beside its teacher, and beside the base's own few steps."""

from collections.abc import Callable

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from personae.conditioning.types import Conditioning
from personae.evaluation import appearance
from personae.sampling import codec, schedulers
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training.images import to_pixels
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.setting import Setting

STEPS = 4  # of the student
_PEOPLE = 64


class DistilEvaluator:
    """frozen: the base as it was. taught: `DistilTask.taught`. `images`: the student's faces in the last report, (M, 3,
    S, S) in [-1, 1]."""

    images: Tensor

    def __init__(
        self, setting: Setting, frozen: IdentityToFace, taught: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> None:
        self.setting, self.frozen, self.taught = setting, frozen, taught

    def report(self, model: IdentityToFace) -> dict[str, float]:
        """On 64 held-out people: how far the faces (as latents) lie from the teacher's, the student's and the base's
        own four unguided steps, as shares of the teacher's spread; likeness and sharpness of all three."""
        setting, home = self.setting, model.unet.device
        vectors = torch.from_numpy(setting.held_out.vectors[:_PEOPLE]).to(home)
        tokens = setting.identity_tokens(len(vectors), home)
        shape = (len(vectors), *setting.faces.shape)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(home)
        goal = self.taught(tokens, vectors, noise)
        conditioning = model.condition(tokens, vectors)
        report, _ = self._looks("teacher", goal, vectors)
        for name, unet in (("base", self.frozen.unet), ("student", model.unet)):
            latents = _four_steps(unet, conditioning, noise)
            report[f"distance_{name}"] = float((latents - goal).pow(2).mean().sqrt() / goal.std())
            looks, self.images = self._looks(name, latents, vectors)
            report |= looks
        return report

    def _looks(self, name: str, latents: Tensor, vectors: Tensor) -> tuple[dict[str, float], Tensor]:
        """Likeness and sharpness (`appearance.sharpness`, 0-255 scale) of latents, and their images, on the CPU."""
        networks = self.setting.networks
        images = codec.decode(networks.vae, latents)
        return {
            f"likeness_{name}": float(networks.likeness(images, vectors).mean()),
            f"sharpness_{name}": float(appearance.sharpness(to_pixels(images)).mean()),
        }, images.cpu()


def even_steps(steps: int, device: torch.device) -> FlowMatchEulerDiscreteScheduler:
    """Euler steps of equal length."""
    return schedulers.fresh("flow-euler", like=FlowMatchEulerDiscreteScheduler(), steps=steps, device=device)


def _four_steps(unet: nn.Module, conditioning: Conditioning, noise: Tensor) -> Tensor:
    unused = conditioning.rows(torch.zeros(1, dtype=torch.long))  # not computed at guidance 1
    predict = guided(unet, conditioning, unused, 1.0, batch_size=len(noise))
    return denoise(predict, noise, even_steps(STEPS, noise.device))
