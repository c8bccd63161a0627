"""personae demo: a real photo, its person again in other poses, expressions and words, and back in the photo.

    path = demo.run(pipe, "personae-out/demo")      # the sheet; its images lie beside it

The photo is NASA's portrait of Eileen Collins, in the public domain, which comes with scikit-image. One page, so
that what an identity vector is can be seen: what stays when the seed changes, and what changes when the vector does.
Rows that need a component which the model does not have are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from personae import identity, sheet
from personae.errors import NoFaceFound, WeightsMissing
from personae.gather import gather, strangers
from personae.provenance import writer
from personae.provenance.marks import Marks
from personae.sheet import Card, Section
from personae.types import Edit, Identity

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

VARIATIONS = 6
AMOUNTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STRANGERS = 6
POSES = {
    "yaw -25": (-25, 0, 0),
    "yaw 25": (25, 0, 0),
    "pitch -12": (0, -12, 0),
    "pitch 12": (0, 12, 0),
    "roll 15": (0, 0, 15),
}
EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "smile 0.9": {"smile": 0.9},
    "jawOpen 0.6": {"jawOpen": 0.6},
    "eyeBlink 0.9": {"eyeBlink": 0.9},
    "smile 0": {"smile": 0.0},
}
PROMPTS = (
    "photo of a person, smiling",
    "photo of a person, black and white",
    "photo of a young girl",
    "photo of an old man",
)
SERIOUS = {"smile": 0.0}
_SEED = 5  # of the first row, the seed that poses, expressions and words start from
OnStage = Callable[[str, int], dict[str, Any]]


def portrait() -> Image.Image:
    """The astronaut, cut around her head and shoulders: (384, 384) RGB."""
    from skimage.data import astronaut  # late: scikit-image takes a while to import

    return Image.fromarray(astronaut()[:384, 40:424])


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where the demo's pictures are generated and written.

    steps: of sampling; None: the model's. marks: of the images. announce: told what comes next and how many images;
    what it returns goes to the pipeline's call (progress callbacks).
    """

    pipe: "FacePipeline"
    folder: Path
    steps: int | None
    marks: Marks | None
    announce: OnStage

    def row(
        self,
        title: str,
        stem: str,
        people: Sequence[Identity],
        seeds: Sequence[int],
        captions: Sequence[str],
        **options: Any,
    ) -> list[Card]:
        """One image for each seed, person after person, as cards with the likeness. options: of the pipeline's call."""
        generation = self.pipe(
            list(people),
            num_images_per_prompt=len(seeds) // len(people),
            num_inference_steps=self.steps,
            seed=seeds,
            **options,
            **self.announce(title, len(seeds)),
        )
        stems = [stem] if len(people) == 1 else [f"{stem}-{i}" for i in range(len(people))]
        paths = writer.save(generation, self.folder, people=people, stems=stems, marks=self.marks, force=True)
        return sheet.cards(paths, generation.likeness, captions)

    def edit(self, task: str, caption: str, seed: int, **options: Any) -> Card:
        """An edit, as a card with the likeness."""
        edit: Edit = self.pipe.edit(
            task, seed=seed, num_inference_steps=self.steps, **options, **self.announce(caption, 1)
        )
        (path,) = writer.save_edit(edit, self.folder, stem=task, marks=self.marks, force=True)
        return Card(image=path, likeness=None if edit.likeness is None else edit.likeness[0], caption=caption)


