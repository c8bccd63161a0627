"""personae evaluate --suite watermark nano --pictures 400 --unmarked 2000 -o docs/figures/watermark.json

The mark in the pixels: how faithful marked pictures are, which changes leave the whole message readable, how often
unmarked pictures are taken for marked ones, and what both cost. Pictures are held-out photos in sizes from 128 to 1024
px (above 256 px enlarged, or sheets of several photos, which are as sharp as photos of that size), the model's own
images, and its edits of photos, of which only the changed part is marked.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

import personae
from personae.console import note
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.marked_pictures import edited, generated, photo_of, unmarked
from personae.evaluation.pairs import Pair
from personae.evaluation.pairs import load as load_pairs
from personae.evaluation.people import held_out_people
from personae.evaluation.pieces import Pieces
from personae.evaluation.reencoding import CHANGES
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.suite_options import Model, ReportFile, Source
from personae.pipeline import FacePipeline
from personae.provenance import pixel_mark, watermark
from personae.provenance.message import Message
from personae.sampling import codec
from personae.shapes import Bool, UInt8
from personae.types import Array

SIZES = (128, 192, 256, 384, 512, 768, 1024)  # of the shorter side
_FULL = 256  # pixels from which the bars count
_SMALL = tuple(f"{size} px" for size in SIZES if size < _FULL)
_OWN, _EDITS = "its own images", "its edits"
_MARKED, _UNMARKED = 35, 250  # pictures of a piece
_REENCODED = 40
_SPREAD = 2654435761  # spreads consecutive numbers over 32 bits
_TIMED = (256, 512)
_TIMINGS = 15


class Tally:
    """What becomes of marked pictures, by change."""

    def __init__(self) -> None:
        self.right: dict[str, list[bool]] = defaultdict(list)
        self.scores: dict[str, list[float]] = defaultdict(list)
        self.psnr: list[float] = []
        self.wrong: list[bool] = []

    def add(self, image: Image.Image, number: int, area: Bool[Array, "H W"] | None = None) -> UInt8[Array, "H W 3"]:
        """Mark a picture, or `area` (H, W) of it, change it in every way, look for the message; of a part, as
        `personae detect` does. Returns the marked pixels."""
        message = Message(
            model=number % 256, recipe=(number * _SPREAD % 2**32).to_bytes(4, "big"), part=area is not None
        )
        marked = pixel_mark.with_mark(image, message, area)
        error = np.square(np.asarray(marked, np.float64) - np.asarray(image)).mean()
        self.psnr.append(float(10 * np.log10(255**2 / max(error, 1e-9))))
        for name, change in CHANGES.items():
            after = np.asarray(change(marked, np.random.default_rng(number)))
            found = watermark.detect(after, thorough=area is not None)
            self.right[name].append(found.message == message)
            self.scores[name].append(found.score)
            self.wrong.append(found.present and found.message != message)
        return np.asarray(marked)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {name: getattr(self, name) for name in ("psnr", "wrong", "right", "scores")}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Tally":
        """Back from it."""
        tally = cls()
        tally.psnr, tally.wrong = found["psnr"], found["wrong"]
        tally.right.update(found["right"])
        tally.scores.update(found["scores"])
        return tally

    @classmethod
    def of(cls, tallies: Sequence["Tally"]) -> "Tally":
        """Several as one."""
        whole = cls()
        for one in tallies:
            whole.psnr += one.psnr
            whole.wrong += one.wrong
            for name in one.right:
                whole.right[name] += one.right[name]
                whole.scores[name] += one.scores[name]
        return whole

    def shares(self) -> dict[str, Estimate]:
        """Of whole messages right, by change."""
        return {name: estimate.proportion(np.array(hits)) for name, hits in self.right.items()}

    def row(self) -> dict[str, Estimate]:
        """PSNR, and all changes together."""
        every = np.array(list(self.right.values())).ravel()
        scores = np.array([one for scores in self.scores.values() for one in scores])
        return {
            "psnr": estimate.mean(np.array(self.psnr)),
            "found": estimate.plain(float(every.mean()), len(every)),
            "score": estimate.plain(float(scores.mean()), len(scores)),
            "lowest": estimate.plain(float(scores.min()), len(scores)),
        }


def _scored(pictures: Iterable[tuple[str, Array]]) -> dict[str, list[tuple[bool, float]]]:
    """By kind of unmarked picture, whether a mark is found in each, and its score."""
    found: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for kind, pixels in pictures:
        result = watermark.detect(pixels, thorough=True)
        found[kind].append((result.present, result.score))
    return found


def reencoded(pipe: FacePipeline, photos: Sequence[UInt8[Array, "H W 3"]], count: int) -> Estimate:
    """Of whole messages right after a marked photo of 256 px went through the model's autoencoder, as an edit of it
    would."""
    hits = []
    for number in range(count):
        message = Message(model=1, recipe=number.to_bytes(4, "big"))
        pixels = np.asarray(Image.fromarray(photos[number % len(photos)]).resize((_FULL, _FULL)))
        with torch.no_grad():
            latents = codec.encode(pipe.vae, codec.to_tensor(watermark.mark(pixels, message)[None]).to(pipe.device))
            after = codec.to_uint8(codec.decode(pipe.vae, latents))[0]
        hits.append(watermark.detect(after).message == message)
    return estimate.proportion(np.array(hits)) if hits else estimate.UNKNOWN


def timings(photos: Sequence[UInt8[Array, "H W 3"]]) -> dict[str, Estimate]:
    """CPU milliseconds, which other programs on the machine lengthen less than seconds; the median of some calls."""
    found = {}
    for size in _TIMED:
        pixels = np.asarray(photo_of(photos, 1, size).resize((size, size)))
        message = Message(model=1, recipe=b"time")
        marked = watermark.mark(pixels, message)
        calls: dict[str, Callable[[], object]] = {
            "mark": lambda pixels=pixels, message=message: watermark.mark(pixels, message),  # type: ignore[misc]
            "detect": lambda marked=marked: watermark.detect(marked),  # type: ignore[misc]
        }
        for name, call in calls.items():
            spent = []
            for _ in range(_TIMINGS):
                started = time.process_time()
                call()
                spent.append(1000 * (time.process_time() - started))
            found[f"{name}_{size}"] = estimate.plain(float(np.median(spent)), _TIMINGS)
    return found


def measure(
    pipe: FacePipeline,
    photos: Sequence[UInt8[Array, "H W 3"]],
    *,
    pictures: int,
    own: int,
    edits: int,
    count: int,
    first: int = 0,
    everybody: Sequence[Pair] = (),
    pieces: Pieces | None = None,
) -> Report:
    """The report: of `pictures` photos in all sizes, `own` images and `edits` of the model, and, beside its images,
    `count` unmarked pictures from number `first` on. everybody: of whom likeness is measured. pieces: where what is
    measured stays; None: nowhere."""
    pieces = pieces or Pieces()
    rows = _rows(_of_photos(photos, pictures, pieces))
    edited_ones: dict[str, Any] = {"rows": {}, "changes": []}
    if edits:
        edited_ones = pieces.get(f"swaps-{edits}", lambda: _of_edits(pipe, photos, edits, pictures))
        rows |= _rows([edited_ones])
    full = Tally.of([tally for name, tally in rows.items() if name not in _SMALL])
    generated_ones = pieces.get(f"generated-{own}", lambda: _of_generated(pipe, own, pictures + edits))
    rows |= _rows([generated_ones])
    moved = dict(pieces.get(f"likeness-{len(everybody)}", lambda: _likeness_of_pairs(pipe, everybody)))
    moved |= {_EDITS: edited_ones["changes"], _OWN: generated_ones["changes"]}
    results: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for piece in [generated_ones, *_of_unmarked(photos, first, count, pieces)]:
        for kind, scores in piece["found"].items():
            results[kind] += scores
    every = [one for kind in results.values() for one in kind]
    threshold = watermark.bundled().facts.threshold
    bound = 1 - 0.05 ** (1 / len(every))
    return assemble(
        kind="watermark",
        subject=f"watermark {watermark.bundled().facts.decoder[:8]}",
        settings={
            "pictures": pictures,
            "own": own,
            "edits": edits,
            "unmarked": count,
            "first": first,
            "threshold": threshold,
        },
        figures={
            "psnr": estimate.mean(np.array(full.psnr)) if full.psnr else estimate.UNKNOWN,
            **_moved([one for name in moved if name not in (*_SMALL, _OWN) for one in moved[name]]),
            **full.shares(),
            "autoencoder": reencoded(pipe, photos, min(pictures, _REENCODED)),
            "wrong": estimate.proportion(np.array(Tally.of(list(rows.values())).wrong or [False])),
            "false_positives": estimate.proportion(np.array([present for present, _ in every])),
            "above_threshold": estimate.proportion(np.array([score >= threshold for _, score in every])),
            "above_of_parts": estimate.proportion(
                np.array([score >= threshold + watermark.FOR_PARTS for _, score in every])
            ),
            **timings(photos),
        },
        groups={
            "pictures": {name: tally.row() for name, tally in rows.items() if tally.psnr},
            "likeness": {name: _moved(changes) for name, changes in moved.items() if changes},
            "unmarked": {kind: _scores(found) for kind, found in results.items()},
        },
        caveats=[
            f"no mark in {len(every)} pictures proves a rate below {bound:.2g} at 95 % confidence, if there was none",
            "messages: pictures from 256 px on, and edits, of which only the changed part is marked; others by size",
            "likeness by the model's reader: of photos to another photo of the person, of the others to their source",
            "the figure of likeness is of photos from 256 px on and edits, as those of messages are",
            "unmarked pictures and edits are looked at as `personae detect` does, parts included, the others once",
            "photos are 224 px wide; larger pictures are enlarged ones and sheets of several",
        ],
    )


def _rows(found: Iterable[Mapping[str, Any]]) -> dict[str, Tally]:
    """The tallies of several pieces, by row."""
    each: dict[str, list[Tally]] = defaultdict(list)
    for piece in found:
        for name, tally in piece["rows"].items():
            each[name].append(Tally.from_json(tally))
    return {name: Tally.of(tallies) for name, tallies in each.items()}


def _of_photos(photos: Sequence[Array], pictures: int, pieces: Pieces) -> Iterator[dict[str, Any]]:
    """Tallies of marked photos, piece by piece."""

    def measured(numbers: range) -> dict[str, Any]:
        rows = {f"{size} px": Tally() for size in SIZES}
        for number in numbers:
            size = SIZES[number % len(SIZES)]
            rows[f"{size} px"].add(photo_of(photos, number // len(SIZES), size), number)
        return {"rows": {name: tally.as_json() for name, tally in rows.items()}}

    for start in range(0, pictures, _MARKED):
        numbers = range(start, min(start + _MARKED, pictures))
        yield pieces.get(f"marked-{start:05d}", lambda numbers=numbers: measured(numbers))  # type: ignore[misc]
        note(f"{numbers.stop} marked pictures ...")


def _of_unmarked(photos: Sequence[Array], first: int, count: int, pieces: Pieces) -> Iterator[dict[str, Any]]:
    """What is found in unmarked pictures, piece by piece."""
    for start in range(first, first + count, _UNMARKED):
        some = min(_UNMARKED, first + count - start)
        yield pieces.get(
            f"unmarked-{start:05d}",
            lambda start=start, some=some: {"found": _scored(unmarked(photos, start, some))},  # type: ignore[misc]
        )
        note(f"{start + some} unmarked pictures ...")


def _of_edits(pipe: FacePipeline, photos: Sequence[Array], count: int, first: int) -> dict[str, Any]:
    """Edits marked where they changed, and how far their likeness to their source moves."""
    tally, changes = Tally(), []
    for number, (image, area, person) in enumerate(edited(pipe, photos, count)):
        marked = tally.add(image, first + number, area)
        changes += _changes(pipe, np.asarray(image), marked, person)
    return {"rows": {_EDITS: tally.as_json()}, "changes": changes}


def _likeness_of_pairs(pipe: FacePipeline, everybody: Sequence[Pair]) -> dict[str, list[float]]:
    """How far the mark moves the likeness of one photo, resized, to another photo of the person, by its size."""
    moved: dict[str, list[float]] = {f"{size} px": [] for size in SIZES}
    for number, pair in enumerate(everybody):
        size = SIZES[number % len(SIZES)]
        one, other = (photo.pixels for photo in pair.photos)
        (person,) = [None] if pipe.reader is None else pipe.reader.identify([other])
        if person is not None:
            image = Image.fromarray(one)
            sides = [round(side * size / min(image.size)) for side in image.size]
            pixels = np.asarray(image.resize((sides[0], sides[1]), Image.Resampling.LANCZOS))
            marked = watermark.mark(pixels, Message(model=1, recipe=number.to_bytes(4, "big")))
            moved[f"{size} px"] += _changes(pipe, pixels, marked, person)
    return moved


def _changes(pipe: FacePipeline, pixels: Array, marked: Array, person: Any) -> list[float]:
    """What the mark adds to the likeness to `person`, mostly less than nothing; none where no face is found."""
    before, after = (None, None) if pipe.reader is None else pipe.reader.identify([pixels, marked])
    if before is None or after is None:
        return []
    return [float((after.vector - before.vector) @ person.vector)]


def _moved(changes: Sequence[float]) -> dict[str, Estimate]:
    """The mean size of changes of likeness, and their mean with its sign."""
    if not changes:
        return {"likeness_change": estimate.UNKNOWN, "likeness_shift": estimate.UNKNOWN}
    signed = np.array(changes)
    return {"likeness_change": estimate.mean(np.abs(signed)), "likeness_shift": estimate.mean(signed)}


def _of_generated(pipe: FacePipeline, count: int, first: int) -> dict[str, Any]:
    """The model's images marked, what is found in them as they were, and how far their likeness moves."""
    tally, plain, changes = Tally(), [], []
    for number, (image, person) in enumerate(generated(pipe, count)):
        plain.append(np.asarray(image))
        marked = tally.add(image, first + number)
        changes += _changes(pipe, plain[-1], marked, person)
    return {
        "rows": {_OWN: tally.as_json()},
        "found": _scored(("generated", one) for one in plain),
        "changes": changes,
    }


