"""The JSON files of a model folder, looked at before the libraries believe them.

    require_index(folder)          # model_index.json: our parts, of the classes there are, and sane settings
    require_configs(folder)        # config.json and the like: objects, of numbers that a network may have

Diffusers takes a JSON string for the name of a model on the Hub and asks for it; transformers does so with the base of
an adapter. And a number may ask for more memory than there is before a single weight is compared.
"""

import json
from pathlib import Path
from typing import Any

from personae.errors import WeightsCorrupt, WeightsMissing
from personae.io import regular

INDEX = "model_index.json"
_ADVICE = "install or fetch the model again"
# Of these classes a part may be; any other could be anything that a library holds.
_CLASSES: dict[str, tuple[str, ...]] = {
    "vae": ("AutoencoderDC", "AutoencoderKL"),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "unet": ("UNet2DConditionModel",),
}
# Of `models.components`, which diffusers would list here.
_OPTIONAL = (
    "autoguidance",
    "controlnet",
    "exp_adapter",
    "face_tokens",
    "facex",
    "lcm",
    "parser",
    "ref_adapter",
    "taesd",
)
_LIBRARIES = {"vae": "diffusers", "unet": "diffusers", "scheduler": "diffusers"}  # the others: transformers
# name: (kind, least, most)
_SETTINGS: dict[str, tuple[type, float, float]] = {
    "steps": (int, 1, 1000),
    "identity_width": (int, 1, 65536),
    "guidance_scale": (float, -100, 100),
    "motion_guidance": (float, 0, 100),
}
_TEXTS = ("crop_template", "identity_space")
_NETWORKS = ("config.json", "scheduler_config.json")
_ELSEWHERE = "adapter_config.json"  # names a base model, which transformers would fetch
_LARGEST = 1 << 20  # of any whole number: a vocabulary has fifty thousand words
_MOST_LAYERS = 64
_MOST_SIDE = 1024  # of latents: 8192 pixels
_DEEPEST = 32


def require_index(folder: Path) -> list[str]:
    """The parts that `model_index.json` lists. Raises `WeightsCorrupt`, `WeightsMissing`."""
    path = folder / INDEX
    index = regular.read_object(path, WeightsCorrupt, missing=WeightsMissing, advice=_ADVICE)
    parts = [name for name, value in index.items() if isinstance(value, list)]
    for name in parts:
        if not _is_known(name, index[name]):
            raise WeightsCorrupt(f"{path} asks for {_short(index[name])} as its {name}, which is not known: {_ADVICE}")
    for name, (kind, least, most) in _SETTINGS.items():
        value = index.get(name)
        if value is None:
            continue
        numeric = isinstance(value, int) or (kind is float and isinstance(value, float))
        if isinstance(value, bool) or not numeric or not least <= value <= most:
            raise WeightsCorrupt(f"{path}: {name} lies between {least} and {most}, got {_short(value)}: {_ADVICE}")
    for name in _TEXTS:
        if not isinstance(index.get(name), str | None):
            raise WeightsCorrupt(f"{path}: {name} is a text, got {_short(index[name])}: {_ADVICE}")
    return [name for name in parts if index[name][0] is not None]


def class_of(folder: Path, name: str) -> str:
    """The class of a part that `require_index` let through, such as "UNet2DConditionModel". Raises as it."""
    index = regular.read_object(folder / INDEX, WeightsCorrupt, missing=WeightsMissing, advice=_ADVICE)
    return str(index[name][1])


def as_saved(text: str) -> str:
    """A `model_index.json` as diffusers would write it, without the rows of optional components, which older versions
    of personae refuse, and without the path that the model was loaded from, which is its owner's business."""
    left_out = (*_OPTIONAL, "_name_or_path")
    index = {name: value for name, value in json.loads(text).items() if name not in left_out}
    return json.dumps(index, indent=2, sort_keys=True) + "\n"


def require_configs(folder: Path) -> None:
    """Raise `WeightsCorrupt` for a JSON file in a folder, or in one right below it, that no network comes with."""
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        if path.name == _ELSEWHERE:
            raise WeightsCorrupt(f"{path} names a model elsewhere, which is never fetched: remove it")
        found = regular.read_object(path, WeightsCorrupt, advice=_ADVICE)
        if path.name in _NETWORKS:
            _require_modest(found, path)


def _is_known(part: str, value: list[Any]) -> bool:
    if part in _OPTIONAL:
        return value == [None, None]  # an optional component is in its folder, whatever the index says
    if len(value) != 2 or (part not in _CLASSES and part != "scheduler"):
        return False
    library, name = value
    if library is None and name is None:
        return True
    if library != _LIBRARIES.get(part, "transformers") or not isinstance(name, str):
        return False
    return name.endswith("Scheduler") and name.isidentifier() if part == "scheduler" else name in _CLASSES[part]


def _require_modest(config: dict[str, Any], path: Path) -> None:
    waiting: list[tuple[str, Any, int]] = [(name, value, 0) for name, value in config.items()]
    while waiting:
        name, value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise WeightsCorrupt(f"{path}: {name} is nested too deep: {_ADVICE}")
        if isinstance(value, dict):
            waiting += [(key, one, depth + 1) for key, one in value.items()]
        elif isinstance(value, list):
            waiting += [(name, one, depth + 1) for one in value]
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > _most(name):
            raise WeightsCorrupt(f"{path}: {name} is at most {_most(name)}, got {_short(value)}: {_ADVICE}")


def _most(name: str) -> int:
    if "layers" in name:
        return _MOST_LAYERS
    return _MOST_SIDE if name == "sample_size" else _LARGEST


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + " ..."
