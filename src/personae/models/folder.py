"""What a model folder must hold to be loaded: every part, every weight. The libraries below only log what lacks.

    require_parts(path)
    with no_bars():
        pipe = FacePipeline.from_pretrained(path)
    require_weights(path, pipe)

Whether the files are the promised ones is `catalog.verify`'s question.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import safe_open

from personae.errors import WeightsCorrupt, WeightsMissing
from personae.io import atomic
from personae.io.boundary import errors_as
from personae.models import config as model_config
from personae.models import network_weights

_ADVICE = "install or fetch the model again"
# Options of diffusers' under which it reads other files, or brings weights to where they are not converted.
_ELSEWHERE = frozenset({"device_map", "disable_mmap", "low_cpu_mem_usage", "quantization_config", "variant"})
_PREFIX = "text_model."  # transformers' text encoders carry it or not, as the version that saved them did


def load_options(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which diffusers may load a folder in its own layout: `options`, safetensors alone, no network.

    Raises `WeightsMissing` if a part that the index lists is not there; `WeightsCorrupt` for a config that no network
    comes with, and for a text encoder whose weights are not of its config's sizes.
    """
    require_parts(folder)
    if "text_encoder" not in options:
        require_text_fits(folder)
    # Without it diffusers falls back to pickles, which can run code.
    return {"use_safetensors": True} | dict(options) | {"local_files_only": True}


def networks(folder: Path, options: Mapping[str, Any], convolutions: torch.memory_format) -> dict[str, Any]:
    """UNet and autoencoder of a folder as `options` of diffusers ask for them, each weight in memory once; those that
    are in `options`, or that are stored or asked for in another way than as one file for the CPU, are left to
    diffusers.

    convolutions: the layout of their weights.
    """
    dtypes = options.get("torch_dtype") or options.get("dtype")
    if options.keys() & _ELSEWHERE or dtypes is None or not options.get("use_safetensors"):
        return {}
    found = {}
    for name in {"unet", "vae"} - options.keys():
        dtype = dtypes if isinstance(dtypes, torch.dtype) else dtypes.get(name, dtypes.get("default", torch.float32))
        if isinstance(dtype, torch.dtype) and network_weights.is_one_file(folder / name):
            cls = getattr(diffusers, model_config.class_of(folder, name))
            found[name] = network_weights.load(cls, folder / name, dtype=dtype, layout=convolutions)
    return found


@contextmanager
def loading_errors(folder: Path) -> Iterator[None]:
    """What diffusers raises for a folder that it cannot load, as `WeightsMissing` or `WeightsCorrupt`."""
    try:
        with errors_as(WeightsCorrupt, f"{folder} cannot be loaded", _ADVICE):
            yield
    except WeightsCorrupt as error:
        if "no file named" not in str(error):
            raise
        raise WeightsMissing(str(error)) from error


def require_parts(folder: Path) -> None:
    """Raise `WeightsMissing` if a part that `model_index.json` lists is not in the folder."""
    for name in model_config.require_index(folder):
        if not (folder / name).is_dir():
            raise WeightsMissing(f"{folder} lacks its part {name}/: install or fetch the model again")
    model_config.require_configs(folder)


def require_text_fits(folder: Path) -> None:
    """Raise `WeightsCorrupt` unless the weights of `text_encoder/` have the sizes that its config says: transformers
    would make those that lack at random, of whatever size."""
    place = folder / "text_encoder"
    files = sorted(place.glob("*.safetensors"))
    if not files:
        return  # the caller asked for another format
    with errors_as(WeightsCorrupt, f"{place} cannot be loaded", _ADVICE):
        config = transformers.CLIPTextConfig.from_pretrained(place, local_files_only=True)
        with torch.device("meta"):
            network = transformers.CLIPTextModel(config)
        wanted = {name.removeprefix(_PREFIX): tuple(one.shape) for name, one in network.state_dict().items()}
        for path in files:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    own, shape = name.removeprefix(_PREFIX), tuple(file.get_slice(name).get_shape())
                    if wanted.pop(own, shape) != shape:
                        raise WeightsCorrupt(f"{path} holds {name} {shape}, its config says otherwise: {_ADVICE}")
    if wanted:
        raise WeightsCorrupt(f"{place} lacks its weight {min(wanted)}: {_ADVICE}")


def require_weights(folder: Path, pipe: Any) -> None:
    """Raise `WeightsCorrupt` if a network was left without some of its weights; the libraries only log that."""
    for name in ("unet", "vae"):
        require_filled(getattr(pipe, name), folder / name)


def require_filled(network: Any, folder: Path) -> None:
    """Raise `WeightsCorrupt` if diffusers left a weight of `network`, read from `folder`, without content."""
    empty = [name for name, weight in network.named_parameters() if weight.is_meta]
    if empty:
        raise WeightsCorrupt(f"{folder} lacks its weight {empty[0]}: install or fetch the model again")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A folder to write a model into, which becomes `target` when all is written, and is gone otherwise. What is
    there already is written into, as diffusers does."""
    if target.exists():
        yield target
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.folder(target) as part:
        yield part


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep the loading bars of diffusers and transformers off the screen: loading takes a second."""
    diffusers_log, transformers_log = diffusers.utils.logging, transformers.utils.logging
    visible = [log for log in (diffusers_log, transformers_log) if log.is_progress_bar_enabled()]
    for log in visible:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in visible:
            log.enable_progress_bar()
