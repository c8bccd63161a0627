"""personae evaluate --suite deny_list --source ../shared/faces --pairs ../shared/pairs

Whom a deny-list catches, at each threshold. The threshold is chosen by held-out people: the same photo changed
(smaller, darker, tilted, mirrored, blurred, compressed), and strangers. Then, to report and never to choose by, pairs
of photos of one person (`pairs.csv`), and their strangers. By the model's own reader, as the server does it.
"""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageFilter
from rich.progress import track

import personae
from personae.console import say_json
from personae.errors import BadData
from personae.evaluation import people
from personae.shapes import Float, UInt8
from personae.types import Array

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
_LIST = 100  # people of a list, for the share of strangers that a whole list refuses


def _compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=35)
    return Image.open(buffer).convert("RGB")


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


VIEWS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": _half,
    "half as bright": lambda image: image.point([value // 2 for value in range(256)] * 3),
    "tilted by 15 degrees": lambda image: image.rotate(15, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 100)),
    "JPEG 35": _compressed,
}


def shares(same: Float[Array, " N"], apart: Float[Array, " M"], lists: Float[Array, " L"]) -> list[dict[str, float]]:
    """At each threshold: the share of cosines of one person that reach it, of strangers', of the highest to a list."""
    return [
        {
            "threshold": limit,
            "caught": round(float((same >= limit).mean()), 4),
            "strangers": round(float((apart >= limit).mean()), 6),
            f"strangers_of_{_LIST}": round(float((lists >= limit).mean()), 4),
        }
        for limit in THRESHOLDS
    ]


def highest(vectors: Float[Array, "N D"], *, size: int = _LIST) -> Float[Array, " N"]:
    """Of each person, the highest cosine to a list of others, the next `size` people around the table."""
    scores = vectors @ vectors.T
    count = len(vectors)
    others = (np.arange(count)[:, None] + 1 + np.arange(min(size, count - 1))[None]) % count
    return np.asarray(scores[np.arange(count)[:, None], others].max(axis=1))


def _apart(first: Array, second: Array) -> Array:
    scores = first @ second.T
    return np.asarray(scores[~np.eye(len(scores), dtype=bool)])


def _vector(pipe: Any, photo: Any) -> Array | None:
    faces = pipe.read(photo, motion=False)
    return faces[0].identity.vector if faces and faces[0].identity is not None else None


def of_views(pipe: Any, photos: Sequence[UInt8[Array, "H W 3"]]) -> dict[str, Any]:
    """What the threshold is chosen by. photos: RGB uint8, one of each person."""
    rows = []
    for pixels in track(photos, "changed photos", transient=True):
        image = Image.fromarray(pixels)
        found = [_vector(pipe, image), *(_vector(pipe, change(image)) for change in VIEWS.values())]
        if all(one is not None for one in found):
            rows.append(found)
    if len(rows) < 2:
        raise BadData(f"faces are found in {len(rows)} of {len(photos)} photos and their changes: give more")
    vectors = np.array(rows)  # (P, 1 + views, D)
    first = vectors[:, 0]
    same = np.einsum("pd,pvd->pv", first, vectors[:, 1:])
    return {
        "people": len(rows),
        "by_threshold": shares(same.ravel(), _apart(first, first), highest(first)),
        "lowest_1_percent_of_views": {
            name: round(float(np.quantile(same[:, column], 0.01)), 3) for column, name in enumerate(VIEWS)
        },
    }


def of_pairs(pipe: Any, folder: Path) -> dict[str, Any]:
    """What is reported: another photo of the person."""
    found = []
    with (folder / "pairs.csv").open(newline="") as file:
        for row in track(list(csv.DictReader(file)), "pairs", transient=True):
            both = [_vector(pipe, folder / "photos" / row[name]) for name in ("photo", "other_photo")]
            if all(one is not None for one in both):
                found.append(both)
    vectors = np.array(found)
    first, second = vectors[:, 0], vectors[:, 1]
    same = np.einsum("pd,pd->p", first, second)
    return {"people": len(found), "by_threshold": shares(same, _apart(first, second), highest(first))}


def main(
    model: Annotated[str, typer.Argument(help="Model: its name or folder.")] = "nano",
    source: Annotated[Path | None, typer.Option(help="Photos of held-out people.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="pairs.csv with photo and other_photo, and photos/.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Held-out people, drawn with seed 0.")] = 300,
) -> None:
    """At which cosine somebody counts as denied: who is caught, and who is refused for looking alike."""
    pipe = personae.load(model)
    everyone = people.held_out_people(source, count, seed=0)
    figures = {"held_out": of_views(pipe, [one.photo.pixels for one in everyone])}
    if pairs is not None:
        figures["pairs"] = of_pairs(pipe, pairs)
    say_json(figures)


if __name__ == "__main__":
    typer.run(main)
