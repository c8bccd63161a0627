"""A place for a person: a photo, an `.identity` file, or somebody drawn at random; with a picture of them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from personae import identity
from personae.gather import SUFFIX
from personae.provenance import writer
from personae.serving.engine.requests import Generate, Sample
from personae.serving.page import commands
from personae.serving.page.reading import one_of
from personae.serving.page.results import url
from personae.serving.page.texts import Words
from personae.serving.page.work import Desk
from personae.types import Face, Identity

_STEPS = 8  # of the small picture of somebody drawn
_PORTRAIT_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Who is in a place. file: a photo or an `.identity` file. drawn: the seed of somebody who does not exist; None: of
    a file that came from outside."""

    file: Path
    drawn: int | None = None

    @property
    def exists(self) -> bool:
        """Whether it may be somebody who can be asked."""
        return self.drawn is None

    def typed(self) -> str:
        """As a command names it."""
        return self.file.name if self.drawn is None else commands.stranger(self.drawn)

    def subject(self, desk: Desk, session: str, model: str) -> Face | Identity:
        """Who it is. Raises `NoFaceFound`, `BadImage`, `BadIdentity`."""
        return one_of(desk, self.file, session, model)


def draw(desk: Desk, seed: int, session: str, model: str) -> Slot:
    """Somebody who does not exist, in a file of their own."""
    [nobody] = desk.ask(Sample(count=1, seed=seed, model=model), session)
    return Slot(file=desk.shelf.put(f"stranger{seed}.identity", identity.encode(nobody)), drawn=seed)


def portrait(desk: Desk, slot: Slot, session: str, model: str, words: Words) -> str:
    """A look at who is in a place, as HTML: the photo, or a picture made quickly."""
    person = slot.subject(desk, session, model)  # of a photo, too: one without a face will not do
    if slot.file.suffix != SUFFIX:
        return _picture(slot.file, words("photo"))
    wanted = Generate(
        people=[person],
        seed=_PORTRAIT_SEED,
        options={"num_inference_steps": _STEPS},
        model=model,
        measure_likeness=False,
    )
    result: Any = desk.ask(wanted, session)
    content = next(writer.files_of(result, people=[person], identity=False))
    return _picture(desk.shelf.put(f"{slot.file.stem}.png", content), words("alt_generate", seed=_PORTRAIT_SEED))


def _picture(path: Path, alt: str) -> str:
    return f'<div class="p-portrait"><img src="{escape(url(path), quote=True)}" alt="{escape(alt, quote=True)}"></div>'
