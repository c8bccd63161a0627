"""Commands as a user types them, parsed by Typer itself without running anything."""

import functools
import shlex
from typing import Any

import typer

from personae.cli import app as program


@functools.cache
def _program() -> Any:
    return typer.main.get_command(program.app)


def parse(line: str) -> None:
    """Raise what Typer would say of a command, without running it. One that ends in `--help` needs nothing else."""
    command, words = resolve(line)
    if words[-1:] == ["--help"]:
        words.pop()
        command.make_context(command.name, words, resilient_parsing=True)
        return
    command.make_context(words[0] if words else "personae", words)


def resolve(line: str) -> tuple[Any, list[str]]:
    """The verb of a command line as a click command, and the words after it."""
    _, *words = shlex.split(line, comments=True)
    command = _program()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    return command, words
