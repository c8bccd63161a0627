"""FaceX's own weights, one folder: what reads faces and region images, and what tells the UNet (arXiv 2401.00551).

    facex = FaceX.load(folder / "facex")
    tokens = facex.encode(assembled, maps)                 # (N, T, C), one row for each picture
    with facex.controller.engaged(unet):
        facex.controller.set_tokens(tokens)

In the paper, what is told (f_SD) also takes the words' place in the frozen cross-attention. Here that stays with the
identity prompt, to which the base was tuned: a face is said in the way that the UNet knows, and the rest beside it.

Legend: N pictures; F faces; K names of `TOKENS`; T tokens in all, C their width; P cells of the region image.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor, nn

from personae.component_module import ComponentModule, execution_device
from personae.conditioning.facex.assembly import CHANNELS, Assembled
from personae.conditioning.facex.controller import Controller, widths_of
from personae.conditioning.facex.packed import packed, unpacked
from personae.conditioning.facex.representation import MEASURES, TOKENS, Decomposer, FaceMeasures, trunk
from personae.errors import BadOption, WeightsCorrupt
from personae.io import atomic, network_folder
from personae.io.network_folder import CONFIG, FILE
from personae.io.tensors import save_tensors
from personae.shapes import Float, Float32, Int

_FORMAT = "personae-facex/1"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers of FaceX's networks.

    Attributes:
        side: S, of the crops, in pixels.
        map_name: of the recogniser's last spatial map in its ONNX file.
        map_shape: (E, h, w), the map's channels and cells; I = h w.
        width: C.
        inner: channels of the added cross-attention, a multiple of 32.
        backbone: phi_Reg: the widths of our convolutions, or the settings of a transformers `Dinov2Config`.
        region: phi_Inp: the widths of its convolutions.

    Raises `BadOption` for a side, width or inner below 32.
    """

    side: int
    map_name: str
    map_shape: tuple[int, int, int]
    width: int = 160
    inner: int = 128
    backbone: tuple[int, ...] | dict[str, Any] = (32, 64, 96)
    region: tuple[int, ...] = (32, 64, 96)

    def __post_init__(self) -> None:
        if self.inner % 32 or min(self.side, self.width, self.inner) < 32:
            raise BadOption(f"sizes of FaceX must be at least 32, inner a multiple of 32, got {self}")