def _scores(results: Sequence[tuple[bool, float]]) -> dict[str, Estimate]:
    scores = np.array([score for _, score in results])
    return {
        "false_positives": estimate.proportion(np.array([present for present, _ in results])),
        "score": estimate.plain(float(scores.mean()), len(scores)),
        "highest": estimate.plain(float(scores.max()), len(scores)),
    }


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "watermark.json",
    pictures: Annotated[int, typer.Option(help="Marked photos, in all sizes.")] = 140,
    own: Annotated[int, typer.Option(help="Images of the model.")] = 20,
    unmarked: Annotated[int, typer.Option(help="Unmarked pictures.")] = 1000,
    edits: Annotated[int, typer.Option(help="Edits by the model.")] = 12,
    first: Annotated[int, typer.Option(help="Number of the first unmarked picture: several runs can share them.")] = 0,
    people: Annotated[int | None, typer.Option(help="Held-out photos.", show_default="all")] = None,
    pieces: Annotated[Path | None, typer.Option(help="A folder for what was measured, to go on later.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Two photos of each of many people, for likeness, as --suite pairs takes.")
    ] = None,
    source: Source = None,
) -> None:
    """Measure the mark in the pixels and write a report that documents can draw tables from."""
    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    photos = [person.photo.pixels for person in held_out_people(source, people)]
    everybody = [] if pairs is None else load_pairs(pairs)
    report = measure(
        pipe,
        photos,
        pictures=pictures,
        own=own,
        edits=edits,
        count=unmarked,
        first=first,
        everybody=everybody,
        pieces=Pieces(pieces),
    )
    publish(report, out)


if __name__ == "__main__":
    typer.run(main)
