"""personae serve: the HTTP API."""

import gc
import logging
import math
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.destination import settled_marks
from personae.cli.options import Quiet
from personae.console import note
from personae.errors import BadOption

_MOST = 1e9  # GiB, or seconds


def serve(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Name, folder or Hub id; more than one: repeat. NAME=FOLDER renames it."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; any but the loopback's needs --keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8000,
    state: Annotated[
        Path | None, typer.Option(help="Folder for jobs and their files.", show_default="in the user's cache")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys: lines of NAME KEY [REQUESTS/minute] [JOBS].")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name that requests may be addressed to, of a proxy say; repeat.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Torch's name of it.", show_default="an accelerator's")] = None,
    memory: Annotated[
        float | None, typer.Option(help="GiB for the weights of models; the least recently used leaves.")
    ] = None,
    waiting: Annotated[int, typer.Option(min=1, help="Jobs that may wait.")] = 256,
    job_seconds: Annotated[float, typer.Option(min=1, help="Seconds that a job may take.")] = 3600,
    results_for: Annotated[float, typer.Option(min=1, help="Seconds that results stay.")] = 3600,
    most_mib: Annotated[int, typer.Option(min=1, max=1024, help="MiB of a request.")] = 64,
    deny_list: Annotated[
        Path | None, typer.Option(help="People who are not to be made (personae identity deny).")
    ] = None,
    output_filter: Annotated[
        str | None, typer.Option(help="package.module:function that is asked about every picture.")
    ] = None,
    no_output_filter: Annotated[
        bool, typer.Option("--no-output-filter", help="Serve models that came from elsewhere without one.")
    ] = False,
    no_page: Annotated[
        bool, typer.Option("--no-page", help="Without the page at /page, which a server without keys has.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Serve models over HTTP: docs/guides/server.md. Ctrl-C ends it; jobs at work go on with the next start.

    Example: personae serve --port 8000
    """
    from personae.serving.api.extra import require_extra

    _require_number("--memory", memory, "GiB above 0")
    _require_number("--job-seconds", job_seconds, "seconds, 1 or more")
    _require_number("--results-for", results_for, "seconds, 1 or more")
    require_extra()
    from personae.serving.api.keys import Keys
    from personae.serving.api.settings import MIB, Settings

    chosen = {} if state is None else {"state": state}
    settings = Settings(
        host=host,
        port=port,
        models=_by_name(models or ["nano"]),
        device=device,
        memory=None if memory is None else int(memory * 1024 * MIB),
        keys=Keys() if keys is None else Keys.read(keys),
        allowed_hosts=tuple(allow_host or ()),
        most_waiting=waiting,
        job_seconds=job_seconds,
        results_for=results_for,
        most_bytes=most_mib * MIB,
        deny_list=deny_list,
        output_filter=output_filter,
        without_filter=no_output_filter,
        page=not no_page,
        **chosen,  # type: ignore[arg-type]
    )
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="personae: %(message)s")
    settled_marks(no_watermark=False, no_c2pa=False)  # who cannot sign must not hear of it from every job
    if no_output_filter:
        note("no output filter: whoever runs this server answers for every picture")
    gc.disable()  # until the models are ready (`run`): of a million imported objects none is garbage, the search is 1 s
    try:
        from personae.serving.api.run import run

        run(settings, ready=None if quiet else note)
    finally:
        gc.enable()


def _last_part(place: str) -> str:
    """What a folder or a Hub id is called: also where it is `.` or `..`."""
    last = Path(place).name
    return last if last.strip(".") or not place else Path(place).resolve().name


def _require_number(flag: str, value: float | None, words: str) -> None:
    """Raise `BadOption` for what is no number that can be counted with: Typer's own limits let nan pass."""
    if value is not None and not (math.isfinite(value) and 0 < value < _MOST):
        raise BadOption(f"{flag} is a number of {words}, got {value:g}")


def _by_name(models: list[str]) -> dict[str, str]:
    """`mine=runs/mine` -> {"mine": "runs/mine"}; a folder or Hub id without a name by its last part. A folder may have
    an = in its own name: what comes before it has a slash then, or the folder is there."""
    found: dict[str, str] = {}
    for one in models:
        name, equals, source = one.partition("=")
        if not equals or "/" in name or Path(one).exists():
            name, source = _last_part(one), one
        if not (name and source):
            raise BadOption(
                f"a model is a name, a folder, a Hub id or NAME=FOLDER, got {one!r}: name it with NAME=FOLDER"
            )
        if name in found:
            raise BadOption(f"two models are called {name!r}: name one of them with NAME={source}")
        found[name] = source
    return found
