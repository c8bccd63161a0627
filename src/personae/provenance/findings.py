"""What each mark of a file proves and what it does not, in words: one finding per mark, in one order.

    of_signature(signature).proves         # "nothing in the file changed since it was signed by ..."

A finding's `state` is for programs, its sentences are for people. That a mark is absent never proves anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from personae.provenance import pixel_mark
from personae.provenance import signature as signatures
from personae.provenance.manifest import AI_TYPES
from personae.provenance.message import Message, message_of, recipe_sha256
from personae.provenance.pixel_mark import Found
from personae.provenance.recipe import EDIT
from personae.provenance.signature import Signature

SIGNATURE, WATERMARK, RECIPE, LABEL = "c2pa", "watermark", "recipe", "label"
ABSENT = "absent"
HOLDS, CHANGED, UNSIGNED, DAMAGED = "holds", "changed", "unsigned", "damaged"
PRESENT, UNSEARCHED = "present", "not looked for"
OTHER = "other"  # a label that does not name AI
_NOTHING = "nothing: marks are lost when a picture is saved again, and nobody has to set them"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One mark of a file.

    mark: `c2pa`, `watermark`, `recipe` or `label`. state: what became of it. proves: what follows from it; proves_not:
    what does not, though it may seem so. facts: what it says, plain JSON.
    """

    mark: str
    state: str
    proves: str
    proves_not: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """Whether the file has the mark at all."""
        return self.state not in (ABSENT, UNSEARCHED)


# ---------------------------------------------------------------------- the signature

_WORD = "that what the signature says is true: it is the word of whoever signed"
_OF_STATES = {
    signatures.TRUSTED: ("nothing changed since {who} signed it, whose certificate you trust", _WORD),
    signatures.VALID: (
        "nothing changed since it was signed by a certificate you don't trust ({who})",
        "who signed it: valid is not trusted, anybody can make a certificate of any name",
    ),
    signatures.EXPIRED: (
        "nothing changed since it was signed by {who}, but that certificate has expired",
        "when it was signed: there is no time stamp that you trust, so the certificate may have expired before",
    ),
    signatures.TAMPERED: (
        "it was changed after it was signed, or the signature is of another file",
        "anything that the signature says: none of it holds for this file",
    ),
    signatures.DAMAGED: ("it carries a signature that was damaged: it was changed after it was signed", _NOTHING),
    signatures.INVALID: ("nothing: the signature does not follow the rules", "anything that the signature says"),
    signatures.ELSEWHERE: ("nothing: it names an address for its signature, and none is fetched", "anything"),
}


def of_signature(found: Signature | None) -> Finding:
    """The C2PA manifest."""
    if found is None:
        return Finding(mark=SIGNATURE, state=ABSENT, proves="nothing", proves_not=_NOTHING)
    who = found.signer or found.issuer or "somebody without a name"
    proves, proves_not = _OF_STATES[found.state]
    facts = {
        "signer": found.signer,
        "issuer": found.issuer,
        "time_stamp": found.time,
        "generator": found.generator,
        "actions": [dict(one) for one in found.actions],
        "ai": found.ai,
        "faults": list(found.faults),
    }
    return Finding(
        mark=SIGNATURE,
        state=found.state,
        proves=proves.format(who=who),
        proves_not=proves_not,
        facts={name: value for name, value in facts.items() if value},
    )


# ---------------------------------------------------------------------- the recipe


def of_recipe(recipe: Mapping[str, Any] | None, fault: str | None, signature: Signature | None) -> Finding:
    """The recipe. fault: why it could not be read, if there is one."""
    if fault is not None:
        return Finding(mark=RECIPE, state=DAMAGED, proves="nothing", proves_not=_NOTHING, facts={"fault": fault})
    if recipe is None:
        return Finding(mark=RECIPE, state=ABSENT, proves="nothing", proves_not=_NOTHING)
    own = recipe_sha256(recipe)
    facts = {"sha256": own} | {name: recipe[name] for name in ("task", "seed", "software", "marks") if name in recipe}
    state = recipe_state(own, signature)
    proves, proves_not = {
        HOLDS: (
            "it is the recipe that was signed with this file",
            "that the recipe makes this picture: personae replay tests that",
        ),
        CHANGED: ("it is not the recipe that was signed: it was changed, or comes from another picture", _WORD),
        UNSIGNED: ("nothing: no signature vouches for it, and anybody can write one", "how the picture was made"),
    }[state]
    return Finding(mark=RECIPE, state=state, proves=proves, proves_not=proves_not, facts=facts)


