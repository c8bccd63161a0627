"""An output's file, signed: a C2PA manifest inside it, by the library c2pa-python (extra `provenance`).

    marks, credentials = ready(marks, "png")          # before the recipe is written down: what is off, and who signs
    content = sign(content, "png", recipe, ingredients, credentials)

Nothing here opens a socket, unless the credentials name a time-stamp authority. Signing takes some 3 ms a picture and
adds 3.6 kB; manifests of the photos that an edit was made of are added to that.
"""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from personae.errors import BadOption, BadOutput
from personae.io import atomic
from personae.io.boundary import errors_as
from personae.provenance import credentials as all_credentials
from personae.provenance import manifest
from personae.provenance.credentials import Credentials
from personae.provenance.marks import C2PA, Marks
from personae.types import Ingredient

MIMES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
}
READABLE = (*MIMES.values(), "image/avif", "image/heic", "image/heif")  # kinds of files whose manifests are read
# The network stays shut also for what the photos of an edit carry; thumbnails would be copies of the picture. What was
# signed is verified at once (one of the three milliseconds): a key that is not the certificate's would make files that
# everybody takes for tampered.
_SETTINGS = {
    "version": 1,
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
_MOST_CARRIED = 8 * 2**20  # bytes that the manifests of an edit's photos may add to it


def library() -> Any:
    """The module `c2pa`, None if it is not installed or cannot be loaded."""
    try:
        import c2pa
    except (ImportError, OSError):
        return None
    return c2pa


def ready(marks: Marks, format: str) -> tuple[Marks, Credentials | None]:  # noqa: A002
    """The marks that a file of a format can have, and who signs it (None: nobody). What is wanted and cannot be had is
    warned of in one line."""
    if not marks.c2pa:
        return marks, None
    if format not in MIMES:
        return marks.without(C2PA, f"a {format} file holds none"), None
    if library() is None:
        warnings.warn(
            "results are not signed (C2PA is off): pip install 'personae[provenance]', or --no-c2pa", stacklevel=4
        )
        return marks.without(C2PA, "the extra provenance is not installed"), None
    try:
        return marks, marks.credentials or all_credentials.of_user()
    except (BadOutput, ImportError) as error:
        warnings.warn(f"results are not signed (C2PA is off), no key can be made: {error}", stacklevel=4)
        return marks.without(C2PA, "no key could be made"), None


def sign(
    content: bytes,
    format: str,  # noqa: A002
    recipe: Mapping[str, Any],
    ingredients: Sequence[Ingredient],
    credentials: Credentials,
) -> bytes:
    """The bytes of a file with a manifest. format: a key of `MIMES`; recipe: as the file holds it. Raises `BadOutput`
    if it cannot be signed."""
    out = io.BytesIO()
    _sign(io.BytesIO(content), out, format, recipe, ingredients, credentials)
    if len(out.getvalue()) > len(content) + _MOST_CARRIED:
        warnings.warn("the manifests of its photos are too large to be carried on: left out", stacklevel=3)
        out = io.BytesIO()
        _sign(io.BytesIO(content), out, format, recipe, [one.bare() for one in ingredients], credentials)
    return out.getvalue()


def sign_file(
    path: Path,
    format: str,  # noqa: A002
    recipe: Mapping[str, Any],
    ingredients: Sequence[Ingredient],
    credentials: Credentials,
) -> None:
    """Sign a file where it lies, for one that is too large for memory and is not in its place yet. As `sign`."""
    before = path.with_name(f"unsigned-{path.name}")
    atomic.move(path, before)
    with before.open("rb") as source, path.open("w+b") as target:
        _sign(source, target, format, recipe, ingredients, credentials)
    before.unlink()


def _sign(
    source: Any,
    target: Any,
    format: str,  # noqa: A002
    recipe: Mapping[str, Any],
    ingredients: Sequence[Ingredient],
    credentials: Credentials,
) -> None:
    mime, carried = MIMES[format], [one for one in ingredients if one.encoded is not None]
    with _errors():
        builder = _builder(
            manifest.definition(recipe, mime, ingredients, apart=[one.role for one in carried]), credentials
        )
    damaged = [one for one in carried if not _added(builder, one, recipe)]
    if damaged:
        readable = [one.bare() if one in damaged else one for one in ingredients]
        _sign(source, target, format, recipe, readable, credentials)
        return
    with _errors():
        builder.sign(mime, source, target)


def _errors() -> AbstractContextManager[None]:
    return errors_as(BadOutput, "the file cannot be signed", "run personae provenance show, or pass --no-c2pa")


def _builder(definition: Mapping[str, Any], credentials: Credentials) -> Any:
    """A context of its own for every file: it takes a millisecond, and no two threads share one."""
    c2pa = library()
    context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS), _signer(c2pa, credentials))
    return c2pa.Builder(json.dumps(definition), context)


def _signer(c2pa: Any, credentials: Credentials) -> Any:
    if credentials.sign is not None:
        algorithm = getattr(c2pa.C2paSigningAlg, credentials.algorithm.upper())
        chain = credentials.chain.decode()
        return c2pa.Signer.from_callback(credentials.sign, algorithm, chain, credentials.time_stamps)
    info = c2pa.C2paSignerInfo(
        credentials.algorithm.encode(), credentials.chain, credentials.key, credentials.time_stamps
    )
    return c2pa.Signer.from_info(info)


def _added(builder: Any, one: Ingredient, recipe: Mapping[str, Any]) -> bool:
    """Whether a photo's own manifest could be carried on: one that is damaged beyond reading is warned of."""
    try:
        with errors_as(BadOption, "it cannot be read"):
            about = json.dumps(manifest.ingredient(one, recipe))
            builder.add_ingredient_from_stream(about, one.mime, io.BytesIO(one.encoded or b""))
    except BadOption as error:
        warnings.warn(f"the C2PA manifest of the {one.role} photo is not carried on: {error}", stacklevel=5)
        return False
    return True
