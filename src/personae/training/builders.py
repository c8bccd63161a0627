"""What each recipe trains: a function of its inputs. Imports are late, so that a list of recipes loads nothing."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from personae.errors import BadOption, WeightsMissing
from personae.training.inputs import Inputs
from personae.training.loop import Trainable

if TYPE_CHECKING:
    from personae.training.methods.facex.method import FaceXTask

_GENERATED = 6000  # pictures for nano-motion-made


def autoencoder(inputs: Inputs) -> Trainable:
    from personae.training.methods.autoencoder.method import AutoencoderTask

    return AutoencoderTask(inputs.cache, inputs.teachers / "mobilefacenet.onnx")


def portrait_autoencoder(inputs: Inputs) -> Trainable:
    from personae.training.methods.portrait_autoencoder.method import PortraitAutoencoderTask

    recogniser = inputs.teachers / "mobilefacenet.onnx"
    start = inputs.earlier("portrait-autoencoder", "vae")
    return PortraitAutoencoderTask(inputs.caches(), inputs.features(), recogniser, stream=inputs.stream(), start=start)


def portrait_decoder(inputs: Inputs) -> Trainable:
    from personae.training.methods.portrait_autoencoder.method import PortraitDecoderTask
    from personae.training.methods.portrait_autoencoder.redrawn import Redrawn

    vae, base = inputs.head_vae(), inputs.heads()
    return PortraitDecoderTask(
        vae,
        inputs.caches(),
        inputs.features(),
        inputs.teachers / "mobilefacenet.onnx",
        stream=inputs.stream(),
        redrawn=None if base is None else Redrawn.of(base, inputs.embedder()),
    )


def portrait(inputs: Inputs) -> Trainable:
    from personae.training.methods.portrait.method import PortraitTask

    files = inputs.heads_files()
    return PortraitTask(
        replace(files, start=inputs.earlier("portrait") or inputs.shipped_if_any()),
        stream=inputs.stream(),
        drawn=inputs.draw,
        tokenizer=inputs.runs / "portrait" / "tokenizer",
    )


def portrait_small_decoder(inputs: Inputs) -> Trainable:
    from personae.training.methods.small_decoder.method import SmallDecoderTask

    return SmallDecoderTask(inputs.heads_files())


def embedder(inputs: Inputs) -> Trainable:
    from personae.training.methods.embedder.blockwise import BlockwiseTask

    return BlockwiseTask(inputs.caches(), inputs.teachers)


def embedder_longer(inputs: Inputs) -> Trainable:
    from personae.training.methods.embedder.method import EmbedderTask

    return EmbedderTask(inputs.caches(), inputs.teachers, start=inputs.export("nano-embedder", "embedder.onnx"))


def detector(inputs: Inputs) -> Trainable:
    from personae.training.methods.detector.method import DetectorTask

    return DetectorTask(inputs.cache)


def motion(inputs: Inputs) -> Trainable:
    from personae.training.methods.motion.method import MotionTask

    return MotionTask(inputs.cache)


def motion_generated(inputs: Inputs) -> Trainable:
    from personae.data.teachers import Teachers
    from personae.training.methods.motion.generated_faces import GeneratedFaces
    from personae.training.methods.motion.method import MotionTask

    file = inputs.runs / "nano-motion-made" / "made.npz"
    generated = GeneratedFaces.load_or_make(
        file, lambda: facex(inputs, pairs=1.0), Teachers(inputs.teachers), _GENERATED
    )
    return MotionTask(inputs.cache, start=inputs.export("nano-motion", "motion.pt"), generated=generated)


def base(inputs: Inputs) -> Trainable:
    from personae.training.methods.base.method import BaseTask

    return BaseTask(inputs.of_base(fresh=True), identity_weight=0.15)


def longer(inputs: Inputs) -> Trainable:
    from personae.training.methods.base.method import BaseTask

    return BaseTask(replace(inputs.of_base(fresh=True), start=inputs.export("nano-base")), identity_weight=0.2)


def controlnet(inputs: Inputs) -> Trainable:
    from personae.training.methods.pose.method import PoseControlTask

    return PoseControlTask(inputs.of_base(), inputs.motion())


def expression(inputs: Inputs) -> Trainable:
    from personae.training.methods.expression.method import ExpressionTask

    return ExpressionTask(inputs.of_base(), inputs.motion())


def fast(inputs: Inputs) -> Trainable:
    from personae.training.methods.distil.method import DistilTask

    return DistilTask(inputs.of_base())


def face0(inputs: Inputs) -> Trainable:
    from personae.training.methods.face0.method import Face0Task

    return Face0Task(inputs.of_base(), inputs.motion(), space=inputs.space())


def face0_sd15(inputs: Inputs) -> Trainable:
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


def facex(inputs: Inputs, **options: Any) -> "FaceXTask":
    from personae.training.methods.facex.method import FaceXTask

    return FaceXTask(inputs.of_base(), inputs.motion(), space=inputs.space(), **options)


def facex_sd15(inputs: Inputs) -> Trainable:
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


def reference(inputs: Inputs) -> Trainable:
    from personae.training.methods.reference.method import ReferenceTask

    return ReferenceTask(inputs.of_base())


def watermark(inputs: Inputs) -> Trainable:
    from personae.training.methods.watermark.method import WatermarkTask

    return WatermarkTask(inputs.caches())
