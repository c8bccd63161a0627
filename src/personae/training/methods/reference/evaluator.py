"""How a LoRA for references is judged: by what a person's own photo, or another's, is worth to the flow loss."""

from collections.abc import Callable

import torch
from torch import Tensor

from personae.conditioning.reference_attention import ReferenceAttention
from personae.sampling import codec
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.setting import Setting


class ReferenceEvaluator:
    """frozen: the base as it was. reference: `ReferenceTask.reference`. `images`: faces in one step from each person's
    own photo, blurred where the noise was strong, (M, 3, S, S) in [-1, 1]."""

    images: Tensor

    def __init__(
        self,
        setting: Setting,
        frozen: IdentityToFace,
        reference: Callable[[Tensor, Tensor, Tensor], ReferenceAttention],
    ) -> None:
        self.setting, self.frozen, self.reference = setting, frozen, reference

    def report(self, model: IdentityToFace) -> dict[str, float]:
        """Held-out flow loss at fixed noise: looking at another person's mirrored photo, at one's own, at none; and
        the base's. What the reference is worth is `own` against `base`."""
        held_out, home = self.setting.held_out, model.unet.device
        vectors = torch.from_numpy(held_out.vectors).float().to(home)
        mirrored = codec.encode(self.setting.networks.vae, codec.to_tensor(held_out.table.crops[:, :, ::-1]).to(home))
        every = torch.ones(len(vectors)).bool()
        own = self.reference(mirrored, vectors, every)
        other = self.reference(mirrored.roll(1, 0), vectors, every)
        cases = (("other", model, other), ("own", model, own), ("none", model, None), ("base", self.frozen, None))
        return {f"held_out_{name}": self._flow(network, home, hook) for name, network, hook in cases}

    def _flow(self, network: IdentityToFace, home: torch.device, hook: ReferenceAttention | None) -> float:
        photos = self.setting.held_out.noised(home)
        row = photos.noisy, photos.times, self.setting.identity_tokens(len(photos.times), home), photos.vectors
        if hook is None:
            return photos.error(network(*row))
        with hook.engaged(network.unet):
            prediction = network(*row).float()
        clean = photos.noisy - photos.times[:, None, None, None] * prediction
        self.images = codec.decode(self.setting.networks.vae, clean).cpu()  # `own` comes last and stays
        return photos.error(prediction)
