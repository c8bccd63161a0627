"""What a result looks like, and where its file lies until it is fetched.

    shelf = Shelf(folder)
    path = shelf.put("me-seed7.png", content)
    html = row([Card(...)], waiting=2, words=words)

Files come marked from `provenance.writer`, whole; they are deleted an hour later. What strangers wrote (file names,
errors) enters the page through `html.escape` alone.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from personae.io import atomic
from personae.serving.page.sweep import HOUR, sweep
from personae.serving.page.texts import Words


class Shelf:
    """Files of results, each in a folder of its own with a name that nobody guesses.

    folder: where. uploads: a folder of folders of uploads, which may hold the shelf's own; None: there is none. age:
    seconds after which files of both are deleted, when the next one comes or `sweep` is called.
    """

    def __init__(self, folder: Path, *, uploads: Path | None = None, age: float = HOUR) -> None:
        self.folder, self._uploads, self._age = folder, uploads, age
        self._in_work: Counter[Path] = Counter()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, name: str, content: bytes) -> Path:
        """Write a file whole. Raises `BadOutput`."""
        own = self._fresh()
        self._make(own)
        return atomic.write(own / name, content)

    @contextmanager
    def place(self, name: str, *, inputs: Sequence[Path] = ()) -> Iterator[Path]:
        """Where a file of this name may be written by someone else, who may take long: neither it nor the uploads that
        are its inputs are swept meanwhile."""
        own = self._fresh()
        folders = [own, *(one.parent for one in inputs)]
        self._in_work.update(folders)
        try:
            self._make(own)
            yield own / name
        finally:
            self._in_work.subtract(folders)

    def _fresh(self) -> Path:
        return self.folder / secrets.token_urlsafe(16)

    def _make(self, own: Path) -> None:
        self.sweep()
        own.mkdir(mode=0o700)

    def own(self, typed: str) -> Path | None:
        """A file of this shelf by its place, as a browser names it; None: there is none, or it lies elsewhere."""
        path = Path(str(typed)).resolve()
        return path if path.is_relative_to(self.folder.resolve()) and path.is_file() else None

    def sweep(self) -> None:
        """Delete what is too old, and not being worked on."""
        in_work = {folder for folder, count in list(self._in_work.items()) if count > 0}
        sweep(self.folder, age=self._age, besides=in_work)
        if self._uploads is not None:
            sweep(self._uploads, age=self._age, besides={self.folder, *in_work})


@dataclass(frozen=True, kw_only=True)
class Card:
    """One result.

    path: of its file. seed: None: it has none. likeness: cosine, NaN: no face was found, None: not measured. command: a
    line of the shell that makes the same. alt: what the picture shows. before: of an edit, the photo. more: further
    files to save, by what the link says.
    """

    path: Path
    seed: int | None
    likeness: float | None
    command: str
    alt: str
    before: Path | None = None
    more: Sequence[tuple[str, Path]] = ()


def url(path: Path) -> str:
    """Where the page serves a file of its own folder: relative, so that it holds below any prefix."""
    return "gradio_api/file=" + quote(str(path))


def row(cards: Sequence[Card], *, waiting: int = 0, words: Words) -> str:
    """All results so far as HTML, and a place for each that is still to come."""
    if not cards and not waiting:
        return f'<div class="p-empty">{escape(words("results_empty"))}</div>'
    places = '<div class="p-card" aria-hidden="true"><div class="p-wait"></div></div>' * waiting
    return f'<div class="p-row">{"".join(_card(one, words) for one in cards)}{places}</div>'


def _card(card: Card, words: Words) -> str:
    address = escape(url(card.path), quote=True)
    facts = [(words("likeness"), _likeness(card.likeness, words))] if card.likeness is not None else []
    facts += [(words("seed_word"), str(card.seed))] if card.seed is not None else []
    about = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    links = [(words("save"), card.path), *card.more]
    actions = "".join(
        f'<a href="{escape(url(path), quote=True)}" download="{escape(path.name, quote=True)}">{escape(text)}</a>'
        for text, path in links
    )
    if card.before is not None:
        actions += (
            f'<button type="button" data-further="{escape(str(card.path), quote=True)}">'
            f"{escape(words('further'))}</button>"
        )
    actions += (
        f'<button type="button" data-copy="{escape(card.command, quote=True)}" '
        f'data-done="{escape(words("copied"), quote=True)}">{escape(words("copy"))}</button>'
    )
    return (
        f'<figure class="p-card">{_picture(card, address, words)}<figcaption>'
        f'<dl title="{escape(words("likeness_help"), quote=True)}">{about}</dl>'
        f'<div class="p-actions">{actions}</div></figcaption></figure>'
    )


def _picture(card: Card, address: str, words: Words) -> str:
    alt = escape(card.alt, quote=True)
    if card.path.suffix == ".mp4":
        return f'<video src="{address}" controls loop muted playsinline aria-label="{alt}"></video>'
    if card.before is None:
        return f'<a href="{address}" target="_blank" rel="noopener"><img src="{address}" alt="{alt}"></a>'
    before = escape(url(card.before), quote=True)
    return (
        f'<div class="p-compare"><img src="{address}" alt="{alt}">'
        f'<div class="p-over"><img src="{before}" alt="{escape(words("before"), quote=True)}"></div>'
        f'<div class="p-line"></div><span class="p-tag p-left">{escape(words("before"))}</span>'
        f'<span class="p-tag p-right">{escape(words("after"))}</span>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{escape(words("compare"), quote=True)}"></div>'
    )


def _likeness(value: float, words: Words) -> str:
    return words("likeness_none") if math.isnan(value) else f"{value:.2f}"


def sentence(text: str, *, share: float | None = None) -> str:
    """What is going on, and how much of it is done: 0-1, None: nothing to count."""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-hidden="true"></progress>'
    return f'<p role="status">{escape(text)}</p>{bar}'


def error(text: str, detail: str = "") -> str:
    """What was wrong, as a sentence. detail: the same more exactly, in English."""
    more = f' <span lang="en">{escape(detail)}</span>' if detail else ""
    return f'<p class="p-error" role="alert">{escape(text)}{more}</p>'
