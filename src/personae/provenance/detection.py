"""Where does a picture come from: all marks that a file carries, what each proves, and what is gone.

    found = detect("picture.jpg")                     # or bytes; or a video
    found.verdict                                     # one line
    found["c2pa"].state, found["c2pa"].proves         # "valid", "nothing changed since it was signed by ..."

The file is a stranger's: bounded, offline, and what cannot be read of it is reported, not raised, as long as it is a
picture or a video at all. Nothing here says that a picture is real: a file without marks is a file without marks.
"""

import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from PIL import Image

from personae.errors import BadImage, BadOption, BadRecipe, BadVideo, PersonaeError
from personae.io import regular, video_file
from personae.io.boundary import errors_as
from personae.provenance import credentials, findings, pixel_mark, signing
from personae.provenance.findings import Finding
from personae.provenance.frames import of_frames
from personae.provenance.manifest import BY_A_MODEL, foremost
from personae.provenance.pixel_mark import Found
from personae.provenance.recipe import history, in_video, is_recipe, parsed
from personae.provenance.sentences import Sentence
from personae.provenance.signature import Signature, read_signature
from personae.provenance.verdict import verdict
from personae.provenance.watermark import LEAST_READABLE, LONGEST_RATIO
from personae.reading.metadata import mime_of, text_in
from personae.reading.photo import load_photo
from personae.types import Array

MOST_BYTES = 2**28  # of a picture: an edited photo as a PNG is larger than the photo
MOST_VIDEO = 2**34
_HEAD = 64
_NO_WATERMARKS: str = Sentence("no_watermarks")
_SOURCE_TYPE = re.compile(rb"digitalsourcetype/(\w{1,64})")
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_VIDEO_LABEL = "AI generated"  # a video's description, no more and no less; a MOV has none, its recipe says so


@dataclass(frozen=True, kw_only=True)
class Detected:
    """What was found in a file.

    file: its name. kind: e.g. "image/png". marks: a finding for each mark that there is, found or not, in one order.
    stripped: what it must have had and has no more, in words. inputs: what it was made of, as the signature and the
    recipe list it, with the marks that these had. frames: of a video, which of its frames were looked at, and of each
    whether the watermark is in it. verdict: all of it in one line.
    """

    file: str
    kind: str
    marks: Sequence[Finding]
    stripped: Sequence[str]
    inputs: Sequence[Mapping[str, Any]]
    frames: Sequence[Mapping[str, Any]]
    verdict: str

    def __getitem__(self, mark: str) -> Finding:
        return next(one for one in self.marks if one.mark == mark)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def detect(source: str | os.PathLike[str] | bytes, *, trust: bytes = b"") -> Detected:
    """All marks of a picture or a video.

    source: a path, or the bytes of a picture. trust: certificates (PEM) that may vouch for signatures, beside this
    user's own. Raises `BadImage` for what is no picture or video, `BadOption` for certificates that are none.
    """
    anchors = credentials.roots() + trust
    if isinstance(source, bytes):
        name = f"the given {len(source)} bytes"
        if (mime_of(source[:_HEAD]) or "").startswith("video/"):
            raise BadImage(f"{name} are a video, which is read from its file: give the path")
        return _of_picture(_bounded(source, name), name, anchors)
    name = os.fspath(source)
    with regular.opened(name, MOST_VIDEO, BadImage) as file:
        kind = mime_of(file.read(_HEAD))
        if kind is not None and kind.startswith("video/"):
            file.seek(0)
            return _of_video(file, name, kind, anchors)
    return _of_picture(regular.read(name, MOST_BYTES, BadImage), name, anchors)


def _bounded(content: bytes, name: str) -> bytes:
    if len(content) > MOST_BYTES:
        raise BadImage(f"{name} are more than {MOST_BYTES / 2**20:.0f} MiB: give a smaller picture")
    return content


# ---------------------------------------------------------------------- pictures


def _of_picture(content: bytes, name: str, anchors: bytes) -> Detected:
    kind = mime_of(content[:_HEAD])
    if kind is None:
        raise BadImage(f"{name} is no picture (JPEG, PNG, WebP, AVIF, HEIC) and no video (MP4, MOV, MKV)")
    recipe, fault = None, None
    try:
        recipe, fault = _recipe_in(text_in(io.BytesIO(content), name))
    except BadRecipe as error:
        fault = str(error)
    except BadImage:  # a format that carries none, or is damaged
        pass
    watermark, reason = None, _NO_WATERMARKS
    if pixel_mark.can_detect():
        try:
            pixels = load_photo(content, max_bytes=MOST_BYTES).pixels
            watermark, reason = pixel_mark.DETECT([pixels]), _left_out(pixels)
        except PersonaeError as error:
            reason = str(error)
    label, unread = _label_of(content)
    evidence = _Evidence(recipe, fault, label, watermark, reason, unread)
    return _judged(name, kind, io.BytesIO(content), anchors, evidence, frames=())


