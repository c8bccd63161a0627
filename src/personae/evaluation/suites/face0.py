"""personae evaluate --suite face0 --people 200 -o docs/figures/face0.json

Whether images follow the words of a prompt and show the person of the face when both are used (Face0). Held-out people,
read by networks that took no part in generating the images: MediaPipe's landmarker, the teacher recogniser, an age
classifier on its vectors. Needs the teachers' folder and a prepared cache. 200 people: 2300 images, some 12 minutes of
two cores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from personae.console import note
from personae.data.teachers import Teachers
from personae.evaluation import estimate
from personae.evaluation.claims import ATTRIBUTES, CLAIMS, PAIRS, Ages, Claim, Examiner, Known, Readings
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import teachers_folder
from personae.evaluation.likeness import cosines
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.evaluation.subjects import Subject
from personae.evaluation.suite_options import Cache, Model, ReportFile, Steps, TeachersFolder
from personae.pipeline import FacePipeline
from personae.sampling.latent_grid import own_side
from personae.shapes import UInt8
from personae.types import Array

Row = dict[str, Estimate]
HALVES = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
# The face's share of the guidance, from none to all.
SHARES: dict[str, dict[str, float]] = {
    "words alone": {"text_weight": 1, "both_weight": 0},
    "face 0.25": {"text_weight": 0.75, "both_weight": 0.25},
    "face 0.5": {"text_weight": 0.5, "both_weight": 0.5},
    "face 0.75": {"text_weight": 0.25, "both_weight": 0.75},
    "both": {},
}
# As much of the face and fewer words: likeness is not expected to rise further.
BEYOND: dict[str, dict[str, float]] = {
    "both 0.5, face 0.5": {"face_weight": 0.5, "both_weight": 0.5},
    "face alone": {"face_weight": 1, "both_weight": 0},
}
# The prompt for a picture of two people, and its width as a multiple of the model's own.
TOGETHER: dict[str, tuple[str | None, float]] = {
    "words, windows side by side": ("photo of a person", 2.0),
    "words, windows that overlap": ("photo of a person", 1.75),
    "{person}, windows side by side": (None, 2.0),
    "words, attention alone": ("photo of a person", 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The people, and the networks that read their images. `real` (P, D): the judge's vectors of their photos.
    `options`: of every call."""

    pipe: FacePipeline
    people: Sequence[Subject]
    examiner: Examiner
    real: Array
    options: Mapping[str, Any]

    def generate(
        self, prompts: Sequence[str | None], people: int | None = None, **options: Any
    ) -> list[UInt8[Array, "S S 3"]]:
        """An image of each of the first `people` (None: all), by `prompts[p]` of person p, from seed p."""
        count = len(self.people) if people is None else people
        images: list[Array | None] = [None] * count
        for prompt in dict.fromkeys(prompts[:count]):
            rows = [row for row in range(count) if prompts[row] == prompt]
            faces = [self.people[row].face for row in rows]
            found = self.pipe(
                faces, prompt=prompt, seed=rows, measure_likeness=False, **{**self.options, **options}
            ).images
            for row, image in zip(rows, found, strict=True):
                images[row] = np.asarray(image)
        return [image for image in images if image is not None]

    def read(self, prompts: Sequence[str | None], people: int | None = None, **options: Any) -> Readings:
        """Of the images that `generate` makes of these."""
        return self.examiner.read(self.generate(prompts, people, **options))

    def prompts(self, claim: Claim) -> list[str]:
        """Everyone's prompt for a claim."""
        return [claim.prompt(one) for one in self.people]

    def likeness(self, readings: Readings) -> Array:
        """(N,) of the first N people, 0 where no face is found."""
        vectors = readings["vectors"]
        found: Array = np.nan_to_num(cosines(self.real[: len(vectors)], vectors[:, None])[:, 0])
        return found


