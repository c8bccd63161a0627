"""personae evaluate --suite face0 --people 200 -o docs/figures/face0.json

Whether nano does what words ask, and shows whom the face says, when both are given (Face0): held-out people, read by
networks that have no part in making the images (MediaPipe's landmarker, the teacher recogniser, an age classifier on
its vectors). Needs the teachers' folder and a prepared cache. 200 people: 2300 images, some 12 minutes of two cores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from personae.data.teachers import Teachers
from personae.evaluation import estimate
from personae.evaluation.claims import ATTRIBUTES, CLAIMS, PAIRS, Ages, Claim, Eyes, Known, Seen
from personae.evaluation.estimate import Estimate
from personae.evaluation.likeness import cosines
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline
from personae.sampling import codec
from personae.types import Array

Row = dict[str, Estimate]
HALVES = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
# The face's share in what is asked, from none to whole.
SHARES: dict[str, dict[str, float]] = {
    "words alone": {"text_weight": 1, "both_weight": 0},
    "face 0.25": {"text_weight": 0.75, "both_weight": 0.25},
    "face 0.5": {"text_weight": 0.5, "both_weight": 0.5},
    "face 0.75": {"text_weight": 0.25, "both_weight": 0.75},
    "both": {},
}
# As much of the face, and fewer words: nothing more to gain.
BEYOND: dict[str, dict[str, float]] = {
    "both 0.5, face 0.5": {"face_weight": 0.5, "both_weight": 0.5},
    "face alone": {"face_weight": 1, "both_weight": 0},
}
# What two people are told, and how many times as wide as the model's own their picture is.
TOGETHER: dict[str, tuple[str | None, float]] = {
    "words, windows side by side": ("photo of a person", 2.0),
    "words, windows that overlap": ("photo of a person", 1.75),
    "{person}, windows side by side": (None, 2.0),
    "words, attention alone": ("photo of a person", 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The people and who looks at their images. `real` (P, D): the judge's vectors of their photos. `options`: of
    every call."""

    pipe: FacePipeline
    people: Sequence[Subject]
    eyes: Eyes
    real: Array
    options: Mapping[str, Any]

    def make(self, prompts: Sequence[str | None], people: int | None = None, **options: Any) -> list[Array]:
        """An image of each of the first `people` (None: all), told their own one of the `prompts`; that of person p has
        seed p whatever it is told."""
        count = len(self.people) if people is None else people
        made: list[Array | None] = [None] * count
        for prompt in dict.fromkeys(prompts[:count]):
            rows = [row for row in range(count) if prompts[row] == prompt]
            faces = [self.people[row].face for row in rows]
            found = self.pipe(
                faces, prompt=prompt, seed=rows, measure_likeness=False, **{**self.options, **options}
            ).images
            for row, image in zip(rows, found, strict=True):
                made[row] = np.asarray(image)
        return [image for image in made if image is not None]

    def asked(self, claim: Claim, **options: Any) -> Seen:
        """What is seen when everyone is asked for it."""
        return self.eyes.look(self.make([claim.prompt(one) for one in self.people], **options))

    def likeness(self, seen: Seen) -> Array:
        """(N,) of the first N people, 0 where no face is found."""
        vectors = seen["vectors"]
        found: Array = np.nan_to_num(cosines(self.real[: len(vectors)], vectors[:, None])[:, 0])
        return found


def obedience(bench: Bench) -> tuple[dict[str, Row], dict[str, Estimate], dict[str, Seen]]:
    """Each claim's row; each attribute's figure, over the images that were asked for it; what was seen."""
    rows: dict[str, Row] = {}
    held: dict[str, Array] = {}
    seen = {}
    for name, claim in CLAIMS.items():
        typer.echo(f"{name} ...", err=True)
        seen[name] = bench.asked(claim)
    opposite = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
    for name, claim in CLAIMS.items():
        held[name] = claim.holds(seen[name])
        rows[name] = {
            "holds": estimate.proportion(held[name]),
            "clearly": estimate.proportion(claim.holds(seen[name], clearly=True)),
            "beats": estimate.proportion(claim.beats(seen[name], seen[opposite[name]])),
            "likeness": estimate.mean(bench.likeness(seen[name])),
        }
    figures = {
        name: estimate.proportion(np.concatenate([held[one] for one in claims])) for name, claims in ATTRIBUTES.items()
    }
    return rows, figures, seen


