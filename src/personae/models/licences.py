"""Licences that a person accepts before weights are used: shown in the refusal, remembered once accepted.

    licences.require(licences.ARC2FACE, accepted=accept_licence)     # LicenceRefused, saying what to read and to do

Accepted is what `accept_licence=True` (`--accept-licence`) was said to once, kept in `licences.json` of the user's
configuration folder; or, for one process, what `PERSONAE_ACCEPT_LICENCE` names (separated by commas).
"""

import json
import os
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from personae.errors import BadOutput, LicenceRefused
from personae.io import atomic
from personae.io.user_folders import config_folder

ENVIRONMENT = "PERSONAE_ACCEPT_LICENCE"


@dataclass(frozen=True, kw_only=True)
class Licence:
    """`name`: what is typed to accept it; `covers`: which files; `terms`: in one sentence; `urls`: to read them."""

    name: str
    covers: str
    terms: str
    urls: tuple[str, ...]


ARC2FACE = Licence(
    name="arc2face",
    covers="arcface.onnx and InsightFace's detector scrfd_10g_bnkps.onnx",
    terms="non-commercial research only",
    urls=("https://github.com/deepinsight/insightface#license", "https://huggingface.co/FoivosPar/Arc2Face"),
)


def require(licence: Licence, *, accepted: bool = False) -> None:
    """Raise `LicenceRefused` unless the licence is accepted: now (`accepted`), earlier, or by the environment."""
    if accepted:
        _remember(licence)
    elif licence.name not in os.environ.get(ENVIRONMENT, "").split(",") and licence.name not in _remembered():
        raise LicenceRefused(
            f"{licence.covers} are licensed for {licence.terms} ({', '.join(licence.urls)}): to accept, say "
            f"--accept-licence (accept_licence=True) once, or set {ENVIRONMENT}={licence.name}"
        )


def _remembered() -> dict[str, str]:
    try:
        known = json.loads((config_folder() / "licences.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # nothing that can be read was accepted
    return known if isinstance(known, dict) else {}


def _remember(licence: Licence) -> None:
    known = _remembered()
    if licence.name in known:
        return
    known[licence.name] = datetime.now(UTC).isoformat(timespec="seconds")
    path = config_folder() / "licences.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, known)
    except (OSError, BadOutput) as error:
        warnings.warn(f"the accepted licence cannot be remembered in {path} ({error})", stacklevel=3)
