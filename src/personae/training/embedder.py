"""Recipe `nano-embedder`: the identity encoder, distilled to agree with a teacher's embedding.

Half of every batch are training photos, jittered, with the teacher's vector of the plain photo as target (the
student learns to ignore the jitter). The other half are pictures that no photo shows - two faces blended or cut
together, stretched, mirrored - for which the teacher is asked on the spot: function matching (Beyer et al.,
"Knowledge distillation: a good teacher is patient and consistent", CVPR 2022), which makes 24,000 photos go far.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.data.teachers import teacher_input
from personae.reading import align
from personae.reading.network import model_of
from personae.training.autoencoder import to_tensor
from personae.training.faces import FaceTable
from personae.training.loop import Metrics
from personae.types import Array

_WIDE = 144  # side of the crops kept in memory: the arcface template with room to jitter


class _Block(nn.Module):
    """Pre-activation residual block (He et al. 2016, as ArcFace's IR networks use it)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _down(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.PReLU(outside),
    )


class Embedder(nn.Module):
    """(N, 3, 112, 112) in [-1, 1], template `arcface` -> (N, 128) unit vectors. 2.3 M parameters, dense
    convolutions (which AMX runs ten times faster than depthwise ones)."""

    def __init__(self, widths: tuple[int, ...] = (32, 48, 96, 192), depths: tuple[int, ...] = (0, 2, 3, 2)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for width, depth in zip(widths, depths, strict=True):
            layers += [_down(inside, width), *(_Block(width) for _ in range(depth))]
            inside = width
        layers.append(nn.Conv2d(inside, 128, 1))
        self.trunk = nn.Sequential(*layers)
        # A 7 x 7 depthwise convolution weighs the places of the face, as MobileFaceNet does.
        self.head = nn.Sequential(
            nn.Conv2d(128, 512, 1, bias=False),
            nn.BatchNorm2d(512),
            nn.PReLU(512),
            nn.Conv2d(512, 512, 7, groups=512, bias=False),
            nn.BatchNorm2d(512),
            nn.Flatten(),
            nn.Linear(512, 128),
        )

    def vectors(self, features: Tensor) -> Tensor:
        """Unit vectors (N, 128) of feature maps (N, 128, 7, 7)."""
        vectors = self.head(features).float()
        return vectors / vectors.pow(2).sum(-1, keepdim=True).clamp(min=1e-12).sqrt()

    def forward(self, crops: Tensor) -> Tensor:
        return self.vectors(self.trunk(crops))


class _Distilled(nn.Module):
    """The embedder with its spatial feature map laid open, which the teacher's own map supervises."""

    def __init__(self) -> None:
        super().__init__()
        self.embedder = Embedder()

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        features = self.embedder.trunk(crops)
        return self.embedder.vectors(features), features


def _wide_crop(pixels: Array, points: Array) -> Array:
    """The arcface crop with a margin of 16 px on each side, (144, 144, 3)."""
    matrix = align.similarity(points, "arcface", 112)
    matrix[:, 2] += (_WIDE - 112) / 2
    return align.crop(pixels, matrix, _WIDE)


def _jitter(image: Array, rng: np.random.Generator, strength: float) -> Array:
    """A (112, 112, 3) view of a wide crop: shift, turn, scale, mirror-free."""
    angle, scale = rng.normal(0, 0.06 * strength), np.exp(rng.normal(0, 0.04 * strength))
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    middle = np.array([(_WIDE - 1) / 2] * 2)
    shift = np.array([55.5, 55.5]) - linear @ middle + rng.normal(0, 1.5 * strength, 2)
    return align.crop(image, np.column_stack([linear, shift]), 112)


def _photometric(image: Array, rng: np.random.Generator) -> Array:
    """Light, contrast, tint, grey, noise, blur: what must not change who it is."""
    x = image.astype(np.float32)
    x = (x - 128) * np.exp(rng.normal(0, 0.2)) + 128 + rng.normal(0, 18)
    x += rng.normal(0, 8, 3)
    if rng.random() < 0.15:
        x[:] = x.mean(-1, keepdims=True)
    if rng.random() < 0.3:
        small = (
            x[::2, ::2].repeat(2, 0).repeat(2, 1)
            if rng.random() < 0.3
            else (x + np.roll(x, 1, 0) + np.roll(x, 1, 1)) / 3
        )
        x = small
    if rng.random() < 0.3:
        x += rng.normal(0, rng.uniform(2, 12), x.shape)
    return np.clip(x, 0, 255).astype(np.uint8)


def _fused(one: Array, other: Array, rng: np.random.Generator) -> Array:
    """A face that nobody has: two aligned faces blended, or cut together along a soft line."""
    if rng.random() < 0.5:
        share: Any = rng.uniform(0.2, 0.8)
    else:
        y, x = np.mgrid[-1:1:112j, -1:1:112j]
        angle = rng.uniform(0, 2 * np.pi)
        share = (1 / (1 + np.exp(-12 * (np.cos(angle) * x + np.sin(angle) * y - rng.uniform(-0.3, 0.3)))))[..., None]
    return np.clip(one * share + other * (1 - share), 0, 255).astype(np.uint8)


def _between(vectors: Tensor) -> Tensor:
    """Mean cosine between different rows of (N, D) unit vectors."""
    count = len(vectors)
    return (vectors.sum(0).pow(2).sum() - count) / (count * (count - 1))


class _Teacher:
    """MobileFaceNet with its last spatial map as a second output."""

    _MAP = "/features/features.14/Add_output_0"  # (1, 128, 7, 7), a linear bottleneck

    def __init__(self, path: Path) -> None:
        import onnx
        import onnxruntime

        model = model_of(path)
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(self._MAP))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, crop: Array) -> tuple[Array, Array]:
        """Unit vector (128,) and feature map (128, 7, 7) of a (112, 112, 3) uint8 crop."""
        vector, features = self.session.run(None, {"input": teacher_input(crop)})
        return vector[0] / np.linalg.norm(vector[0]), features[0]


