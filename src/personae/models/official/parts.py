"""The parts of a pipeline, read from Arc2Face's published files.

    parts = load(layout.find("models", base="stable-diffusion-v1-5"))      # {"unet": ..., "vae": ..., ...}
    convert("models")                                                      # encoder/model.safetensors, once

The text encoder was published as a pickle: it is opened with `weights_only=True`, which builds tensors and runs
nothing, and never again once it is converted.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from personae.errors import PersonaeError, WeightsCorrupt, WeightsMissing
from personae.io.tensors import save_tensors
from personae.models import config as model_config
from personae.models import folder as model_folder
from personae.models import network_weights
from personae.models.official.layout import Layout

NAMES = frozenset(("vae", "text_encoder", "tokenizer", "unet", "scheduler"))
PICKLE, CONVERTED = "pytorch_model.bin", "model.safetensors"
# transformers' text encoders carried this prefix, and this buffer, or not, as the version that saved them did.
_PREFIX, _BUFFER = "text_model.", "embeddings.position_ids"


def load(
    layout: Layout,
    dtypes: Mapping[str, torch.dtype] | torch.dtype = torch.float32,
    *,
    convolutions: torch.memory_format = torch.preserve_format,
    replacements: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`vae`, `text_encoder`, `tokenizer`, `unet`, `scheduler`: the last one DPM-Solver++ on the base's noise schedule.

    dtypes: by part, with a "default", or one for all. convolutions: the layout of their weights. replacements: networks
    to take instead of those of the files.
    Raises `WeightsCorrupt` for a file that cannot be read, lacks a weight, or would run code.
    """

    def dtype(part: str) -> torch.dtype:
        return dtypes if isinstance(dtypes, torch.dtype) else dtypes.get(part, dtypes.get("default", torch.float32))

    readers: dict[str, Callable[[], Any]] = {
        "vae": lambda: _network(diffusers.AutoencoderKL, layout.base / "vae", dtype("vae"), convolutions),
        "text_encoder": lambda: text_encoder(layout.folder / "encoder").to(dtype("text_encoder")),
        "tokenizer": lambda: CLIPTokenizer.from_pretrained(layout.base / "tokenizer", local_files_only=True),
        "unet": lambda: _network(
            diffusers.UNet2DConditionModel, layout.folder / "arc2face", dtype("unet"), convolutions
        ),
        "scheduler": lambda: diffusers.DPMSolverMultistepScheduler.from_pretrained(
            layout.base / "scheduler", local_files_only=True
        ),
    }
    for place in (
        layout.base / "vae",
        layout.base / "scheduler",
        layout.folder / "arc2face",
        layout.folder / "encoder",
    ):
        model_config.require_configs(place)
    found = dict(replacements or {})
    for name, read in readers.items():
        if name not in found:
            found[name] = _read(read, f"the {name.replace('_', ' ')} of {layout.folder}")
    return found


def text_encoder(folder: Path) -> CLIPTextModel:
    """The tuned CLIP text encoder of `encoder/`, float32. Raises `WeightsCorrupt`, also if a weight lacks."""
    config = _read(lambda: CLIPTextConfig.from_pretrained(folder, local_files_only=True), str(folder / "config.json"))
    model = CLIPTextModel(config)
    stored = {name.removeprefix(_PREFIX): tensor for name, tensor in _state(folder).items()}
    stored.pop(_BUFFER, None)
    own = {name.removeprefix(_PREFIX): name for name in model.state_dict()}
    if lacking := sorted(own.keys() - stored.keys()):
        raise WeightsCorrupt(f"{folder} lacks its weight {lacking[0]}: fetch it again")
    if strange := sorted(stored.keys() - own.keys()):
        raise WeightsCorrupt(f"{folder} has a weight {strange[0]} that no CLIP text encoder has: fetch it again")
    state = {own[name]: tensor.float() for name, tensor in stored.items()}
    _read(lambda: model.load_state_dict(state), f"the weights of {folder}, for the sizes in its config.json,")
    return model.eval()


def convert(folder: str | Path) -> Path:
    """Write the text encoder's weights of a published folder beside the pickle, as safetensors; returns the file.

    Raises `WeightsMissing` without a pickle, `WeightsCorrupt`, `BadOutput`. The file is there whole or not at all.
    """
    place = Path(folder) / "encoder"
    target = place / CONVERTED
    if target.is_file():
        return target
    if not (place / PICKLE).is_file():
        raise WeightsMissing(f"{place} has no {PICKLE} to convert: give a folder with Arc2Face's published files")
    model = text_encoder(place)  # which checks that the weights are whole
    save_tensors(target, {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, {"format": "pt"})
    return target


def _state(folder: Path) -> dict[str, Tensor]:
    """The tensors of `encoder/`, from safetensors if it has been converted."""
    if (folder / CONVERTED).is_file():
        return dict(_read(lambda: load_file(folder / CONVERTED), str(folder / CONVERTED)))
    path = folder / PICKLE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsCorrupt(
            f"{path} is a pickle with more than tensors in it, which could run code, or is damaged; it was not opened: "
            "fetch it again from its authors"
        ) from error
    except Exception as error:  # torch's own reader raises many kinds
        raise WeightsCorrupt(f"{path} cannot be read ({_first_line(error)}): fetch it again") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsCorrupt(f"{path} holds a {type(state).__name__}, expected tensors by name: fetch it again")
    return state


def _network(cls: Any, folder: Path, dtype: torch.dtype, convolutions: torch.memory_format) -> Any:
    network = network_weights.load(cls, folder, dtype=dtype, layout=convolutions)
    model_folder.require_filled(network, folder)
    return network.eval()


def _read(read: Callable[[], Any], what: str) -> Any:
    """What `read` gives; whatever the libraries raise for a damaged file becomes one error."""
    try:
        with model_folder.no_bars():
            return read()
    except PersonaeError:
        raise
    except Exception as error:  # four libraries; the tokenizers' errors have no other class
        raise WeightsCorrupt(f"{what} cannot be read ({_first_line(error)}): fetch it again") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
