"""What a file's marks say together, in one line: every statement from its own mark, whatever the others are."""

from itertools import product

import pytest

from personae.provenance import findings, message, verdict
from personae.provenance import signature as signatures
from personae.provenance.findings import Finding
from personae.provenance.manifest import BY_A_MODEL, IN_PART
from personae.provenance.message import Message
from personae.provenance.signature import Signature

MESSAGE = Message(model=7, recipe=b"abcd")
SIGNED = {
    None: None,
    signatures.TRUSTED: "signed by ann, which you trust, and unchanged since",
    signatures.VALID: "certificate you don't trust, and unchanged since",
    signatures.EXPIRED: "certificate that has expired, and unchanged since",
    signatures.TAMPERED: "changed after it was signed",
    signatures.DAMAGED: "changed after it was signed",
    signatures.INVALID: "signed against the rules",
    signatures.ELSEWHERE: "its signature lies at an address",
}
RECIPES = {
    findings.ABSENT: None,
    findings.UNSEARCHED: None,
    findings.UNSIGNED: None,
    findings.HOLDS: None,
    findings.CHANGED: "its recipe is not the one that was signed",
    findings.DAMAGED: "its recipe cannot be read",
}


def _finding(mark: str, state: str, **facts: object) -> Finding:
    return Finding(mark=mark, state=state, proves="", proves_not="", facts=facts)


def _marks(signed: str | None, ai: str | None, watermark: str, recipe: str, label: str) -> list[Finding]:
    signature = None if signed is None else Signature(state=signed, signer="ann", ai=ai)
    return [
        findings.of_signature(signature),
        _finding(findings.WATERMARK, watermark),
        _finding(findings.RECIPE, recipe),
        _finding(findings.LABEL, label),
    ]


@pytest.mark.parametrize("ai", [None, signatures.IN_ACTIONS, signatures.IN_INPUTS])
@pytest.mark.parametrize("signed", SIGNED)
def test_no_mark_hides_another(signed: str | None, ai: str | None) -> None:
    holds = signed in (signatures.TRUSTED, signatures.VALID, signatures.EXPIRED)
    for watermark, recipe, label in product(
        (findings.ABSENT, findings.PRESENT, findings.UNSEARCHED),
        RECIPES,
        (findings.ABSENT, findings.PRESENT, findings.OTHER, findings.UNSEARCHED),
    ):
        unread = findings.UNSEARCHED in (watermark, recipe, label)
        line = verdict.verdict(_marks(signed, ai, watermark, recipe, label))
        for state, words in SIGNED.items():
            assert words is None or (words in line) == (words == SIGNED[signed]), (state, line)
        for words in RECIPES.values():
            assert words is None or (words in line) == (words == RECIPES[recipe]), line
        named = {
            "signature": holds and ai is not None,
            "watermark": watermark == findings.PRESENT,
            "recipe": recipe in (findings.HOLDS, findings.UNSIGNED, findings.CHANGED),
            "label": label == findings.PRESENT,
        }
        who = next((one for one in line.split("; ") if "AI made or changed it" in one), "")
        assert {name for name in named if name in who} == {name for name, does in named.items() if does}, line
        assert ("of what it was made from" in who) == (holds and ai == signatures.IN_INPUTS)
        nothing = "nothing in it that could be looked for names AI" if unread else "nothing in it names AI"
        assert (nothing in line) == (holds and not any(named.values())), line
        assert ("which nothing proves" in line) == (
            any(named.values()) and not holds and watermark != findings.PRESENT
        ), line
        but = " of those that could be looked for" if unread else ""
        assert (line == f"no mark found{but}, which proves nothing") == (
            signed is None and not any(named.values()) and recipe != findings.DAMAGED
        ), line


def test_only_types_of_ai_are_its_label() -> None:
    for source_type in (BY_A_MODEL, IN_PART):
        assert findings.of_label(source_type).state == findings.PRESENT
    assert findings.of_label("digitalCapture").state == findings.OTHER
    assert findings.of_label(None).state == findings.ABSENT


class Seen:
    """What was found in pixels."""

    score, threshold = 9.0, 6.0

    def __init__(self, content: Message | None) -> None:
        self.present, self.message = content is not None, content


