"""How a base is judged: on people whom it was not trained on."""

from PIL import Image
from torch import Tensor

from personae.sampling import codec
from personae.training import sheets
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.setting import Setting, sample

_SAMPLES = 64


class BaseEvaluator:
    """`images`: the samples of the last report, (M, 3, S, S) in [-1, 1]."""

    images: Tensor

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def report(self, model: IdentityToFace) -> dict[str, float]:
        """Held-out flow loss at fixed noise, and likeness (the conditioning encoder's own view) of 64 samples."""
        setting, home = self.setting, model.unet.device
        photos = setting.held_out.noised(home)
        tokens = setting.identity_tokens(len(photos.times), home)
        flow = photos.error(model(photos.noisy, photos.times, tokens, photos.vectors))
        vectors = photos.vectors[:_SAMPLES]
        latents = sample(model, *setting.conditions(model, vectors), photos.noise[:_SAMPLES])
        images = setting.networks.decode(latents)
        self.images = images.cpu()
        return {"held_out_flow": flow, "own_likeness": float(setting.networks.likeness(images, vectors).mean())}

    def sheet(self) -> Image.Image:
        """Held-out people, real above `images`."""
        images = codec.to_uint8(self.images)
        return sheets.in_pairs(self.setting.held_out.table.crops[: len(images)], images)
