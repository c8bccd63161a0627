"""Commands as a user types them, and what they leave behind. The fixture `run` (conftest) types them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Done]


def fails(done: Done, *words: str) -> None:
    """One line on stderr that says all of `words`, nothing on stdout, exit code 2."""
    assert (done.code, done.out) == (2, ""), done
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("personae: ")
    for word in words:
        assert word in done.err