SIZES = {
    "facex-nano": Sizes(side=128, map_name="/trunk/trunk.11/Conv_output_0", map_shape=(128, 7, 7)),
    # DINOv2's small model; cells of 32 pixels of the region image. map_name: training takes the reader's own.
    "facex-sd15": Sizes(
        side=512,
        map_name="",
        map_shape=(512, 7, 7),
        width=768,
        inner=512,
        backbone={"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14},
        region=(64, 128, 256, 384),
    ),
}


class FaceX(ComponentModule):
    """FORD, FORS and FRC: what decomposes faces, what collects their pieces, and what the UNet attends to.

    Arguments:
        sizes: of the networks.
        widths: channels of the UNet's transformer blocks, in its order (`controller.widths_of`).
        space: of the recogniser that faces are read with, as `Identity.space`.
    """

    def __init__(self, sizes: Sizes, widths: list[int], space: str) -> None:
        super().__init__()
        self.sizes, self.space = sizes, space
        c, (channels, high, wide) = sizes.width, sizes.map_shape
        backbone, features = _backbone(sizes.backbone)
        self.decomposer = Decomposer(backbone, features, width=c, positions=high * wide, map_width=channels)
        cells = sizes.side // (4 * 2 ** (len(sizes.region) - 1))
        self.region = nn.Sequential(trunk(CHANNELS, sizes.region), nn.Flatten(2))  # phi_Inp
        self.region_adapter = nn.Linear(sizes.region[-1], c)
        # `untold`, a token without a source: files of weights call it so.
        self.kinds, self.untold = (nn.Parameter(torch.randn(len(TOKENS), c) * 0.02) for _ in range(2))
        self.places = nn.Parameter(torch.randn(high * wide, c) * 0.02)  # of the recogniser's map
        self.cells = nn.Parameter(torch.randn(cells * cells, c) * 0.02)  # of the region image
        self.adapter = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 2 * c), nn.SiLU(), nn.Linear(2 * c, c))  # phi_SD
        self.norm = nn.LayerNorm(c)
        self.controller = Controller(widths, token_width=c, inner=sizes.inner)

    def forward(
        self,
        crops: Float[Tensor, "F 3 S S"],
        shares: Float[Tensor, "F R G G"],
        maps: Float[Tensor, "F I E"],
        measures: dict[str, Float[Tensor, "F _"]],
        face_index: Int[Tensor, "N K"],
        reference: Float[Tensor, "N 7 S S"],
    ) -> Float[Tensor, "N T C"]:
        """The representation (f_SD in the paper) of N pictures, made of pieces of F faces.

        Arguments:
            crops: (F, 3, S, S) RGB in [-1, 1].
            shares: (F, R, G, G) in 0-1, of each cell in each region; sums to 1 over R.
            maps: (F, I, E), of the recogniser.
            measures: (F, n) each, by the names of `representation.MEASURES`.
            face_index: (N, K), for each token of each picture the row of the face that it comes from; -1: none.
            reference: (N, 7, S, S), see `assembly.region_image`.

        Returns (N, T, C), what the UNet attends to.
        """
        tokens, parts = self.decomposer(crops, shares, maps, measures), []
        for index, name in enumerate(TOKENS):
            source, faces = face_index[:, index], tokens[name]
            source_tokens = faces[source.clamp(min=0)] + (self.places if name == "identity" else 0)
            parts.append(
                torch.where((source >= 0)[:, None, None], source_tokens, self.untold[index]) + self.kinds[index]
            )
        region_tokens = self.region(reference.contiguous(memory_format=torch.channels_last)).transpose(1, 2)
        parts.append(self.region_adapter(region_tokens) + self.cells)
        whole = torch.cat(parts, 1)
        return self.norm(whole + self.adapter(whole))

    def encode(self, assembled: Assembled, maps: Float[Tensor, "F I E"]) -> Float[Tensor, "N T C"]:
        """`forward` of what was assembled, in the precision and on the device of the weights.

        Arguments:
            assembled: N pictures, and the measures of the F faces that they are made of.
            maps: (F, I, E), the recogniser's of these faces.

        Returns (N, T, C).
        """
        home, faces = execution_device(self), assembled.faces
        measures = {name: torch.from_numpy(getattr(faces, name)).to(home, self.dtype) for name in MEASURES}
        return self(
            crops_of(faces).to(home, self.dtype),
            torch.from_numpy(faces.regions).to(home, self.dtype),
            maps.to(home, self.dtype),
            measures,
            torch.from_numpy(assembled.face_index).to(home),
            torch.from_numpy(assembled.reference).to(home, self.dtype),
        )

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors` into `folder`, matrices in 8 bits. Raises `BadOutput`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / FILE, packed(self.state_dict()))
        blocks = [int(block.norm.normalized_shape[0]) for block in self.controller.attentions()]
        config = {"format": _FORMAT, "space": self.space, "blocks": blocks, "sizes": asdict(self.sizes)}
        atomic.write_json(folder / CONFIG, config)

    @classmethod
    def load(cls, folder: Path) -> "FaceX":
        """Read what `save` wrote; float32, for inference. Raises `WeightsMissing`, `WeightsCorrupt`."""
        with network_folder.reading(folder, "FaceX"):
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if config["format"] != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT}")
            sizes: dict[str, Any] = {
                key: tuple(part) if isinstance(part, list) else part for key, part in config["sizes"].items()
            }
            network = cls(Sizes(**sizes), [int(width) for width in config["blocks"]], str(config["space"]))
            network.load_state_dict(unpacked(load_file(folder / FILE)))
        return network.eval().requires_grad_(requires_grad=False)


def require_fit(network: FaceX, *, space: str, unet: Any, where: object) -> None:
    """Raise `WeightsCorrupt` unless the FaceX of the folder `where` belongs to a model with these identities and this
    UNet."""
    own = [block.norm.normalized_shape[0] for block in network.controller.attentions()]
    for what, one, wanted in (("identities", network.space, space), ("blocks", own, widths_of(unet))):
        if one != wanted:
            raise WeightsCorrupt(
                f"{where} belongs to another model: it was trained with {what} of {one!r}, this one has {wanted!r}: "
                "use the facex/ that was trained with this model"
            )


def crops_of(faces: FaceMeasures) -> Float32[Tensor, "F 3 S S"]:
    """The crops of F faces as tensors: (F, 3, S, S) float32 RGB in [-1, 1], on the CPU."""
    return torch.from_numpy(faces.crops).permute(0, 3, 1, 2).float() / 127.5 - 1


class _Dino(nn.Module):
    """The last map of a DINOv2 (Oquab et al. 2023), from transformers, of crops as wide as they are or a little wider:
    a multiple of its patches, which else would leave a margin unseen."""

    mean: Tensor
    spread: Tensor

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        from transformers import Dinov2Backbone, Dinov2Config

        self.network = Dinov2Backbone(Dinov2Config(**settings))
        self.network.embeddings.mask_token.requires_grad_(requires_grad=False)  # nothing is masked here
        for name, values in _IMAGENET.items():
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        patch = self.network.config.patch_size
        side = -(-crops.shape[-1] // patch) * patch
        if side != crops.shape[-1]:
            crops = F.interpolate(crops, size=side, mode="bilinear", align_corners=False)
        return self.network(((crops + 1) / 2 - self.mean) / self.spread).feature_maps[-1]


# Of colours in 0-1: what DINOv2 was trained on.
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "spread": (0.229, 0.224, 0.225)}


def _backbone(settings: tuple[int, ...] | dict[str, Any]) -> tuple[nn.Module, int]:
    """phi_Reg's and the channels of its last map."""
    if isinstance(settings, dict):
        return _Dino(settings), int(settings["hidden_size"])
    return trunk(3, settings), settings[-1]