def run(
    pipe: "FacePipeline",
    folder: str | Path,
    *,
    photo: str | Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    marks: Marks | None = None,
    stage: OnStage = lambda title, images: {},
) -> Path:
    """Write the demo's images and their sheet into `folder` (replacing an earlier demo); returns the sheet's path.

    photo: someone to blend with; None: a random person. seed: of the first variation. marks: of its images. stage: told
    what comes next and how many images; what it returns goes to the pipeline's call (progress callbacks).
    """
    target = writer.prepare(folder)
    picture = portrait()
    faces = pipe.read(picture)
    if not faces or faces[0].identity is None:
        raise NoFaceFound("no face found in the demo's own portrait: this model's reader is broken or untrained")
    astronaut = faces[0].identity
    nobody = strangers(_folder(pipe), STRANGERS, seed=seed)
    end = gather(pipe, [photo])[0].identity if photo else nobody[0]
    make = Stage(pipe=pipe, folder=target, steps=steps, marks=marks, announce=stage)
    people = make.row("random people", "stranger", nobody, [seed] * STRANGERS, [f"seed {seed}"] * STRANGERS)
    original = Card(image=picture, boxes=[faces[0].detection.box], caption="Eileen Collins, NASA, public domain")
    sections = [
        Section(
            title="A photo in",
            cards=[original],
            note=f"One face, read as {astronaut.vector.size} numbers: a unit vector that says who, and little else.",
            large=True,
        ),
        _variations(make, astronaut, seed),
        *_controlled(make, astronaut, seed + _SEED),
        _way(
            make, astronaut, end, seed, "the person in your photo" if photo else "the first of the random people below"
        ),
        Section(
            title="People who never were",
            cards=people,
            note="Vectors drawn at random from the spread of many real ones.",
        ),
        _edits(make, picture, people, seed),
    ]
    lead = "A face becomes a handle: read once, generated at will. Everything here was made on this machine."
    page = sheet.page("personae", sections, lead=lead, foot=f"Model: {pipe.name}.")
    return writer.write(target / "index.html", page.encode(), force=True)


def _variations(make: Stage, person: Identity, seed: int) -> Section:
    seeds = [seed + i for i in range(VARIATIONS)]
    return Section(
        title="That person out",
        cards=make.row("the person again", "astronaut", [person], seeds, [f"seed {s}" for s in seeds]),
        note="The same vector, six seeds. The bar is the cosine between the vector asked for and the one read "
        "back from the picture by the model's own encoder, which flatters: docs/quality.md has other judges.",
    )


def _controlled(make: Stage, person: Identity, seed: int) -> list[Section]:
    """The person posed, with an expression, and in words, as far as the model can."""
    sections = []
    for component, option, title, values, note in (
        ("controlnet", "pose", "In any pose", POSES, "Degrees of the head, held by a ControlNet."),
        ("exp_adapter", "expression", "With any expression", EXPRESSIONS, "Blendshapes from 0 to 1, by an adapter."),
    ):
        if make.pipe.has_component(component):
            count, options = len(values), {option: list(values.values())}
            cards = make.row(title.lower(), option, [person] * count, [seed] * count, list(values), **options)
            sections.append(Section(title=title, cards=cards, note=f"The same vector, one seed. {note}"))
    if make.pipe.has_component("face_tokens"):
        cards = [
            card
            for number, prompt in enumerate(PROMPTS)
            for card in make.row("in words", f"words-{number}", [person], [seed], [prompt], prompt=prompt)
        ]
        sections.append(Section(title="In words", cards=cards, note="Text and face together (Face0), each weighed."))
    return sections


def _way(make: Stage, person: Identity, end: Identity, seed: int, whom: str) -> Section:
    way = [identity.blend(person, end, amount) for amount in AMOUNTS]
    captions = [f"{amount:.0%}" for amount in AMOUNTS]
    return Section(
        title="On the way to someone else",
        cards=make.row("the way between", "blend", way, [seed] * len(way), captions),
        note=f"One seed; the vector walks along the sphere to {whom}.",
    )


def _edits(make: Stage, picture: Image.Image, people: Sequence[Card], seed: int) -> Section:
    """The photo with the face of the most faithful of the random people, and with another expression."""
    source = max(people, key=lambda card: np.nan_to_num(card.likeness or 0.0, nan=-1.0))
    assert isinstance(source.image, Path)
    cards = [make.edit("attribute", "the smile taken back", seed, target=picture, expression=SERIOUS)]
    with suppress(NoFaceFound):  # in what the model generated, after very few steps, say
        swap = make.edit("swap", "that face in the photo", seed, source=source.image, target=picture)
        cards = [Card(image=source.image, caption="somebody who never was"), swap, *cards]
    return Section(
        title="Into a photo",
        cards=cards,
        note="Only what changes is generated; the rest of the photo stays as it was.",
        large=True,
    )


def _folder(pipe: "FacePipeline") -> Path:
    if pipe.folder is None:
        raise WeightsMissing("the demo needs a model that was loaded from a folder: use personae.load")
    return pipe.folder
