"""Prompts of nano's text encoder, and their tokens."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import numpy as np
from transformers import CLIPTokenizer

from personae.training import captions
from personae.types import Array


@dataclass(frozen=True, kw_only=True)
class PromptMix:
    """Shares of the prompt kinds; the rest is the identity prompt alone."""

    empty: float = 0.1
    words: float = 0.1
    both: float = 0.25

    def draw(self, measures: captions.Measures, rng: np.random.Generator) -> str:
        """A prompt for a photo of which `measures` hold."""
        lot = rng.random()
        for share, prompt in (
            (self.empty, lambda: ""),
            (self.words, lambda: captions.caption(measures, rng, identity=False)),
            (self.both, lambda: captions.caption(measures, rng, identity=True)),
        ):
            if lot < share:
                return prompt()
            lot -= share
        return captions.identity_prompt(measures)


class Prompts:
    """A tokenizer that several threads may use: it keeps how it cuts, and batches are made in a thread of their own."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.tokenizer, self._lock = tokenizer, Lock()

    @classmethod
    def trained(cls, folder: Path | None, measures: list[captions.Measures]) -> "Prompts":
        """The tokenizer in `folder`, or, if there is none yet, one of the words in captions about `measures`, written
        there: numbers of words depend on how often each is said, so a training that goes on over other pictures must
        not count anew. None: in no folder that stays."""
        if folder is not None and (folder / captions.LAST_WRITTEN).is_file():
            return cls(CLIPTokenizer.from_pretrained(folder))
        rng = np.random.default_rng(0)
        texts = [captions.caption(m, rng, identity=bool(i % 2)) for i in range(4) for m in measures]
        with TemporaryDirectory() as passing:
            place = Path(passing) if folder is None else folder
            captions.train_tokenizer(place, texts)
            return cls(CLIPTokenizer.from_pretrained(place))

    @classmethod
    def of_export(cls, folder: Path) -> "Prompts":
        """With the tokenizer that a base was exported with."""
        return cls(CLIPTokenizer.from_pretrained(folder / "tokenizer"))

    def tokens(self, prompts: list[str], reserved: int = 0) -> Array:
        """(N, L) int64 tokens, the last `reserved` of which hold no word; what is too long is cut."""
        with self._lock:
            words = self.tokenizer(prompts, truncation=True, max_length=captions.MAX_TOKENS - reserved)
            padded = self.tokenizer.pad(words, padding="max_length", max_length=captions.MAX_TOKENS)
        return np.array(padded["input_ids"], np.int64)

    def save(self, folder: Path) -> None:
        """Write the tokenizer as it was before any prompt was cut."""
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.save_pretrained(folder)
