"""The optional components of a model: there if its folder has them, loaded when first used.

    pipe.component("controlnet")      # WeightsMissing, naming what to fetch, if the folder has none

A row's name is the folder's name below the model's; what a loaded component can do is its own module's business.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.errors import WeightsCorrupt, WeightsMissing, unknown_name
from personae.identity import PEOPLE, directions
from personae.io.boundary import errors_as
from personae.io.folder_contents import require_plain
from personae.model import Model
from personae.models import config, limits


@dataclass(frozen=True, kw_only=True)
class Component:
    """about: what it is for, in a few words. load: (its folder, the pipeline) -> the component, on the pipeline's
    device and in its precision."""

    about: str
    load: Callable[[Path, Model], Any]


def _expression(folder: Path, pipe: Model) -> Any:
    from personae.conditioning.expression_adapter import ExpressionAdapter

    return ExpressionAdapter.load(folder, pipe.unet)


def _face_tokens(folder: Path, pipe: Model) -> Any:
    from personae.conditioning.face0 import FaceTokens, require_fit

    network = FaceTokens.load(folder)
    require_fit(
        network,
        space=pipe.config.identity_space,
        text_width=pipe.text_encoder.config.hidden_size,
        pooled=pipe.unet.config.class_embed_type is not None,
        where=folder,
    )
    return network


def _facex(folder: Path, pipe: Model) -> Any:
    from personae.conditioning.facex.network import FaceX, require_fit

    network = FaceX.load(folder)
    require_fit(network, space=pipe.config.identity_space, unet=pipe.unet, where=folder)
    return network


def _parser(folder: Path, pipe: Model) -> Any:
    from personae.reading.parser import FaceParser

    return FaceParser.load(folder).to(pipe.device)


def _taesd(folder: Path, pipe: Model) -> Any:
    from personae.sampling.fast import tiny_decoder

    return tiny_decoder.load(folder, pipe)


def _lcm(folder: Path, pipe: Model) -> Any:
    from personae.sampling.few_steps import FewSteps

    return FewSteps.read(folder, pipe.unet, like=pipe.scheduler)


def _controlnet(folder: Path, pipe: Model) -> Any:
    from personae.sampling import controlnet

    return controlnet.load(folder, pipe.unet)


def _reference(folder: Path, pipe: Model) -> Any:
    from personae.sampling.lora_weights import FILE, Lora

    return Lora.read(folder / FILE, pipe.unet)


COMPONENTS: dict[str, Component] = {
    "controlnet": Component(
        about="a pose (Arc2Face's: controlnet/config.json and .safetensors of FoivosPar/Arc2Face)",
        load=_controlnet,
    ),
    "exp_adapter": Component(about="asking for an expression", load=_expression),
    "face_tokens": Component(about="a prompt of words beside the face", load=_face_tokens),
    "facex": Component(about="edits by pieces of faces", load=_facex),
    "lcm": Component(
        about="fast sampling (for SD 1.5: pytorch_lora_weights.safetensors of latent-consistency/lcm-lora-sdv1-5)",
        load=_lcm,
    ),
    "parser": Component(
        about="regions as seen, hair and all (for research: jonathandinu/face-parsing, see reading/parser.py)",
        load=_parser,
    ),
    "ref_adapter": Component(
        about="a reference photo (Arc2Face's: ref_adapter/pytorch_lora_weights.safetensors of FoivosPar/Arc2Face)",
        load=_reference,
    ),
    "taesd": Component(about="decoder='tiny'", load=_taesd),
}


def load(name: str, folder: Path | None, pipe: Model) -> Any:
    """The component `name` out of its folder, None if the model has none. Raises `BadOption` for an unknown name,
    `WeightsMissing` if the model's folder has no such part."""
    if name not in COMPONENTS:
        raise unknown_name("component", name, COMPONENTS)
    component = COMPONENTS[name]
    if folder is None:
        where = pipe.name or "this model"
        raise WeightsMissing(
            f"{where} has no {name}/, which {component.about} needs: add that folder to the model's, "
            "or use a model that has it (personae models)"
        )
    require_plain(folder)
    config.require_configs(folder)
    with errors_as(WeightsCorrupt, f"{folder} cannot be loaded", "fetch that folder again"):
        return component.load(folder, pipe)


def present(folder: Path) -> list[str]:
    """The names of the optional components that a model folder has."""
    return [name for name in COMPONENTS if (folder / name).is_dir()]


def copy(source: Path, target: Path) -> None:
    """All optional components of one model folder into another, and what goes with its identities. Raises
    `WeightsCorrupt` for a link that leads out of it: what it leads to must not be sent on with the model."""
    require_plain(source)
    for name in present(source):
        if (source / name).resolve() != (target / name).resolve():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
    for file in (PEOPLE, directions.FILE, limits.FILE):
        if (source / file).is_file() and (source / file).resolve() != (target / file).resolve():
            shutil.copyfile(source / file, target / file)
