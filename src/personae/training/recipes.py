"""personae train NAME --cache cache/faces --teachers ../shared/teachers

Every named run: what it builds, how long, how fast. The order in which nano came to be is the order below; a later
recipe finds the exports of the earlier ones under `--runs` (default `runs/`), or else in the bundled model.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from personae.errors import BadOption, WeightsMissing, unknown_name
from personae.io import lock
from personae.models import catalog
from personae.training.loop import Schedule, Trainable, train

if TYPE_CHECKING:
    from personae.training.methods.facex.method import FaceXTask
    from personae.training.methods.portrait_autoencoder.features import FrozenFeatures

RECOGNISER = "personae-nano"  # how nano's encoder is called in the names of its identities' space
# What adapts nano's base, and the folder that each recipe exports for the model's.
ADAPTERS = {
    "face0-nano": "face_tokens",
    "facex-nano": "facex",
    "nano-controlnet": "controlnet",
    "nano-expression": "exp_adapter",
    "nano-fast": "lcm",
    "nano-reference": "ref_adapter",
}
# Where the bundled model keeps what a recipe exports, so that training can go on from it anywhere.
_BUNDLED: dict[tuple[str, ...], str] = {
    ("nano-autoencoder", "vae"): "vae",
    ("nano-embedder", "embedder.onnx"): "reader/embedder.onnx",
    ("nano-detector", "detector.onnx"): "reader/detector.onnx",
    ("nano-motion", "motion.onnx"): "reader/motion.onnx",
    ("nano-base",): "",
    ("face0-nano",): "",
    **{(recipe, folder): folder for recipe, folder in ADAPTERS.items()},
}
_MADE = 6000  # pictures for nano-motion-made


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Where a recipe finds what it needs."""

    cache: Path  # labelled shards, made by `personae prepare`
    teachers: Path  # the labellers' folder
    runs: Path  # earlier recipes' outputs
    people: Path | None = None  # more labelled shards: people who do not exist, made by `personae prepare people`
    bundle: Path | None = None  # a model folder that stands in for runs that are not there
    data: Path | None = None  # pictures, see `data.captioned`
    base: Path | None = None  # a Stable Diffusion folder in diffusers' layout; facex-sd15: a model, by name or folder
    reader: str = "nano"  # the model whose reader measures faces in captioned pictures
    backbone: Path | None = None  # a DINOv2 that FaceX begins with

    def export(self, recipe: str, *parts: str) -> Path:
        """A file or folder that another recipe exported, or else the bundle's; `WeightsMissing` names the command
        that makes it."""
        path = self.runs.joinpath(recipe, "export", *parts)
        bundled = _BUNDLED.get((recipe, *parts))
        places = [path] if self.bundle is None or bundled is None else [path, self.bundle / bundled]
        for place in places:
            if place.exists():
                return place
        raise WeightsMissing(f"{path} is not there: run `personae train {recipe}` first")

    def caches(self) -> list[Path]:
        """All labelled shards: of photos and, if there are, of people who do not exist."""
        return [self.cache] if self.people is None else [self.cache, self.people]

    def features(self) -> "FrozenFeatures":
        """What pictures are compared by; fetched into `runs` if it is not there."""
        from personae.training.methods.portrait_autoencoder.features import LITE0, FrozenFeatures

        self.runs.mkdir(parents=True, exist_ok=True)
        return FrozenFeatures.of_wheel(LITE0.find(self.runs))

    def adapters(self) -> dict[str, Path]:
        """The folders of those of `ADAPTERS` that were trained, by the name that each has in a model's folder."""
        found = {}
        for recipe, folder in ADAPTERS.items():
            with suppress(WeightsMissing):
                found[folder] = self.export(recipe, folder)
        return found

    def motion(self) -> Path:
        """The newest motion network."""
        with suppress(WeightsMissing):
            return self.export("nano-motion-made", "motion.onnx")
        return self.export("nano-motion", "motion.onnx")

    def of_base(self) -> tuple[Path, Path, Path]:
        """Cache, autoencoder and embedder: what every training on the base's latents needs."""
        return self.cache, self.export("nano-autoencoder", "vae"), self.export("nano-embedder", "embedder.onnx")

    def space(self) -> str:
        """Of the embedder's identities."""
        from personae.reading.embed import EmbedderConfig, space_name
        from personae.reading.onnx_file import file_sha256

        return space_name(
            RECOGNISER, EmbedderConfig.template, file_sha256(self.export("nano-embedder", "embedder.onnx"))
        )

    def shipped(self) -> Path:
        """The UNet that ships, which an adapter goes with."""
        return self.bundle or self.export("nano-base")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One named run."""

    name: str
    summary: str
    build: Callable[[Inputs], Trainable]
    schedule: Schedule


def _autoencoder(inputs: Inputs) -> Trainable:
    from personae.training.methods.autoencoder.method import AutoencoderTask

    return AutoencoderTask(inputs.cache, inputs.teachers / "mobilefacenet.onnx")


def _portrait_autoencoder(inputs: Inputs) -> Trainable:
    from personae.training.methods.portrait_autoencoder.method import PortraitAutoencoderTask

    return PortraitAutoencoderTask(inputs.caches(), inputs.features(), inputs.teachers / "mobilefacenet.onnx")


def _portrait_decoder(inputs: Inputs) -> Trainable:
    from personae.training.methods.portrait_autoencoder.method import PortraitDecoderTask

    vae = inputs.export("portrait-autoencoder", "vae")
    return PortraitDecoderTask(vae, inputs.caches(), inputs.features(), inputs.teachers / "mobilefacenet.onnx")


def _embedder(inputs: Inputs, *, longer: bool = False) -> Trainable:
    from personae.training.methods.embedder.method import EmbedderTask

    start = inputs.export("nano-embedder", "embedder.onnx") if longer else None
    return EmbedderTask(inputs.caches(), inputs.teachers, start=start)


def _detector(inputs: Inputs) -> Trainable:
    from personae.training.methods.detector.method import DetectorTask

    return DetectorTask(inputs.cache)


def _motion(inputs: Inputs) -> Trainable:
    from personae.training.methods.motion.method import MotionTask

    return MotionTask(inputs.cache)


def _motion_made(inputs: Inputs) -> Trainable:
    from personae.data.teachers import Teachers
    from personae.training.methods.motion.generated_faces import MadeFaces
    from personae.training.methods.motion.method import MotionTask

    kept = inputs.runs / "nano-motion-made" / "made.npz"
    made = MadeFaces.kept(kept, lambda: _facex(inputs, pairs=1.0), Teachers(inputs.teachers), _MADE)
    return MotionTask(inputs.cache, start=inputs.export("nano-motion", "motion.pt"), made=made)


def _base(inputs: Inputs) -> Trainable:
    from personae.training.methods.base.method import BaseTask

    return BaseTask(*inputs.of_base(), identity_weight=0.15)


def _longer(inputs: Inputs) -> Trainable:
    from personae.training.methods.base.method import BaseTask

    return BaseTask(*inputs.of_base(), start=inputs.export("nano-base"), identity_weight=0.2)


def _controlnet(inputs: Inputs) -> Trainable:
    from personae.training.methods.pose.method import PoseControlTask

    return PoseControlTask(*inputs.of_base(), inputs.motion(), start=inputs.shipped())


def _expression(inputs: Inputs) -> Trainable:
    from personae.training.methods.expression.method import ExpressionTask

    return ExpressionTask(*inputs.of_base(), inputs.motion(), start=inputs.shipped())


def _fast(inputs: Inputs) -> Trainable:
    from personae.training.methods.distil.method import DistilTask

    return DistilTask(*inputs.of_base(), start=inputs.shipped())


def _face0(inputs: Inputs) -> Trainable:
    from personae.training.methods.face0.method import Face0Task

    return Face0Task(*inputs.of_base(), inputs.motion(), start=inputs.shipped(), space=inputs.space())


def _face0_sd15(inputs: Inputs) -> Trainable:
    from personae.data.captioned import find
    from personae.models.readers import open_reader
    from personae.training.methods.face0.sd15 import Face0Sd15Task

    if inputs.data is None or inputs.base is None:
        raise BadOption(
            "face0-sd15 trains a Stable Diffusion 1.5 on captioned pictures: name its folder with --base, theirs "
            "with --data"
        )
    reader = open_reader(inputs.reader)
    if reader is None:
        raise WeightsMissing(f"{inputs.reader} came without a reader: name a model that has one with --reader")
    return Face0Sd15Task(find(inputs.data), inputs.base, reader)


def _facex(inputs: Inputs, **options: Any) -> "FaceXTask":
    from personae.training.methods.facex.method import FaceXTask

    return FaceXTask(*inputs.of_base(), inputs.motion(), start=inputs.shipped(), space=inputs.space(), **options)


def _facex_sd15(inputs: Inputs) -> Trainable:
    from personae.data.captioned import find
    from personae.pipeline import FacePipeline
    from personae.training.methods.facex.sd15 import FaceXSd15Task

    if inputs.data is None or inputs.base is None:
        raise BadOption(
            "facex-sd15 trains beside a model, on photos: name the model with --base, the photos with --data"
        )
    base = FacePipeline.from_pretrained(
        str(inputs.base), dtype=torch.float32
    )  # not `load`: its layers have no gradient
    return FaceXSd15Task(find(inputs.data, captioned=False), base, backbone=inputs.backbone)


def _reference(inputs: Inputs) -> Trainable:
    from personae.training.methods.reference.method import ReferenceTask

    return ReferenceTask(*inputs.of_base(), start=inputs.shipped())


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="nano-embedder",
            summary="identity encoder, distilled from the teacher recogniser",
            build=_embedder,
            schedule=Schedule(
                steps=2000,
                batch=128,
                lr=2e-3,
                warmup=100,
                decay=0.5,
                ema=0.998,
                weight_decay=0.02,
                report_every=250,
            ),
        ),
        Recipe(
            name="nano-embedder-longer",
            summary="the identity encoder goes on, from its export or the bundled one; with --people, on these, too",
            build=partial(_embedder, longer=True),
            schedule=Schedule(
                steps=12_000,
                batch=128,
                lr=1e-3,
                warmup=100,
                decay=0.7,
                ema=0.998,
                weight_decay=0.02,
                report_every=250,
                compile=False,
            ),
        ),
        Recipe(
            name="nano-detector",
            summary="faces in whole photos: boxes and five points, on composed scenes",
            build=_detector,
            schedule=Schedule(
                steps=3000, batch=16, lr=2e-3, warmup=100, decay=0.5, ema=0.998, weight_decay=0.02, report_every=1500
            ),
        ),
        Recipe(
            name="nano-motion",
            summary="landmarks, head pose and blendshapes of an aligned face",
            build=_motion,
            schedule=Schedule(
                steps=3000, batch=64, lr=2e-3, warmup=100, decay=0.5, ema=0.998, weight_decay=0.02, report_every=1500
            ),
        ),
        Recipe(
            name="nano-motion-made",
            summary="the motion network goes on, on what FaceX makes, too: read as the teacher reads it",
            build=_motion_made,
            schedule=Schedule(
                steps=1500, batch=64, lr=1e-3, warmup=50, decay=0.7, ema=0.998, weight_decay=0.02, report_every=750
            ),
        ),
        Recipe(
            name="nano-autoencoder",
            summary="128-px faces <-> (8, 16, 16) latents",
            build=_autoencoder,
            schedule=Schedule(
                steps=1500,
                batch=32,
                lr=8e-4,
                warmup=100,
                decay=0.4,
                ema=0.998,
                weight_decay=0.0,
                report_every=500,
            ),
        ),
        Recipe(
            name="portrait-autoencoder",
            summary="heads of 256 px <-> latents, by likeness; with --people, which hold whole heads",
            build=_portrait_autoencoder,
            # Not compiled: pictures come in two sizes, and it was slower in the pilot.
            schedule=Schedule(
                steps=20_000,
                batch=8,
                lr=6e-4,
                warmup=60,
                decay=0.7,
                ema=0.999,
                weight_decay=0.0,
                report_every=1000,
                compile=False,
            ),
        ),
        Recipe(
            name="portrait-decoder",
            summary="its decoder goes on against a discriminator: skin and hair; latents stay",
            build=_portrait_decoder,
            schedule=Schedule(
                steps=15_000,
                batch=8,
                lr=3e-4,
                warmup=60,
                decay=0.5,
                betas=(0.0, 0.99),
                ema=0.999,
                weight_decay=0.0,
                report_every=1000,
                compile=False,
            ),
        ),
        Recipe(
            name="nano-base",
            summary="text encoder + UNet: identity (and words) to faces",
            build=_base,
            schedule=Schedule(steps=1900, batch=64, lr=7e-4, warmup=200, decay=0.3, ema=0.996, report_every=950),
        ),
        Recipe(
            name="nano-longer",
            summary="the base goes on, from its export or the bundled weights: Muon, identity of samples",
            build=_longer,
            schedule=Schedule(
                steps=5000, batch=64, lr=1e-3, optimizer="muon", warmup=100, decay=0.4, ema=0.998, report_every=500
            ),
        ),
        Recipe(
            name="nano-controlnet",
            summary="pose: faces that hold a normal map's pose and expression",
            build=_controlnet,
            schedule=Schedule(
                steps=1000, batch=48, lr=2e-3, warmup=100, decay=0.4, ema=0.998, weight_decay=0.0, report_every=1000
            ),
        ),
        Recipe(
            name="nano-expression",
            summary="faces that do what blendshapes ask: an adapter beside the base",
            build=_expression,
            # Not compiled: torch 2.13 then gives an IP-Adapter's processors no gradient (the norm stays 0).
            schedule=Schedule(
                steps=2000, batch=64, lr=1e-3, warmup=50, decay=0.4, ema=0.998, report_every=1000, compile=False
            ),
        ),
        Recipe(
            name="nano-fast",
            summary="a LoRA for four steps without guidance, distilled from twelve with it",
            build=_fast,
            schedule=Schedule(
                steps=400,
                batch=16,
                lr=1e-3,
                warmup=20,
                decay=0.5,
                ema=0.99,
                weight_decay=0.0,
                report_every=200,
                compile=False,
            ),
        ),
        Recipe(
            name="face0-nano",
            summary="text, face and both (Face0): the base goes on, and a projector beside it",
            build=_face0,
            schedule=Schedule(
                steps=1400, batch=48, lr=5e-4, optimizer="muon", warmup=100, decay=0.5, ema=0.998, report_every=1400
            ),
        ),
        Recipe(
            name="face0-sd15",
            summary="text and face together on Stable Diffusion 1.5, as published: --data, --base, --reader",
            build=_face0_sd15,
            # The paper's, but for `at_once`, Adam's betas and the decay of weights, of which it says nothing.
            schedule=Schedule(
                steps=500_000,
                batch=256,
                at_once=8,
                lr=2e-5,
                warmup=0,
                decay=0.0,
                betas=(0.9, 0.999),
                ema=0.9999,
                report_every=5000,
                save_minutes=30,
            ),
        ),
        Recipe(
            name="facex-nano",
            summary="one controller for every facial edit (FaceX)",
            build=_facex,
            # Not compiled: hooks and all, every request would be compiled anew.
            schedule=Schedule(
                steps=1750,
                batch=56,
                lr=1e-3,
                warmup=100,
                decay=0.4,
                ema=0.998,
                weight_decay=0.01,
                report_every=500,
                compile=False,
            ),
        ),
        Recipe(
            name="facex-sd15",
            summary="the same on Stable Diffusion 1.5, as Arc2Face: --data, --base, --backbone",
            build=_facex_sd15,
            # Ours, and untried: the paper gives none.
            schedule=Schedule(
                steps=100_000,
                batch=32,
                at_once=4,
                lr=5e-5,
                warmup=1000,
                decay=0.2,
                ema=0.9999,
                report_every=2500,
                save_minutes=30,
                compile=False,
            ),
        ),
        Recipe(
            name="nano-reference",
            summary="a LoRA with which faces keep the look of a reference photo",
            build=_reference,
            schedule=Schedule(
                steps=1000,
                batch=64,
                lr=1e-3,
                warmup=50,
                decay=0.4,
                ema=0.998,
                weight_decay=0.0,
                report_every=500,
                compile=False,
            ),
        ),
    )
}


def bundled() -> Path | None:
    """The folder of the model in the package, if it is there."""
    nano = catalog.MODELS["nano"]
    return catalog.resolve(nano.name) if catalog.present(nano) else None


def recipe(name: str) -> Recipe:
    """A recipe by name; an unknown one is answered with the nearest."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


