"""An IP-Adapter that reads expressions instead of pictures (arXiv 2510.04706), in the published file layout.

    adapter = ExpressionAdapter.load(folder / "exp_adapter", unet)     # .safetensors, or the published .bin
    control = ExpressionHook(adapter=adapter, vectors=vectors)      # (N, W): one expression per image
    with control.engaged(unet): ...

The networks are diffusers' own IP-Adapter classes; every layout of theirs that projects one vector to tokens is read.
Its pipelines' `load_ip_adapter` is not used: it builds on the UNet itself, which is shared by requests and may carry
other controls, converts all of that UNet, and brings in image processors that want torchvision. That both give the
same images is pinned by a test.

Legend: N images, M rows of a network call, W width of an expression vector, T tokens, C cross-attention width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import (
    ImageProjection,
    IPAdapterFaceIDImageProjection,
    IPAdapterFullImageProjection,
    MultiIPAdapterImageProjection,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from personae.component_module import ComponentModule, put_beside
from personae.conditioning.blendshapes import FLAME_WIDTH
from personae.conditioning.types import Conditioning
from personae.errors import WeightsCorrupt, WeightsMissing
from personae.io.tensors import save_tensors
from personae.shapes import Float, Float32, Num
from personae.types import BLENDSHAPES

if TYPE_CHECKING:
    from personae.conditioning.types import Rows

FILE, PICKLE = "exp_adapter.safetensors", "exp_adapter.bin"
# The width of the vectors says what they mean.
SPACES = {len(BLENDSHAPES): "blendshapes", FLAME_WIDTH: "flame55"}
PARTS = ("to_k_ip", "to_v_ip")
MLP_NAMES = {"proj.0": "ff.net.0.proj", "proj.2": "ff.net.2"}  # of a file -> of diffusers' module
_FETCH = "fetch exp_adapter/ again from where the model came"
Weights = dict[str, dict[str, Tensor]]


class ExpressionAdapter(ComponentModule):
    """An IP-Adapter, shared by all requests: it is on a UNet only while one engages it.

    Arguments:
        projection: expression vectors (M, 1, W) to tokens (M, 1, T, C).
        processors: by their names in `unet.attn_processors`, of the cross-attention layers only.
        width: W, 52 for blendshapes, 55 for FLAME's numbers.
    """

    def __init__(self, *, projection: MultiIPAdapterImageProjection, processors: dict[str, Any], width: int) -> None:
        super().__init__()
        self.projection, self.width = projection, width
        self._names, self._processors = tuple(processors), nn.ModuleList(processors.values())

    @property
    def processors(self) -> dict[str, Any]:
        """By their names in `unet.attn_processors`."""
        return dict(zip(self._names, self._processors, strict=True))

    @property
    def space(self) -> str:
        """What its vectors are: `blendshapes` or `flame55`."""
        return SPACES[self.width]

    @classmethod
    def load(cls, folder: Path, unet: Any) -> "ExpressionAdapter":
        """Read an adapter for `unet` from a folder with `exp_adapter.safetensors` or `exp_adapter.bin`.

        Raises `WeightsMissing` if there is neither; `WeightsCorrupt` for a file that is damaged, would run code, or
        belongs to another UNet.
        """
        path = folder / FILE if (folder / FILE).is_file() else folder / PICKLE
        return cls.from_weights(_read(path), unet, str(path))

    @classmethod
    def from_weights(cls, weights: Weights, unet: Any, name: str = "this expression adapter") -> "ExpressionAdapter":
        """An adapter of tensors.

        Arguments:
            weights: in the published layout, `{"image_proj": {...}, "ip_adapter": {...}}`, each by name.
            unet: that it is for.
            name: what errors call it.

        Raises `WeightsCorrupt` if the tensors do not fit the UNet.
        """
        projection, width, tokens = _projection(weights["image_proj"], name)
        layers, crossing = weights["ip_adapter"], crossing_layers(unet)
        _require_fit(layers | {"image_proj.norm": projection.image_projection_layers[0].norm.weight}, crossing, name)
        processors = {}
        for index, (key, (out, cross)) in enumerate(crossing.items()):
            with torch.device("meta"):
                processor = IPAdapterAttnProcessor2_0(out, cross, num_tokens=[tokens])
            pair = {f"{part}.0.weight": layers[f"{2 * index + 1}.{part}.weight"] for part in PARTS}
            processor.load_state_dict(pair, assign=True)
            processors[key] = processor
        return cls(projection=projection, processors=processors, width=width)

    def attach(self, unet: Any, scale: float = 1.0) -> None:
        """Put it on `unet`, whose calls then need `added_cond_kwargs={"image_embeds": [vectors (M, 1, W)]}`.

        scale: what its attention counts beside that to the text, 0-1.
        """
        put_beside(self, unet)
        for processor in self.processors.values():
            processor.scale = [scale]
        unet.set_attn_processor({**unet.attn_processors, **self.processors})
        unet.encoder_hid_proj = self.projection
        unet.config.encoder_hid_dim_type = "ip_image_proj"

    def save(self, folder: Path) -> None:
        """Write `exp_adapter.safetensors` into `folder`, in the published layout. Raises `BadOutput`."""
        layer = self.projection.image_projection_layers[0]
        names = {new: old for old, new in _names_of(layer).items()}
        tensors = {}
        for key, value in layer.state_dict().items():
            module, _, kind = key.rpartition(".")
            tensors[f"image_proj.{names.get(module, module)}.{kind}"] = value.contiguous()
        for index, processor in enumerate(self._processors):
            for part in PARTS:
                weight = getattr(processor, part)[0].weight
                tensors[f"ip_adapter.{2 * index + 1}.{part}.weight"] = weight.contiguous()
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / FILE, tensors)


@dataclass(frozen=True, kw_only=True)
class ExpressionHook:
    """A `UNetHook` (`personae.conditioning.types`): the expressions of one request.

    Attributes:
        adapter: that is on the UNet while the hook is engaged.
        vectors: (N, W) float32, the expression of each image.
        scale: what they count, 0-1.
    """

    adapter: ExpressionAdapter
    vectors: Float32[Tensor, "N W"]
    scale: float = 1.0

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        """With the adapter on `unet` inside the block."""
        with _restored(unet, self.adapter.processors):
            self.adapter.attach(unet, self.scale)
            yield

    def arguments(
        self, latents: Float[Tensor, "M c h w"], t: Num[Tensor, ""], conditioning: Conditioning, rows: "Rows"
    ) -> dict[str, Any]:
        """The vectors of the M rows; zeros in the unconditional ones, as in training."""
        vectors = torch.where(rows.conditional[:, None], self.vectors[rows.images], 0.0)
        return {"added_cond_kwargs": {"image_embeds": [vectors[:, None].to(latents.device, latents.dtype)]}}


def convert(folder: Path) -> Path:
    """Write `exp_adapter.safetensors` beside the published pickle, from now on read in its place; returns its path.
    Raises as `ExpressionAdapter.load`."""
    weights = _read(folder / PICKLE)
    flat = {f"{part}.{key}": value.clone() for part, tensors in weights.items() for key, value in tensors.items()}
    save_tensors(folder / FILE, flat)
    return folder / FILE


@contextmanager
def _restored(unet: Any, names: Any) -> Iterator[None]:
    """Afterwards the processors `names` of `unet`, and all else that an IP-Adapter changes, are the ones of before;
    processors of other layers are left to whoever changed them."""
    before = {name: unet.attn_processors[name] for name in names}
    projection, kind = unet.encoder_hid_proj, unet.config.encoder_hid_dim_type
    try:
        yield
    finally:
        unet.encoder_hid_proj = projection
        unet.config.encoder_hid_dim_type = kind
        unet.set_attn_processor({**unet.attn_processors, **before})


def crossing_layers(unet: Any) -> dict[str, tuple[int, int]]:
    """The processors of the cross-attention layers by name, in the order of a file's odd numbers, each with the shape
    (out, C) of the matrices that make its keys and values."""
    names = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
    return {name: tuple(unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape) for name in names}


def _projection(weights: dict[str, Tensor], name: str) -> tuple[MultiIPAdapterImageProjection, int, int]:
    """From vectors to tokens: the module, W and T. Raises `WeightsCorrupt`."""
    try:
        with torch.device("meta"):
            layer, width, tokens = _layer(weights)
        renames = _names_of(layer)
        renamed = {}
        for key, value in weights.items():
            module, _, kind = key.rpartition(".")
            renamed[f"{renames.get(module, module)}.{kind}"] = value
        layer.load_state_dict(renamed, assign=True)
    except (KeyError, RuntimeError, ValueError, ZeroDivisionError) as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsCorrupt(f"{name} has no projection that takes an expression vector ({first}): {_FETCH}") from error
    if width not in SPACES:
        kinds = " or ".join(f"{number} ({space})" for number, space in SPACES.items())
        raise WeightsCorrupt(f"{name} reads vectors of {width} numbers, expected {kinds}: {_FETCH}")
    return MultiIPAdapterImageProjection([layer]), width, tokens


def _names_of(layer: nn.Module) -> dict[str, str]:
    """A projection's modules by their names in a file, where the two differ."""
    if isinstance(layer, ImageProjection):
        return {"proj": "image_embeds"}
    return MLP_NAMES | ({"proj.3": "norm"} if isinstance(layer, IPAdapterFullImageProjection) else {})


