"""The optional components of a model: there if its folder has them, loaded when first used.

    pipe.component("controlnet")      # WeightsMissing, naming what to fetch, if the folder has none

A row's name is the name of the component in the pipeline (`pipe.controlnet`, None until it is loaded) and of its folder
in the model's. What a component can do is the business of its own module.
"""

import shutil
from collections.abc import Callable, Mapping
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
    """One row of the table.

    about: what it is for, in a few words. load: (its folder, the pipeline) -> the component, an nn.Module with `device`
    and `dtype`, in the precision that it is used in; the pipeline brings it to its device. A component is written by
    its own `save(folder)`, or by `save_pretrained` if it is one of diffusers'.
    """

    about: str
    load: Callable[[Path, Model], Any]


def _autoguidance(folder: Path, pipe: Model) -> Any:
    from personae.sampling import autoguidance

    return autoguidance.load(folder, pipe)


def _expression(folder: Path, pipe: Model) -> Any:
    from personae.conditioning.expression_adapter import ExpressionAdapter

    return ExpressionAdapter.load(folder, pipe.unet).to(pipe.unet.dtype)


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
    network.controller.to(pipe.unet.dtype)  # it adds to the UNet's own layers; what reads faces stays in float32
    return network


def _parser(folder: Path, pipe: Model) -> Any:
    from personae.reading.parser import FaceParser

    return FaceParser.load(folder)


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
    "autoguidance": Component(about="guidance away from an earlier state of the UNet", load=_autoguidance),
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


def require_known(name: str) -> None:
    """Raise `BadOption`, naming the nearest, unless there is a component of that name."""
    if name not in COMPONENTS:
        raise unknown_name("component", name, COMPONENTS)


def require_present(name: str, folder: Path | None, pipe: Model) -> Path:
    """The `folder` of a component of `pipe`. Raises `WeightsMissing`, saying what it is for, if there is none."""
    if folder is None:
        raise WeightsMissing(
            f"{pipe.name or 'this model'} has no {name}/, which {COMPONENTS[name].about} needs: add that folder to the "
            "model's, or use a model that has it (personae models)"
        )
    return folder


def load(name: str, folder: Path, pipe: Model) -> Any:
    """A component out of its folder.

    Arguments:
        name: of a row of `COMPONENTS`.
        folder: where it lies.
        pipe: the model that it must fit; its UNet's weights must be in memory.

    Raises `WeightsMissing` for a folder that lacks a file, `WeightsCorrupt` for files that cannot be read or belong to
    another model.
    """
    require_plain(folder)
    config.require_configs(folder)
    with errors_as(WeightsCorrupt, f"{folder} cannot be loaded", "fetch that folder again"):
        module = COMPONENTS[name].load(folder, pipe)
    lacking = [key for key, weight in module.state_dict().items() if weight.is_meta]
    if lacking:  # diffusers leaves what a file does not hold without numbers
        raise WeightsCorrupt(f"{folder} lacks {lacking[0]}: fetch that folder again")
    return module


def present(folder: Path) -> list[str]:
    """The names of the optional components that a model folder has."""
    return [name for name in COMPONENTS if (folder / name).is_dir()]


def save(modules: Mapping[str, Any], folders: Mapping[str, Path], target: Path) -> None:
    """Write the components of a model into the folder `target`.

    Arguments:
        modules: those in memory, by name.
        folders: of those that lie in a folder, in memory or not: the folder is copied, so that a component which is
            stored in few bytes stays as it is. A module without one is written by itself.

    Raises `WeightsCorrupt` as `copy`, `BadOutput`.
    """
    for name in COMPONENTS:
        if name in folders:
            _copy_folder(folders[name], target / name)
        elif (module := modules.get(name)) is not None:
            write = getattr(module, "save_pretrained", None) or module.save
            write(target / name)


def copy_identity_files(source: Path, target: Path) -> None:
    """What goes with the identities of a model, from one model folder into another. Raises as `copy`."""
    require_plain(source)
    for file in (PEOPLE, directions.FILE, limits.FILE):
        if (source / file).is_file() and (source / file).resolve() != (target / file).resolve():
            shutil.copyfile(source / file, target / file)


def copy(source: Path, target: Path) -> None:
    """All optional components of one model folder into another, and what goes with its identities. Raises
    `WeightsCorrupt` for a link that leads out of it: what it leads to must not be sent on with the model."""
    copy_identity_files(source, target)
    for name in present(source):
        _copy_folder(source / name, target / name)


def _copy_folder(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        shutil.copytree(source, target, dirs_exist_ok=True)
