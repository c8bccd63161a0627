"""How an expression adapter is judged: held-out people with other people's expressions, read back by our reader."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.conditioning.blendshapes import adapter_input
from personae.conditioning.expression_adapter import ExpressionHook
from personae.reading.face_motion import MotionConfig, OnnxMotionReader
from personae.reading.onnx_file import file_sha256
from personae.sampling import codec
from personae.shapes import Float
from personae.training import sheets
from personae.training.methods.base.setting import Setting, sample
from personae.training.methods.expression.network import ExpressionToFace
from personae.types import BLENDSHAPES, Array

_WATCHED = ("mouthSmile", "jawOpen", "eyeBlink", "browInnerUp")
_SHEET = 24  # people


class ExpressionEvaluator:
    """motion: of the motion reader. `images`: the last report's faces, (M, S, S, 3) uint8."""

    images: Array

    def __init__(self, setting: Setting, motion: Path) -> None:
        self.setting = setting
        self.reader = OnnxMotionReader(motion.parent, MotionConfig(file=motion.name, sha256=file_sha256(motion)))
        self.expressions = adapter_input(setting.held_out.table.blendshapes)
        # Whose expression each held-out person takes: never their own, which identities may give away.
        count = len(setting.held_out)
        self.others = np.roll(np.arange(count), count // 2)

    def report(self, model: ExpressionToFace) -> dict[str, float]:
        """Held-out flow loss at fixed noise: with the expression, with none, and without the adapter. And, on held-out
        people with other people's expressions, correlations of what was requested with what our own reader reads off
        the faces (left and right averaged)."""
        expressions = torch.from_numpy(self.expressions).to(model.unet.device)
        with_own, with_none = self._flow(model, expressions), self._flow(model, torch.zeros_like(expressions))
        model.adapter.attach(model.unet, scale=0.0)
        without = self._flow(model, expressions)
        model.adapter.attach(model.unet)
        report = {"held_out_told": with_own, "held_out_untold": with_none, "held_out_without": without}
        self.images = self._faces(model, expressions[self.others])
        points = self.setting.frame.points()
        read = np.stack([self.reader.read(image, points).blendshapes for image in self.images])
        requested = self.expressions[self.others]
        return report | {name: correlation(name, requested, read) for name in _WATCHED}

    def _flow(self, model: ExpressionToFace, expressions: Tensor) -> float:
        photos = self.setting.held_out.noised(expressions.device)
        tokens = self.setting.identity_tokens(len(expressions), expressions.device)
        return photos.error(model(photos.noisy, photos.times, tokens, photos.vectors, expressions))

    def _faces(self, model: ExpressionToFace, expressions: Tensor) -> Array:
        """(M, S, S, 3) uint8 of the held-out people."""
        photos = self.setting.held_out.noised(expressions.device)
        control = ExpressionHook(adapter=model.adapter, vectors=expressions.cpu())  # attached: no need to engage
        conditions = self.setting.conditions(model, photos.vectors)
        latents = sample(model, *conditions, photos.noise, (control,))
        return codec.to_uint8(codec.decode(self.setting.networks.vae, latents))

    def sheet(self) -> Image.Image:
        """Held-out people, the ones whose expressions they take, and `images`."""
        crops = self.setting.held_out.table.crops
        return sheets.in_rows(crops[:_SHEET], crops[self.others[:_SHEET]], self.images[:_SHEET])


def correlation(name: str, requested: Float[Array, "N 52"], read: Float[Array, "N 52"]) -> float:
    """Pearson's, of one blendshape (or the mean of its two sides) in two tables (N, 52); 0 where one never varies."""
    columns = [i for i, shape in enumerate(BLENDSHAPES) if shape in (name, name + "Left", name + "Right")]
    one, other = requested[:, columns].mean(1), read[:, columns].mean(1)
    if min(np.ptp(one), np.ptp(other)) < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
