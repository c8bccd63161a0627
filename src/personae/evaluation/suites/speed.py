"""personae evaluate --suite speed -o docs/figures/speed.json

Speed on this machine: reading on one core, one command in a new process, many faces in one call, and the time before
anything happens. Run it on an otherwise idle machine. The photo is scikit-image's
public-domain astronaut, at 640 px.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from skimage import data

from personae.errors import BadData
from personae.evaluation.estimate import Estimate, mean
from personae.evaluation.report import FOLDER, assemble, publish
from personae.evaluation.suite_options import Model, ReportFile

CORES = 2
_READ = """
import sys, time
from personae.reading.reader import FaceReader
from personae.models import catalog
reader = FaceReader.from_folder(catalog.resolve(sys.argv[1]) / "reader", threads=1)
from personae.reading.photo import load_photo
photo = load_photo(sys.argv[2])
for _ in range(5):
    assert len(reader.read(photo)) == 1
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    reader.read(photo)
    print(1000 * (time.perf_counter() - start))
"""


def portrait(folder: Path) -> Path:
    """The 640-px photo with one face that everything is measured on."""
    path = folder / "portrait.png"
    Image.fromarray(data.astronaut()).resize((640, 640), Image.Resampling.LANCZOS).save(path)
    return path


def run(command: Sequence[str], cores: int, variables: Mapping[str, str] | None = None) -> tuple[str, float, float]:
    """A new process on the first `cores` cores -> (stdout, seconds, peak memory in GiB).

    variables: of its environment, beside those of this process. Raises `BadData` if it fails.
    """
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    environment = os.environ | {"OMP_NUM_THREADS": str(cores), **(variables or {})}
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    assert process.stdout is not None
    with process.stdout:
        text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)  # the peak of this child alone, not of all there ever were
    if status:
        raise BadData(f"{' '.join(command)} failed with exit code {os.waitstatus_to_exitcode(status)}")
    return text, time.perf_counter() - start, usage.ru_maxrss / 2**20


def reading_ms(model: str, photo: Path, repeats: int) -> Estimate:
    """Milliseconds to read one photo (faces, motion, identity) on one core, after five warm-ups."""
    text, _, _ = run([sys.executable, "-c", _READ, model, str(photo), str(repeats)], cores=1)
    return mean(np.array([float(line) for line in text.split()]))


def generate(model: str, photo: Path, folder: Path, repeats: int) -> dict[str, Estimate]:
    """Seconds and peak memory of the command that a user types, from the start to four pictures on disk."""
    command = [str(Path(sys.executable).with_name("personae")), "generate", str(photo), "--model", model, "-n", "4"]
    runs = [run([*command, "--seed", "0", "-o", str(folder / f"run-{i}")], CORES)[1:] for i in range(repeats)]
    seconds, peaks = np.array(runs).T
    return {"generate_s": mean(seconds), "generate_peak_gib": mean(peaks)}


def bulk(model: str, people: int, repeats: int) -> Estimate:
    """Images per second of one call with `people` different people, likeness measured, after one warm-up call."""
    import personae

    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    vectors = np.random.default_rng(0).standard_normal((people, pipe.config.identity_width)).astype(np.float32)
    pipe(vectors, seed=0)
    rates = []
    for i in range(repeats):
        start = time.perf_counter()
        pipe(vectors, seed=i)
        rates.append(people / (time.perf_counter() - start))
    return mean(np.array(rates))


def importing(repeats: int) -> Estimate:
    """Seconds that `import personae` adds to a Python that does nothing else."""
    bare = [run([sys.executable, "-c", ""], CORES)[1] for _ in range(repeats)]
    full = [run([sys.executable, "-c", "import personae"], CORES)[1] for _ in range(repeats)]
    return mean(np.array(full) - np.median(bare))


def helping(repeats: int) -> Estimate:
    """Seconds of `personae --help`."""
    return mean(np.array([run([sys.executable, "-m", "personae", "--help"], CORES)[1] for _ in range(repeats)]))


def regions_ms(repeats: int) -> Estimate:
    """Milliseconds to divide one face of 128 px into regions, which training does for every photo."""
    from personae.conditioning.head_mesh import FaceModel
    from personae.conditioning.pose_map import place
    from personae.reading.face_regions import partition
    from personae.types import BLENDSHAPES, Pose

    pose = Pose(yaw=20, pitch=0, roll=0)
    landmarks = place(FaceModel.bundled().posed(None, np.zeros(len(BLENDSHAPES)), pose), pose, "motion", 128)
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        partition(landmarks, 128)
        took.append(1000 * (time.perf_counter() - start))
    return mean(np.array(took[1:]))


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "speed.json",
    people: Annotated[int, typer.Option(help="Faces in the bulk call.")] = 64,
    repeats: Annotated[int, typer.Option(help="Runs of each measurement.")] = 3,
) -> None:
    """Measure everything once and write a report that documents can draw tables from."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = portrait(folder)
        figures = {"reading_ms": reading_ms(model, photo, 10 * repeats)}
        figures |= generate(model, photo, folder, repeats)
        figures["bulk_images_per_s"] = bulk(model, people, repeats)
        figures["import_s"] = importing(repeats)
        figures["help_s"] = helping(repeats)
        figures["regions_ms"] = regions_ms(10 * repeats)
    report = assemble(
        kind="speed",
        subject=f"model {model}",
        settings={"people": people, "repeats": repeats, "cores": CORES},
        figures=figures,
        caveats=["intervals are over repeated runs on one machine; n counts runs"],
    )
    publish(report, out)


if __name__ == "__main__":
    typer.run(main)
