"""python examples/best_of.py me.jpg

Images that are read back, and retried with new seeds until a judge finds them alike enough.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import personae
from personae import Face, Identity
from personae.best_of import generate_verified
from personae.provenance import writer
from personae.reading.reader import FaceReader


@dataclass(frozen=True, kw_only=True)
class BothSides:
    """A judge: the lower of the likenesses of an image and of its mirror image. A judge with a recogniser of its own is
    stricter: `personae.evaluation.judge.SecondOpinion`."""

    reader: FaceReader
    name: str = "both sides"

    def likeness(self, images: Sequence[Image.Image], people: Sequence[Face | Identity]) -> list[float]:
        """(N,) a cosine for each image and its person, NaN where no face is found."""
        return [
            float(np.minimum(self._one(image, person), self._one(ImageOps.mirror(image), person)))  # NaN stays NaN
            for image, person in zip(images, people, strict=True)
        ]

    def _one(self, image: Image.Image, person: Face | Identity) -> float:
        wanted = person.identity if isinstance(person, Face) else person
        [found] = self.reader.identify([np.asarray(image)])
        return float("nan") if found is None or wanted is None else float(found.vector @ wanted.vector)


def main(
    photo: str, folder: str = "personae-out", *, at_least: float = 0.4, steps: int | None = None, count: int = 4
) -> list[Path]:
    """Write the images that pass, best first; returns their paths, and prints what failed."""
    pipe = personae.load("nano")
    face = pipe.read(photo)[0]
    judge = BothSides(reader=pipe.reader)
    result = generate_verified(
        pipe,
        face,
        min_likeness=at_least,
        tries=3,
        judge=judge,
        num_images_per_prompt=count,
        num_inference_steps=steps,
        seed=0,
    )
    if result.shortfall is not None:
        sys.stderr.write(f"{result.shortfall}\n")
    return writer.save(result.passed, folder, people=[face], stems=[Path(photo).stem], force=True)


if __name__ == "__main__":
    for path in main(sys.argv[1]):
        sys.stdout.write(f"{path}\n")
