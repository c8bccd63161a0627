"""python examples/serve_engine.py me.jpg ann.jpg

Several threads share one model: an engine queues their requests, and makes those with the same options in one call.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from personae.provenance import writer
from personae.serving import Engine, Generate


def main(photos: list[str], folder: str = "personae-out", *, steps: int | None = None) -> list[Path]:
    """Write an image of each photo's largest face, each requested by a thread of its own; returns their paths."""
    with Engine(["nano"]) as engine, ThreadPoolExecutor() as pool:

        def ask(photo: str) -> list[Path]:
            ticket = engine.submit(Generate(people=[photo], seed=0, options={"num_inference_steps": steps}))
            for progress in ticket.events():
                sys.stderr.write(f"{photo}: {progress.stage} {progress.step}/{progress.steps}\n")
            made = ticket.result()
            return writer.save(made, folder, people=ticket.people, stems=[Path(photo).stem], force=True)

        return [path for paths in pool.map(ask, photos) for path in paths]


if __name__ == "__main__":
    for path in main(sys.argv[1:]):
        sys.stdout.write(f"{path}\n")
