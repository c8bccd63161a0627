"""The tab Together: several people in one picture, each in a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr

from personae.controls.option import MOST_PEOPLE, numbers
from personae.errors import BadOption
from personae.provenance import writer
from personae.serving.engine.requests import Generate
from personae.serving.page import commands, results, work
from personae.serving.page.generate import photos_field
from personae.serving.page.options_form import Row, read
from personae.serving.page.photos import paths_of
from personae.serving.page.reading import one_of
from personae.serving.page.texts import Words
from personae.serving.page.ui import Studio, Ui, words_of
from personae.serving.page.work import Order
from personae.types import Face, Identity

Box = tuple[float, float, float, float]  # left, top, right, bottom: shares of the picture
ROW, COLUMN, OWN = "row", "column", "own"
LAYOUTS = (ROW, COLUMN, OWN)
_DIGITS = 6  # as a command types a number
_SIDES = ("height", "width")
_HIDDEN: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


def boxes_of(layout: str, typed: str, count: int) -> list[Box]:
    """A region for each of `count` people: in equal parts, or as they were typed, `0,0,0.5,1; 0.5,0,1,1`.

    Raises `BadOption` for what is no region, or not one for each.
    """
    if layout != OWN:
        edges = [round(place / count, _DIGITS) for place in range(count + 1)]
        parts = list(pairwise(edges))
        return [(a, 0.0, b, 1.0) if layout == ROW else (0.0, a, 1.0, b) for a, b in parts]
    found = [_box(part) for part in typed.split(";") if part.strip()]
    if len(found) != count:
        raise BadOption(f"each person needs a region: {count} people, got {len(found)}")
    return found


def _box(text: str) -> Box:
    """One region; a file's name is none: what is typed here opens nothing. Raises `BadOption`."""
    shares = numbers(text.strip(), "a region")
    if len(shares) != 4 or not all(0 <= share <= 1 for share in shares):
        raise BadOption(f"a region is x0,y0,x1,y1 between 0 and 1, got {text.strip()!r:.40}")
    left, top, right, bottom = (round(float(share), _DIGITS) for share in shares)
    if left >= right or top >= bottom:
        raise BadOption(f"a region goes from its left and top to its right and bottom, got {text.strip()!r:.40}")
    return left, top, right, bottom


def size_of(layout: str, count: int, side: int) -> dict[str, int]:
    """Width and height in pixels of a picture with room for everyone: a model's own `side` for each."""
    return {"width": side * (1 if layout == COLUMN else count), "height": side * (count if layout == COLUMN else 1)}


def shape_of(layout: str, count: int, side: int | None, own: Mapping[str, int]) -> dict[str, int]:
    """Width and height of a plan. side: a model's own; None: not known yet. own: of these what was typed; one of them
    alone says nothing of the other, unless the side is known."""
    size = size_of(layout, count, side or 1)
    return {**size, **own} if side or own.keys() >= size.keys() else size


def order_of(
    people: Sequence[Face | Identity],
    photos: Sequence[Path],
    boxes: Sequence[Box],
    options: Mapping[str, Any],
    *,
    model: str,
    words: Words,
) -> Order:
    """Pictures that show all of them."""
    whole = {**options, "regions": [list(box) for box in boxes]}
    typed = [",".join(f"{share:g}" for share in box) for box in boxes]
    return Order(
        kind="together",
        stem="-".join(dict.fromkeys(photo.stem for photo in photos)),
        request=lambda seed: Generate(people=people, seed=seed, options=whole, model=model, batch=False),
        encode=lambda result: next(writer.files_of(result, people=people, identity=False)),
        command=lambda seed, source: commands.generate(photos, options, seed=seed, model=source, region=typed),
        alt=lambda seed: words("alt_together", count=len(people), seed=seed),
    )


