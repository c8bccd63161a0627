"""personae evaluate --suite recognition ../shared/pairs embedder.onnx [more.onnx]: do they know people again?

Of pairs of photos of one person (`pairs.csv` with `photo` and `other_photo`, `photos/`), for every recogniser of
arcface crops: the cosine between the two and between strangers, how many are verified where one pair of strangers in a
thousand is (TAR), who is nearest (rank-1), the equal error rate. The bundled reader finds and cuts the faces; ones of
MobileFaceNet's own input (a name with "mobilefacenet") get theirs. To report, never to choose by.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
import typer

import personae
from personae.console import say
from personae.data.teachers import teacher_input
from personae.evaluation import pairs
from personae.reading import align
from personae.reading.onnx_file import to_tensor
from personae.reading.reader import FaceReader
from personae.shapes import Float, UInt8
from personae.types import Array

READER = Path(personae.__file__).parent / "weights" / "nano" / "reader"


def crops(folder: Path) -> Array:
    """(N, 2, 112, 112, 3) of the pairs in which both faces are found."""
    reader = FaceReader.from_folder(READER)
    found = []
    for pair in pairs.load(folder):
        faces = [reader.read(photo, identity=False) for photo in pair.photos]
        if all(faces):
            cuts = [align.similarity(one[0].detection.points, "arcface") for one in faces]
            found.append([align.crop(photo.pixels, cut, 112) for photo, cut in zip(pair.photos, cuts, strict=True)])
    return np.array(found)


def vectors(path: Path, faces: UInt8[Array, "N 2 S S 3"]) -> Float[Array, "N 2 D"]:
    """(N, 2, D) of unit norm."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name, prepare = session.get_inputs()[0].name, teacher_input if "mobilefacenet" in path.name else _ours
    found = [session.run(None, {name: prepare(crop)})[0][0] for crop in faces.reshape(-1, *faces.shape[2:])]
    rows = np.array(found).reshape(*faces.shape[:2], -1)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def _ours(crop: Array) -> Array:
    return to_tensor(crop[None])


def figures(found: Array) -> dict[str, float]:
    """Of (N, 2, D): see above. Strangers are all first photos against all others' second ones."""
    scores = found[:, 0] @ found[:, 1].T
    same, apart = np.diag(scores), scores[~np.eye(len(scores), dtype=bool)]
    # At each limit, the share of strangers above it and of pairs below it; they cross at the equal error.
    false = [float((apart >= limit).mean()) for limit in same]
    missed = [float((same < limit).mean()) for limit in same]
    equal = int(np.abs(np.subtract(false, missed)).argmin())
    return {
        "pairs": len(scores),
        "same": float(np.median(same)),
        "strangers": float(apart.mean()),
        "spread": float(apart.std()),
        "TAR at 1e-3": float((same > np.quantile(apart, 0.999)).mean()),
        "rank-1": float((scores.argmax(1) == np.arange(len(scores))).mean()),
        "equal error": float((false[equal] + missed[equal]) / 2),
    }


def main(
    folder: Annotated[
        Path, typer.Argument(help="Pairs: pairs.csv and photos/, or people of `personae prepare people`.")
    ],
    recognisers: Annotated[list[Path], typer.Argument(help="ONNX files of arcface crops.")],
) -> None:
    """Verify people on pairs of photos; print the figures of every recogniser."""
    faces = crops(folder)
    for path in recognisers:
        say(str(path))
        for name, value in figures(vectors(path, faces)).items():
            say(f"  {name} {value:.4g}")


if __name__ == "__main__":
    typer.run(main)
