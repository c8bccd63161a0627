"""The base with face tokens."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from personae.conditioning.face0 import FaceTokens
from personae.conditioning.types import Conditioning
from personae.shapes import Float, Int, Shaped
from personae.training.methods.base.network import IdentityToFace

# Of the steps in which a projector learns what the base says: of how many identities, how many at once, and how fast.
_PEOPLE, _ROWS, _RATE = 8192, 128, 2e-3


class FacedText(IdentityToFace):
    """The base with face tokens: words and identities to the UNet's prediction. A row whose vector is zero has no
    face; a row that is named has its words around `id`, as the base's own prompts."""

    def __init__(self, base: IdentityToFace, projector: FaceTokens) -> None:
        super().__init__(base.text_encoder, base.unet, base.placeholder)
        self.projector = projector.train().requires_grad_(requires_grad=True)

    def begin(
        self, named: Int[Tensor, "1 L"], nothing: Int[Tensor, "1 L"], vectors: Float[Tensor, "M D"], steps: int
    ) -> None:
        """Teach a fresh projector what the base's own words say of a person, which the UNet understands already: its
        tokens those of the places from `{person}` on, its pooled vector what naming somebody adds to saying nothing.

        Otherwise a short training does not find out whose face is meant. named, nothing: the tokens (1, L) of the
        identity prompt and of no words. vectors: (M, D), of people to learn it from.
        """
        tokens = self.projector.sizes.tokens
        first = int((named[0] == self.placeholder).nonzero()[0])
        # What comes later is not seen from these places: the text encoder looks back only.
        named = named[:, : max(first + tokens, int((named[0] == named[0, -1]).nonzero()[0]) + 1)]
        generator = torch.Generator().manual_seed(0)
        vectors = vectors[torch.randperm(len(vectors), generator=generator)[:_PEOPLE]]
        with torch.no_grad():
            texts = [self.condition(named.expand(len(rows), -1), rows) for rows in vectors.split(_ROWS)]
            nobody = self.condition(nothing, vectors[:1]).pooled
        goals = [torch.cat([text.tokens[:, first : first + tokens] for text in texts])]
        if self.projector.sizes.pooled and nobody is not None:
            goals.append(torch.cat([text.pooled for text in texts if text.pooled is not None]) - nobody)
        optimizer = torch.optim.AdamW(self.projector.parameters(), _RATE)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
        for _ in range(steps):
            rows = torch.randint(len(vectors), (_ROWS,), generator=generator)
            outputs = [output for output in self.projector(vectors[rows]) if output is not None]
            errors = [_relative(output, goal[rows]) for output, goal in zip(outputs, goals, strict=True)]
            torch.stack(errors).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            falling.step()

    def conditioning(self, tokens: Tensor, vectors: Tensor, named: Tensor) -> Conditioning:
        """tokens (N, L), vectors (N, D), named (N,) bool."""
        text = self.condition(tokens, vectors)
        faced = vectors.any(-1)
        alone, beside = self.projector.conditioning(text), self.projector.conditioning(text, vectors)
        pooled = None
        if text.pooled is not None and alone.pooled is not None and beside.pooled is not None:
            pooled = torch.where(faced[:, None], beside.pooled, alone.pooled)
            pooled = torch.where(named[:, None], text.pooled, pooled)
        unnamed = torch.where(faced[:, None, None], beside.tokens, alone.tokens)
        return Conditioning(tokens=torch.where(named[:, None, None], text.tokens, unnamed), pooled=pooled)

    def forward(  # type: ignore[override]
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        tokens: Int[Tensor, "N L"],
        vectors: Float[Tensor, "N D"],
        named: Shaped[Tensor, " N"],
    ) -> Float[Tensor, "N c h w"]:
        return self.predict(noisy, times, self.conditioning(tokens, vectors, named))


def _relative(values: Tensor, goals: Tensor) -> Tensor:
    """The squared error as a share of how much people differ."""
    return F.mse_loss(values, goals) / goals.var(0).mean().clamp(min=1e-6)