def _layer(weights: dict[str, Tensor]) -> tuple[nn.Module, int, int]:
    """The projection that a file's names call for, without its weights; W and T."""
    if "proj.weight" in weights:  # the first IP-Adapter's
        (size, width), cross = weights["proj.weight"].shape, len(weights["norm.weight"])
        return ImageProjection(width, cross, size // cross), width, size // cross
    inner, width = weights["proj.0.weight"].shape
    if "proj.3.weight" in weights:  # "full face"
        layer = IPAdapterFullImageProjection(width, len(weights["proj.3.weight"]))
        return layer, width, 1
    size, cross = len(weights["proj.2.weight"]), len(weights["norm.weight"])  # "face ID"
    tokens = size // cross
    return IPAdapterFaceIDImageProjection(width, cross, inner // width, tokens), width, tokens


def _require_fit(layers: dict[str, Tensor], crossing: dict[str, tuple[int, int]], name: str) -> None:
    """Raise `WeightsCorrupt` unless `layers` are exactly those of the UNet, and the tokens' norm is as wide."""
    wanted: dict[str, tuple[int, ...]] = {
        f"{2 * i + 1}.{part}.weight": size for i, size in enumerate(crossing.values()) for part in PARTS
    }
    wanted["image_proj.norm"] = next(iter(crossing.values()))[1:]
    found = {key: tuple(value.shape) for key, value in layers.items()}
    if wrong := sorted(wanted.items() ^ found.items()):
        key = wrong[0][0]
        raise WeightsCorrupt(
            f"{name} is not of this model's UNet: {key} is {found.get(key, 'missing')}, expected "
            f"{wanted.get(key, 'none')}: use the adapter that was trained with it"
        )


def _read(path: Path) -> Weights:
    """The two groups of tensors of an adapter's file; matrices stored as factors are multiplied out."""
    if not path.is_file():
        raise WeightsMissing(f"{path.parent} has neither {FILE} nor {PICKLE}: {_FETCH}")
    weights: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    parts = list(weights.values()) if isinstance(weights, dict) and set(weights) == {"image_proj", "ip_adapter"} else []
    if not parts or not all(isinstance(part, dict) and _all_tensors(part) for part in parts):
        raise WeightsCorrupt(f"{path} holds no image_proj and ip_adapter, as an IP-Adapter does: {_FETCH}")
    return {"image_proj": weights["image_proj"], "ip_adapter": _multiplied(weights["ip_adapter"])}


def _all_tensors(part: dict[str, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in part.values())


def _read_safetensors(path: Path) -> dict[str, dict[str, Tensor]]:
    try:
        flat = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsCorrupt(f"{path} cannot be read ({error}): {_FETCH}") from error
    weights: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        part, _, rest = key.partition(".")
        weights.setdefault(part, {})[rest] = value
    return weights


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsCorrupt(f"{path} is damaged, or holds more than tensors and might run code: {_FETCH}") from error
    except Exception as error:  # whatever a damaged zip or pickle makes torch raise
        raise WeightsCorrupt(f"{path} is damaged ({type(error).__name__}): {_FETCH}") from error


def _multiplied(layers: dict[str, Tensor]) -> dict[str, Tensor]:
    """`x.up.weight` (out, r) and `x.down.weight` (r, in) as `x.weight` (out, in): small files for small models."""
    whole = {key: value for key, value in layers.items() if ".up." not in key and ".down." not in key}
    for key, up in layers.items():
        down = layers.get(key.replace(".up.", ".down.")) if ".up." in key else None
        if down is not None and up.ndim == down.ndim == 2 and up.shape[1] == down.shape[0]:
            whole[key.replace(".up.", ".")] = up.float() @ down.float()
    return whole  # a factor without its fellow leaves its matrix missing
