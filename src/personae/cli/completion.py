"""What a shell offers while a command is typed. Brings no torch: names come from the tables that bring none."""

from collections.abc import Callable, Iterable
from pathlib import Path

import typer


def starting(names: Iterable[str]) -> Callable[[str], list[str]]:
    """What completes to one of some names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def models_like(incomplete: str) -> list[str]:
    """What a shell offers after `--model`: named models, and folders."""
    from personae.models import catalog

    place = Path(incomplete)
    parent = place if incomplete.endswith("/") else place.parent
    try:
        folders = [f"{one}/" for one in parent.iterdir() if one.is_dir() and str(one).startswith(incomplete)]
    except OSError:  # nothing there to offer
        folders = []
    return [name for name in catalog.MODELS if name.startswith(incomplete)] + sorted(folders)


def directions_like(ctx: typer.Context, incomplete: str) -> list[str]:
    """The directions of the model of the command, as in `age=1.5,smile=`. None of a model that is not here."""
    from personae.errors import PersonaeError
    from personae.identity import directions
    from personae.models import catalog

    name = str(ctx.params.get("model") or "nano")
    known = catalog.MODELS.get(name)
    folder = Path(name) if known is None else known.folder
    before, comma, last = incomplete.rpartition(",")
    try:
        names = [] if folder is None else directions.names_of(folder / directions.FILE)
    except PersonaeError:
        names = []
    used = {part.partition("=")[0] for part in before.split(",")}
    return [f"{before}{comma}{one}=" for one in names if one.startswith(last) and one not in used]
