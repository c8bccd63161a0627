"""Which photos come with their words, and which with their face."""

from dataclasses import dataclass

import numpy as np

from personae.types import Array


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Shares of the photos that lack something; the rest has words and face."""

    words: float = 0.15
    face: float = 0.1
    both: float = 0.1

    def drawn(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """Which photos come with their words, and which with their face: (count,) bool both."""
        lot = rng.random(count)
        worded = lot >= self.words + self.both
        faced = (lot < self.words) | (lot >= self.words + self.both + self.face)
        return worded, faced


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Of all rows: named, in the base's own way. Of these: alone, `{person}` and no words; empty, nothing. What is
    dropped of the others."""

    named: float = 0.5
    alone: float = 0.5
    empty: float = 0.15
    dropped: Dropped = Dropped(words=0.15, face=0.15, both=0.05)

    def drawn(self, rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
        """Which rows are named, which have words, and which a face: (count,) bool each."""
        named, lot = rng.random(count) < self.named, rng.random(count)
        worded, faced = self.dropped.drawn(rng, count)
        return (
            named,
            np.where(named, lot >= self.alone + self.empty, worded),
            np.where(named, lot >= self.empty, faced),
        )
