"""A LoRA (Hu et al. 2021, arXiv 2106.09685) in the UNet's weights, for the time of one request.

    lora = Lora.read(folder / FILE, unet)       # as published, with diffusers', peft's or kohya's names
    with engaged([lora.at(0.8)], unet):
        ...

Merged, not attached: a request adds the low-rank products to the weights and afterwards writes the very tensors back
that it found. So a step costs what it costs without a LoRA (attached, one on every layer of SD 1.5 adds two small
products to each, a fifth to a quarter of its arithmetic), module names and `state_dict()` stay as they are, and a
compiled UNet, CUDA graphs included, goes on with the tensors that it knows. The price: while the request runs, the
weights that change are there twice.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from safetensors import safe_open
from torch import Tensor, nn

from personae.compiled import is_compiled
from personae.component_module import ComponentModule
from personae.conditioning.types import Conditioning, Rows, UNetHook
from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.shapes import Float
from personae.threads import loading

FILE = "pytorch_lora_weights.safetensors"  # the name under which diffusers saves one
_NAME = "read"


class Change(nn.Module):
    """What is added to one weight: the product `up` @ `down`.

    Attributes:
        up: (out, r), the LoRA's own scale included.
        down: (r, in); for a k x k convolution, in is its input channels times k x k.
    """

    up: Float[Tensor, "out r"]
    down: Float[Tensor, "r in"]

    def __init__(self, *, up: Float[Tensor, "out r"], down: Float[Tensor, "r in"]) -> None:
        super().__init__()
        self.register_buffer("up", up)
        self.register_buffer("down", down)

    def like(self, weight: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
        """The product, in the shape (out, ...), dtype and place of `weight`.

        bfloat16 multiplies in bfloat16: its error is a hundredth of what the sum loses on the weight's own grid.
        """
        up, down = (side.to(weight.device, weight.dtype) for side in (self.up, self.down))
        return (up @ down).view(weight.shape)


class Lora(ComponentModule):
    """The changes of a UNet's weights. It holds no network.

    Arguments:
        changes: by the names of the UNet's modules.
        source: the file that they were read from.
    """

    def __init__(self, changes: dict[str, Change], source: Path) -> None:
        super().__init__()
        self.source = source
        self._names, self._changes = tuple(changes), nn.ModuleList(changes.values())

    @property
    def changes(self) -> dict[str, Change]:
        """By the names of the UNet's modules."""
        return {
            name: change for name, change in zip(self._names, self._changes, strict=True) if isinstance(change, Change)
        }

    @classmethod
    @loading()
    def read(cls, path: Path, unet: Any) -> "Lora":
        """Read a LoRA.

        Arguments:
            path: a safetensors file, with diffusers', peft's or kohya's names.
            unet: that it is for; the changes get its precision and its place.

        Raises `WeightsMissing` without the file; `WeightsCorrupt` if it cannot be read, does not fit the UNet, or
        holds anything else than a LoRA of a UNet.
        """
        if not path.is_file():
            raise WeightsMissing(f"{path.parent} lacks {path.name}: fetch it again")
        try:
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
            state, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(
                str(path.parent),
                weight_name=path.name,
                use_safetensors=True,
                local_files_only=True,
                return_lora_metadata=True,
            )
            changes = _changes(unet, state, alphas, metadata)
        except Exception as error:  # a strange file makes the readers below raise whatever they stumble over
            first = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
            raise WeightsCorrupt(
                f"{path} is not a LoRA of this model's UNet ({first}): fetch the one made for it"
            ) from error
        # Diffusers only logs what it leaves out: half a LoRA would make wrong pictures without a word.
        strange = [name for name in names if not name.startswith(("unet.", "lora_unet_")) or "dora" in name]
        if strange or len(state) != 2 * len(changes):
            what = strange[0] if strange else f"{len(state)} tensors, {2 * len(changes)} of which have a place"
            raise WeightsCorrupt(
                f"{path} holds more than a LoRA of this model's UNet ({what}): fetch the one made for it"
            )
        return cls(changes, path)

    def save(self, folder: Path) -> None:
        """Write the file that it was read from into `folder`. Raises `WeightsMissing` if it is gone."""
        if not self.source.is_file():
            raise WeightsMissing(f"the LoRA of {self.source} cannot be saved: that file is gone; read it again")
        folder.mkdir(parents=True, exist_ok=True)
        if self.source.resolve() != (folder / FILE).resolve():
            shutil.copyfile(self.source, folder / FILE)

    def at(self, strength: float) -> UNetHook:
        """A hook under which the UNet's weights hold `strength` times the changes; at 0, nothing is touched.

        Engaging it raises `BadOption` for a UNet whose weights cannot be changed (offloaded layer by layer, fused,
        or frozen by torch.compile).
        """
        return _Merged(changes=self.changes, strength=strength)


@dataclass(frozen=True, kw_only=True)
class _Merged:
    changes: dict[str, Change]
    strength: float

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        changes = self.changes if self.strength else {}
        if changes:
            _require_changeable(unet)
        weights = {name: unet.get_submodule(name).weight for name in changes}
        originals: dict[str, Tensor] = {}
        try:
            for name, weight in weights.items():
                originals[name] = weight.detach().clone()
                weight.data.add_(changes[name].like(weight.data), alpha=self.strength)
            yield
        finally:
            for name, original in originals.items():
                weights[name].data.copy_(original)

    def arguments(self, latents: Tensor, t: Tensor, conditioning: Conditioning, rows: Rows) -> dict[str, Any]:
        return {}


def _changes(unet: Any, state: dict[str, Tensor], alphas: dict[str, float] | None, metadata: Any) -> dict[str, Change]:
    """Diffusers knows the dialects of LoRA files: it reads this one into a UNet whose weights are never written, and
    so take no memory, and what it found is taken from there."""
    with torch.device("meta"):
        skeleton = type(unet).from_config(unet.config)
    skeleton.to_empty(device="cpu")
    with _quiet(logging.getLogger("diffusers.loaders.peft")):
        skeleton.load_lora_adapter(
            dict(state),
            prefix="unet",
            network_alphas=alphas,
            metadata=metadata,
            adapter_name=_NAME,
            low_cpu_mem_usage=True,
        )
    layers = {name: module for name, module in skeleton.named_modules() if _NAME in getattr(module, "lora_A", {})}
    return {
        name: Change(
            up=(layer.lora_B[_NAME].weight.detach().float().flatten(1) * layer.scaling[_NAME]).to(
                unet.device, unet.dtype
            ),
            down=layer.lora_A[_NAME].weight.detach().flatten(1).to(unet.device, unet.dtype),
        )
        for name, layer in layers.items()
    }


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """What it would log is in the error that it raises."""
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def _require_changeable(unet: Any) -> None:
    """Raise `BadOption` where changing the weights would fail, or change nothing without saying so."""
    if unet.device.type == "meta":
        raise BadOption("a LoRA needs the UNet's weights in memory: offload whole models, not layer by layer")
    if any(getattr(module, "fused_projections", False) for module in unet.modules()):
        raise BadOption("a LoRA does not reach fused projections: call unet.unfuse_qkv_projections() first")
    if is_compiled(unet):
        import torch._inductor.config as inductor

        if inductor.freezing:
            raise BadOption("a LoRA does not reach weights frozen by torch.compile: compile without freezing")