RECIPE = {"format": "personae.recipe/2", "seed": 1, "ai_generated": True, "marks": {"c2pa": True, "watermark": True}}
OURS = Signature(state=signatures.VALID, generator="personae 0.1", recipe_sha256=message.recipe_sha256(RECIPE))
CAMERA = Signature(state=signatures.VALID, generator="Leica M11")


def _lost(
    recipe: dict | None = None,
    signature: Signature | None = None,
    found: Message | None = None,
    label: str | None = None,
    fault: str | None = None,
    unread: tuple[str, ...] = (),
) -> list[str]:
    lost = findings.stripped(recipe, fault, signature, Seen(found), label, unread=unread)
    return [one.partition(":")[0] for one in lost]


def test_only_what_was_there_is_lost() -> None:
    own = message.message_of(RECIPE)
    assert _lost(RECIPE, OURS, own, BY_A_MODEL) == []
    assert _lost(signature=CAMERA) == [], "a camera need not label"
    assert _lost(signature=CAMERA, label="digitalCapture") == []
    assert _lost(RECIPE, OURS, own, "digitalCapture") == ["the label"]
    assert _lost(signature=OURS, label=BY_A_MODEL) == ["the recipe"]
    assert _lost(signature=OURS, label=BY_A_MODEL, fault="cut short") == [], "it is there, though damaged"
    assert _lost(RECIPE, OURS, None, BY_A_MODEL) == [], "the signature holds: nothing is lost that is not found"
    assert _lost(RECIPE, None, None, BY_A_MODEL) == ["the signature (C2PA)", "the watermark"]
    assert _lost(found=own) == ["the recipe and the label of a file that personae wrote"]
    assert _lost(found=own, label=BY_A_MODEL) == []
    assert _lost(found=own, signature=CAMERA) == []
    bare = RECIPE | {"marks": {}}
    other = Message(model=0, recipe=b"abcd")
    assert _lost(bare, None, other, BY_A_MODEL) == ["the recipe that the watermark names"]
    assert _lost(bare | {"earlier": [{"seed": 1}]}, None, other, BY_A_MODEL) == [], "it is the photo's own mark"
    assert _lost(bare | {"task": "edit"}, None, other, BY_A_MODEL) == [], "as above"


def test_what_could_not_be_looked_for_is_not_missed() -> None:
    own = message.message_of(RECIPE)
    assert _lost(signature=OURS, label=BY_A_MODEL, unread=(findings.RECIPE,)) == []
    assert _lost(signature=OURS, unread=(findings.RECIPE, findings.LABEL)) == []
    assert _lost(found=own, unread=(findings.LABEL,)) == []
    assert _lost(RECIPE, unread=(findings.LABEL,)) == ["the signature (C2PA)", "the watermark"], "the recipe says so"
    assert _lost(RECIPE, unread=(findings.SIGNATURE,)) == []


def test_the_mark_of_a_photo_is_nobody_elses_recipe() -> None:
    """A swap, its recipe stripped by a messenger, then an edit of a mouth, too small for a mark of its own: the mark of
    the swap lies beside the recipe of the other edit."""
    edit = RECIPE | {"task": "edit", "marks": {}}
    for part in (False, True):
        mark = Message(model=0, recipe=b"abcd", part=part)
        assert _lost(edit, None, mark, BY_A_MODEL) == []
        assert _lost(edit | {"task": "animate"}, None, mark, BY_A_MODEL) == []
    mark, made = Message(model=0, recipe=b"abcd"), RECIPE | {"task": "generate", "marks": {}}
    signed = Signature(state=signatures.VALID, recipe_sha256=message.recipe_sha256(made))
    assert _lost(made, None, mark, BY_A_MODEL) == ["the recipe that the watermark names"]
    assert _lost(made, signed, mark, BY_A_MODEL) == [], "it is the recipe that was signed with this file"
    changed = Signature(state=signatures.TAMPERED, recipe_sha256=message.recipe_sha256(made))
    assert _lost(made, changed, mark, BY_A_MODEL) == ["the recipe that the watermark names"]
