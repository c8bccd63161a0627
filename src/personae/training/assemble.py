"""personae assemble --runs runs -o src/personae/weights/nano

Put the exports of nano's recipes together as one model folder: networks, adapters, scheduler, reader, the cloud of
people that random identities are drawn from, the directions in which identities can be shifted, the angles to which it
turns a head, and hashes of it all. What was not trained or measured here is the bundled model's.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from personae.data.labelled_people import LabelledPeople
from personae.errors import BadData, WeightsMissing
from personae.gather import PEOPLE
from personae.identity.directions import FILE as DIRECTIONS
from personae.io import atomic
from personae.models.limits import FILE as LIMITS
from personae.models.limits import Limits
from personae.pipeline import FacePipeline
from personae.reading.reader import FaceReader, pack
from personae.sampling.autoguidance import require_alike
from personae.training import fit_directions, fit_sampler
from personae.training.export import without_origin
from personae.training.export_onnx import quantise
from personae.training.inputs import RECOGNISER, Inputs, bundled

_STEPS, _GUIDANCE = 14, 2.0  # 20 steps are no better; more guidance adds little likeness and breaks more faces
_MOTION_GUIDANCE = 0.1  # heads turn half as far without it, and the expression adapter alone does next to nothing
# Between the score that 99 % of faceless pictures stay under and the one that 98 % of faces pass (see the detector's
# report: 0.67 and 0.81).
_THRESHOLDS: dict[str, Any] = {"score": 0.72, "second_score": 0.77}


def assemble(
    out: str | Path,
    *,
    cache: str | Path,
    runs: str | Path = "runs",
    final: str = "face0-nano",
    limits: str | Path | None = None,
    autoguidance: str | Path | None = None,
) -> None:
    """Write the model folder `out` whole (built beside it and moved into place).

    `final`: the recipe whose UNet and text encoder are taken. `limits`: a measured table of angles
    (`personae.models.limits`). `autoguidance`: an export of the base from earlier in its training, whose UNet guidance
    leads away from (`personae.sampling.autoguidance`); None: it leads away from the base without conditions.

    Raises `WeightsMissing`, naming the recipe to run, if an export is not there, and without a table; an adapter that
    is not is left out. Raises `WeightsCorrupt` for what is no table, `BadData` for parts that do not go together.
    """
    inputs = Inputs(cache=Path(cache), teachers=Path(), runs=Path(runs), bundle=bundled())
    target, table = Path(out), _table(limits, inputs)
    with atomic.folder(target, replace=True) as partial:
        shutil.copyfile(table, partial / LIMITS)
        _fill(partial, inputs, final, None if autoguidance is None else Path(autoguidance))


def _table(limits: str | Path | None, inputs: Inputs) -> Path:
    """The table of angles to take, read once: a model without it would be asked for heads that it cannot make."""
    if limits is not None:
        table = Path(limits)
    elif inputs.bundle is not None:
        table = inputs.bundle / LIMITS
    else:
        raise WeightsMissing(
            "there is no bundled model whose angles could be taken: measure them (personae evaluate --suite angles) "
            "and give limits, a file as docs/guides/formats.md has it"
        )
    Limits.read(table)
    return table


def _fill(partial: Path, inputs: Inputs, final: str, early: Path | None) -> None:
    """All that the model folder holds. early: an export of the base, to guide away from."""
    files, base, half = inputs.of_base(), inputs.export(final), torch.float16
    vae = AutoencoderDC.from_pretrained(files.vae, torch_dtype=half)
    unet = UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=half)
    if vae.config.latent_channels != unet.config.in_channels:
        raise BadData(
            f"the UNet of {base} makes latents of {unet.config.in_channels} channels, the autoencoder of {files.vae} "
            f"has {vae.config.latent_channels}: name the recipe of its base with --final"
        )
    reader_folder = partial / "reader"
    pack(
        reader_folder,
        detector=_small(inputs.export("nano-detector", "detector.onnx"), reader_folder),
        motion=_small(inputs.motion(), reader_folder),
        # In as many bits as in training: its hash names the space that every identity belongs to.
        embedder=files.embedder,
        recogniser=RECOGNISER,
        width=128,
        points="landmarks",
        **_THRESHOLDS,
    )
    reader = FaceReader.from_folder(reader_folder)
    pipe = FacePipeline(
        vae=without_origin(vae),
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder", dtype=half),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer"),
        unet=without_origin(unet),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        reader=reader,
        crop_template=files.frame.template,
        steps=_STEPS,
        guidance_scale=_GUIDANCE,
        motion_guidance=_MOTION_GUIDANCE,
    )
    if early is not None:
        _early(early / "unet", unet).save_pretrained(partial / "autoguidance")
    for name, folder in inputs.adapters(final).items():
        shutil.copytree(folder, partial / name)
    people, others = (
        LabelledPeople.read(inputs.cache, reader.embedder, held_out=held_out) for held_out in (False, True)
    )
    fit_sampler.fit(people, others, reader.space).save(partial / PEOPLE)
    fit_directions.write(partial / DIRECTIONS, people, others, reader.space)
    shutil.copyfile(Path(__file__).with_name("nano_card.md"), partial / "README.md")
    pipe.save_pretrained(partial)  # takes the hashes of everything in the folder


def _early(folder: Path, unet: UNet2DConditionModel) -> Any:
    """The UNet of an earlier export. Raises `WeightsMissing` if there is none, `WeightsCorrupt` for another base's."""
    if not folder.is_dir():
        raise WeightsMissing(f"{folder} is not there: autoguidance takes an export of `personae train portrait`")
    weaker = UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float16)
    require_alike(weaker, unet, folder)
    return without_origin(weaker)


def _small(network: Path, folder: Path) -> Path:
    """The copy of an ONNX file in `folder`, its weights in 8 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = Path(shutil.copy(network, folder))
    quantise(copy)
    return copy
