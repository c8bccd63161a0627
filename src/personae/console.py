"""What personae says on a terminal: answers on stdout, notes on stderr, and nothing that steers it.

    say("found 2 faces")
    note("the second face is small")

File names, recipes, notes and errors are strangers' words: all that verbs and suites print passes through here.
"""

import errno
import json
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

_LONGEST_NOTE = 4000  # letters: an error may quote a file
_JOINERS = "\u200c\u200d"  # Persian words and composed emoji have them


class AnswerLost(Exception):
    """Standard output takes no more: its disk is full, or (`closed`) who read it has gone. No `OSError`: those of a
    closed pipe Typer would end the program for."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"the answer cannot be written to standard output: {reason.strerror or reason}")
        self.closed = reason.errno == errno.EPIPE


@contextmanager
def answering() -> Iterator[None]:
    """What writes to stdout; raises `AnswerLost` if it cannot."""
    try:
        yield
    except OSError as error:
        raise AnswerLost(error) from error


def say(*lines: object) -> None:
    """Each as one line on stdout. Raises `AnswerLost`."""
    with answering():
        for line in lines:
            typer.echo(plain(str(line)))


def say_json(value: Any) -> None:
    """`value` on stdout, in ASCII: JSON has escapes of its own. Raises `AnswerLost`."""
    with answering():
        typer.echo(json.dumps(value, indent=1).replace("\x7f", "\\u007f"))


def note(message: str) -> None:
    """One line on stderr."""
    with suppress(OSError):  # stderr is full or gone: there is nowhere left to say so
        typer.echo("personae: " + plain(" ".join(message.split())[:_LONGEST_NOTE]), err=True)


def plain(text: str) -> str:
    """`text` as one line that only says something: what would steer the terminal, or turn the order of the letters, is
    written out (`\\x1b`, `\\u202e`). File names, recipes, notes and errors are strangers' words, so all that verbs
    print passes through here."""
    return "".join(_escaped(one) if _steers(one) else one for one in text)


def _steers(letter: str) -> bool:
    """Control and format characters, lone surrogates and line separators; joiners are a part of words."""
    return letter not in _JOINERS and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 0x7F else f"\\x{ord(letter):02x}"
