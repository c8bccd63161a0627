"""What findings say: every sentence that there is comes from some finding, and each can be said in another language."""

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from personae.provenance import detection, findings, message, signing, verdict
from personae.provenance import signature as signatures
from personae.provenance.manifest import BY_A_MODEL
from personae.provenance.message import Message
from personae.provenance.sentences import ENGLISH, Sentence, joined, listed
from personae.provenance.signature import Signature

STATES = (
    *(signatures.TRUSTED, signatures.VALID, signatures.EXPIRED, signatures.TAMPERED),
    *(signatures.DAMAGED, signatures.INVALID, signatures.ELSEWHERE),
)
RECIPE = {"seed": 1, "ai_generated": True, "marks": {"c2pa": True, "watermark": True}}
OWN, OTHER = message.message_of(RECIPE), Message(model=0, recipe=b"abcd")


@dataclass(frozen=True)
class Pixels:
    """What was found in them."""

    message: Message | None
    score: float = 9.0
    threshold: float = 6.0

    @property
    def present(self) -> bool:
        return self.message is not None


def _signatures() -> Iterator[Signature | None]:
    yield None
    for state, ai in product(STATES, (None, signatures.IN_ACTIONS, signatures.IN_INPUTS)):
        for sha256 in (None, message.recipe_sha256(RECIPE), "0" * 64):
            yield Signature(state=state, signer="ann", ai=ai, recipe_sha256=sha256, generator="personae 0.1")
    yield Signature(state=signatures.TRUSTED)


def everything() -> Iterator[str]:
    """What findings say of files with every combination of marks, and why some were not looked for."""
    recipes = ((None, None), (None, "cut short"), (RECIPE, None), (RECIPE | {"marks": {}}, None))
    watermarks = (None, Pixels(None), Pixels(OWN), Pixels(OTHER))
    for signature, found, (recipe, fault), label in product(
        _signatures(), watermarks, recipes, (None, BY_A_MODEL, "digitalCapture")
    ):
        marks = [
            findings.of_signature(signature),
            findings.of_watermark(found, "", recipe),
            findings.of_recipe(recipe, fault, signature),
            findings.of_label(label),
        ]
        yield from (text for mark in marks for text in (mark.proves, mark.proves_not))
        yield verdict.verdict(marks)
        yield from findings.stripped(recipe, fault, signature, found, label)
    for sides in ((30, 300), (10, 100)):
        yield detection._left_out(np.zeros((*sides, 3), np.uint8))
    yield detection._NO_WATERMARKS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "library", lambda: None)
        with Path(__file__).open("rb") as file:
            _, reason = detection._signature(file, "image/png", b"")
        assert reason is not None
        yield reason


def _keys(sentence: object) -> set[str]:
    """Of a sentence, and of those inside it."""
    if not isinstance(sentence, Sentence):
        return set()
    return {sentence.key}.union(*map(_keys, sentence.values.values()))


def test_every_sentence_is_said_by_some_finding_and_no_other() -> None:
    texts = set(everything())
    assert all(isinstance(text, Sentence) for text in texts)
    assert set().union(*map(_keys, texts)) == set(ENGLISH)


def test_a_sentence_is_its_english_text_and_can_be_said_otherwise() -> None:
    one = Sentence("ai_by_many", who=listed([Sentence(f"by_{mark}") for mark in ("signature", "watermark", "label")]))
    assert one == "its signature, watermark and label say that AI made or changed it"
    german = {
        **ENGLISH,
        "ai_by_many": "{who} sagen, dass es KI war",
        "and": "{first} und {second}",
        "by_watermark": "das Wasserzeichen",
    }
    assert one.render(german) == "signature, das Wasserzeichen und label sagen, dass es KI war"
    assert joined([one, Sentence("no_mark")]) == f"{one}; no mark found, which proves nothing"
    for text in {one, Sentence("signed_trusted", signer="{who} & Co.")}:
        assert text.render(ENGLISH) == text
        for again in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
            assert (again, again.key, dict(again.values)) == (text, text.key, dict(text.values))
        assert json.loads(json.dumps({"verdict": text})) == {"verdict": str(text)}


def test_a_key_that_there_is_not_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Sentence("no such sentence")