def attributes(bench: Bench) -> tuple[dict[str, Row], dict[str, Estimate], dict[str, Readings]]:
    """Each claim's row; each attribute's figure, over the images whose prompt requests it; and the readings."""
    rows: dict[str, Row] = {}
    holds: dict[str, Array] = {}
    readings = {}
    for name, claim in CLAIMS.items():
        note(f"{name} ...")
        readings[name] = bench.read(bench.prompts(claim))
    opposite = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
    for name, claim in CLAIMS.items():
        holds[name] = claim.holds(readings[name])
        rows[name] = {
            "holds": estimate.proportion(holds[name]),
            "clearly": estimate.proportion(claim.holds(readings[name], clearly=True)),
            "beats": estimate.proportion(claim.beats(readings[name], readings[opposite[name]])),
            "likeness": estimate.mean(bench.likeness(readings[name])),
        }
    figures = {
        name: estimate.proportion(np.concatenate([holds[one] for one in claims])) for name, claims in ATTRIBUTES.items()
    }
    return rows, figures, readings


def person_prompts(bench: Bench, count: int) -> dict[str, Row]:
    """The same claims by prompts around `{person}`, of the first `count` people."""
    rows = {}
    for name, claim in CLAIMS.items():
        prompt = claim.words.format(noun="{person}", child="{person}")
        readings = bench.read([prompt] * count, count)
        rows[name] = {
            "holds": estimate.proportion(claim.holds(readings)),
            "likeness": estimate.mean(bench.likeness(readings)),
        }
    return rows


def likeness_beside_words(bench: Bench, readings: Mapping[str, Readings]) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Likeness with and without words, and the one as a share of the other, over people."""
    without = bench.likeness(bench.read([""] * len(bench.people)))
    named = bench.likeness(bench.read([None] * len(bench.people)))
    worded = np.mean([bench.likeness(one) for one in readings.values()], axis=0)
    rows = {
        "the face and no words": {"likeness": estimate.mean(without)},
        "the face and words, over all that is asked": {"likeness": estimate.mean(worded)},
        "photo of a {person}": {"likeness": estimate.mean(named)},
    }
    ratio = estimate.bootstrap(lambda rows: worded[rows].mean(-1) / without[rows].mean(-1), len(worded))
    return rows, {"kept": ratio}


def sweep(bench: Bench, count: int) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Likeness by the weight of the face, with a prompt for a smile; the smallest gain from one share to the next."""
    claim = CLAIMS["smiling"]
    rows: dict[str, Row] = {}
    before: Array | None = None
    gains = []
    for name, weights in (SHARES | BEYOND).items():
        readings = bench.read(bench.prompts(claim), count, **weights)
        likeness = bench.likeness(readings)
        rows[name] = {"likeness": estimate.mean(likeness), "holds": estimate.proportion(claim.holds(readings))}
        if before is not None and name in SHARES:
            gains.append(estimate.mean(likeness - before))
        before = likeness
    return rows, {"rise": min(gains, key=lambda one: one.value)}


def pull(bench: Bench, everyone: Array, faced: Readings) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Whether pictures by words alone resemble anybody of `everyone` (M, D), people of the training data: the highest
    mean cosine that one of them has to these pictures. For comparison the same of photos of as many strangers, whom the
    same words describe, and of `faced`, pictures by words and these strangers' faces."""
    worded = bench.read(bench.prompts(CLAIMS["in colour"]), text_weight=1, both_weight=0)["vectors"]
    rows = {}
    for name, vectors in (("words alone", worded), ("photos", bench.real), ("words and faces", faced["vectors"])):
        found = vectors[np.isfinite(vectors).all(1)]
        nearest = float((everyone @ found.mean(0)).max())
        rows[name] = {"nearest": estimate.plain(nearest, len(found))}
    return rows, {"pull": rows["words alone"]["nearest"]}


