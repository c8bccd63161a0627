"""python -m personae.evaluation.tables docs/quality.md docs/performance.md

Reports as tables: markdown for files, rich for the terminal. Run on documents, it draws every marked section again
from its JSON, so that no figure is ever typed by hand:

    <!-- figures: figures/reading.json -->
    ... replaced ...
    <!-- end of figures -->
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from personae.errors import BadData
from personae.evaluation.measure import Measure
from personae.evaluation.measures import measure_of
from personae.io import atomic

Report = dict[str, Any]
_HEAD = ("figure", "value", "95 % interval", "n", "bar")
_SECTION = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def markdown(report: Report) -> str:
    """A report as markdown: where it comes from, its figures, its groups, its caveats."""
    lines = [_source(report)]
    if report["figures"]:
        lines += ["", f"| {' | '.join(_HEAD)} |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(cells)} |" for cells in _cells(report)]
    for label, groups in report.get("groups", {}).items():
        lines += ["", *_group_table(report["kind"], label, groups)]
    if report.get("caveats"):
        lines += ["", *(f"- {caveat}" for caveat in report["caveats"])]
    return "\n".join(lines) + "\n"


def rich_table(report: Report) -> Table:
    """The figures of a report for the terminal."""
    table = Table(*_HEAD, title=_source(report), caption="\n".join(report.get("caveats", [])) or None)
    for cells in _cells(report):
        table.add_row(*(cell.replace("**", "") for cell in cells))
    return table


def redraw(document: str | Path) -> int:
    """Draw each marked section of a markdown file from the JSON beside it; returns how many there were.

    A section whose JSON does not exist yet says so. Raises `BadData` for a JSON that is no report.
    """
    path = Path(document)
    text, count = _SECTION.subn(lambda match: _section(path.parent, match), path.read_text(encoding="utf-8"))
    atomic.write(path, text.encode(), replace=True)
    return count


def _section(folder: Path, match: re.Match[str]) -> str:
    source = folder / match[2]
    if not source.is_file():
        return f"{match[1]}not measured yet: `{match[2]}` does not exist\n{match[3]}"
    try:
        return f"{match[1]}{markdown(json.loads(source.read_text(encoding='utf-8')))}{match[3]}"
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(f"{source} is no report of personae evaluate: {error!r}") from error


def _source(report: Report) -> str:
    machine = report["machine"]
    return f"{report['subject']}, {machine['date']}, {machine['cores']} x {machine['cpu']}"


def _cells(report: Report) -> Iterator[tuple[str, ...]]:
    for name, figure in report["figures"].items():
        measure = measure_of(report["kind"], name)
        label = f"**{name}**: {measure.says}"
        yield (
            label,
            measure.number(figure["value"]),
            _interval(measure, figure),
            str(figure["n"]),
            _bar(measure, figure),
        )


def _interval(measure: Measure, figure: dict[str, float | None]) -> str:
    if figure["low"] is None:
        return "-"
    return f"{measure.number(figure['low'])} to {measure.number(figure['high'])}"


def _bar(measure: Measure, figure: dict[str, float | None]) -> str:
    return measure.promise(figure["value"]) if measure.bars else ""


def _group_table(kind: str, label: str, groups: dict[str, Any]) -> list[str]:
    names = list(next(iter(groups.values())))
    lines = [f"| {label} | n | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for group, figures in groups.items():
        measures = [(measure_of(kind, name), figures[name]) for name in names]
        cells = [f"{measure.number(figure['value'])} ({_interval(measure, figure)})" for measure, figure in measures]
        lines.append(f"| {group} | {figures[names[0]]['n']} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    for document in sys.argv[1:]:
        sys.stdout.write(f"{document}: {redraw(document)} sections\n")