def _left_out(pixels: Array) -> str:
    """Which part of a picture is not looked at, if any."""
    shorter, longer = sorted(pixels.shape[:2])
    if shorter < LEAST_READABLE:
        return Sentence("too_small", least=LEAST_READABLE)
    if longer <= LONGEST_RATIO * shorter:
        return ""
    return Sentence("only_the_middle", times=longer / shorter)


def _label_of(content: bytes) -> tuple[str | None, Mapping[str, str]]:
    """The IPTC DigitalSourceType in a picture's XMP, by its header alone; of several, one that names AI. And why it
    could not be looked for, if so."""
    try:
        with (
            errors_as(BadImage, "its header cannot be read"),
            warnings.catch_warnings(action="ignore"),  # of many pixels: none of them is decoded here
            Image.open(io.BytesIO(content)) as image,
        ):
            texts = [image.info.get(key) for key in ("xmp", "XML:com.adobe.xmp")]
    except BadImage as error:
        return None, {findings.LABEL: str(error)} if isinstance(error.__cause__, _TOO_LARGE) else {}
    for text in texts:
        xmp = text.encode("utf-8", "replace") if isinstance(text, str) else text
        if isinstance(xmp, bytes) and (found := _SOURCE_TYPE.findall(xmp)):
            return foremost(one.decode() for one in found), {}
    return None, {}


# ---------------------------------------------------------------------- videos


def _of_video(file: BinaryIO, name: str, kind: str, anchors: bytes) -> Detected:
    notes, unread = dict[str, str](), dict[str, str]()
    try:
        notes = video_file.notes(name)
    except (BadVideo, BadOption) as error:  # damaged, or without the extra `video`
        unread = dict.fromkeys((findings.WATERMARK, findings.RECIPE, findings.LABEL), str(error))
    recipe, fault = None, None
    try:
        recipe = in_video(notes)
    except BadRecipe as error:
        fault = str(error)
    labelled = notes.get("description") == _VIDEO_LABEL or (recipe or {}).get("ai_generated") is True
    frames: list[dict[str, Any]] = []
    watermark, reason = None, _NO_WATERMARKS
    if pixel_mark.can_detect() and not unread:
        watermark, frames, reason = of_frames(name)
    evidence = _Evidence(recipe, fault, BY_A_MODEL if labelled else None, watermark, reason, unread)
    return _judged(name, kind, file, anchors, evidence, frames=frames)


# ---------------------------------------------------------------------- recipes


def _recipe_in(text: str | None) -> tuple[Mapping[str, Any] | None, str | None]:
    """The recipe that a text is, and why it cannot be read. Other objects are other programs' own."""
    try:
        found = None if text is None else parsed(text)
    except BadRecipe as error:
        return None, str(error)
    return (found if found is not None and is_recipe(found) else None), None


# ---------------------------------------------------------------------- the judgement


@dataclass(frozen=True)
class _Evidence:
    """What was read beside the signature. unread: which marks could not be looked for, and why."""

    recipe: Mapping[str, Any] | None
    fault: str | None
    label: str | None
    watermark: Found | None
    reason: str
    unread: Mapping[str, str] = field(default_factory=dict)


def _judged(
    name: str, kind: str, file: BinaryIO, anchors: bytes, evidence: _Evidence, frames: Sequence[Mapping[str, Any]]
) -> Detected:
    recipe, fault = evidence.recipe, evidence.fault
    signature, lacking = _signature(file, kind, anchors)
    unread = evidence.unread if lacking is None else {**evidence.unread, findings.SIGNATURE: lacking}
    marks = [
        findings.of_signature(signature),
        findings.of_watermark(evidence.watermark, evidence.reason, recipe),
        findings.of_recipe(recipe, fault, signature),
        findings.of_label(evidence.label),
    ]
    marks = [findings.of_unsearched(one.mark, unread[one.mark]) if one.mark in unread else one for one in marks]
    lost = findings.stripped(recipe, fault, signature, evidence.watermark, evidence.label, unread=unread)
    return Detected(
        file=name,
        kind=kind,
        marks=marks,
        stripped=lost,
        inputs=_inputs(signature, recipe),
        frames=frames,
        verdict=verdict(marks),
    )


def _signature(file: BinaryIO, kind: str, anchors: bytes) -> tuple[Signature | None, str | None]:
    """The signature, and why it was not looked for."""
    if signing.library() is None:
        return None, Sentence("no_extra")
    return (read_signature(file, kind, anchors=anchors) if kind in signing.READABLE else None), None


def _inputs(signature: Signature | None, recipe: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What a file was made of: by the signature with the marks of each, and by the recipe the edits before."""
    signed = [{"by": findings.SIGNATURE, **one} for one in (signature.inputs if signature else ())]
    earlier = recipe.get("earlier") if recipe else None
    listed = history(earlier) if isinstance(earlier, list) else []
    keys = ("task", "model", "seed", "marks", "edit")
    return signed + [{"by": findings.RECIPE} | {key: one[key] for key in keys if key in one} for one in listed]
