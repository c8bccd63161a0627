"""All findings of a file in one line: who signed it and whether it is unchanged, what names AI, and what does not fit.

    verdict(marks)      # "signed by ann, which you trust, and unchanged since; its signature says that AI ..."

Each statement looks at what it needs and at nothing else, so that none of them hides another.
"""

from collections.abc import Mapping, Sequence

from personae.provenance import signature as signatures
from personae.provenance.findings import (
    CHANGED,
    DAMAGED,
    HOLDS,
    LABEL,
    PRESENT,
    RECIPE,
    SIGNATURE,
    UNSIGNED,
    WATERMARK,
    Finding,
)

_UNCHANGED = (signatures.TRUSTED, signatures.VALID, signatures.EXPIRED)
_SIGNED = {
    signatures.TRUSTED: "signed by {signer}, which you trust, and unchanged since",
    signatures.VALID: "signed by the owner of a certificate you don't trust, and unchanged since",
    signatures.EXPIRED: "signed by the owner of a certificate that has expired, and unchanged since",
    signatures.TAMPERED: "changed after it was signed: don't believe its signature",
    signatures.DAMAGED: "changed after it was signed: its signature is damaged",
    signatures.INVALID: "signed against the rules: don't believe its signature",
    signatures.ELSEWHERE: "its signature lies at an address, and nothing is fetched",
}
_NOTHING = "no mark found, which proves nothing"


def verdict(marks: Sequence[Finding]) -> str:
    """The findings of a file, one for each mark, in one line."""
    by = {one.mark: one for one in marks}
    statements = (_signed(by[SIGNATURE]), _of_ai(by), _of_recipe(by[RECIPE]))
    return "; ".join(one for one in statements if one is not None) or _NOTHING


def _signed(signature: Finding) -> str | None:
    """Who signed the file, and whether it is still that file."""
    words = _SIGNED.get(signature.state)
    return None if words is None else words.format(signer=signature.facts.get("signer", "somebody without a name"))


def _of_ai(by: Mapping[str, Finding]) -> str | None:
    """Which marks name AI. One that a signature covers is the word of whoever signed."""
    holds = by[SIGNATURE].state in _UNCHANGED
    ai = by[SIGNATURE].facts.get("ai") if holds else None
    named = {
        "signature": ai == signatures.IN_ACTIONS,
        "signature (of what it was made from)": ai == signatures.IN_INPUTS,
        "watermark": by[WATERMARK].state == PRESENT,
        "recipe": by[RECIPE].state in (HOLDS, CHANGED, UNSIGNED),
        "label": by[LABEL].state == PRESENT,
    }
    *most, last = [name for name, does in named.items() if does] or [""]
    if not last:
        return "nothing in it names AI" if holds else None
    who = f"{', '.join(most)} and {last} say" if most else f"{last} says"
    proven = holds or named["watermark"]
    return f"its {who} that AI made or changed it{'' if proven else ', which nothing proves'}"


def _of_recipe(recipe: Finding) -> str | None:
    return {
        CHANGED: "its recipe is not the one that was signed",
        DAMAGED: "its recipe cannot be read",
    }.get(recipe.state)
