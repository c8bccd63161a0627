"""What is in a photo, a file or a model, as plain data for `--json` and as lines for people.

describe.face(pipe.read("me.jpg")[0])      # {"box": [...], "pose": {...}, "identity": {...}, ...}
describe.path("me-seed7.png")              # the recipe inside
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from personae import identity
from personae.errors import BadImage
from personae.gather import SUFFIX
from personae.identity import directions
from personae.io import regular, video_file
from personae.models import catalog
from personae.provenance import credentials, findings, signing
from personae.provenance.recipe import find_recipe, in_video, required
from personae.provenance.signature import read_signature
from personae.reading.metadata import mime_of
from personae.types import BLENDSHAPES, Array, Face, Identity, Motion

_HEAD = 64  # bytes of a file that tell its kind
_NOTABLE = 0.3  # an expression below this is not worth a word


def person(found: Identity) -> dict[str, Any]:
    """Space and vector of an identity."""
    return {"space": found.space, "width": found.vector.size, "vector": [round(float(v), 6) for v in found.vector]}


def face(found: Face) -> dict[str, Any]:
    """Everything that was read of one face; coordinates in pixels of the photo, angles in degrees."""
    facts: dict[str, Any] = {
        "box": _rounded(found.detection.box),
        "points": _rounded(found.detection.points),
        "score": round(found.detection.score, 4),
    }
    if found.motion:
        facts |= {
            "pose": {name: round(angle, 1) for name, angle in _pose(found.motion).items()},
            "blendshapes": dict(zip(BLENDSHAPES, _rounded(found.motion.blendshapes, 3), strict=True)),
            "landmarks": _rounded(found.motion.landmarks),
        }
    if found.identity:
        facts["identity"] = person(found.identity)
    return facts


def lines(photos: Mapping[str, Sequence[Face]]) -> list[str]:
    """One line per photo and one per face in it."""
    out = []
    for name, faces in photos.items():
        out.append(f"{name}: {len(faces)} {'face' if len(faces) == 1 else 'faces'}")
        out += [f"  {_line(found)}" for found in faces]
    return out


def model(entry: catalog.Model) -> dict[str, Any]:
    """A row of the catalog."""
    return {
        "about": entry.about,
        "source": entry.source,
        "licence": entry.licence,
        "size": entry.size,
        "identity_width": entry.width,
        "ready": catalog.present(entry),
    }


def directions_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Of a model folder, by name: what is known of each direction. Raises `WeightsMissing` if it has none."""
    table = directions.of_model(folder)
    measured = directions.measured(folder / directions.FILE)
    return {name: measured.get(name, {}) for name in table}


def direction_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line per direction, of what `directions.measured` knows."""
    return [f"{name:12} {_held(facts)}".rstrip() for name, facts in found.items()]


def path(where: str | Path) -> dict[str, Any]:
    """The recipe of an image or video, the space of an `.identity` file, the files of a model's folder (or of a named
    one)."""
    place = Path(where)
    if str(where) in catalog.MODELS:
        place = catalog.resolve(str(where))
    if place.is_dir():
        catalog.resolve(place)
        catalog.verify(place)
        return {"model": str(place), "sha256": catalog.fingerprint(place), "files": catalog.hashes(place)}
    if place.suffix == SUFFIX:
        return person(identity.load(place)) | {"note": identity.note(place)}
    if not place.exists():
        raise BadImage(f"{place}: no such file")
    return required(_recipe(place), place)


def recipe_word(where: str | Path) -> str | None:
    """Whether the recipe of an image or a video is the one that was signed with it, in a sentence; None: there is
    nothing to say of what is neither, and of one without a signature."""
    if not Path(where).is_file() or Path(where).suffix == SUFFIX:
        return None
    recipe = _recipe(Path(where))
    with regular.opened(where, None, BadImage) as file:
        kind = mime_of(file.read(_HEAD))
        if recipe is None or kind not in signing.READABLE or signing.library() is None:
            return None
        file.seek(0)
        signature = read_signature(file, kind, anchors=credentials.roots())
    if signature is None:
        return None
    found = findings.of_recipe(recipe, None, signature)
    broken = "" if found.state == findings.HOLDS else f"; the signature: {findings.of_signature(signature).proves}"
    return f"{where}: of the recipe is proven: {found.proves}{broken}"


def _recipe(place: Path) -> dict[str, Any] | None:
    """Of an image or a video; None: it carries none."""
    with regular.opened(place, None, BadImage) as file:
        kind = mime_of(file.read(_HEAD)) or ""
    return in_video(video_file.notes(place)) if kind.startswith("video/") else find_recipe(place)


def _pose(motion: Motion) -> dict[str, float]:
    return {"yaw": motion.pose.yaw, "pitch": motion.pose.pitch, "roll": motion.pose.roll}


def _line(found: Face) -> str:
    left, top, right, bottom = (round(float(edge)) for edge in found.detection.box)
    parts = [f"{right - left} x {bottom - top} px at ({left}, {top})", f"score {found.detection.score:.2f}"]
    if found.motion:
        parts.append(", ".join(f"{name} {angle:+.0f}" for name, angle in _pose(found.motion).items()))
        strong = np.argsort(-found.motion.blendshapes)[:3]
        parts += [BLENDSHAPES[i] for i in strong if found.motion.blendshapes[i] > _NOTABLE]
    return "; ".join(parts)


def _held(facts: Mapping[str, Any]) -> str:
    if "correlation" not in facts:
        return ""
    return (
        f"from {facts['less']} to {facts['more']}; correlation {facts['correlation']:.2f} with the labels of "
        f"{facts['n']} held-out people"
    )


def _rounded(values: Array, digits: int = 2) -> Any:
    return np.round(values.astype(np.float64), digits).tolist()
