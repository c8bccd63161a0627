"""What findings say: sentences in English that can be said in other languages.

    one = Sentence("signed_trusted", signer="ann")
    print(one)                        # it is a str: "signed by ann, which you trust, and unchanged since"
    print(one.render(german))         # by a table with the keys of `ENGLISH`

Programs and the command line take them as the strings that they are; a page has tables of its own.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

ENGLISH: Mapping[str, str] = {
    # of several marks
    "nothing": "nothing",
    "anything": "anything",
    "marks_get_lost": "nothing: marks are lost when a picture is saved again, and nobody has to set them",
    "nobody": "somebody without a name",
    # the signature: what it proves, and what it does not
    "unchanged_trusted": "nothing changed since {who} signed it, whose certificate you trust",
    "unchanged_valid": "nothing changed since it was signed by a certificate you don't trust ({who})",
    "unchanged_expired": "nothing changed since it was signed by {who}, but that certificate has expired",
    "changed_since": "it was changed after it was signed, or the signature is of another file",
    "damaged_since": "it carries a signature that was damaged: it was changed after it was signed",
    "against_the_rules": "nothing: the signature does not follow the rules",
    "only_an_address": "nothing: it names an address for its signature, and none is fetched",
    "signers_word": "that what the signature says is true: it is the word of whoever signed",
    "who_signed": "who signed it: valid is not trusted, anybody can make a certificate of any name",
    "when_signed": (
        "when it was signed: there is no time stamp that you trust, so the certificate may have expired before"
    ),
    "none_of_it": "anything that the signature says: none of it holds for this file",
    "what_it_says": "anything that the signature says",
    # the recipe
    "recipe_signed": "it is the recipe that was signed with this file",
    "recipe_other": "it is not the recipe that was signed: it was changed, or comes from another picture",
    "recipe_unsigned": "nothing: no signature vouches for it, and anybody can write one",
    "recipe_works": "that the recipe makes this picture: personae replay tests that",
    "how_it_came_to_be": "how the picture was made",
    # the watermark
    "pixels_marked": "personae marked these pixels, or what they were copied from",
    "who_marked": "who did it, or that nothing changed since: pixels can be pasted, and a mark be copied",
    # the label
    "some_program": "that some program labelled it so",
    "label_is_true": "that it is true: anybody can write or remove a label",
    # why a mark was not looked for, or not everywhere
    "no_watermarks": "this version has none",
    "too_small": "not looked for: below {least} pixels a side no mark can be read",
    "only_the_middle": "only the middle was looked at: one side is {times:.0f} times the other",
    "no_extra": "the extra provenance is not installed: pip install 'personae[provenance]'",
    # what is gone
    "lost_signature": "the signature (C2PA): the recipe says that there was one",
    "lost_recipe": "the recipe: the signature speaks of one",
    "lost_watermark": "the watermark: the recipe says that there was one, and it is not found in these pixels",
    "lost_own_recipe": "the recipe that the watermark names: the one in the file is another picture's",
    "lost_all_but_watermark": (
        "the recipe and the label of a file that personae wrote: only the watermark is left, as of a screenshot"
    ),
    "lost_label": "the label",
    # all findings in one line
    "signed_trusted": "signed by {signer}, which you trust, and unchanged since",
    "signed_valid": "signed by the owner of a certificate you don't trust, and unchanged since",
    "signed_expired": "signed by the owner of a certificate that has expired, and unchanged since",
    "signed_tampered": "changed after it was signed: don't believe its signature",
    "signed_damaged": "changed after it was signed: its signature is damaged",
    "signed_invalid": "signed against the rules: don't believe its signature",
    "signed_elsewhere": "its signature lies at an address, and nothing is fetched",
    "no_ai": "nothing in it names AI",
    "no_ai_searched_for": "nothing in it that could be looked for names AI",
    "ai_by_one": "its {who} says that AI made or changed it",
    "ai_by_one_unproven": "its {who} says that AI made or changed it, which nothing proves",
    "ai_by_many": "its {who} say that AI made or changed it",
    "ai_by_many_unproven": "its {who} say that AI made or changed it, which nothing proves",
    "by_signature": "signature",
    "by_inputs": "signature (of what it was made from)",
    "by_watermark": "watermark",
    "by_recipe": "recipe",
    "by_label": "label",
    "another_recipe": "its recipe is not the one that was signed",
    "unreadable_recipe": "its recipe cannot be read",
    "no_mark": "no mark found, which proves nothing",
    "no_mark_searched_for": "no mark found of those that could be looked for, which proves nothing",
    # how sentences are joined
    "comma": "{first}, {second}",
    "and": "{first} and {second}",
    "semicolon": "{first}; {second}",
}


class Sentence(str):
    """An English sentence that knows what it says.

    key: of its text in `ENGLISH`. values: what is filled in: names and numbers, or sentences, which are translated
    with it.
    """

    key: str
    values: Mapping[str, Any]

    def __new__(cls, key: str, /, **values: Any) -> "Sentence":
        """The text of a key, filled in. Raises `KeyError` for a key that there is not."""
        sentence = super().__new__(cls, ENGLISH[key].format(**values))
        sentence.key, sentence.values = key, values
        return sentence

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """For copies and pickles."""
        return (self.key,), dict(self.values)

    def render(self, texts: Mapping[str, str]) -> str:
        """The same in another language. texts: by the keys of `ENGLISH`, with the same places to fill in."""
        values = {name: one.render(texts) if isinstance(one, Sentence) else one for name, one in self.values.items()}
        return texts[self.key].format(**values)


NOBODY = Sentence("nobody")


def joined(sentences: Sequence[Sentence], by: str = "semicolon") -> Sentence:
    """At least one sentence, in one. by: the key of what stands between two."""
    return reduce(lambda before, one: Sentence(by, first=before, second=one), sentences)


def listed(names: Sequence[Sentence]) -> Sentence:
    """`a, b and c`."""
    *most, last = names
    return Sentence("and", first=joined(most, "comma"), second=last) if most else last
