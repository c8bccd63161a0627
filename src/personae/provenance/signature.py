"""The C2PA manifest of a file, read and checked, as one record. Offline: nothing that a file names is fetched.

found = read_signature(content, "image/png", anchors=credentials.roots())      # None: it carries none
found.state                                     # "trusted", "valid", "tampered", ...
"""

import io
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from personae.errors import BadOption, PersonaeError
from personae.io.boundary import errors_as
from personae.provenance.manifest import AI_TYPES, MODEL, RECIPE_LABEL, TASK, foremost
from personae.provenance.signing import library

TRUSTED, VALID, TAMPERED, EXPIRED, INVALID = "trusted", "valid", "tampered", "expired", "invalid"
DAMAGED, ELSEWHERE, UNKNOWN = "damaged", "elsewhere", "unknown"
IN_ACTIONS, IN_INPUTS = "actions", "inputs"  # where a manifest names AI
# The specification's codes for what no longer is what was signed.
_CHANGED = ("mismatch", "missing", "malformed", "inaccessible", "multipleManifests", "undeclared")
_EXPIRED = ("claimSignature.outsideValidity", "signingCredential.expired")
_UNTRUSTED = "signingCredential.untrusted"
_UNKNOWN_CLOCK = "timeStamp.untrusted"
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}
_MOST_TEXT = 2**23  # letters of a report on a manifest
_MOST_LISTED = 64  # actions, inputs and faults
_LONGEST = 200  # letters of a name in it
# How the boxes of a manifest begin (JUMBF, ISO/IEC 19566-5), in files of any kind; a name of C2PA's follows.
_BOX = re.compile(rb"jumb.{4}jumd.{0,40}?c2pa", re.DOTALL)
_LONGEST_BOX, _BLOCK = 56, 2**20


class _Unreadable(PersonaeError):
    """The library cannot read a manifest."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a file's manifest says, and whether it holds.

    state: `trusted`: unchanged, and the certificate goes back to one of the anchors; `valid`: unchanged, signed by a
    certificate that anybody may have made; `tampered`: changed after it was signed; `expired`: unchanged, but the
    certificate has run out, and no time stamp says that it was signed before; `invalid`: the rest of what the library
    refuses; `damaged`: its manifest cannot be read; `elsewhere`: the file only names an address, which is not fetched.
    signer, issuer: names in the certificate, which prove nothing by themselves. time: of a time stamp, if its authority
    is trusted. generator: which program signed. actions: what was done, each with `action`, and `source_type`, `task`,
    `model` where it says so.
    inputs: what the file was made of, each with `title`, `relationship`, and, where it has a manifest of its own, its
    `generator`, `source_type` and `state`, all of this by the word of this signature: `valid`, `invalid`, or `unknown`
    where nothing is said of how it was checked. ai: where it names AI, `IN_ACTIONS` or else `IN_INPUTS`; None: nowhere.
    recipe_sha256: of the recipe that was signed. faults: the specification's codes.
    """

    state: str
    signer: str | None = None
    issuer: str | None = None
    time: str | None = None
    generator: str | None = None
    actions: Sequence[Mapping[str, str]] = ()
    inputs: Sequence[Mapping[str, str]] = ()
    ai: str | None = None
    recipe_sha256: str | None = None
    faults: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """Whether the file is what was signed, whoever signed it."""
        return self.state in (TRUSTED, VALID, EXPIRED)