def recipe_state(sha256: str, signature: Signature | None) -> str:
    """Whether a recipe of a hash is the one that a file's signature binds."""
    if signature is None or signature.recipe_sha256 is None:
        return UNSIGNED
    if signature.recipe_sha256 != sha256:
        return CHANGED
    return HOLDS if signature.holds else UNSIGNED


# ---------------------------------------------------------------------- the watermark


def of_watermark(found: Found | None, reason: str | None, recipe: Mapping[str, Any] | None) -> Finding:
    """The mark in the pixels. reason: why it was not looked for, or not everywhere."""
    rate = {"false_positives": pixel_mark.FALSE_POSITIVES} if pixel_mark.FALSE_POSITIVES else {}
    if found is None:
        return Finding(
            mark=WATERMARK, state=UNSEARCHED, proves="nothing", proves_not="anything", facts={"reason": reason}
        )
    facts: dict[str, Any] = {"score": round(found.score, 2), "threshold": round(found.threshold, 2)} | rate
    facts |= {"reason": reason} if reason else {}
    if not found.present or found.message is None:
        return Finding(mark=WATERMARK, state=ABSENT, proves="nothing", proves_not=_NOTHING, facts=facts)
    facts |= {"model": f"{found.message.model:02x}", "recipe": found.message.recipe.hex()}
    if recipe is not None:
        facts["names_this_recipe"] = names(found.message, recipe)
    return Finding(
        mark=WATERMARK,
        state=PRESENT,
        proves="personae marked these pixels, or what they were copied from",
        proves_not="who did it, or that nothing changed since: pixels can be pasted, and a mark be copied",
        facts=facts,
    )


def names(message: Message, recipe: Mapping[str, Any]) -> bool:
    """Whether a watermark's message is that of a recipe."""
    return message.recipe == message_of(recipe).recipe


# ---------------------------------------------------------------------- the label


def of_label(source_type: str | None) -> Finding:
    """The IPTC mark for AI-generated media: a source type that names AI; cameras write others."""
    if source_type is None:
        return Finding(mark=LABEL, state=ABSENT, proves="nothing", proves_not=_NOTHING)
    return Finding(
        mark=LABEL,
        state=PRESENT if source_type in AI_TYPES else OTHER,
        proves="that some program labelled it so",
        proves_not="that it is true: anybody can write or remove a label",
        facts={"source_type": source_type},
    )


# ---------------------------------------------------------------------- what is gone


def stripped(
    recipe: Mapping[str, Any] | None,
    fault: str | None,
    signature: Signature | None,
    watermark: Found | None,
    label: str | None,
) -> list[str]:
    """What the file must have had, by what is left in it, and has no more.

    fault: why a recipe could not be read. label: the IPTC source type."""
    marks = (recipe or {}).get("marks")
    marks = marks if isinstance(marks, Mapping) else {}
    holds = signature is not None and signature.holds
    labelled, has_recipe = label in AI_TYPES, recipe is not None or fault is not None
    lost = []
    if signature is None and marks.get("c2pa") is True:
        lost.append("the signature (C2PA): the recipe says that there was one")
    if not has_recipe and signature is not None and signature.recipe_sha256 is not None:
        lost.append("the recipe: the signature speaks of one")
    if watermark is not None and not watermark.present and marks.get("watermark") is True and not holds:
        lost.append("the watermark: the recipe says that there was one, and it is not found in these pixels")
    message = None if watermark is None else watermark.message
    if message is not None and recipe is not None and _of_another_recipe(message, recipe):
        lost.append("the recipe that the watermark names: the one in the file is another picture's")
    if watermark is not None and watermark.present and signature is None and not has_recipe and not labelled:
        lost.append(
            "the recipe and the label of a file that personae wrote: only the watermark is left, as of a screenshot"
        )
    elif not labelled and _had_label(recipe, signature):
        lost.append("the label")
    return lost


def _of_another_recipe(message: Message, recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe beside a watermark cannot be the one that it names. In the photo of an edit, the mark that it
    had before lies beside the edit's own."""
    edited = recipe.get("task") == EDIT
    return not names(message, recipe) and message.part == edited and not recipe.get("earlier")


def _had_label(recipe: Mapping[str, Any] | None, signature: Signature | None) -> bool:
    """Whether personae wrote the file, which labels all of its own; others need not."""
    by_us = signature is not None and (signature.generator or "").startswith("personae ")
    return by_us or (recipe is not None and recipe.get("ai_generated") is True)
