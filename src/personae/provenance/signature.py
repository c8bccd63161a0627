"""The C2PA manifest of a file, read and checked, as one record. Offline: nothing that a file names is fetched.

found = read_signature(content, "image/png", anchors=credentials.roots())      # None: it carries none
found.state                                     # "trusted", "valid", "tampered", ...
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from personae.errors import BadOption, PersonaeError
from personae.io.boundary import errors_as
from personae.provenance.manifest import MODEL, RECIPE_LABEL, SOURCE_TYPES, TASK
from personae.provenance.signing import library

TRUSTED, VALID, TAMPERED, EXPIRED, INVALID = "trusted", "valid", "tampered", "expired", "invalid"
DAMAGED, ELSEWHERE = "damaged", "elsewhere"
# The specification's codes for what no longer is what was signed.
_CHANGED = ("mismatch", "missing", "malformed", "inaccessible", "multipleManifests", "undeclared")
_EXPIRED = ("claimSignature.outsideValidity", "signingCredential.expired")
_UNTRUSTED = "signingCredential.untrusted"
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}
_MOST_TEXT = 2**23  # letters of a report on a manifest
_MOST_LISTED = 64  # actions, inputs and faults
_LONGEST = 200  # letters of a name in it


class _Unreadable(PersonaeError):
    """The library cannot read a manifest."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a file's manifest says, and whether it holds.

    state: `trusted`: unchanged, and the certificate goes back to one of the anchors; `valid`: unchanged, signed by a
    certificate that anybody may have made; `tampered`: changed after it was signed; `expired`: unchanged, but the
    certificate has run out, and no time stamp says that it was signed before; `invalid`: the rest of what the library
    refuses; `damaged`: its manifest cannot be read; `elsewhere`: the file only names an address, which is not fetched.
    signer, issuer: names in the certificate, which prove nothing by themselves. time: of a time stamp. generator: which
    program signed. actions: what was done, each with `action`, and `source_type`, `task`, `model` where it says so.
    inputs: what the file was made of, each with `title`, `relationship`, and the `state` and `generator` of its own
    manifest where it has one. recipe_sha256: of the recipe that was signed. faults: the specification's codes.
    """

    state: str
    signer: str | None = None
    issuer: str | None = None
    time: str | None = None
    generator: str | None = None
    actions: Sequence[Mapping[str, str]] = ()
    inputs: Sequence[Mapping[str, str]] = ()
    recipe_sha256: str | None = None
    faults: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """Whether the file is what was signed, whoever signed it."""
        return self.state in (TRUSTED, VALID, EXPIRED)


def read_signature(content: bytes | BinaryIO, mime: str, *, anchors: bytes = b"") -> Signature | None:
    """The manifest of a file of a kind (`metadata.mime_of`), None if it carries none.

    anchors: certificates (PEM) that are trusted to vouch for others. Raises `BadOption` for anchors that are none, and
    if the extra `provenance` is not installed.
    """
    c2pa = library()
    if c2pa is None:
        raise BadOption("signatures are read by the extra provenance: pip install 'personae[provenance]'")
    settings: dict[str, Any] = {"version": 1, "verify": _OFFLINE}
    if anchors:
        with errors_as(BadOption, "the trusted certificates cannot be used", "give PEM"):
            settings["trust"] = {"trust_anchors": anchors.decode()}
    with errors_as(BadOption, "the trusted certificates cannot be used", "give PEM"):
        context = c2pa.Context(c2pa.Settings.from_dict(settings))
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        with errors_as(_Unreadable, "the manifest cannot be read"):
            text = _report(c2pa, context, mime, stream)
            return None if text is None else _of_report(json.loads(text))
    except _Unreadable as error:
        return _refused(error)


def _report(c2pa: Any, context: Any, mime: str, stream: BinaryIO) -> str | None:
    try:
        with c2pa.Reader(mime, stream, context=context) as reader:
            text = str(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    if len(text) > _MOST_TEXT:
        raise ValueError(f"it says more than {_MOST_TEXT} letters")
    return text


def _refused(error: _Unreadable) -> Signature:
    """Of a file that the library refuses: its manifest lies elsewhere, or is damaged."""
    words = str(error)
    if "must fetch remote manifests" in words:
        return Signature(state=ELSEWHERE)
    return Signature(state=DAMAGED, faults=(words[:_LONGEST],))


def _of_report(report: Mapping[str, Any]) -> Signature:
    manifests = report["manifests"]
    active = manifests[report["active_manifest"]]
    results = report.get("validation_results", {})
    failures = _codes(results.get("activeManifest", {}))
    for delta in results.get("ingredientDeltas") or ():
        failures += _codes(delta.get("validationDeltas", {}))
    signed_by = active.get("signature_info") or {}
    return Signature(
        state=_state(report.get("validation_state"), failures),
        signer=_text(signed_by.get("common_name")),
        issuer=_text(signed_by.get("issuer")),
        time=_text(signed_by.get("time")),
        generator=_generator(active),
        actions=[_action(one) for one in _actions(active)[:_MOST_LISTED]],
        inputs=[_input(one, manifests) for one in (active.get("ingredients") or ())[:_MOST_LISTED]],
        recipe_sha256=_recipe_sha256(active),
        faults=list(dict.fromkeys(failures))[:_MOST_LISTED],
    )


def _codes(results: Mapping[str, Any]) -> list[str]:
    return [str(one.get("code")) for one in results.get("failure") or ()]


def _state(says: Any, failures: Sequence[str]) -> str:
    if says == "Trusted":
        return TRUSTED
    if says == "Valid":
        return VALID
    if any(word in code for code in failures for word in _CHANGED):
        return TAMPERED
    if failures and all(code in (*_EXPIRED, _UNTRUSTED) for code in failures):
        return EXPIRED
    return INVALID


def _text(value: Any) -> str | None:
    return None if value is None else str(value)[:_LONGEST]


def _generator(one: Mapping[str, Any]) -> str | None:
    info = (one.get("claim_generator_info") or [{}])[0]
    name = info.get("name") or one.get("claim_generator")
    return None if name is None else f"{name} {info.get('version') or ''}".strip()[:_LONGEST]


def _assertions(one: Mapping[str, Any], label: str) -> list[Mapping[str, Any]]:
    return [each["data"] for each in one.get("assertions") or () if str(each.get("label")).startswith(label)]


def _actions(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [action for each in _assertions(one, "c2pa.actions") for action in each.get("actions") or ()]


def _action(one: Mapping[str, Any]) -> dict[str, str]:
    parameters = one.get("parameters") or {}
    source_type = one.get("digitalSourceType")
    found = {
        "action": one.get("action"),
        "source_type": None if source_type is None else str(source_type).removeprefix(SOURCE_TYPES),
        "task": parameters.get(TASK),
        "model": parameters.get(MODEL),
    }
    return {name: str(value)[:_LONGEST] for name, value in found.items() if value is not None}


def _input(one: Mapping[str, Any], manifests: Mapping[str, Any]) -> dict[str, str]:
    """An ingredient. The state of its own manifest is that of when it was taken in: later its file is not here."""
    found = {"title": one.get("title"), "relationship": one.get("relationship")}
    label = one.get("active_manifest")
    if label is not None:
        failures = _codes((one.get("validation_results") or {}).get("activeManifest", {}))
        changed = any(code != _UNTRUSTED for code in failures)
        its_own = manifests.get(label) or {}
        found |= {"state": INVALID if changed else VALID, "generator": _generator(its_own)}
        types = [action.get("source_type") for action in map(_action, _actions(its_own))]
        found["source_type"] = next((one for one in types if one is not None), None)
    return {name: str(value)[:_LONGEST] for name, value in found.items() if value is not None}


def _recipe_sha256(active: Mapping[str, Any]) -> str | None:
    found = _assertions(active, RECIPE_LABEL)
    return _text(found[0].get("sha256")) if found else None
