"""personae evaluate --suite grid -o docs/figures/face0.webp

What the weights of words and face do, to look at: people who do not exist, prompts downwards, weights across, one seed
for each person.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image, ImageDraw, ImageFont

import personae
from personae.console import say
from personae.evaluation.report import FOLDER
from personae.evaluation.suite_options import Model
from personae.evaluation.suites.face0 import HALVES
from personae.gather import PEOPLE
from personae.identity import IdentitySampler
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.sampling.latent_grid import own_side
from personae.types import Identity

WEIGHTS: dict[str, Mapping[str, Any]] = {
    "words alone": {"text_weight": 1, "both_weight": 0},
    "both 0.3": {"text_weight": 0.7, "both_weight": 0.3},
    "stylised": {"look": "stylised"},
    "photo": {"look": "photo"},
    "painting": {"look": "painting"},
    "face alone": {"face_weight": 1, "both_weight": 0},
}
PROMPTS = ("photo of a person", "photo of a person, smiling", "photo of a young girl", "photo of an old man")
TOGETHER = ("photo of a person, smiling", "photo of a person, looking left")
_GAP, _LINE = 4, 18
_GREY, _INK = (119, 119, 119), (255, 255, 255)


def pictures(pipe: FacePipeline, people: Sequence[Identity], seed: int) -> list[list[Image.Image]]:
    """Each person's rows, one after the other: a row for each prompt, a picture for each of the weights."""
    return [
        [
            pipe(person, prompt=prompt, seed=seed + number, measure_likeness=False, **weights).images[0]
            for weights in WEIGHTS.values()
        ]
        for number, person in enumerate(people)
        for prompt in PROMPTS
    ]


def groups(pipe: FacePipeline, people: Sequence[Identity], seed: int) -> list[list[Image.Image]]:
    """All of them in one picture, three times over; a row for each prompt."""
    side = own_side(pipe.vae, pipe.unet)
    return [
        [
            pipe(
                people, prompt=prompt, regions=HALVES, width=side * 7 // 4, seed=seed + n, measure_likeness=False
            ).images[0]
            for n in range(3)
        ]
        for prompt in TOGETHER
    ]


def drawn(rows: Sequence[Sequence[Image.Image]], heads: Sequence[str], names: Sequence[str]) -> Image.Image:
    """Pictures under their heads, each row under its name."""
    wide = max(sum(one.width + _GAP for one in row) for row in rows) + _GAP
    high = (_LINE if heads else 0) + sum(row[0].height + _LINE + _GAP for row in rows)
    sheet = Image.new("RGB", (wide, high), _GREY)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, head in enumerate(heads):
        pen.text((_GAP + number * (rows[0][0].width + _GAP), 2), head, fill=_INK, font=font)
    top = _LINE if heads else 0
    for row, name in zip(rows, names, strict=True):
        pen.text((_GAP, top + 2), name, fill=_INK, font=font)
        left = _GAP
        for one in row:
            sheet.paste(one, (left, top + _LINE))
            left += one.width + _GAP
        top += row[0].height + _LINE + _GAP
    return sheet


def main(
    model: Model = "nano",
    out: Annotated[Path, typer.Option("-o", "--out", help="The picture to write.")] = FOLDER / "face0.webp",
    seed: Annotated[int, typer.Option(help="Of the people and their pictures.")] = 3,
) -> None:
    """Draw the grid of docs/guides/text_and_face.md and, as NAME-together.webp, two people in one picture."""
    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    if pipe.folder is None:
        raise SystemExit(f"{model} has no folder with random people: name one that has")
    people = IdentitySampler.load(pipe.folder / PEOPLE).sample(2, seed=seed)
    names = [prompt for _ in people for prompt in PROMPTS]
    grid = drawn(pictures(pipe, people, seed), list(WEIGHTS), names)
    pairs = drawn(groups(pipe, people, seed), [], TOGETHER)
    recipe = {"task": "grid", "model": {"name": pipe.name, "sha256": pipe.sha256}, "seed": seed}
    for path, sheet in ((out, grid), (out.with_stem(f"{out.stem}-together"), pairs)):
        encoded = writer.encode(sheet, "webp", recipe)
        writer.write(path, encoded, force=True)
        say(f"{path}: {sheet.width} x {sheet.height}, {len(encoded) // 1024} KB")


if __name__ == "__main__":
    typer.run(main)