def together(bench: Bench, trials: int) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Two people in one picture: whether each half's face is nearer to its own person than to the other."""
    rows: dict[str, Row] = {}
    side = own_side(bench.pipe.vae, bench.pipe.unet)
    for name, (prompt, wide) in TOGETHER.items():
        options = {**bench.options, "prompt": prompt, "regions": HALVES, "width": int(wide * side)}
        own, other = [], []
        for trial in range(trials):
            pair = [trial, (trial + trials) % len(bench.people)]
            faces = [bench.people[one].face for one in pair]
            image = np.asarray(bench.pipe(faces, seed=trial, measure_likeness=False, **options).images[0])
            middle = image.shape[1] // 2
            vectors = bench.examiner.judge.look([image[:, :middle], image[:, middle:]], bench.examiner.find)
            if vectors.shape[1] == 1:  # no face in either
                vectors = np.full((2, bench.real.shape[1]), np.nan)
            own.append((vectors * bench.real[pair]).sum(1))
            other.append((vectors * bench.real[pair[::-1]]).sum(1))
        right = np.array(own) > np.array(other)  # (trials, 2); a face that is not found is wrong
        rows[name] = {
            "both_right": estimate.proportion(np.asarray(right.all(1))),
            "face_right": estimate.proportion(right.ravel()),
            "likeness": estimate.mean(np.nan_to_num(own).mean(1)),
        }
    return rows, {"together": next(iter(rows.values()))["both_right"]}


def measure(bench: Bench, everyone: Array, *, fewer: int, trials: int) -> Report:
    """The report. everyone: (M, D) the judge's vectors of people whom words alone must not show; fewer: how many people
    for figures without a bar; trials: pictures of two people."""
    beside, shares, readings = attributes(bench)
    alike, ratio = likeness_beside_words(bench, readings)
    weighed, rise = sweep(bench, fewer)
    two, right = together(bench, trials)
    reached = sum(figure.value >= 0.8 for figure in shares.values())
    drawn, nearest = pull(bench, everyone, readings["in colour"])
    figures = {
        "attributes": estimate.plain(float(reached), len(shares)),
        **shares,
        **ratio,
        **rise,
        **nearest,
        **right,
    }
    groups = {
        "asked in words beside the face": beside,
        "asked around {person}": person_prompts(bench, fewer),
        "what is told": alike,
        "weights, asked to smile": weighed,
        "drawn to somebody": drawn,
        "two people in one picture": two,
    }
    ages = bench.examiner.ages
    return assemble(
        kind="face0",
        subject=f"model {bench.pipe.name or 'unnamed'}",
        settings={"people": len(bench.people), "fewer": fewer, "trials": trials, **bench.options},
        figures=figures,
        groups=groups,
        caveats=[
            "one image of each person, the same seeds in every row; an image without a face fulfils no claim about one",
            "expressions and poses by MediaPipe's landmarker, whose readings also wrote the captions",
            (
                "child or old by logistic regression on the judge's vectors, which is right for "
                f"{ages.right[0]:.1%} of children and {ages.right[1]:.1%} of old people among {ages.count} held out"
            ),
            bench.examiner.judge.caveat,
        ],
    )


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "face0.json",
    people: Annotated[int, typer.Option(help="Held-out people; an image of each for every prompt.")] = 200,
    fewer: Annotated[int, typer.Option(help="How many of them for figures without a bar.")] = 40,
    trials: Annotated[int, typer.Option(help="Pictures of two people.")] = 50,
    steps: Steps = None,
    source: Cache = Path("cache/faces"),
    teachers: TeachersFolder = None,
) -> None:
    """Measure words beside faces and write a report that documents can draw tables from."""
    setup = open_setup(model, people, source, "teacher")
    subjects, judge, find = setup.subjects, setup.judge, setup.find
    known = Known.read(source)
    ages = Ages.fit(known)
    examiner = Examiner(motion=Teachers(teachers_folder(teachers)).motion, ages=ages, judge=judge, find=find)
    real = judge.look([one.person.photo.pixels for one in subjects], find)
    options = {} if steps is None else {"num_inference_steps": steps}
    bench = Bench(pipe=setup.pipe, people=subjects, examiner=examiner, real=real, options=options)
    publish(measure(bench, known.vectors[~known.held_out], fewer=min(fewer, len(subjects)), trials=trials), out)


if __name__ == "__main__":
    typer.run(main)