def read_signature(content: bytes | BinaryIO, mime: str, *, anchors: bytes = b"") -> Signature | None:
    """The manifest of a file of a kind (`metadata.mime_of`), None if it carries none, be the file damaged or not.

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
        return _refused(error, stream)


def _report(c2pa: Any, context: Any, mime: str, stream: BinaryIO) -> str | None:
    try:
        with c2pa.Reader(mime, stream, context=context) as reader:
            text = str(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    if len(text) > _MOST_TEXT:
        raise ValueError(f"it says more than {_MOST_TEXT} letters")
    return text


def _refused(error: _Unreadable, stream: BinaryIO) -> Signature | None:
    """Of a file that the library refuses: its manifest lies elsewhere, or is damaged; or it never had one."""
    words = str(error)
    if "must fetch remote manifests" in words:
        return Signature(state=ELSEWHERE)
    return Signature(state=DAMAGED, faults=(words[:_LONGEST],)) if holds_manifest(stream) else None


def holds_manifest(stream: BinaryIO) -> bool:
    """Whether a file of any size holds a manifest, whole or damaged, as far as its boxes can be told by their names."""
    stream.seek(0)
    end = b""
    while block := stream.read(_BLOCK):
        content = end + block
        if _BOX.search(content):
            return True
        end = content[1 - _LONGEST_BOX :]
    return False


def _of_report(report: Mapping[str, Any]) -> Signature:
    manifests = report["manifests"]
    active = manifests[report["active_manifest"]]
    results = report.get("validation_results", {})
    active_results = results.get("activeManifest", {})
    failures = _codes(active_results)
    for delta in results.get("ingredientDeltas") or ():
        failures += _codes(delta.get("validationDeltas", {}))
    signed_by = active.get("signature_info") or {}
    ingredients = active.get("ingredients") or ()
    return Signature(
        state=_state(report.get("validation_state"), failures),
        signer=_text(signed_by.get("common_name")),
        issuer=_text(signed_by.get("issuer")),
        time=None if _UNKNOWN_CLOCK in _codes(active_results, "informational") else _text(signed_by.get("time")),
        generator=_generator(active),
        actions=[_action(one) for one in _actions(active)[:_MOST_LISTED]],
        inputs=[_input(one, manifests) for one in ingredients[:_MOST_LISTED]],
        ai=_names_ai(active, [one.get("active_manifest") for one in ingredients], manifests),
        recipe_sha256=_recipe_sha256(active),
        faults=list(dict.fromkeys(failures))[:_MOST_LISTED],
    )


def _names_ai(active: Mapping[str, Any], inputs: Sequence[Any], manifests: Mapping[str, Any]) -> str | None:
    if foremost(map(_source_type, _actions(active))) in AI_TYPES:
        return IN_ACTIONS
    return IN_INPUTS if foremost(_source_types(inputs, manifests)) in AI_TYPES else None


def _codes(results: Mapping[str, Any], kind: str = "failure") -> list[str]:
    return [str(one.get("code")) for one in results.get(kind) or ()]


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
    found = {
        "action": one.get("action"),
        "source_type": _source_type(one),
        "task": parameters.get(TASK),
        "model": parameters.get(MODEL),
    }
    return {name: str(value)[:_LONGEST] for name, value in found.items() if value is not None}


def _source_type(action: Mapping[str, Any]) -> str | None:
    """The last part of its address in IPTC's vocabulary, or in C2PA's."""
    found = action.get("digitalSourceType")
    return None if found is None else str(found).rstrip("/").rpartition("/")[2]


def _input(one: Mapping[str, Any], manifests: Mapping[str, Any]) -> dict[str, str]:
    """An ingredient. The state of its own manifest is that of when it was taken in: later its file is not here."""
    found = {"title": one.get("title"), "relationship": one.get("relationship")}
    label = one.get("active_manifest")
    if label is not None:
        found |= {"state": _state_of_input(one), "generator": _generator(manifests.get(label) or {})}
        found["source_type"] = foremost(_source_types([label], manifests))
    return {name: str(value)[:_LONGEST] for name, value in found.items() if value is not None}


def _state_of_input(one: Mapping[str, Any]) -> str:
    """As whoever signed found it. Older programs list what failed alone, or nothing at all."""
    results = one.get("validation_results")
    checks = results.get("activeManifest") if isinstance(results, Mapping) else None
    if isinstance(checks, Mapping):
        failures = _codes(checks)
    else:
        failures = [str(status.get("code")) for status in one.get("validation_status") or ()]
    if any(code != _UNTRUSTED for code in failures):
        return INVALID
    return VALID if isinstance(checks, Mapping) else UNKNOWN


def _source_types(labels: Sequence[Any], manifests: Mapping[str, Any]) -> list[str | None]:
    """Of some manifests and of all that these were made of in turn."""
    found: list[str | None] = []
    waiting, visited = deque(labels), set()
    while waiting:
        label = waiting.popleft()
        if label in visited or label not in manifests:
            continue
        visited.add(label)
        found += map(_source_type, _actions(manifests[label]))
        waiting += [one.get("active_manifest") for one in manifests[label].get("ingredients") or ()]
    return found


def _recipe_sha256(active: Mapping[str, Any]) -> str | None:
    found = _assertions(active, RECIPE_LABEL)
    return _text(found[0].get("sha256")) if found else None
