"""personae page: everything in a browser, on this machine alone."""

from typing import Annotated

import typer

from personae.cli.destination import settled_marks
from personae.cli.options import Licence, Quiet
from personae.cli.terminal import spinner
from personae.console import say
from personae.errors import PersonaeError


def page(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of 127.0.0.1.", show_default="the first free one from 7860")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Name, folder or Hub id; more than one, to choose from: repeat."),
    ] = None,
    accept_licence: Licence = False,
    quiet: Quiet = False,
) -> None:
    """Serve a page in the browser: generate, edit, animate, look where pictures come from. Ends with Ctrl-C.

    Only this machine can reach it. For others: personae serve.

    Example: personae page --open
    """
    from personae.models import catalog
    from personae.serving import Engine

    try:
        from personae.serving import page as pages
    except ImportError as error:
        raise PersonaeError("the page needs Gradio: pip install 'personae[page]'") from error
    settled_marks(no_watermark=False, no_c2pa=False)  # who cannot sign must not hear of it from every result
    wanted = dict.fromkeys(models or ["nano"])
    for model in wanted:
        catalog.resolve(model, accept_licence=accept_licence)
    # By the very words that `--model` takes: the page's commands say them again.
    with Engine({model: model for model in wanted}) as engine:
        with spinner(f"loading {next(iter(wanted))}", quiet):
            engine.wait_until_ready()
        served, address = pages.serve(engine, port=port, inbrowser=open_browser, wait=False)
        say(address)
        served.block_thread()
