"""python examples/edit.py me.jpg party.jpg

Put a face into another photo, then let it smile. Only the face is generated; the rest of the photo stays as it is.
"""

import sys
from pathlib import Path

import numpy as np

import personae
from personae.provenance import writer


def main(source: str, target: str, folder: str = "personae-out", *, steps: int | None = None) -> list[Path]:
    """Write the swap, and the swap smiling; returns their paths."""
    pipe = personae.load("nano")
    swap = pipe.edit("swap", source=source, target=target, num_inference_steps=steps, seed=1)
    smile = pipe.edit("attribute", target=swap, expression={"smile": 0.8}, num_inference_steps=steps, seed=2)

    before, after = np.asarray(swap.images[0].convert("RGB")), np.asarray(smile.images[0].convert("RGB"))
    assert np.array_equal(before[~smile.mask], after[~smile.mask])  # outside the edit mask: the same bytes

    stem = Path(target).stem
    written = writer.save_edit(swap, folder, stem=f"{stem}-swap", force=True)
    return written + writer.save_edit(smile, folder, stem=f"{stem}-swap-smile", force=True)


if __name__ == "__main__":
    for path in main(sys.argv[1], sys.argv[2]):
        sys.stdout.write(f"{path}\n")
