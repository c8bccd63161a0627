"""What each mark of a file proves and what it does not, in words: one finding per mark, in one order.

    of_signature(signature).proves         # "nothing in the file changed since it was signed by ..."

A finding's `state` is for programs, its sentences are for people, in English and in whatever else there is a table for
(`sentences`). That a mark is absent never proves anything.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from personae.provenance import pixel_mark
from personae.provenance import signature as signatures
from personae.provenance.manifest import AI_TYPES
from personae.provenance.message import Message, message_of, recipe_sha256
from personae.provenance.pixel_mark import Found
from personae.provenance.recipe import GENERATE
from personae.provenance.sentences import NOBODY, Sentence
from personae.provenance.signature import Signature

SIGNATURE, WATERMARK, RECIPE, LABEL = "c2pa", "watermark", "recipe", "label"
ABSENT = "absent"
HOLDS, CHANGED, UNSIGNED, DAMAGED = "holds", "changed", "unsigned", "damaged"
PRESENT, UNSEARCHED = "present", "not looked for"
OTHER = "other"  # a label that does not name AI


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


def of_unsearched(mark: str, reason: str | None) -> Finding:
    """A mark that was not looked for. reason: why."""
    facts = {"reason": reason}
    return Finding(
        mark=mark, state=UNSEARCHED, proves=Sentence("nothing"), proves_not=Sentence("anything"), facts=facts
    )


def _nothing(mark: str, state: str, facts: Mapping[str, Any] | None = None) -> Finding:
    """A mark that is not there, or of which nothing can be read."""
    proves, proves_not = Sentence("nothing"), Sentence("marks_get_lost")
    return Finding(mark=mark, state=state, proves=proves, proves_not=proves_not, facts=facts or {})


# ---------------------------------------------------------------------- the signature

# What each state proves, and what it does not.
_OF_STATES = {
    signatures.TRUSTED: ("unchanged_trusted", "signers_word"),
    signatures.VALID: ("unchanged_valid", "who_signed"),
    signatures.EXPIRED: ("unchanged_expired", "when_signed"),
    signatures.TAMPERED: ("changed_since", "none_of_it"),
    signatures.DAMAGED: ("damaged_since", "marks_get_lost"),
    signatures.INVALID: ("against_the_rules", "what_it_says"),
    signatures.ELSEWHERE: ("only_an_address", "anything"),
}


def of_signature(found: Signature | None) -> Finding:
    """The C2PA manifest."""
    if found is None:
        return _nothing(SIGNATURE, ABSENT)
    who = found.signer or found.issuer or NOBODY
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
        proves=Sentence(proves, who=who),
        proves_not=Sentence(proves_not),
        facts={name: value for name, value in facts.items() if value},
    )


# ---------------------------------------------------------------------- the recipe


def of_recipe(recipe: Mapping[str, Any] | None, fault: str | None, signature: Signature | None) -> Finding:
    """The recipe. fault: why it could not be read, if there is one."""
    if fault is not None:
        return _nothing(RECIPE, DAMAGED, {"fault": fault})
    if recipe is None:
        return _nothing(RECIPE, ABSENT)
    own = recipe_sha256(recipe)
    facts = {"sha256": own} | {name: recipe[name] for name in ("task", "seed", "software", "marks") if name in recipe}
    state = recipe_state(own, signature)
    proves, proves_not = {
        HOLDS: ("recipe_signed", "recipe_works"),
        CHANGED: ("recipe_other", "signers_word"),
        UNSIGNED: ("recipe_unsigned", "how_it_came_to_be"),
    }[state]
    return Finding(mark=RECIPE, state=state, proves=Sentence(proves), proves_not=Sentence(proves_not), facts=facts)


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
        return of_unsearched(WATERMARK, reason)
    facts: dict[str, Any] = {"score": round(found.score, 2), "threshold": round(found.threshold, 2)} | rate
    facts |= {"reason": reason} if reason else {}
    if not found.present or found.message is None:
        return _nothing(WATERMARK, ABSENT, facts)
    facts |= {"model": f"{found.message.model:02x}", "recipe": found.message.recipe.hex()}
    if recipe is not None:
        facts["names_this_recipe"] = names(found.message, recipe)
    return Finding(
        mark=WATERMARK,
        state=PRESENT,
        proves=Sentence("pixels_marked"),
        proves_not=Sentence("who_marked"),
        facts=facts,
    )


def names(message: Message, recipe: Mapping[str, Any]) -> bool:
    """Whether a watermark's message is that of a recipe."""
    return message.recipe == message_of(recipe).recipe


# ---------------------------------------------------------------------- the label


def of_label(source_type: str | None) -> Finding:
    """The IPTC mark for AI-generated media: a source type that names AI; cameras write others."""
    if source_type is None:
        return _nothing(LABEL, ABSENT)
    return Finding(
        mark=LABEL,
        state=PRESENT if source_type in AI_TYPES else OTHER,
        proves=Sentence("some_program"),
        proves_not=Sentence("label_is_true"),
        facts={"source_type": source_type},
    )


# ---------------------------------------------------------------------- what is gone


def stripped(
    recipe: Mapping[str, Any] | None,
    fault: str | None,
    signature: Signature | None,
    watermark: Found | None,
    label: str | None,
    *,
    unread: Container[str] = (),
) -> list[Sentence]:
    """What the file must have had, by what is left in it, and has no more.

    fault: why a recipe could not be read. label: the IPTC source type. unread: the marks that could not be looked for,
    of which nothing is missed; without a look at the signature, of none."""
    if SIGNATURE in unread:
        return []
    marks = (recipe or {}).get("marks")
    marks = marks if isinstance(marks, Mapping) else {}
    holds = signature is not None and signature.holds
    labelled = LABEL in unread or label in AI_TYPES
    has_recipe = RECIPE in unread or recipe is not None or fault is not None
    lost: list[Sentence] = []
    if signature is None and marks.get("c2pa") is True:
        lost.append(Sentence("lost_signature"))
    if not has_recipe and signature is not None and signature.recipe_sha256 is not None:
        lost.append(Sentence("lost_recipe"))
    if watermark is not None and not watermark.present and marks.get("watermark") is True and not holds:
        lost.append(Sentence("lost_watermark"))
    message = None if watermark is None else watermark.message
    if message is not None and recipe is not None and _of_another_recipe(message, recipe, signature):
        lost.append(Sentence("lost_own_recipe"))
    if watermark is not None and watermark.present and signature is None and not has_recipe and not labelled:
        lost.append(Sentence("lost_all_but_watermark"))
    elif not labelled and _had_label(recipe, signature):
        lost.append(Sentence("lost_label"))
    return lost


def _of_another_recipe(message: Message, recipe: Mapping[str, Any], signature: Signature | None) -> bool:
    """Whether a recipe beside a watermark cannot be the one that it names. What is made of a photo (an edit, a video)
    still shows the mark that this had before, and may be too small for one of its own; what is signed together
    belongs together."""
    of_a_photo = recipe.get("task", GENERATE) != GENERATE or bool(recipe.get("earlier"))
    if of_a_photo or message.part or names(message, recipe):
        return False
    return recipe_state(recipe_sha256(recipe), signature) != HOLDS


def _had_label(recipe: Mapping[str, Any] | None, signature: Signature | None) -> bool:
    """Whether personae wrote the file, which labels all of its own; others need not."""
    by_us = signature is not None and (signature.generator or "").startswith("personae ")
    return by_us or (recipe is not None and recipe.get("ai_generated") is True)
