"""personae evaluate nano --reading --source cache/faces -o runs/reading

The bundled reader against the labelling networks (teachers), on people who are in no training data. The teachers'
measurements are the labels of a prepared cache, so nothing but the reader runs here.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.progress import track

from personae.errors import BadData
from personae.evaluation import estimate, likeness, scenes
from personae.evaluation.estimate import Estimate
from personae.evaluation.people import Labels, Person, held_out_people
from personae.evaluation.report import Report, assemble, save
from personae.reading.reader import FaceReader
from personae.shapes import Float
from personae.types import BLENDSHAPES, Array, Face

_IRISES = (468, 473)  # MediaPipe's iris centres: the eye distance is measured between them
_OVERLAP = 0.5
_CORRELATED = {
    "mouthSmile": ("mouthSmileLeft", "mouthSmileRight"),
    "jawOpen": ("jawOpen",),
    "eyeBlink": ("eyeBlinkLeft", "eyeBlinkRight"),
}
_CAVEATS = (
    "the teachers' labels are no ground truth: where a teacher is wrong, to agree with it is an error",
    "the identity network was distilled from the teacher it is compared with here",
    "landmarks, pose, expression and identity are measured on the faces that were found",
)
Item = TypeVar("Item")


def evaluate_reader(
    reader: FaceReader,
    *,
    people: int | None = None,
    source: str | Path | None = None,
    faceless: int = 200,
    composed: int = 200,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Report:
    """A reading report: `figures` by the names of `measures.READING`, each with interval and n.

    people: held-out people to read (None: all of them). source: a cache of `personae prepare`. faceless, composed: how
    many synthetic pictures without a face, and of several faces. out: a folder for `report.json` and `report.md`.
    Raises `BadData` if the source has no labels.
    """
    chosen = held_out_people(source, people, seed=seed)
    if any(person.labels is None for person in chosen):
        raise BadData("the reader is judged against labels: name a cache made by `personae prepare` with --source")
    labels = [person.labels for person in chosen if person.labels is not None]
    read = [reader.read(person.photo) for person in _bar(chosen, "reading photos", progress)]
    matched = [match(faces, label.box) for faces, label in zip(read, labels, strict=True)]

    figures = {"found_single": estimate.proportion(np.array([face is not None for face in matched]))}
    figures |= _synthetic_pictures(reader, chosen, labels, faceless, composed, np.random.default_rng(seed), progress)
    pairs = [(face, label) for face, label in zip(matched, labels, strict=True) if face is not None]
    if pairs:
        figures |= accuracy([face for face, _ in pairs], [label for _, label in pairs], seed=seed)
    report = assemble(
        kind="reading",
        subject=f"reader {reader.space}",
        settings={"people": len(chosen), "faceless": faceless, "composed": composed, "seed": seed},
        figures=figures,
        caveats=_CAVEATS,
    )
    report["not_found"] = [person.key for person, face in zip(chosen, matched, strict=True) if face is None]
    if out is not None:
        save(report, out)
    return report


def accuracy(faces: Sequence[Face], labels: Sequence[Labels], *, seed: int = 0) -> dict[str, Estimate]:
    """How well faces are measured: faces[i] was read where labels[i] says that it is. Faces need their identity;
    motion may be missing, then its figures are."""
    figures: dict[str, Estimate] = {}
    if all(face.motion is not None for face in faces):
        figures |= _motion_accuracy(faces, labels, seed)
    if any(face.identity is None for face in faces):
        raise BadData("faces without identity cannot be judged: read them with identity=True")
    mine = np.stack([face.identity.vector for face in faces if face.identity is not None])
    theirs = np.stack([label.identity for label in labels])
    if mine.shape != theirs.shape:
        raise BadData(f"identities of width {mine.shape[1]} cannot be compared with the teacher's {theirs.shape[1]}")
    figures["identity_to_teacher"] = estimate.mean((mine * theirs).sum(1), seed)
    if len(faces) > 1:
        figures["identity_strangers"] = estimate.mean(likeness.strangers(mine[:, None], mine[:, None]), seed)
        figures["identity_strangers_teacher"] = estimate.mean(
            likeness.strangers(theirs[:, None], theirs[:, None]), seed
        )
    return figures


def _motion_accuracy(faces: Sequence[Face], labels: Sequence[Labels], seed: int) -> dict[str, Estimate]:
    motions = [face.motion for face in faces if face.motion is not None]
    goal = np.stack([label.landmarks[:, :2] for label in labels])
    eyes = np.linalg.norm(goal[:, _IRISES[0]] - goal[:, _IRISES[1]], axis=1)
    off = np.linalg.norm(np.stack([m.landmarks[:, :2] for m in motions]) - goal, axis=2).mean(1)
    angles = np.array([(m.pose.yaw, m.pose.pitch, m.pose.roll) for m in motions])
    turned = np.abs((angles - np.stack([label.pose for label in labels]) + 180) % 360 - 180)
    figures = {"landmark_error": estimate.mean(off / eyes, seed)}
    figures |= {f"{name}_error": estimate.mean(turned[:, i], seed) for i, name in enumerate(("yaw", "pitch", "roll"))}
    mine = np.stack([m.blendshapes for m in motions])
    theirs = np.stack([label.blendshapes for label in labels])
    for name, parts in _CORRELATED.items():
        columns = [BLENDSHAPES.index(part) for part in parts]
        figures[name] = estimate.correlation(mine[:, columns].mean(1), theirs[:, columns].mean(1), seed)
    return figures


def match(faces: Sequence[Face], box: Array) -> Face | None:
    """The face whose box overlaps `box` (4,) most, by at least half (intersection over union), or None."""
    overlaps = [overlap(face.detection.box, box) for face in faces]
    best = int(np.argmax(overlaps)) if overlaps else -1
    return faces[best] if overlaps and overlaps[best] >= _OVERLAP else None


def overlap(a: Float[Array, " 4"], b: Float[Array, " 4"]) -> float:
    """Intersection over union of two boxes (4,) left, top, right, bottom."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = float(np.prod(sides.clip(0)))
    return inter / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - inter, 1e-9)


