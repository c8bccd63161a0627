"""personae evaluate --suite startup ../before --pairs 10 -o startup.json

Whether a command became slower: `personae generate portrait.png -n 4` in a new process, by this checkout and by
another, in alternating pairs, everything included (start, reading, four images of the bundled model, writing). The
figure is the median over pairs of this checkout's seconds divided by the other's. Run it on an otherwise idle machine.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import personae
from personae.console import note
from personae.errors import BadData, BadOption
from personae.evaluation import estimate
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.suite_options import ReportFile
from personae.evaluation.suites.speed import CORES, portrait, run
from personae.types import Array

COMMAND = ("generate", "-n", "4", "--seed", "0", "--quiet")
_WHERE = "import json, personae; print(json.dumps(personae.__file__))"


def sources_of(checkout: Path) -> Path:
    """The folder of a checkout that Python imports personae from. Raises `BadOption` if there is no personae in it."""
    sources = checkout.resolve() / "src"
    if not (sources / "personae" / "__init__.py").is_file():
        raise BadOption(f"{checkout} is no checkout of personae: it has no src/personae/__init__.py")
    return sources


def seconds_of(sources: Path, photo: Path, out: Path) -> float:
    """Of the command in a new process that imports personae from `sources`."""
    verb, *options = COMMAND
    command = [sys.executable, "-m", "personae", verb, str(photo), *options, "-o", str(out)]
    return run(command, CORES, {"PYTHONPATH": str(sources)})[1]


def measure(here: Path, other: Path, *, pairs: int) -> Report:
    """The report. here, other: folders that hold `personae/`. Which of the two begins alternates from pair to pair."""
    for sources in (here, other):
        text, _, _ = run([sys.executable, "-c", _WHERE], CORES, {"PYTHONPATH": str(sources)})
        if not Path(json.loads(text)).resolve().is_relative_to(sources.resolve()):
            raise BadData(f"a process with PYTHONPATH={sources} imports personae from {json.loads(text)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = portrait(folder)
        rows = [_pair(here, other, photo, folder / str(pair), backwards=pair % 2 == 1) for pair in range(-1, pairs)]
    seconds = np.array(rows[1:])  # the first pair fills caches of files and of the precision's measurement
    ratios = seconds[:, 0] / seconds[:, 1]
    return assemble(
        kind="startup",
        subject=f"{here.parent.name} against {other.parent.name}",
        settings={"pairs": pairs, "command": ["personae", *COMMAND], "cores": CORES},
        figures={
            "ratio": estimate.bootstrap(lambda drawn: np.median(ratios[drawn], -1), len(ratios)),
            "seconds": estimate.mean(seconds[:, 0]),
            "seconds_other": estimate.mean(seconds[:, 1]),
        },
        caveats=["alternating pairs of new processes after one to warm up; intervals and n are over pairs"],
    )


def _pair(here: Path, other: Path, photo: Path, out: Path, *, backwards: bool) -> Sequence[float]:
    """Seconds of (here, other)."""
    trees = [(0, here), (1, other)]
    found: Array = np.zeros(2)
    for place, sources in reversed(trees) if backwards else trees:
        found[place] = seconds_of(sources, photo, out / str(place))
        note(f"{sources.parent.name}: {found[place]:.2f} s")
    return found.tolist()


def main(
    other: Annotated[Path, typer.Argument(help="The checkout to compare with.")],
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs of runs.")] = 10,
    out: ReportFile = FOLDER / "startup.json",
) -> None:
    """Compare the seconds of `personae generate` with those of another checkout."""
    here = Path(personae.__file__).parents[1]
    publish(measure(here, sources_of(other), pairs=pairs), out)


if __name__ == "__main__":
    typer.run(main)
