"""Face0's conditioning: a face takes the last places of an ordinary prompt (Valevski et al. 2023, arXiv 2306.06638).

    network = FaceTokens.load(folder / "face_tokens")
    text = encode_text(["a man at the beach"], tokenizer, text_encoder, reserved=network.sizes.tokens)
    network.conditioning(text, vectors)     # the words and the face
    network.conditioning(text)              # the words alone

A projector takes the recogniser's feature to a few vectors, which override the last output positions of the text
encoder. Without a face there are zeros in these places: what the projector said is dropped in training, not what it
was told. A UNet that reads the pooled text as a class embedding may be told of the face there, too: one head more,
whose vector is added.

Legend: N prompts or faces, L positions of the text encoder, C its width, T the last ones, D numbers of a feature.
"""

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from personae.component_module import ComponentModule
from personae.conditioning.types import Conditioning
from personae.errors import BadIdentity, BadOption, WeightsCorrupt
from personae.io import atomic, network_folder
from personae.io.network_folder import CONFIG, FILE
from personae.io.tensors import in_half, save_tensors
from personae.shapes import Float

_FORMAT = "personae-face-tokens/1"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers of a projector.

    Attributes:
        features: D, the width of the identities that it reads.
        text_width: C.
        tokens: T.
        layers: linear layers of each head, the last included.
        width: outputs of all layers but the last.
        pooled: whether there is one head more, whose vector is added to the pooled text.

    Raises `BadOption` for a number below 1.
    """

    features: int
    text_width: int
    tokens: int = 3
    layers: int = 4
    width: int = 768
    pooled: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "pooled" and (not isinstance(value, int) or value < 1):
                raise BadOption(f"{name} of face tokens must be a whole number of at least 1, got {value!r}")


# face0-sd15: the paper's. Of its encoder, an InceptionResnetV1 without its last layers, the 1792 channels are read
# after pooling; with a whole projector as the head of each token these are 9.4 M parameters, the paper says about 10 M.
SIZES = {
    "face0-sd15": Sizes(features=1792, text_width=768, tokens=3, layers=4, width=768),
    "face0-nano": Sizes(features=128, text_width=256, tokens=3, layers=4, width=128, pooled=True),
}


class FaceTokens(ComponentModule):
    """The projector, one small network (head) for each of its vectors.

    Arguments:
        sizes: its numbers.
        space: of the identities that it was trained on, as `Identity.space`.
    """

    def __init__(self, sizes: Sizes, space: str) -> None:
        super().__init__()
        self.sizes, self.space = sizes, space
        self.heads = nn.ModuleList(_head(sizes) for _ in range(sizes.tokens + sizes.pooled))

    def forward(self, vectors: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N T C"], Float[Tensor, "N C"] | None]:
        """Face tokens of identities.

        Arguments:
            vectors: (N, D) float32, unit norm.

        Returns the tokens (N, T, C), and what is added to the pooled text (N, C); None unless `sizes.pooled`.
        Raises `BadIdentity` for vectors of another width.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.sizes.features:
            raise BadIdentity(
                f"these face tokens read identities (N, {self.sizes.features}), got {tuple(vectors.shape)}: "
                "read the photo with the model's own reader"
            )
        # The numbers of a unit vector are tiny; a network's first layer expects them about 1.
        features = vectors.to(self.dtype) * self.sizes.features**0.5
        outputs = torch.stack([head(features) for head in self.heads], dim=1)  # (N, T or T + 1, C)
        return outputs[:, : self.sizes.tokens], outputs[:, -1] if self.sizes.pooled else None

    def conditioning(self, text: Conditioning, vectors: Float[Tensor, "N D"] | None = None) -> Conditioning:
        """`text` with its last T positions overridden.

        Arguments:
            text: N rows, or one for all; its last T positions must hold no word (`encode_text(..., reserved=T)`).
            vectors: (N, D) float32, unit norm; None: no face, which is zeros in these positions.

        Returns N rows, or as many as `text` has if there is no face. Raises as calling the projector does.
        """
        if vectors is None:
            return override(text, text.tokens.new_zeros(len(text), self.sizes.tokens, self.sizes.text_width))
        return override(text, *self(vectors))

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors` into `folder`, in half precision. Raises `BadOutput`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / FILE, in_half(self.state_dict()))
        config = {"format": _FORMAT, "space": self.space, **asdict(self.sizes)}
        atomic.write_json(folder / CONFIG, config)

    @classmethod
    def load(cls, folder: Path) -> "FaceTokens":
        """Read what `save` wrote; float32, for inference. Raises `WeightsMissing`, `WeightsCorrupt`."""
        with network_folder.reading(folder, "face tokens"):
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if config.pop("format") != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT}")
            network = cls(space=str(config.pop("space")), sizes=Sizes(**config))
            network.load_state_dict({name: weight.float() for name, weight in load_file(folder / FILE).items()})
        return network.eval().requires_grad_(requires_grad=False)


def override(
    text: Conditioning, tokens: Float[Tensor, "N T C"], pooled: Float[Tensor, "N C"] | None = None
) -> Conditioning:
    """`text` with other vectors in its last positions.

    Arguments:
        text: N rows, or one for all.
        tokens: (N, T, C), for the last T positions.
        pooled: (N, C), added to the pooled output of `text`, if it has one; None: nothing.

    Returns N rows.
    """
    count, length = len(tokens), tokens.shape[1]
    words = text.tokens[:, :-length].expand(count, -1, -1)
    added = None if text.pooled is None else text.pooled.expand(count, -1)
    if pooled is not None and added is not None:
        added = added + pooled.to(added)
    return Conditioning(tokens=torch.cat([words, tokens.to(words)], dim=1), pooled=added)


def require_fit(network: FaceTokens, *, space: str, text_width: int, pooled: bool, where: object) -> None:
    """Raise `WeightsCorrupt` unless the face tokens of the folder `where` belong to a model with these identities, this
    text width, and, if they make one, a use for the pooled text."""
    sizes = network.sizes
    pairs = [("identities", network.space, space), ("a text width", sizes.text_width, text_width)]
    for what, own, wanted in pairs:
        if own != wanted:
            raise WeightsCorrupt(
                f"{where} belongs to another model: it was trained with {what} of {own!r}, this one has {wanted!r}: "
                "use the face tokens that were trained with this model"
            )
    if sizes.pooled and not pooled:
        raise WeightsCorrupt(f"{where} belongs to another model: its UNet reads the pooled text, this one's does not")


def _head(sizes: Sizes) -> nn.Sequential:
    """(N, D) -> (N, C): linear layers with a ReLU after each but the last."""
    widths = [sizes.features, *[sizes.width] * (sizes.layers - 1), sizes.text_width]
    layers: list[nn.Module] = []
    for incoming, outgoing in itertools.pairwise(widths):
        layers += [nn.Linear(incoming, outgoing), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
