"""All findings of a file in one line: who signed it and whether it is unchanged, what names AI, and what does not fit.

    verdict(marks)      # "signed by ann, which you trust, and unchanged since; its signature says that AI ..."

Each statement looks at what it needs and at nothing else, so that none of them hides another.
"""

from collections.abc import Iterable, Mapping, Sequence

from personae.provenance import signature as signatures
from personae.provenance.findings import (
    CHANGED,
    DAMAGED,
    HOLDS,
    LABEL,
    PRESENT,
    RECIPE,
    SIGNATURE,
    UNSEARCHED,
    UNSIGNED,
    WATERMARK,
    Finding,
)
from personae.provenance.sentences import NOBODY, Sentence, joined, listed

_UNCHANGED = (signatures.TRUSTED, signatures.VALID, signatures.EXPIRED)
_SIGNED = {
    signatures.TRUSTED: "signed_trusted",
    signatures.VALID: "signed_valid",
    signatures.EXPIRED: "signed_expired",
    signatures.TAMPERED: "signed_tampered",
    signatures.DAMAGED: "signed_damaged",
    signatures.INVALID: "signed_invalid",
    signatures.ELSEWHERE: "signed_elsewhere",
}


def verdict(marks: Sequence[Finding]) -> Sentence:
    """The findings of a file, one for each mark, in one line."""
    by = {one.mark: one for one in marks}
    statements = (_signed(by[SIGNATURE]), _of_ai(by), _of_recipe(by[RECIPE]))
    found = [one for one in statements if one is not None]
    return joined(found) if found else Sentence("no_mark" if _searched(marks) else "no_mark_searched_for")


def _searched(marks: Iterable[Finding]) -> bool:
    """Whether each of them was looked for: of what was not, nothing is said."""
    return all(one.state != UNSEARCHED for one in marks)


def _signed(signature: Finding) -> Sentence | None:
    """Who signed the file, and whether it is still that file."""
    key = _SIGNED.get(signature.state)
    return None if key is None else Sentence(key, signer=signature.facts.get("signer", NOBODY))


def _of_ai(by: Mapping[str, Finding]) -> Sentence | None:
    """Which marks name AI. One that a signature covers is the word of whoever signed."""
    holds = by[SIGNATURE].state in _UNCHANGED
    ai = by[SIGNATURE].facts.get("ai") if holds else None
    named = {
        "by_signature": ai == signatures.IN_ACTIONS,
        "by_inputs": ai == signatures.IN_INPUTS,
        "by_watermark": by[WATERMARK].state == PRESENT,
        "by_recipe": by[RECIPE].state in (HOLDS, CHANGED, UNSIGNED),
        "by_label": by[LABEL].state == PRESENT,
    }
    who = [Sentence(name) for name, does in named.items() if does]
    if not who:
        return Sentence("no_ai" if _searched(by.values()) else "no_ai_searched_for") if holds else None
    proven = holds or named["by_watermark"]
    key = f"ai_by_{'one' if len(who) == 1 else 'many'}"
    return Sentence(key if proven else f"{key}_unproven", who=listed(who))


def _of_recipe(recipe: Finding) -> Sentence | None:
    key = {CHANGED: "another_recipe", DAMAGED: "unreadable_recipe"}.get(recipe.state)
    return None if key is None else Sentence(key)
