"""One tree of errors. Each message says what was wrong, what was got, and what to do.

The command line turns any `PersonaeError` into one line and exit code 2; anything else is a bug.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PersonaeError(Exception):
    """A mistake that the user can mend; the base of every error raised on purpose."""


class BadImage(PersonaeError):
    """The bytes are not an image that can be read: wrong format, truncated, too large."""


class BadRecipe(BadImage):
    """The recipe inside an image cannot be read, or asks for what no recipe may."""


class BadVideo(PersonaeError):
    """A file is not a video that can be read: wrong format, damaged, without pictures."""


class NoFaceFound(PersonaeError):
    """No face was found in a photo that needs one."""


class BadIdentity(PersonaeError):
    """A vector that cannot be an identity: wrong width, NaN, zero length; or an unreadable identity file."""


class SpaceMismatch(PersonaeError):
    """Identities of two recognisers were mixed, or one was given to a model that reads another."""


class WeightsMissing(PersonaeError):
    """A model folder lacks a file, or the Hub cannot be reached."""


class WeightsCorrupt(PersonaeError):
    """A weight file's hash or content is not what was promised."""


class LicenceRefused(PersonaeError):
    """Weights whose licence has not been accepted."""


class PipelineBusy(PersonaeError):
    """A pipeline was called while it is at work for another thread."""


class QueueFull(PersonaeError):
    """More requests wait than a queue holds. `retry_after`: in how many seconds it is worth asking again."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class JobCancelled(PersonaeError):
    """A request was cancelled before it was done."""


class JobTimedOut(PersonaeError):
    """A request was not done within its time."""


class JobAbandoned(PersonaeError):
    """The server stopped again and again while it was at work on this request."""


class Refused(PersonaeError):
    """The operator's rules forbid a request, or its result: a person of the deny-list, the output filter."""


class BadOption(PersonaeError):
    """An option's value is unknown or impossible."""


class BadOutput(PersonaeError):
    """A result cannot be written: no space, no permission, not a folder, unknown format."""


class BadData(PersonaeError):
    """A data set, shard or label file does not hold what it should."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BadOption:
    """The error for a name that is not in a table, answered with the nearest ones."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"choose one of {', '.join(names)}"
    return BadOption(f"unknown {kind} {name!r}: {hint}")