def person_prompts(bench: Bench, count: int) -> dict[str, Row]:
    """The same asked the other way, around `{person}`, of the first `count`."""
    rows = {}
    for name, claim in CLAIMS.items():
        prompt = claim.words.format(noun="{person}", child="{person}")
        seen = bench.eyes.look(bench.make([prompt] * count, count))
        rows[name] = {
            "holds": estimate.proportion(claim.holds(seen)),
            "likeness": estimate.mean(bench.likeness(seen)),
        }
    return rows


def kept(bench: Bench, seen: Mapping[str, Seen]) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Likeness beside words and without any; the share of it that words leave, over people."""
    without = bench.likeness(bench.eyes.look(bench.make([""] * len(bench.people))))
    named = bench.likeness(bench.eyes.look(bench.make([None] * len(bench.people))))
    worded = np.mean([bench.likeness(one) for one in seen.values()], axis=0)
    rows = {
        "the face and no words": {"likeness": estimate.mean(without)},
        "the face and words, over all that is asked": {"likeness": estimate.mean(worded)},
        "photo of a {person}": {"likeness": estimate.mean(named)},
    }
    ratio = estimate.bootstrap(lambda rows: worded[rows].mean(-1) / without[rows].mean(-1), len(worded))
    return rows, {"kept": ratio}


def sweep(bench: Bench, count: int) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Likeness by the weight of the face, asked to smile; the smallest gain from one of its shares to the next."""
    claim = CLAIMS["smiling"]
    rows: dict[str, Row] = {}
    before: Array | None = None
    gains = []
    for name, weights in (SHARES | BEYOND).items():
        seen = bench.eyes.look(bench.make([claim.prompt(one) for one in bench.people], count, **weights))
        likeness = bench.likeness(seen)
        rows[name] = {"likeness": estimate.mean(likeness), "holds": estimate.proportion(claim.holds(seen))}
        if before is not None and name in SHARES:
            gains.append(estimate.mean(likeness - before))
        before = likeness
    return rows, {"rise": min(gains, key=lambda one: one.value)}


def pull(bench: Bench, everyone: Array, faced: Seen) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Whether pictures of the words alone are drawn to anybody of `everyone` (M, D): the highest mean cosine that any
    of them has to these pictures. The same of photos of as many strangers, whom the same words describe; and of the
    pictures `faced`, told these strangers' faces."""
    prompts = [CLAIMS["in colour"].prompt(one) for one in bench.people]
    worded = bench.eyes.look(bench.make(prompts, text_weight=1, both_weight=0))["vectors"]
    rows = {}
    for name, vectors in (("words alone", worded), ("photos", bench.real), ("words and faces", faced["vectors"])):
        found = vectors[np.isfinite(vectors).all(1)]
        nearest = float((everyone @ found.mean(0)).max())
        rows[name] = {"nearest": Estimate(value=nearest, low=np.nan, high=np.nan, n=len(found))}
    return rows, {"pull": rows["words alone"]["nearest"]}


def together(bench: Bench, trials: int) -> tuple[dict[str, Row], dict[str, Estimate]]:
    """Two people in one picture: whether each half's face is nearer to its own person than to the other."""
    rows: dict[str, Row] = {}
    side = bench.pipe.unet.config.sample_size * codec.pixels_per_cell(bench.pipe.vae)
    for name, (prompt, wide) in TOGETHER.items():
        options = {**bench.options, "prompt": prompt, "regions": HALVES, "width": int(wide * side)}
        own, other = [], []
        for trial in range(trials):
            pair = [trial, (trial + trials) % len(bench.people)]
            faces = [bench.people[one].face for one in pair]
            image = np.asarray(bench.pipe(faces, seed=trial, measure_likeness=False, **options).images[0])
            middle = image.shape[1] // 2
            seen = bench.eyes.judge.look([image[:, :middle], image[:, middle:]], bench.eyes.find)
            if seen.shape[1] == 1:  # no face in either
                seen = np.full((2, bench.real.shape[1]), np.nan)
            own.append((seen * bench.real[pair]).sum(1))
            other.append((seen * bench.real[pair[::-1]]).sum(1))
        right = np.array(own) > np.array(other)  # (trials, 2); a face that is not found is wrong
        rows[name] = {
            "both_right": estimate.proportion(np.asarray(right.all(1))),
            "face_right": estimate.proportion(right.ravel()),
            "likeness": estimate.mean(np.nan_to_num(own).mean(1)),
        }
    return rows, {"together": next(iter(rows.values()))["both_right"]}


