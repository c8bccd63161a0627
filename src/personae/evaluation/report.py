"""report.assemble(kind=..., subject=..., figures=...) -> a report, as JSON holds it; report.save, report.write

A report says what was measured (`kind`, `subject`), on which `machine`, with which `settings`; its `figures`, its
`groups` of rows of figures, and its `caveats`. `measures.KINDS` explains every figure by name; `tables` draws it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from personae.console import say
from personae.errors import BadOutput
from personae.evaluation import machine, tables
from personae.evaluation.estimate import Estimate
from personae.io import atomic

Figures = Mapping[str, Estimate]
Groups = Mapping[str, Mapping[str, Figures]]  # by label, then by row
Report = dict[str, Any]
FOLDER = Path("runs/evaluation")  # where reports go unless a command says otherwise


def assemble(
    *,
    kind: str,
    subject: str,
    settings: Mapping[str, Any],
    figures: Figures,
    groups: Groups | None = None,
    caveats: Iterable[str | None] = (),
) -> Report:
    """A report of a `kind` of `measures.KINDS`. caveats: None is none."""
    found: Report = {
        "kind": kind,
        "subject": subject,
        "machine": machine.describe(),
        "settings": dict(settings),
        "figures": as_json(figures),
    }
    if groups is not None:
        found["groups"] = {label: {name: as_json(row) for name, row in rows.items()} for label, rows in groups.items()}
    return found | {"caveats": [caveat for caveat in caveats if caveat]}


def as_json(figures: Figures) -> dict[str, Any]:
    """Figures by name, as JSON holds them."""
    return {name: figure.as_json() for name, figure in figures.items()}


def save(report: Report, out: str | Path) -> Path:
    """Write `report.json` and `report.md` into the folder `out`, creating it. Raises `BadOutput`."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "report.json", report)
        atomic.write(folder / "report.md", tables.markdown(report).encode(), replace=True)
    except OSError as error:
        raise BadOutput(f"the report cannot be written to {folder}: {error.strerror or error}") from error
    return folder


def save_json(report: Report, out: Path) -> None:
    """Write a suite's report to the JSON file `out`, from which documents draw their tables. Raises `BadOutput`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(out, report)
    except OSError as error:
        raise BadOutput(f"the report cannot be written to {out}: {error.strerror or error}") from error


def publish(report: Report, out: Path) -> None:
    """`save_json`, and the report's table to stdout. Raises `BadOutput`."""
    save_json(report, out)
    say(*tables.markdown(report).splitlines())
