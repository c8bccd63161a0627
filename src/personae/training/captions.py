"""Captions composed from labels and measurements, and the small tokenizer trained on their words.

    caption(measures, rng)   ->  "photo of an old woman, smiling, looking left"

Age and gender presentation come from the data set's annotations; expression, pose and light are measured.
The annotated race is never put into words: it serves to measure evenness only.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from personae.io import atomic
from personae.training.face_table import FaceTable
from personae.training.images import to_tensor
from personae.training.phrases import PHRASES, readings

MAX_TOKENS = 24
IDENTITY_PROMPT = "photo of a id person"
LAST_WRITTEN = "tokenizer_config.json"  # of a tokenizer's files
_START, _END = "<|startoftext|>", "<|endoftext|>"
_AGES = {
    "0-2": ("baby", "baby"),
    "3-9": ("young girl", "young boy"),
    "10-19": ("teenage girl", "teenage boy"),
    "20-29": ("young woman", "young man"),
    "30-39": ("woman", "man"),
    "40-49": ("middle-aged woman", "middle-aged man"),
    "50-59": ("middle-aged woman", "middle-aged man"),
    "60-69": ("old woman", "old man"),
    "more than 70": ("very old woman", "very old man"),
}
# Words that the tokenizer must know though no caption of ours holds them: what users will type all the same.
_MORE_WORDS = """portrait picture image face a an the with and in on at of child boy girl person people hair eyes
glasses beard wearing background studio outdoors sunlight painting drawing sketch stylised colour sad angry
surprised happy serious laughing left right up down"""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What a caption may speak of, one row of a table: words for who, by age and without it, and phrases that hold;
    `kind`, the words that every caption says, since such a picture is not what is wanted where nothing is said."""

    subject: str
    noun: str = "person"
    phrases: tuple[str, ...]
    kind: tuple[str, ...] = ()


def measure(table: FaceTable) -> list[Measures]:
    """Words for everyone of a table, and the phrases that hold."""
    held = _held(table)
    result = []
    for row, phrases in enumerate(held):
        pair = _AGES.get(table.age[row], ("person", "person"))
        man = table.gender[row] == "Male"
        result.append(Measures(subject=pair[int(man)], noun="man" if man else "woman", phrases=phrases))
    return result


def _held(table: FaceTable) -> list[tuple[str, ...]]:
    """The phrases that hold, row by row."""
    result = []
    for start in range(0, len(table), 512):
        rows = slice(start, start + 512)
        pose, shapes = torch.from_numpy(table.pose[rows]), torch.from_numpy(table.blendshapes[rows])
        read = readings(pose, shapes, to_tensor(table.crops[rows]))
        found = torch.stack([phrase.holds(read) for phrase in PHRASES.values()], 1)
        result += [tuple(name for name, holds in zip(PHRASES, row, strict=True) if holds) for row in found.tolist()]
    return result


def mirrored(measures: Measures) -> Measures:
    """The same for the mirror image."""
    swap = {"looking left": "looking right", "looking right": "looking left"}
    return replace(measures, phrases=tuple(swap.get(p, p) for p in measures.phrases))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What one caption says about its subject, or about somebody named."""

    subject: str
    phrases: tuple[str, ...]

    def caption(self) -> str:
        """About the subject, in words."""
        return self.about(f"photo of {'an' if self.subject[0] in 'aeiou' else 'a'} {self.subject}", worded=True)

    def about(self, who: str, *, worded: bool) -> str:
        """`who`, with the phrases if `worded`."""
        return ", ".join([who, *(self.phrases if worded else ())])


def parts(measures: Measures, rng: np.random.Generator) -> Parts:
    """The kind of picture, and one to four of the phrases that hold."""
    count = min(len(measures.phrases), 1 + int(rng.integers(4)))
    chosen = tuple(str(p) for p in rng.permutation(measures.phrases)[:count]) if count else ()
    return Parts(subject=measures.subject, phrases=(*measures.kind, *chosen))


def identity_prompt(measures: Measures) -> str:
    """The identity prompt alone, but for the kind of picture."""
    return ", ".join([IDENTITY_PROMPT, *measures.kind])


def caption(measures: Measures, rng: np.random.Generator, *, identity: bool) -> str:
    """A caption that is true, about `id person` or about the subject in words."""
    content = parts(measures, rng)
    return content.about(IDENTITY_PROMPT, worded=True) if identity else content.caption()


def train_tokenizer(folder: Path, captions: list[str]) -> None:
    """Write `vocab.json`, `merges.txt` and a config (`LAST_WRITTEN`) that transformers' `CLIPTokenizer` reads.

    CLIP's scheme in small: lower case, byte-level pairs with `</w>` at a word's end, so that any text can be
    encoded and each word of our captions is one token.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=1,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([*captions, *([_MORE_WORDS] * 10)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = alphabet + [a + "</w>" for a in alphabet]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokens += [a + b for a, b in merges if a + b not in set(tokens)]
    tokens += [_START, _END]
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    listed = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    atomic.write(folder / "merges.txt", listed.encode(), replace=True)
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": _START,
        "eos_token": _END,
        "unk_token": _END,
        "pad_token": _END,
    }
    atomic.write_json(folder / LAST_WRITTEN, config)
