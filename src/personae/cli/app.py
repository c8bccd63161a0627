"""personae demo | generate | edit | read | identity | train | prepare | evaluate | models | inspect | replay | detect |
provenance | comfyui | page | serve | doctor

One function per verb: the signature is the interface, the work is done elsewhere. Results go to stdout, progress
and errors to stderr. A user's mistake is one line and exit code 2, Ctrl-C is 130; a traceback is a bug.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from personae.cli import evaluate, generate, inspect, libraries, page, provenance, train
from personae.cli.comfyui import comfyui
from personae.cli.edit import edit
from personae.cli.identity import people
from personae.cli.prepare import data
from personae.cli.serve import serve
from personae.cli.terminal import noted
from personae.console import AnswerLost, note, say
from personae.errors import BadOption, PersonaeError
from personae.version import __version__

_PIPE_CLOSED = 128 + 13  # as a shell says it of a program that SIGPIPE ended
# What a disk, a limit or a right can do to any line that touches a file.
_OF_THE_SYSTEM = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
)

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A face as a handle: read a photo, then generate that person. Start with: personae demo",
)
app.command()(generate.demo)
app.command()(generate.generate)
app.add_typer(edit, name="edit")
app.add_typer(people, name="identity")
app.command()(inspect.read)
app.add_typer(data, name="prepare")
app.command()(train.train)
app.command()(train.assemble)
app.command(cls=evaluate.SuiteCommand)(evaluate.evaluate)
app.add_typer(inspect.weights, name="models", invoke_without_command=True)
app.command("inspect")(inspect.inspect_file)
app.command()(provenance.detect)
app.add_typer(provenance.signing, name="provenance")
app.command()(inspect.replay)
app.add_typer(comfyui, name="comfyui")
app.command()(inspect.doctor)
app.command()(page.page)
app.command()(serve)


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
    libraries.hush()
    try:
        _require_text(sys.argv[1:])
        with noted():
            code = app(prog_name="personae", standalone_mode=False)  # `python -m personae` completes, too
    except (PersonaeError, TyperException) as error:
        note(error.format_message() if isinstance(error, TyperException) else str(error))
        code = 2
    except AnswerLost as error:
        code = _lost(error)
    except OSError as error:
        code = _of_the_system(error)
    except (KeyboardInterrupt, Abort):
        code = 130
    if code == 130:
        # An interrupt that passes through an `exec` of text (how dataclasses are made, at import) leaves CPython 3.11
        # with a mark, by which `python -m` would end by the signal after all; the next `exec` of text wipes it off.
        exec("")
        note("stopped")
    sys.exit(code)


def _require_text(words: Sequence[str]) -> None:
    """Raise `BadOption` for an argument that is no text: neither a recipe nor a page could name such a file."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise BadOption(
                f"the argument {os.fsencode(word)!r} is not UTF-8: rename the file, or write it so"
            ) from error


def _lost(error: AnswerLost) -> int:
    """The exit code for an answer that nobody hears."""
    with suppress(OSError, ValueError):  # what is left of it Python would try to write at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.closed:
        return _PIPE_CLOSED  # who reads has read enough, as `head` does: no word about it
    note(str(error))
    return 2


def _of_the_system(error: OSError) -> int:
    """The exit code for what the system, and no program, is to blame for, after a line that says so. Raises `error`
    if it is a bug."""
    if error.errno not in _OF_THE_SYSTEM:
        raise error
    note(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    return 2
