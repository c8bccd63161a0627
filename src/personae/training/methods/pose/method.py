"""Recipe `nano-controlnet`: faces that hold the pose and expression of a normal map.

A copy of the UNet's encoder is shown, beside what the UNet is told, the map of the very photo that is being denoised,
drawn from that photo's labelled landmarks, and learns what to add to the UNet's skips (Zhang et al. 2023). UNet and
text encoder stay as they are, so everything else the model can do stays too. Only low-rank changes of the copy and the
layers that a ControlNet adds are trained and shipped (`sampling.controlnet.save_difference`).

What a noised photo still shows of a pose, the map need not tell. So some people are sampled from noise, shown the map
of their own face as it would hold and move otherwise (`own_photo`), and the motion network judges.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from personae.conditioning.facex.representation import pose_numbers
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import mirrored, place, render
from personae.reading import align
from personae.reading.face_motion import MotionConfig, OnnxMotionReader
from personae.reading.onnx_file import file_sha256
from personae.sampling import codec, schedulers
from personae.sampling.controlnet import PoseControl, save_difference, to_maps
from personae.sampling.fast import modes
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training import captions, self_edit_tasks
from personae.training.compilation import compile_blocks
from personae.training.crop_motion import crop_poses, marks_in_crops
from personae.training.face_table import FaceTable
from personae.training.jitter import jitter
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import Prepared
from personae.training.methods.base.method import BaseTask
from personae.training.methods.pose.network import trainable_copy
from personae.training.motion_judge import MotionJudge
from personae.training.rollout import ends_and_scales, roll
from personae.types import Array, Motion, Pose

RANK = 4
CHANNELS = (12, 24, 32, 48)  # of the map's embedding; with rank 4, nano's difference takes 1.1 MB
_TURNED = 0.5  # the share of those who are read back that hold somebody else's pose; the rest is asked for anything
_EARLY = 0.7  # of the times, see `noised`
_SIDE = 128  # of nano's images
_STEPS, _GUIDANCE = 12, 2.5  # of the report's samples
_SHOWN = 64  # held-out people in the report


class PoseControlTask(BaseTask):
    """See `training.loop.Trainable`. Photos, latents and prompts are the base recipe's; `model` is the ControlNet."""

    def __init__(
        self,
        cache: Path,
        vae: Path,
        embedder: Path,
        motion: Path,
        *,
        start: Path,
        rank: int = RANK,
        channels: tuple[int, ...] = CHANNELS,
        read_weight: float = 0.3,
        read_images: int = 8,
    ) -> None:
        """`start`: the folder of the UNet, text encoder and tokenizer that the ControlNet is for. `motion`: the
        bundled motion reader, which judges samples. `read_weight`: of what it reads off `read_images` sampled faces."""
        super().__init__(cache, vae, embedder, start=start)
        home = modes.device_for(None)
        base = self.model.to(home, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.frozen = base.eval().requires_grad_(False)
        network = trainable_copy(self.frozen.unet, rank=rank, channels=channels)
        if home.type == "cpu":
            network.set_attn_processor(AttnProcessor())  # as in the base recipe: faster over sequences this short
        self.model = network  # what this recipe trains takes the base's place
        self.faces = FaceModel.bundled()
        self.read_weight, self.read_images = read_weight, read_images
        self.judge = MotionJudge(motion, "portrait", self.shapes.std(0))
        config = MotionConfig(file=motion.name, sha256=file_sha256(motion))
        self.reader = OnnxMotionReader(motion.parent, config, threads=1)

    def compile(self) -> None:
        compile_blocks(self.frozen.unet)
        compile_blocks(self.model)

    def _prepare(self, table: FaceTable, views: int, path: Path) -> Prepared:
        self.marks, self.poses, self.shapes = marks_in_crops(table), crop_poses(table), table.blendshapes
        return super()._prepare(table, views, path)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """As the base recipe's, with `maps` (N, 128, 128, 3) uint8 drawn on the way, 5 ms each; and `asked`: who is to
        do what."""
        rows = rng.integers(self.data.latents.shape[1], size=size)
        sides = rng.integers(2, size=size)
        views = rng.integers(self.data.vectors.shape[2], size=size)
        prompts = [self._prompt(self.measures[side][row], rng) for side, row in zip(sides, rows, strict=True)]
        maps = [render(self.marks[row], self.faces.triangles, _SIDE) for row in rows]
        return {
            "latents": self.data.latents[sides, rows],
            "vectors": self.data.vectors[sides, rows, views],
            "inside": self.data.inside[sides, rows],
            "tokens": self.tokens(prompts),
            "maps": np.stack([mirrored(one) if side else one for one, side in zip(maps, sides, strict=True)]),
            "asked": self._asked(rng),
        }

    def _asked(self, rng: np.random.Generator) -> dict[str, Array]:
        """`vectors`, `maps` as above, and the `pose` (3,), as `representation` scales it, and `expression` (52,)."""
        who, others = rng.integers(len(self.marks), size=(2, self.read_images))
        changes = []
        for row, other in zip(who, others, strict=True):
            face, lender = (self._motion(one) for one in (row, other))
            if rng.random() < _TURNED:
                change = self_edit_tasks.made(face, lender.pose, face.blendshapes, template="portrait", size=_SIDE)
            else:
                change = self_edit_tasks.drawn(rng, face, lender, template="portrait", size=_SIDE)
            changes.append(change)
        return {
            "vectors": self.data.vectors[0, who, 0],
            "tokens": self.tokens([captions.IDENTITY_PROMPT] * len(who)),
            "maps": np.stack([change.mesh(_SIDE, _SIDE) for change in changes]),
            "pose": np.stack([pose_numbers(change.pose) for change in changes]),
            "expression": np.stack([change.expression for change in changes]),
            "before": self.shapes[who],
        }

    def _motion(self, row: int) -> Motion:
        yaw, pitch, roll = map(float, self.poses[row])
        return Motion(
            landmarks=self.marks[row], pose=Pose(yaw=yaw, pitch=pitch, roll=roll), blendshapes=self.shapes[row]
        )

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        drawn, asked = noised(batch, generator, _EARLY), batch["asked"]
        tokens, vectors, maps = (asked[name] for name in ("tokens", "vectors", "maps"))
        nothing = torch.from_numpy(self.tokens([""])).to(tokens.device).expand(len(tokens), -1)
        noise = torch.randn(len(tokens), *drawn.noisy.shape[1:], generator=generator, device=tokens.device)
        rolled = roll(
            lambda noisy, times: self._posed(model, noisy, times, tokens, vectors, maps),
            lambda noisy, times: self._posed(None, noisy, times, nothing, 0 * vectors, maps),
            noise,
            ends_and_scales(len(tokens), generator),
        )
        made = self._posed(
            model,
            torch.cat([drawn.noisy, rolled.noisy]),
            torch.cat([drawn.times, rolled.times]),
            *(torch.cat([batch[name], asked[name]]) for name in ("tokens", "vectors", "maps")),
        )
        photos = len(drawn.times)
        flow = drawn.loss(made[:photos])
        images = self.decoded(rolled.clean(made[photos:]))
        off = self.judge.off(images, asked, jitter=jitter(len(images), generator), before=asked["before"])
        return flow + self.read_weight * off, {"flow": flow.detach(), "off": off.detach()}

    def _posed(
        self,
        model: nn.Module | None,
        noisy: Tensor,
        times: Tensor,
        tokens: Tensor,
        vectors: Tensor,
        maps: Tensor,
    ) -> Tensor:
        """The velocity (N, 8, 16, 16) with the ControlNet, or without (None)."""
        with torch.no_grad():
            told = self.frozen.condition(tokens, vectors)
        residuals = {}
        if model is not None:
            hint = (maps.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)
            down, middle = model(noisy, times * 1000, told.tokens, hint, class_labels=told.pooled, return_dict=False)
            residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        made = self.frozen.unet(
            noisy, times * 1000, told.tokens, class_labels=told.pooled, return_dict=False, **residuals
        )
        return made[0].float()

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out people. Flow loss at fixed noise with the map of the photo, and without the ControlNet; then faces
        sampled in a pose that another of them holds: mean absolute error of yaw and pitch in degrees, read back by the
        motion reader, with and without the ControlNet; and likeness (the conditioning encoder's own view)."""
        home = self.frozen.unet.device
        clean, vectors = (torch.from_numpy(x).float().to(home) for x in (self.test_latents, self.test_vectors))
        marks = marks_in_crops(self.test)
        maps = torch.from_numpy(np.stack([render(m, self.faces.triangles, _SIDE) for m in marks])).to(home)
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        tokens = torch.from_numpy(self.tokens([captions.IDENTITY_PROMPT] * len(clean))).to(home)
        t, report = times[:, None, None, None], {}
        noisy = (1 - t) * clean + t * noise
        for name, network in (("held_out_flow", model), ("held_out_flow_without", None)):
            made = self._posed(network, noisy, times, tokens, vectors, maps)
            report[name] = float((made - (noise - clean)).pow(2).mean())

        shown = min(_SHOWN, len(clean))
        asked = crop_poses(self.test)[np.roll(np.arange(shown), 1)]
        self.last_maps = np.stack([self._asked_map(row, pose) for row, pose in enumerate(asked)])
        for name, network in (("", model), ("_without", None)):
            controls = [] if network is None else [PoseControl(network=network, maps=to_maps(self.last_maps))]
            images = self._sample_posed(vectors[:shown], noise[:shown], controls)
            off = np.abs(self._poses(images) - asked)
            report[f"yaw_off{name}"], report[f"pitch_off{name}"] = (float(off[:, axis].mean()) for axis in (0, 1))
            report[f"own_likeness{name}"] = float((self.embedder(images) * vectors[:shown]).sum(-1).mean())
            if network is not None:
                self.last_images = images.cpu()
        return report

    def _asked_map(self, row: int, pose: Array) -> Array:
        """A held-out person's own shape and expression in the pose (3,)."""
        held = Pose(**dict(zip(("yaw", "pitch", "roll"), map(float, pose), strict=True)))
        photo = Pose(**dict(zip(("yaw", "pitch", "roll"), map(float, self.test.pose[row]), strict=True)))
        shapes = self.test.blendshapes[row]
        own = self.faces.shape_of(Motion(landmarks=self.test.landmarks[row], pose=photo, blendshapes=shapes))
        return render(place(self.faces.posed(own, shapes, held), held, "portrait", _SIDE), self.faces.triangles, _SIDE)

    def _sample_posed(self, vectors: Tensor, noise: Tensor, controls: list[PoseControl]) -> Tensor:
        """Faces (N, 3, 128, 128) in [-1, 1] by the package's own loop."""
        asked, free = (
            self.frozen.condition(torch.from_numpy(self.tokens([prompt] * len(rows))).to(rows.device), rows)
            for prompt, rows in ((captions.IDENTITY_PROMPT, vectors), ("", vectors[:1]))
        )
        scheduler = schedulers.fresh(None, like=FlowMatchEulerDiscreteScheduler(), steps=_STEPS, device=noise.device)
        predict = guided(self.frozen.unet, asked, free, _GUIDANCE, hooks=controls)
        latents = denoise(predict, noise, scheduler)
        return self.decoded(latents)

    def _poses(self, images: Tensor) -> Array:
        """(N, 3) degrees that the motion reader sees in aligned faces."""
        points = np.array(align.template("portrait").points) * _SIDE - 0.5
        seen = [self.reader.read(pixels, points).pose for pixels in codec.to_uint8(images)]
        return np.array([(pose.yaw, pose.pitch, pose.roll) for pose in seen])

    def export(self, model: nn.Module, folder: Path) -> None:
        """`controlnet/`, and `samples.png`: held-out people, the map above the face made."""
        from PIL import Image

        save_difference(model, folder / "controlnet")
        made = codec.to_uint8(self.last_images)
        columns = min(12, len(made))
        pairs = np.stack([self.last_maps, made], 1)[: len(made) // columns * columns]
        pairs = pairs.reshape(-1, columns, *pairs.shape[1:])
        sheet = pairs.transpose(0, 2, 3, 1, 4, 5).reshape(-1, columns * _SIDE, 3)
        Image.fromarray(sheet).save(folder / "samples.png")
