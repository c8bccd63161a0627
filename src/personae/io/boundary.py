"""What a library raises over a stranger's file becomes an error of ours: one way for every boundary.

    with errors_as(BadIdentity, f"{path} is no .identity file", "read the photo again"):
        tensors = load(content)

Parsers let through whatever a broken header makes them raise, and a dozen libraries share no base class. So the block
holds the library's call and the look at what it gave, and nothing else: a mistake of ours in it would be hidden.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from personae.errors import PersonaeError

_LONGEST = 200  # characters of a library's reason


def reason(error: BaseException) -> str:
    """What an exception says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).strip()
    line = text.splitlines()[0].strip() if text else type(error).__name__
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " ..."


@contextmanager
def errors_as(kind: type[PersonaeError], what: str, advice: str = "") -> Iterator[None]:
    """Whatever the block raises, raised as `kind`: "what (reason): advice". Our own errors pass as they are."""
    try:
        yield
    except PersonaeError:
        raise
    except BaseException as error:
        # Libraries in Rust (safetensors, tokenizers) panic with a class that is no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{what} ({reason(error)})" + (f": {advice}" if advice else "")) from error
