"""The optional parts of a model folder: there if the folder has them, loaded when first asked for.

    pipe.extra("controlnet")      # WeightsMissing, naming what to fetch, if the folder has none

A row names the folder and says how to load it; what a loaded part can do is its own module's business.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personae import angles, directions, model_config
from personae.errors import WeightsCorrupt, WeightsMissing, unknown_name
from personae.identity import PEOPLE
from personae.io.boundary import errors_as
from personae.io.folder import require_plain

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline


@dataclass(frozen=True, kw_only=True)
class Extra:
    """`folder`: below the model's; `about`: what it is for, in a few words; `load`: (its folder, the pipeline) -> the
    part, on the pipeline's device and in its precision."""

    folder: str
    about: str
    load: Callable[[Path, "FacePipeline"], Any]


def _expression(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.conditioning.expression_adapter import ExpressionAdapter

    return ExpressionAdapter.load(folder, pipe.unet)


def _face_tokens(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.conditioning.face_tokens import FaceTokens, require_fit

    network = FaceTokens.load(folder)
    require_fit(
        network,
        space=pipe.config.identity_space,
        text_width=pipe.text_encoder.config.hidden_size,
        pooled=pipe.unet.config.class_embed_type is not None,
        where=folder,
    )
    return network


def _facex(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.conditioning.facex import FaceX, require_fit

    network = FaceX.load(folder)
    require_fit(network, space=pipe.config.identity_space, unet=pipe.unet, where=folder)
    return network


def _parser(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.reading.parser import FaceParser

    return FaceParser.load(folder).to(pipe.device)


def _taesd(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.sampling import tiny_decoder

    return tiny_decoder.load(folder, pipe)


def _lcm(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.sampling.few_steps import FewSteps

    return FewSteps.read(folder, pipe.unet, like=pipe.scheduler)


def _controlnet(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.sampling import controlnet

    return controlnet.load(folder, pipe.unet)


def _reference(folder: Path, pipe: "FacePipeline") -> Any:
    from personae.sampling.lora import FILE, Lora

    return Lora.read(folder / FILE, pipe.unet)


EXTRAS: dict[str, Extra] = {
    "controlnet": Extra(
        folder="controlnet",
        about="a pose (Arc2Face's: controlnet/config.json and .safetensors of FoivosPar/Arc2Face)",
        load=_controlnet,
    ),
    "expression": Extra(folder="exp_adapter", about="asking for an expression", load=_expression),
    "face_tokens": Extra(folder="face_tokens", about="a prompt of words beside the face", load=_face_tokens),
    "facex": Extra(folder="facex", about="edits by pieces of faces", load=_facex),
    "lcm": Extra(
        folder="lcm",
        about="fast sampling (for SD 1.5: pytorch_lora_weights.safetensors of latent-consistency/lcm-lora-sdv1-5)",
        load=_lcm,
    ),
    "parser": Extra(
        folder="parser",
        about="regions as seen, hair and all (for research: jonathandinu/face-parsing, see reading/parser.py)",
        load=_parser,
    ),
    "reference": Extra(
        folder="ref_adapter",
        about="a reference photo (Arc2Face's: ref_adapter/pytorch_lora_weights.safetensors of FoivosPar/Arc2Face)",
        load=_reference,
    ),
    "taesd": Extra(folder="taesd", about="decoder='tiny'", load=_taesd),
}


def load(name: str, pipe: "FacePipeline") -> Any:
    """Raises `BadOption` for an unknown name, `WeightsMissing` if the model's folder has no such part."""
    if name not in EXTRAS:
        raise unknown_name("part", name, EXTRAS)
    extra = EXTRAS[name]
    folder = pipe.part(extra.folder)
    if folder is None:
        where = pipe.name or "this model"
        raise WeightsMissing(
            f"{where} has no {extra.folder}/, which {extra.about} needs: add that folder to the model's, "
            "or use a model that has it (personae models)"
        )
    require_plain(folder)
    model_config.require_configs(folder)
    with errors_as(WeightsCorrupt, f"{folder} cannot be loaded", "fetch that folder again"):
        return extra.load(folder, pipe)


def present(folder: Path) -> list[str]:
    """The names of the extras that a model folder has."""
    return [name for name, extra in EXTRAS.items() if (folder / extra.folder).is_dir()]


def copy(source: Path, target: Path) -> None:
    """All extras of one model folder into another, and what goes with its identities. Raises `WeightsCorrupt` for a
    link that leads out of it: what it leads to must not be sent on with the model."""
    require_plain(source)
    for name in present(source):
        part = EXTRAS[name].folder
        if (source / part).resolve() != (target / part).resolve():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
    for file in (PEOPLE, directions.FILE, angles.FILE):
        if (source / file).is_file() and (source / file).resolve() != (target / file).resolve():
            shutil.copyfile(source / file, target / file)
