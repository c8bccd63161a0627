"""What the page says, by language: for labels, which the browser translates, and for sentences, which we do.

    words = Words.of_header("de-AT,de;q=0.9")
    words("working", number=1, total=4, step=3, steps=25)
    translations()["es"]["consent"]            # for gr.I18n

A language is a module with `TEXTS`; `FINDINGS`: the sentences of `provenance.sentences`; `OPTIONS`: titles and help of
options, by name; `GROUPS`: their headings; `USUAL`: what holds where nothing is set; `ERRORS`: what a kind of error
means, by its name in `personae.errors`. What it does not know of these four is said in English, as it is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personae.controls import registry
from personae.errors import BadOption
from personae.provenance import sentences
from personae.provenance.sentences import Sentence
from personae.serving.page.texts import english, german, spanish

LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": english.TEXTS, "de": german.TEXTS, "es": spanish.TEXTS}
FINDINGS: Mapping[str, Mapping[str, str]] = {
    "en": sentences.ENGLISH,
    "de": german.FINDINGS,
    "es": spanish.FINDINGS,
}
_GROUPS: Mapping[str, Mapping[str, str]] = {"en": {}, "de": german.GROUPS, "es": spanish.GROUPS}
_OPTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {"en": {}, "de": german.OPTIONS, "es": spanish.OPTIONS}
_USUAL: Mapping[str, Mapping[str, str]] = {"en": {}, "de": german.USUAL, "es": spanish.USUAL}
_ERRORS: Mapping[str, Mapping[str, str]] = {"en": {}, "de": german.ERRORS, "es": spanish.ERRORS}


class Mistake(BadOption):
    """What somebody at the page has to mend, in their own language."""


@dataclass(frozen=True)
class Words:
    """The sentences of one language: "en", "de" or "es"."""

    language: str = "en"

    @classmethod
    def of_header(cls, accepted: str | None) -> Words:
        """Of a browser's `Accept-Language`: its first language, by which the browser picks the labels; else English."""
        name = (accepted or "").strip().lower()[:2]
        return cls(name if name in LANGUAGES else "en")

    def __call__(self, key: str, **values: Any) -> str:
        """A sentence, with what it is about filled in."""
        return LANGUAGES[self.language][key].format(**values)

    def render(self, text: str) -> str:
        """What a finding says, in this language; a text that is no `Sentence` as it is, in English."""
        return text.render(FINDINGS[self.language]) if isinstance(text, Sentence) else text

    def usual(self, row: Mapping[str, Any]) -> str:
        """What holds if an option is not set. row: of `registry.rows`."""
        return _USUAL[self.language].get(row["default_text"], row["default_text"]) or "-"

    def title_of(self, option: str) -> str:
        """What an option of the registry is called."""
        known = _OPTIONS[self.language]
        if option in known:
            return known[option][0]
        return str(registry.options()[option].facts(option)["title"])

    def mistake(self, key: str, **values: Any) -> Mistake:
        """An error of the page's own."""
        return Mistake(self(key, **values))

    def kind_of(self, problem: BaseException) -> str | None:
        """What an error means, where its own words are in another language; None: they are in this one."""
        known = _ERRORS[self.language]
        return next((known[kind.__name__] for kind in type(problem).__mro__ if kind.__name__ in known), None)

    def language_of(self, text: str) -> str:
        """The language that `render` says a text in."""
        return self.language if isinstance(text, Sentence) else "en"


def translations() -> dict[str, dict[str, str]]:
    """Every text of every language, those of the options included: `option_NAME`, `help_NAME`, `usual_NAME`,
    `group_GROUP`."""
    found = {}
    for language, texts in LANGUAGES.items():
        known = _OPTIONS[language]
        options: dict[str, str] = {}
        for row in registry.rows():
            title, about = known.get(row["name"], (row["title"], row["help"]))
            group = row["group"]
            options |= {f"group_{group}": _GROUPS[language].get(group, group)}
            options |= {f"option_{row['name']}": title, f"help_{row['name']}": about}
            options |= {f"usual_{row['name']}": Words(language).usual(row)}
        found[language] = {**texts, **options}
    return found
