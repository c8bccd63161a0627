"""python examples/generate.py me.jpg

Generate the person of a photo, and write the images with their recipe and the "AI generated" mark.
"""

import sys
from pathlib import Path

import personae
from personae.provenance import writer


def main(photo: str, folder: str = "personae-out", *, steps: int | None = None, count: int = 4) -> list[Path]:
    """Write `count` images of the largest face in a photo; returns their paths. steps: None = the model's own."""
    pipe = personae.load("nano")
    face = pipe.read(photo)[0]  # the largest face first
    out = pipe(face, num_images_per_prompt=count, num_inference_steps=steps, seed=0)
    return writer.save(out, folder, people=[face], stems=[Path(photo).stem], force=True)


if __name__ == "__main__":
    for path in main(sys.argv[1]):
        sys.stdout.write(f"{path}\n")