def measure(bench: Bench, everyone: Array, *, fewer: int, trials: int) -> Report:
    """The report. everyone: (M, D) the judge's vectors of people that words alone must not show; fewer: people for what
    is not held to a bar; trials: pictures of two."""
    asked, attributes, seen = obedience(bench)
    alike, ratio = kept(bench, seen)
    weighed, rise = sweep(bench, fewer)
    two, right = together(bench, trials)
    reached = sum(figure.value >= 0.8 for figure in attributes.values())
    drawn, nearest = pull(bench, everyone, seen["in colour"])
    figures = {
        "attributes": Estimate(value=float(reached), low=np.nan, high=np.nan, n=len(attributes)),
        **attributes,
        **ratio,
        **rise,
        **nearest,
        **right,
    }
    groups = {
        "asked in words beside the face": asked,
        "asked around {person}": person_prompts(bench, fewer),
        "what is told": alike,
        "weights, asked to smile": weighed,
        "drawn to somebody": drawn,
        "two people in one picture": two,
    }
    ages = bench.eyes.ages
    return assemble(
        kind="face0",
        subject=f"model {bench.pipe.name or 'unnamed'}",
        settings={"people": len(bench.people), "fewer": fewer, "trials": trials, **bench.options},
        figures=figures,
        groups=groups,
        caveats=[
            "one image of each person, the same seeds in every row; an image without a face bears out nothing",
            "expressions and poses by MediaPipe's landmarker, whose readings also wrote the captions",
            (
                "child or old by logistic regression on the judge's vectors, which tells "
                f"{ages.right[0]:.1%} of children and {ages.right[1]:.1%} of old people among {ages.count} held out"
            ),
            bench.eyes.judge.caveat,
        ],
    )


def main(
    model: Annotated[str, typer.Argument(help="A named model or a model folder.")] = "nano",
    out: Annotated[Path, typer.Option("-o", "--out", help="The JSON to write.")] = FOLDER / "face0.json",
    people: Annotated[int, typer.Option(help="Held-out people, an image of each for everything asked.")] = 200,
    fewer: Annotated[int, typer.Option(help="The first of them, for what is not held to a bar.")] = 40,
    trials: Annotated[int, typer.Option(help="Pictures of two people.")] = 50,
    steps: Annotated[int | None, typer.Option(help="Of the sampler; by default the model's own.")] = None,
    source: Annotated[Path, typer.Option(help="A prepared cache.")] = Path("cache/faces"),
    teachers: Annotated[Path, typer.Option(help="The labellers' folder.")] = Path("../shared/teachers"),
) -> None:
    """Measure words beside faces and write a report that documents can draw tables from."""
    setup = open_setup(model, people, source, "teacher")
    subjects, judge, find = setup.subjects, setup.judge, setup.find
    known = Known.read(source)
    ages = Ages.fit(known)
    eyes = Eyes(motion=Teachers(teachers).motion, ages=ages, judge=judge, find=find)
    real = judge.look([one.person.photo.pixels for one in subjects], find)
    options = {} if steps is None else {"num_inference_steps": steps}
    bench = Bench(pipe=setup.pipe, people=subjects, eyes=eyes, real=real, options=options)
    publish(measure(bench, known.vectors[~known.held_out], fewer=min(fewer, len(subjects)), trials=trials), out)


if __name__ == "__main__":
    typer.run(main)
