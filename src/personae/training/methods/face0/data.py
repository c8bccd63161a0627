"""What `face0-nano` learns from: photos with their words and faces, and requests that no photo need fulfil.

Legend: N rows; L positions of the text encoder; D numbers of an identity; Q readings of `phrases`.
"""

from typing import Any

import numpy as np

from personae.training import captions
from personae.training.methods.base.setting import Setting
from personae.training.methods.face0.shares import Shares
from personae.training.phrases import bounds, drawn
from personae.types import Array

_TWO = 0.35  # the share of the requests for two phrases
_SUBJECTS = (0.4, 0.4, 0.2)  # how often somebody is called by their age, `woman` or `man`, `person`


class WordsAndFaces:
    """reserved: positions at the end of the text that a face takes. requests: faces sampled in each step."""

    def __init__(self, setting: Setting, shares: Shares, *, reserved: int, requests: int) -> None:
        self.faces, self.prompts, self.shares = setting.faces, setting.prompts, shares
        self.reserved, self.requests = reserved, requests

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """Photos (`LatentFaces.photos`), with `tokens` (N, L) and `named` (N,) bool; and `requests`: the same of
        anybody, without a photo, with `low` and `high` (N, Q), the bounds of what the words say."""
        rows, who = self._people(rng, size)
        prompts = []
        for row, named, worded, faced in zip(rows, who["named"], who["worded"], who["faced"], strict=True):
            measures = self.faces.measures[row[0]][row[1]]
            content = captions.parts(measures, rng)
            prompts.append(_prompt(content, measures.kind, named=named, worded=worded, faced=faced))
        return {
            "latents": self.faces.latents[rows[:, 0], rows[:, 1]],
            "inside": self.faces.inside[rows[:, 0], rows[:, 1]],
            "vectors": who["vectors"],
            "tokens": self._tokens(prompts, who["named"]),
            "named": who["named"],
            "requests": self._requests(rng),
        }

    def beside(self, prompts: list[str]) -> Array:
        """(N, L) tokens with room for a face at the end."""
        return self.prompts.tokens(prompts, self.reserved)

    def _people(self, rng: np.random.Generator, count: int) -> tuple[Array, dict[str, Array]]:
        """(count, 2) sides and rows of the table, and what there is of each: `vectors`, `named`, `worded`, `faced`."""
        rows = np.stack([rng.integers(2, size=count), self.faces.kinds.rows(rng, count)], 1)
        named, worded, faced = self.shares.drawn(rng, count)
        vectors = self.faces.identities(rng, rows[:, 1]) * faced[:, None].astype(np.float32)
        return rows, {"vectors": vectors, "named": named, "worded": worded, "faced": faced}

    def _requests(self, rng: np.random.Generator) -> dict[str, Array]:
        rows, who = self._people(rng, self.requests)
        prompts, limits = [], []
        for row, named, worded, faced in zip(rows, who["named"], who["worded"], who["faced"], strict=True):
            phrases = drawn(rng, 1 + int(rng.random() < _TWO)) if worded else ()
            person = self.faces.measures[row[0]][row[1]]
            subject = (person.subject, person.noun, "person")[int(rng.choice(3, p=_SUBJECTS))]
            content = captions.Parts(subject=subject, phrases=phrases)
            prompts.append(_prompt(content, (), named=named, worded=worded, faced=faced))
            limits.append(bounds(phrases))
        low, high = np.stack(limits).transpose(1, 0, 2)
        tokens = self._tokens(prompts, who["named"])
        return {"vectors": who["vectors"], "tokens": tokens, "named": who["named"], "low": low, "high": high}

    def _tokens(self, prompts: list[str], named: Array) -> Array:
        """(N, L) tokens: of named rows as the base has them, of the others with room for a face."""
        return np.where(named[:, None], self.prompts.tokens(prompts), self.beside(prompts))


def _prompt(content: captions.Parts, kind: tuple[str, ...], *, named: bool, worded: bool, faced: bool) -> str:
    """The words of a row. kind: what is said of its picture even where nothing else is, unless nobody is meant."""
    if worded and (faced or not named):
        return content.about(captions.IDENTITY_PROMPT, worded=True) if named else content.caption()
    if not faced:
        return ""
    return ", ".join([captions.IDENTITY_PROMPT, *kind] if named else kind)
