"""What a model folder must hold to be loaded: every part, every weight. The libraries below only log what lacks.

    model_folder.require_parts(folder)
    with model_folder.no_bars():
        pipe = FacePipeline.from_pretrained(folder)
    model_folder.require_weights(folder, pipe)

Whether the files are the promised ones is `catalog.verify`'s question.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import transformers
from safetensors import safe_open

from personae import catalog
from personae.errors import WeightsCorrupt, WeightsMissing
from personae.io import atomic


def require_parts(folder: Path) -> None:
    """Raise `WeightsMissing` if a part that `model_index.json` lists is not in the folder."""
    try:
        index = json.loads((folder / catalog.INDEX).read_text())
        parts = [name for name, value in index.items() if isinstance(value, list) and value[0] is not None]
    except (ValueError, AttributeError, IndexError) as error:
        raise WeightsCorrupt(f"{folder / catalog.INDEX} cannot be read: install or fetch the model again") from error
    for name in parts:
        if not (folder / name).is_dir():
            raise WeightsMissing(f"{folder} lacks its part {name}/: install or fetch the model again")


def require_weights(folder: Path, pipe: Any) -> None:
    """Raise `WeightsCorrupt` if a network was left without some of its weights; the libraries only log that."""
    for name in ("unet", "vae"):
        require_filled(getattr(pipe, name), folder / name)
    # Diffusers leaves what no file holds without content, transformers fills it with random numbers.
    stored = set()
    for path in (folder / "text_encoder").glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            stored |= {name.removeprefix("text_model.") for name in file.keys()}  # noqa: SIM118 (not a dict)
    missing = sorted(set(pipe.text_encoder.state_dict()) - stored)
    if stored and missing:  # none stored: the caller asked for another format
        raise WeightsCorrupt(
            f"{folder / 'text_encoder'} lacks its weight {missing[0]}: install or fetch the model again"
        )


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
    shown = [log for log in (diffusers_log, transformers_log) if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()
