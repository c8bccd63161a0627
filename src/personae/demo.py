"""personae demo: a real photo, its person eight ways, the way to someone else, and people who never were.

    path = demo.run(pipe, "personae-out/demo")      # the sheet; its images lie beside it

The photo is NASA's portrait of Eileen Collins, in the public domain, which comes with scikit-image. One page, so
that what an identity vector is can be seen: what stays when the seed changes, and what changes when the vector does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from personae import identity, sheet
from personae.errors import NoFaceFound, WeightsMissing
from personae.gather import gather, strangers
from personae.provenance import writer
from personae.provenance.marks import Marks
from personae.types import Identity

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

VARIATIONS = 8
AMOUNTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STRANGERS = 8
OnStage = Callable[[str, int], dict[str, Any]]
Row = list[sheet.Card]


def portrait() -> Image.Image:
    """The astronaut, cut around her head and shoulders: (384, 384) RGB."""
    from skimage.data import astronaut  # late: scikit-image takes a while to import

    return Image.fromarray(astronaut()[:384, 40:424])


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
    way = [identity.blend(astronaut, end, amount) for amount in AMOUNTS]

    def row(title: str, stem: str, people: Sequence[Identity], seeds: Sequence[int], captions: Sequence[str]) -> Row:
        out = pipe(
            list(people),
            num_images_per_prompt=len(seeds) // len(people),
            num_inference_steps=steps,
            seed=seeds,
            **stage(title, len(seeds)),
        )
        stems = [stem] if len(people) == 1 else [f"{stem}-{i}" for i in range(len(people))]
        paths = writer.save(out, target, people=people, stems=stems, marks=marks, force=True)
        return sheet.cards(paths, out.likeness, captions)

    seeds = [seed + i for i in range(VARIATIONS)]
    sections = [
        sheet.Section(
            title="A photo in",
            cards=[
                sheet.Card(image=picture, boxes=[faces[0].detection.box], caption="Eileen Collins, NASA, public domain")
            ],
            note=f"One face, read as {astronaut.vector.size} numbers: a unit vector that says who, and little else.",
            large=True,
        ),
        sheet.Section(
            title="That person out",
            cards=row("the person again", "astronaut", [astronaut], seeds, [f"seed {s}" for s in seeds]),
            note="The same vector, eight seeds. The bar is the cosine between the vector asked for and the one read "
            "back from the picture by the model's own encoder, which flatters: docs/quality.md has other judges.",
        ),
        sheet.Section(
            title="On the way to someone else",
            cards=row("the way between", "blend", way, [seed] * len(way), [f"{amount:.0%}" for amount in AMOUNTS]),
            note=f"One seed; the vector walks along the sphere to {_whom(photo)}.",
        ),
        sheet.Section(
            title="People who never were",
            cards=row("random people", "stranger", nobody, [seed] * STRANGERS, [f"seed {seed}"] * STRANGERS),
            note="Vectors drawn at random from the spread of many real ones.",
        ),
    ]
    lead = "A face becomes a handle: read once, generated at will. Everything here was made on this machine."
    page = sheet.page("personae", sections, lead=lead, foot=f"Model: {pipe.name}.")
    return writer.write(target / "index.html", page.encode(), force=True)


def _whom(photo: str | Path | None) -> str:
    return "the person in your photo" if photo else "the first of the random people below"


def _folder(pipe: "FacePipeline") -> Path:
    if pipe.folder is None:
        raise WeightsMissing("the demo needs a model that was loaded from a folder: use personae.load")
    return pipe.folder