def run(
    name: str,
    *,
    cache: str | Path,
    teachers: str | Path,
    runs: str | Path = "runs",
    steps: int | None = None,
    minutes: float | None = None,
    compiled: bool | None = None,
    people: str | Path | None = None,
    data: str | Path | None = None,
    base: str | Path | None = None,
    reader: str = "nano",
    backbone: str | Path | None = None,
) -> dict[str, float]:
    """Run, or go on with, a recipe; returns its last report. `steps` and `compiled` override the schedule's,
    `minutes` stops early (resume with the same command). people, data, base, reader, backbone: as in
    `Inputs`, for the recipes that take them."""
    chosen = recipe(name)
    schedule = replace(
        chosen.schedule,
        steps=chosen.schedule.steps if steps is None else steps,
        compile=chosen.schedule.compile if compiled is None else compiled,
    )
    inputs = Inputs(
        cache=Path(cache),
        teachers=Path(teachers),
        runs=Path(runs),
        people=None if people is None else Path(people),
        bundle=bundled(),
        data=None if data is None else Path(data),
        base=None if base is None else Path(base),
        reader=reader,
        backbone=None if backbone is None else Path(backbone),
    )
    folder = inputs.runs / name
    if folder.is_dir():
        with lock.own(folder / lock.NAME, f"the training run {folder}"):
            pass  # that another process has it is said before the data are read
    torch.manual_seed(schedule.seed)  # of the fresh weights
    return train(chosen.build(inputs), schedule, folder, minutes=minutes)
