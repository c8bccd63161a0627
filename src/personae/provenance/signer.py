"""Who is to sign, settled before the work: the user's choice is noted only if it signs, and the verbs try it first.

choose("chain.pem", "key.pem", algorithm="es256")   # from now on; `use_local()` goes back
marks = settled(Marks.of_environment())              # before a model is loaded: BadOption for what cannot sign
"""

import io
from dataclasses import replace
from pathlib import Path

from PIL import Image

from personae.errors import BadOption, BadOutput
from personae.io import atomic
from personae.provenance import credentials, signing
from personae.provenance.credentials import EARLIER, LOCAL, SETTINGS, Credentials
from personae.provenance.marks import Marks

_FORMAT = "png"  # any that can be signed
_RECIPE = {"task": "try"}


def settled(marks: Marks) -> Marks:
    """The same marks with the credentials that will sign, tried on a small picture; without a signature where nobody
    can sign, which is warned of. To be asked before the work: images that cannot be signed are not written.

    Raises `BadOption` for credentials that cannot sign. No time-stamp authority is asked.
    """
    marks, found = signing.ready(marks, _FORMAT)
    if found is None:
        return marks
    require_works(replace(found, time_stamps=None))
    return replace(marks, credentials=found)


def choose(
    chain: str | Path, key: str | Path, *, algorithm: str = "es256", time_stamps: str | None = None
) -> Credentials:
    """From now on sign with a chain and a key of the user's, PEM files that stay where they are, once they have signed
    a small picture (which asks the time-stamp authority, if there is one). Raises `BadOption`, `BadOutput`."""
    places = [str(Path(place).absolute()) for place in (chain, key)]
    found = credentials.of_files(places[0], places[1], algorithm, time_stamps)
    require_works(found)
    credentials.make_folder()
    words = {"chain": places[0], "key": places[1], "algorithm": algorithm, "time_stamps": time_stamps}
    atomic.write_json(credentials.folder() / SETTINGS, words)
    return found


def use_local() -> Credentials:
    """From now on sign by the local certificate, made if need be, whatever was chosen before. Raises `BadOutput`, and
    `BadOption` if it is damaged."""
    found = credentials.local()
    (credentials.folder() / SETTINGS).unlink(missing_ok=True)
    return found


def renew() -> Credentials:
    """Local credentials made anew, and the user's choice forgotten, whether or not these can be read; the root before
    stays among `roots`, so that what was signed with it is still known. Raises `BadOutput`; `BadOption` if the file of
    earlier roots cannot be read, and so not be replaced."""
    credentials.make_folder()
    pem, before = credentials.new_pem(), credentials.roots_to_keep()
    if before:
        atomic.write(credentials.folder() / EARLIER, before, replace=True)
    atomic.write(credentials.folder() / LOCAL, pem, private=True, replace=True)
    found = credentials.local()
    (credentials.folder() / SETTINGS).unlink(missing_ok=True)
    return found


def require_works(found: Credentials) -> None:
    """Raise `BadOption` unless credentials sign a small picture so that its signature holds."""
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, _FORMAT)
    try:
        signing.sign(plain.getvalue(), _FORMAT, _RECIPE, (), found)
    except BadOutput as error:
        raise BadOption(
            f"these credentials cannot sign: {error.__cause__ or error}; key, certificate and algorithm "
            f"({found.algorithm}) must belong together"
        ) from error