def _synthetic_pictures(
    reader: FaceReader,
    people: Sequence[Person],
    labels: Sequence[Labels],
    faceless: int,
    composed: int,
    rng: np.random.Generator,
    progress: bool,
) -> dict[str, Estimate]:
    """Faces found in tight crops, in pictures without a face and in pictures of several."""

    def look(pixels: Array) -> list[Face]:
        return reader.read(pixels, motion=False, identity=False)

    framed = [(person.photo.pixels, label.box) for person, label in zip(people, labels, strict=True)]
    cut = [scenes.tight(pixels, box, rng) for pixels, box in framed]
    tight = [match(look(pixels), box) is not None for pixels, box in _bar(cut, "reading tight crops", progress)]
    alone = [pair for pair, label in zip(framed, labels, strict=True) if label.faces == 1]
    figures = {"found_tight": estimate.proportion(np.array(tight))}
    if faceless:
        empty = scenes.faceless(alone, faceless, rng)
        found = [bool(look(pixels)) for _, pixels in _bar(empty, "reading pictures without faces", progress)]
        figures["found_falsely"] = estimate.proportion(np.array(found))
    if composed:
        right = []
        for i in _bar(range(composed), "counting faces", progress):
            count = 2 + i % 5
            chosen = rng.choice(len(alone), min(count, len(alone)), replace=False)
            scene = scenes.compose([alone[c][0] for c in chosen], rng)
            right.append(len(look(scene)) == len(chosen))
        figures["counted"] = estimate.proportion(np.array(right))
    return figures


def _bar(items: Sequence[Item], says: str, progress: bool) -> Iterable[Item]:
    return track(items, description=says, disable=not progress, transient=True)
