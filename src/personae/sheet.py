"""One page to look at: what went in, what came out, and how alike the two are.

    html = sheet.page("me", [sheet.Section(title="The person, eight ways", cards=[sheet.Card(image=path), ...])])
    writer.write("personae-out/index.html", html.encode())

Self-contained: images and style are inside, nothing is fetched, light and dark follow the viewer's setting. A
generated image goes in as the bytes of its file, so that the recipe travels along.
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from personae.gather import Person
from personae.reading.metadata import mime_of
from personae.shapes import Float
from personae.types import Array, Face, Generation

_HEAD = 64  # bytes of a file that tell its kind
_INPUT_SIDE = 640  # px: no input photo is drawn larger

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1d21; --soft: #6b6e76; --page: #fafaf8; --card: #fff; --line: #e4e4df;
  --bar: #2f7d6b; --box: #35e0b4; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #9a9da6; --page: #131417; --card: #1c1e22;
  --line: #2d3036; --bar: #4fc3a4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.5rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; letter-spacing: -.02em; }
h2 { margin: 2.6rem 0 .2rem; font-size: 1.15rem; }
p { margin: .2rem 0 1rem; max-width: 46rem; color: var(--soft); }
.row { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
.row.large { grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); }
figure { margin: 0; overflow: hidden; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.frame { position: relative; }
.frame img { display: block; width: 100%; }
.frame i { position: absolute; border: 2px solid var(--box); border-radius: .2rem; box-shadow: 0 0 0 1px #0006; }
figcaption { padding: .45rem .65rem .55rem; font-size: .82rem; color: var(--soft); }
.bar { height: .3rem; margin-top: .35rem; border-radius: .2rem; background: var(--line); }
.bar b { display: block; height: 100%; border-radius: inherit; background: var(--bar); }
.figure { float: right; color: var(--ink); font-variant-numeric: tabular-nums; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .82rem;
  color: var(--soft); }
"""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One picture. `image`: the path of a generated file, or a photo in memory. `likeness`: cosine to the identity
    asked for, NaN if no face was found, None if there is nothing to show. `boxes`: (4,) left, top, right, bottom in
    pixels of `image`, drawn over it."""

    image: Path | Image.Image
    caption: str = ""
    likeness: float | None = None
    boxes: Sequence[Float[Array, " 4"]] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A row of pictures under a title; `large`: three wide ones a line, as photos."""

    title: str
    cards: Sequence[Card]
    note: str = ""
    large: bool = False


def cards(paths: Sequence[Path], likeness: Sequence[float] | None, captions: Sequence[str]) -> list[Card]:
    """One card per generated file, in order."""
    values: Sequence[float | None] = likeness or [None] * len(paths)
    return [
        Card(image=path, likeness=value, caption=caption)
        for path, value, caption in zip(paths, values, captions, strict=True)
    ]


def of_generation(generation: Generation, paths: Sequence[Path], people: Sequence[Person]) -> str:
    """The page of one call: each person's photo, if there is one, and the images made of them."""
    everything = cards(paths, generation.likeness, [f"seed {seed}" for seed in generation.seeds])
    sections = []
    for index, person in enumerate(people):
        own = [card for card, owner in zip(everything, generation.people, strict=True) if owner == index]
        sections.append(Section(title=person.name, cards=[*_input(person), *own]))
    words = generation.recipe["settings"].get("prompt")
    return page("personae", sections, lead=f"Prompt: {words}" if words else "")


def _input(person: Person) -> list[Card]:
    if not isinstance(person.subject, Face) or person.subject.photo is None:
        return []
    photo = Image.fromarray(person.subject.photo.pixels)
    return [Card(image=photo, boxes=[person.subject.detection.box], caption="the photo")]


def page(title: str, sections: Sequence[Section], *, lead: str = "", foot: str = "") -> str:
    """The whole HTML document."""
    body = "\n".join(map(_section, sections))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>{escape(lead)}</p>
{body}
<footer>Faces marked with a seed are AI generated. {escape(foot)}</footer>
</body></html>
"""


def _section(section: Section) -> str:
    kind = "row large" if section.large else "row"
    cards = "\n".join(map(_card, section.cards))
    return f'<h2>{escape(section.title)}</h2><p>{escape(section.note)}</p>\n<div class="{kind}">\n{cards}\n</div>'


def _card(card: Card) -> str:
    source, (width, height) = _inline(card.image)
    boxes = "".join(_box(box, width, height) for box in card.boxes)
    caption = f"{_likeness(card.likeness)}{escape(card.caption)}{_bar(card.likeness)}"
    picture = f'<div class="frame"><img src="{source}" alt="{escape(card.caption)}">{boxes}</div>'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _inline(image: Path | Image.Image) -> tuple[str, tuple[int, int]]:
    """A data URL of a picture, and the size (width, height) that its boxes are measured in."""
    if isinstance(image, Path):
        with Image.open(image) as opened:
            size = opened.size
        content = image.read_bytes()
        return _data_url(mime_of(content[:_HEAD]) or "application/octet-stream", content), size
    thumbnail, buffer = image.convert("RGB"), io.BytesIO()
    thumbnail.thumbnail((_INPUT_SIDE, _INPUT_SIDE), Image.Resampling.LANCZOS)
    thumbnail.save(buffer, "JPEG", quality=88)
    return _data_url("image/jpeg", buffer.getvalue()), image.size


def _data_url(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _box(box: Float[Array, " 4"], width: int, height: int) -> str:
    left, top, right, bottom = (float(v) for v in box)
    parts = {
        "left": left / width,
        "top": top / height,
        "width": (right - left) / width,
        "height": (bottom - top) / height,
    }
    return f'<i style="{";".join(f"{name}:{100 * share:.2f}%" for name, share in parts.items())}"></i>'


def _likeness(value: float | None) -> str:
    if value is None:
        return ""
    return f'<span class="figure">{"no face" if math.isnan(value) else f"{value:.2f}"}</span>'


def _bar(value: float | None) -> str:
    if value is None:
        return ""
    share = 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)
    return f'<div class="bar"><b style="width:{100 * share:.0f}%"></b></div>'