def plan(boxes: Sequence[Box], photos: Sequence[Path], size: Mapping[str, int], words: Words) -> str:
    """Who will be where, as HTML: the photos in their regions."""
    parts = ""
    for number, (box, photo) in enumerate(zip(boxes, photos, strict=True), 1):
        left, top, right, bottom = box
        style = f"left:{left:.2%};top:{top:.2%};width:{right - left:.2%};height:{bottom - top:.2%}"
        address = escape(results.url(photo), quote=True)
        parts += f'<div style="{style}"><img src="{address}" alt=""><span>{number}</span></div>'
    label = escape(words("plan_alt", count=len(photos)), quote=True)
    shape = f"aspect-ratio:{size['width']}/{size['height']}"
    return f'<div class="p-plan" role="img" aria-label="{label}" style="{shape}">{parts}</div>'


def build(ui: Ui) -> None:
    """Draw the tab."""
    i18n = ui.i18n
    ui.intro("together_intro")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photos = photos_field(ui, "together", label="people_photos")
            layout = gr.Radio([(name, name) for name in LAYOUTS], value=ROW, label=i18n("layout"))
            ui.choices(layout, lambda words: [(words(f"layout_{name}"), name) for name in LAYOUTS])
            typed = gr.Textbox(
                label=i18n("regions_own"),
                info=i18n("regions_own_info"),
                placeholder="0,0,0.5,1; 0.5,0,1,1",
                visible=False,
                elem_id="together-regions",
            )
            drawn = gr.HTML("", elem_id="together-plan", elem_classes=["p-look"])
            prompt = gr.Textbox(
                label=i18n("option_prompt"), placeholder="photo of a {person}, smiling", elem_id="together-prompt"
            )
            controls = Studio.controls(ui, run="run_generate", name="together")
            form = ui.options(groups=["Images", "Sampling", "Likeness", "Speed"], other=_by_people)
        with gr.Column(scale=3, min_width=300):
            studio = Studio.finish(ui, controls, name="together", wide=True)
    sides = [pair for pair in zip(form.rows, form.widgets, strict=True) if pair[0]["name"] in _SIDES]
    _connect_plan(ui, [photos, layout, typed], sides, drawn)

    def prepare(values: Sequence[Any], words: Words, session: str, model: str) -> Order:
        gallery, way, regions, text, *rest = values
        paths = paths_of(gallery)
        if len(paths) < 2:
            raise words.mistake("people_few")
        boxes, own = boxes_of(way, regions or "", len(paths)), form.read(rest)
        people = [one_of(ui.desk, path, session, model) for path in paths]
        options = size_of(way, len(paths), ui.desk.engine.facts[model].side) | own  # it was loaded to read them
        options |= {"prompt": text.strip()} if text and text.strip() else {}
        return order_of(people, paths, boxes, options, model=model, words=words)

    studio.connect([photos, layout, typed, prompt, *form.widgets], prepare)
    studio.ask_again(photos)


def _by_people(row: Row) -> Row:
    """An option as this tab shows it: how large a picture is follows from how many people there are."""
    return {**row, "default": None, "usual": "usual_together"} if row["name"] in _SIDES else row


def _connect_plan(ui: Ui, inputs: Sequence[Any], sides: Sequence[tuple[Row, Any]], drawn: Any) -> None:
    """Draw who will be where, whenever that changes. inputs: photos, layout, typed regions. sides: what is typed as
    height and width."""
    rows, widgets = [row for row, _ in sides], [widget for _, widget in sides]
    photos, layout, typed = inputs

    def draw(request: gr.Request, model: str, gallery: Any, way: str, regions: str, *values: Any) -> list[Any]:
        words, paths = words_of(request), paths_of(gallery)[:MOST_PEOPLE]
        field = gr.update(visible=way == OWN)
        if len(paths) < 2 or (way == OWN and not (regions or "").strip()):
            return ["", field]
        try:
            boxes, own = boxes_of(way, regions or "", len(paths)), read(rows, values)
        except BadOption as error:
            return [work.complaint(error, words), field]
        facts = ui.desk.engine.facts.get(model)
        size = shape_of(way, len(paths), facts.side if facts else None, own)
        return [plan(boxes, paths, size, words), field]

    typings = [event for box in (typed, *widgets) for event in (box.blur, box.submit)]
    gr.on([photos.change, layout.change, *typings], draw, [ui.picker, *inputs, *widgets], [drawn, typed], **_HIDDEN)
