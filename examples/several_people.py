"""python examples/several_people.py ann.jpg bob.jpg

Two people side by side in one picture, each in a region of it.
"""

import sys
from pathlib import Path

import personae
from personae.provenance import writer

LEFT, RIGHT = (0, 0, 0.5, 1), (0.5, 0, 1, 1)  # left, top, right, bottom, in shares of the picture


def main(first: str, second: str, folder: str = "personae-out", *, steps: int | None = None) -> list[Path]:
    """Write one picture, twice as wide as the model's own, of the largest face of each photo; returns its path."""
    pipe = personae.load("nano")
    people = [pipe.read(first)[0], pipe.read(second)[0]]
    out = pipe(
        people,
        prompt="photo of a {person}, smiling",
        regions=[LEFT, RIGHT],
        width=256,
        num_inference_steps=steps,
        seed=0,
    )
    return writer.save(out, folder, people=people, stems=[f"{Path(first).stem}-{Path(second).stem}"], force=True)


if __name__ == "__main__":
    for path in main(sys.argv[1], sys.argv[2]):
        sys.stdout.write(f"{path}\n")
