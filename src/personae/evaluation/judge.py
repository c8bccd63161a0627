"""judge = Judge(judge_spec("teacher"));  judge.look(images, finder) -> (N, D), a NaN row where no face was found

A second opinion on who is in a picture: a recogniser other than the one that conditions. Any ONNX recogniser
will do once its crop and its arithmetic are declared: `--judge teacher`, `--judge other.json`, or
`--judge other.onnx,template=arcface,size=112,mean=127.5,std=127.5,colour=BGR`.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from personae.errors import BadOption, PersonaeError, WeightsCorrupt, WeightsMissing
from personae.reading import align
from personae.reading.onnx_file import content_of, file_sha256, session_options
from personae.reading.session import Session
from personae.types import Array, Face, Identity

# Points (5, 2) of the main face in (H, W, 3) RGB uint8, or None.
Finder = Callable[[Array], Array | None]

_TEACHER_SHA256 = "e72a5710cce378dc46472b6b845cb90647634f2738d8c3e581735cf195b9866f"
_TEACHERS = "../shared/teachers"
_DESCENT = (
    "the bundled encoder was distilled from this judge, so the figure flatters models conditioned on it: "
    "confirm with an unrelated recogniser"
)


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """A recogniser and how to feed it."""

    path: str
    """The ONNX file: one image input, one embedding output."""
    name: str = ""
    """What reports call it; the file's stem if empty."""
    template: str = "arcface"
    """Where its crop puts the five points, a name of `reading.align.TEMPLATES`."""
    size: int = 112
    """Side of the crop in pixels."""
    mean: float = 127.5
    """The network sees (x - mean) / std of 0-255 pixels."""
    std: float = 127.5
    """See `mean`."""
    colour: str = "RGB"
    """Channel order, RGB or BGR."""
    layout: str = "NCHW"
    """NCHW or NHWC."""
    input: str = ""
    """Name of the input; the network's first if empty."""

    def __post_init__(self) -> None:
        align.template(self.template)
        if self.colour not in ("RGB", "BGR") or self.layout not in ("NCHW", "NHWC"):
            got = f"{self.colour} and {self.layout}"
            raise BadOption(f"a judge takes colour RGB or BGR and layout NCHW or NHWC, got {got}")
        if not (self.size > 0 and self.std > 0):
            raise BadOption(f"a judge's size and std must be positive, got {self.size} and {self.std}")
        if not self.name:
            object.__setattr__(self, "name", Path(self.path).stem)


def teachers_folder(folder: str | Path | None = None) -> Path:
    """Where the labelling networks (teachers) are: the folder, or that of PERSONAE_TEACHERS, or ../shared/teachers."""
    return Path(folder or os.environ.get("PERSONAE_TEACHERS", _TEACHERS))


def teachers_at_hand() -> bool:
    """Whether the labelling networks are in `teachers_folder`, and what runs them is installed."""
    from personae.data.teachers import FILES

    folder = teachers_folder()
    return all((folder / name).is_file() for name in FILES) and find_spec("cv2") is not None


def judge_spec(text: str = "teacher") -> JudgeSpec:
    """The judge that `--judge TEXT` names: `teacher`, a .json of `JudgeSpec` fields, or `FILE.onnx[,field=value]`.

    The teacher is looked for in `teachers_folder`. A path inside a .json is relative to that file.
    """
    if text == "teacher":
        file = teachers_folder() / "mobilefacenet.onnx"
        return JudgeSpec(path=str(file), name="mobilefacenet teacher", std=128.0)
    path, *settings = text.split(",")
    if path.endswith(".json"):
        try:
            declared = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise BadOption(f"cannot read the judge's declaration {path}: {error}") from error
        if not isinstance(declared, dict) or "path" not in declared:
            raise BadOption(f"{path} declares no judge: write an object with at least 'path'")
        declared["path"] = str(Path(path).parent / declared["path"])
    else:
        declared = {"path": path}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BadOption(f"a judge's setting is written field=value, got {setting!r}")
        declared[key] = value
    return _spec(declared)


def _spec(declared: dict[str, Any]) -> JudgeSpec:
    if unknown := sorted(set(declared) - {field.name for field in fields(JudgeSpec)}):
        raise BadOption(f"a judge has no field {', '.join(unknown)}: see `personae.evaluation.judge.JudgeSpec`")
    numbers = {"size": int, "mean": float, "std": float}
    try:
        return JudgeSpec(**{key: numbers.get(key, str)(value) for key, value in declared.items()})
    except ValueError as error:
        raise BadOption(f"a judge's size is a whole number, its mean and std are numbers: {error}") from error


