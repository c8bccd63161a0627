"""python examples/identities.py me.jpg me-too.jpg ann.jpg

The mean of two photos of one person, as an .identity file; and people between that person and another one.
"""

import sys
from pathlib import Path

import personae
from personae import identity
from personae.provenance import writer


def main(
    one: str, same: str, other: str, folder: str = "personae-out", *, steps: int | None = None
) -> tuple[Path, list[Path]]:
    """Write the mean identity of the photos `one` and `same`, and images of three people between it and `other`;
    returns the identity's path and the images'."""
    pipe = personae.load("nano")
    first, second, stranger = (pipe.read(photo)[0].identity for photo in (one, same, other))
    person = identity.mean([first, second])  # steadier than a single photo

    between = [identity.blend(person, stranger, amount) for amount in (0.25, 0.5, 0.75)]
    out = pipe(between, num_inference_steps=steps, seed=0)
    images = writer.save(out, folder, people=between, stems=["a-quarter", "half", "three-quarters"], force=True)

    path = Path(folder) / "mean.identity"
    identity.save(path, person)  # biometric data: treat it as the photo
    return path, images


if __name__ == "__main__":
    file, pictures = main(*sys.argv[1:4])
    for path in (file, *pictures):
        sys.stdout.write(f"{path}\n")