class EmbedderTask:
    """See `training.loop.Trainable`."""

    def __init__(self, cache: Path, teachers: Path) -> None:
        self.teacher = _Teacher(teachers / "mobilefacenet.onnx")
        faces, held_out = FaceTable.load(cache), FaceTable.load(cache, held_out=True)
        self.wide = np.stack([_wide_crop(faces.photo(i), faces.points[i]) for i in range(len(faces))])
        self.targets = faces.identity
        self.test = np.stack(
            [_wide_crop(held_out.photo(i), held_out.points[i])[16:-16, 16:-16] for i in range(len(held_out))]
        )
        self.test_targets = held_out.identity[:, 0]
        maps = np.stack([self.teacher(image)[1] for image in self.wide[:256, 16:-16, 16:-16]])
        self.mean, self.spread = maps.mean((0, 2, 3)), maps.std((0, 2, 3)) + 1e-3
        self.model = _Distilled()

    def _known(self, rng: np.random.Generator) -> tuple[Array, Array]:
        row, mirrored = rng.integers(len(self.wide)), int(rng.random() < 0.5)
        image = _jitter(self.wide[row], rng, 1.0)
        return _photometric(image[:, ::-1] if mirrored else image, rng), self.targets[row, mirrored]

    def _asked(self, rng: np.random.Generator) -> Array:
        image = _jitter(self.wide[rng.integers(len(self.wide))], rng, 2.0)
        if rng.random() < 0.6:
            image = _fused(image, _jitter(self.wide[rng.integers(len(self.wide))], rng, 1.5), rng)
        if rng.random() < 0.5:
            image = image[:, ::-1]
        return _photometric(image, rng) if rng.random() < 0.4 else image

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        known = [self._known(rng) for _ in range(size // 2)]
        asked = [self._asked(rng) for _ in range(size - len(known))]
        answers = [self.teacher(image) for image in asked]
        maps = np.stack([answer[1] for answer in answers])
        return {
            "crops": np.stack([*asked, *(pair[0] for pair in known)]),
            "targets": np.stack([*(answer[0] for answer in answers), *(pair[1] for pair in known)]),
            "maps": (maps - self.mean[:, None, None]) / self.spread[:, None, None],
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        made, features = model(to_tensor(batch["crops"]))
        asked = len(batch["maps"])
        cosine = (made * batch["targets"]).sum(-1)
        hint = (features[:asked].float() - batch["maps"]).pow(2).mean()
        # A student that hedges draws all people together: hold it to the teacher's distances between them.
        relation = (made @ made.T - batch["targets"] @ batch["targets"].T).pow(2).mean()
        figures = {"known": cosine[asked:].mean().detach(), "asked": cosine[:asked].mean().detach()}
        figures |= {"hint": hint.detach(), "relation": relation.detach()}
        return 1 - cosine.mean() + hint + 4 * relation, figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held out: mean cosine to the teacher, and the mean and spread between different people."""
        home = next(model.parameters()).device
        made = torch.cat([model(to_tensor(part).to(home))[0] for part in np.array_split(self.test, 16)]).float().cpu()
        cosine = (made * torch.from_numpy(self.test_targets)).sum(-1)
        apart = (made @ made.T)[~torch.eye(len(made), dtype=torch.bool)]
        return {
            "held_out_cosine": float(cosine.mean()),
            "held_out_cosine_p5": float(cosine.quantile(0.05)),
            "between_people": float(apart.mean()),
            "between_people_std": float(apart.std()),
        }

    def _spread_out(self, count: int = 2000) -> None:
        """Take as much of the mean vector out of the last bias as puts strangers as far apart as the teacher does.

        A student that explains 80 % of its teacher leans towards the mean; a shift of the bias undoes that, and
        costs nothing.
        """
        embedder = self.model.embedder.eval()
        crops, last = self.wide[:count, 16:-16, 16:-16], embedder.head[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            home = last.weight.device
            parts = (to_tensor(part).to(home) for part in np.array_split(crops, 16))
            raw = torch.cat([embedder.head(embedder.trunk(part)) for part in parts])
            goal = _between(torch.from_numpy(self.targets[:count, 0]).to(home))
            shares = torch.linspace(0, 1, 101, device=home)
            gaps = torch.stack([(_between(F.normalize(raw - s * raw.mean(0), dim=-1)) - goal).abs() for s in shares])
            last.bias.sub_(shares[gaps.argmin()] * raw.mean(0))

    def export(self, model: nn.Module, folder: Path) -> None:
        """`embedder.onnx`, and the torch weights beside it."""
        self._spread_out()
        from personae.training.export_onnx import export_onnx

        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.embedder.state_dict(), folder / "embedder.pt")
        export_onnx(
            self.model.embedder.eval(),
            torch.zeros(2, 3, 112, 112),
            folder / "embedder.onnx",
            input_names=["crop"],
            output_names=["identity"],
        )