class Judge:
    """A recogniser that was declared, its hash taken at once, its network loaded on first use."""

    def __init__(self, spec: JudgeSpec) -> None:
        self.spec = spec
        if not Path(spec.path).is_file():
            raise WeightsMissing(
                f"no judge at {spec.path}: name a recogniser with --judge FILE.onnx, or the teachers' folder with "
                "PERSONAE_TEACHERS; --judge none leaves likeness out"
            )
        self.sha256 = file_sha256(Path(spec.path))

    @property
    def caveat(self) -> str | None:
        """What must stand beside every figure this judge gives, or None."""
        return _DESCENT if self.sha256 == _TEACHER_SHA256 else None

    def conditions(self, space: str) -> bool:
        """Whether this judge is the network that measures identities of `space`."""
        prefix = space.rsplit("/", 1)[-1]
        return len(prefix) >= 8 and self.sha256.startswith(prefix)

    def require_unrelated(self, space: str) -> None:
        """Raise `BadOption` if this judge `conditions` identities of `space`."""
        if self.conditions(space):
            raise BadOption(
                f"judge {self.spec.name} is the recogniser that conditions the model ({space}): it would mark its "
                "own work; name another with --judge"
            )

    @cached_property
    def _session(self) -> Session:
        try:
            return Session(
                lambda providers: onnxruntime.InferenceSession(
                    content_of(Path(self.spec.path)), session_options(None), providers=providers
                )
            )
        except PersonaeError:
            raise
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise WeightsCorrupt(f"{self.spec.path} is not an ONNX network that can be run: {error}") from error

    def embed(self, crops: Array) -> Array:
        """(N, D) float32 unit vectors of crops (N, size, size, 3) RGB uint8 in the judge's template."""
        source = next(
            (i for i in self._session.get_inputs() if i.name == self.spec.input), self._session.get_inputs()[0]
        )
        if self.spec.input and source.name != self.spec.input:
            known = ", ".join(i.name for i in self._session.get_inputs())
            raise BadOption(f"judge {self.spec.name} has no input {self.spec.input!r}: it has {known}")
        ordered = crops if self.spec.colour == "RGB" else crops[..., ::-1]
        tensor = (ordered.astype(np.float32) - self.spec.mean) / self.spec.std
        if self.spec.layout == "NCHW":
            tensor = tensor.transpose(0, 3, 1, 2)
        # Some exports fix the batch; one at a time is what all of them can do.
        batch = 32 if isinstance(source.shape[0], str) or source.shape[0] is None else 1
        parts = [np.ascontiguousarray(tensor[i : i + batch]) for i in range(0, len(tensor), batch)]
        vectors = np.concatenate([self._session.run(None, {source.name: part})[0] for part in parts])
        vectors = vectors.reshape(len(crops), -1).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def look(self, images: Sequence[Array], finder: Finder) -> Array:
        """(N, D) float32 unit vectors of the main faces of N images (H, W, 3) RGB uint8.

        An image in which `finder` finds no face gives a row of NaN, which the caller must count.
        """
        points = [finder(image) for image in images]
        crops = [
            align.crop(image, align.similarity(found, self.spec.template, self.spec.size), self.spec.size)
            for image, found in zip(images, points, strict=True)
            if found is not None
        ]
        if not crops:
            return np.full((len(images), 1), np.nan, dtype=np.float32)
        vectors = self.embed(np.stack(crops))
        rows = np.full((len(images), vectors.shape[1]), np.nan, dtype=np.float32)
        rows[[found is not None for found in points]] = vectors
        return rows


@dataclass(frozen=True, kw_only=True)
class SecondOpinion:
    """A judge for `personae.best_of`: it compares an image with the photo of its person, not with the identity."""

    judge: Judge
    finder: Finder

    @property
    def name(self) -> str:
        """What recipes call it."""
        return self.judge.spec.name

    def likeness(self, images: Sequence[Image.Image], people: Sequence[Face | Identity]) -> list[float]:
        """The cosine of each image to its person's photo, NaN where `finder` finds no face. Raises `BadOption` for a
        person who came without a photo."""
        spec = self.judge.spec
        crops = []
        for one in people:
            if not isinstance(one, Face) or one.photo is None:
                raise BadOption(f"judge {self.name} compares with the person's photo: give faces read from photos")
            matrix = align.similarity(one.detection.points, spec.template, spec.size)
            crops.append(align.crop(one.photo.pixels, matrix, spec.size))
        vectors = self.judge.look([np.asarray(image.convert("RGB")) for image in images], self.finder)
        return [float(cosine) for cosine in (vectors * self.judge.embed(np.stack(crops))).sum(1)]


def reader_finder(reader: Any) -> Finder:
    """Points as the pipeline's own reader finds them. reader: a `reading.reader.FaceReader`."""

    def find(pixels: Array) -> Array | None:
        faces = reader.read(pixels, motion=False, identity=False)
        return faces[0].detection.points if faces else None

    return find


def teacher_finder(folder: str | Path | None = None) -> Finder:
    """Points as the teacher detector (YuNet) finds them; needs the extra `train` and the teachers' folder.

    Small tight crops are doubled and framed in grey first: on real held-out 128-px crops that takes the mean
    cosine to the teacher's own reading of the whole photo from 0.79 to 0.91.
    """
    from personae.data.teachers import Teachers

    teachers = Teachers(teachers_folder(folder))

    def find(pixels: Array) -> Array | None:
        height, width = pixels.shape[:2]
        grow = 2 if min(height, width) < 256 else 1
        image = Image.fromarray(pixels).resize((width * grow, height * grow), Image.Resampling.BICUBIC)
        frame = max(height, width) * grow // 4
        framed = np.pad(np.asarray(image), ((frame, frame), (frame, frame), (0, 0)), constant_values=127)
        found = teachers.detect(framed)
        return (found[0].points - frame + 0.5) / grow - 0.5 if found else None

    return find
