"""personae demo | generate | edit | read | identity | train | prepare | evaluate | models | inspect | replay | doctor

One function per verb: the signature is the interface, the work is done elsewhere. Results go to stdout, progress
and errors to stderr. A user's mistake is one line and exit code 2, Ctrl-C is 130; a traceback is a bug.
"""

import sys
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from personae import __version__
from personae.cli import evaluate, generate, inspect, train
from personae.cli.edit import edit
from personae.cli.identity import people
from personae.cli.terminal import note, say
from personae.errors import PersonaeError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A face as a handle: read a photo, then generate that person. Start with: personae demo",
)
app.command()(generate.demo)
app.command()(generate.generate)
app.add_typer(edit, name="edit")
app.add_typer(people, name="identity")
app.command()(inspect.read)
app.command()(train.prepare)
app.command()(train.train)
app.command()(train.assemble)
app.command()(evaluate.evaluate)
app.add_typer(inspect.weights, name="models", invoke_without_command=True)
app.command("inspect")(inspect.inspect_file)
app.command()(inspect.replay)
app.command()(inspect.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"personae {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """A face as a handle: read a photo, then generate that person. Start with: personae demo"""


def main() -> None:
    """The program: run a verb, turn errors into one line and an exit code."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        code = app(standalone_mode=False)
    except (PersonaeError, TyperException) as error:
        note(error.format_message() if isinstance(error, TyperException) else str(error))
        code = 2
    except (KeyboardInterrupt, Abort):
        code = 130
    if code == 130:
        # An interrupt that passes through an `exec` of text (how dataclasses are made, at import) leaves CPython 3.11
        # with a mark, by which `python -m` would end by the signal after all; the next `exec` of text wipes it off.
        exec("")
        note("stopped")
    sys.exit(code)
