"""The tab Edit: a task, its photos side by side, which face, what of it; before and after in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from personae.reading.photo import load_photo
from personae.serving.page import work
from personae.serving.page.edit_orders import (
    ALL_FACES,
    FIELDS,
    OPTIONS,
    PIECES,
    REGIONS,
    EditFields,
    changes_source,
    order_of,
    painted,
    takes_two,
)
from personae.serving.page.faces import picker
from personae.serving.page.photos import path_of, photo_field
from personae.serving.page.reading import faces_of
from personae.serving.page.texts import Words
from personae.serving.page.ui import Studio, Ui, direction_label, edit_rows, session_of, words_of
from personae.serving.page.work import Order

_FIRST = "swap"
_SHIFTED = 3.0  # standard deviations, either way
_STANDARD = ("age", "masculine", "smile")  # the directions that `personae edit attribute` names


def build(ui: Ui) -> None:
    """Draw the tab."""
    i18n = ui.i18n
    task = gr.Radio([(name, name) for name in FIELDS], value=_FIRST, label=i18n("task"), elem_id="edit-task")
    ui.choices(task, lambda words: [(words(f"task_{name}"), name) for name in FIELDS])
    about = gr.HTML(f'<p class="p-note">{i18n(f"about_{_FIRST}")}</p>', elem_id="edit-about")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            with gr.Row():
                source = photo_field(label=i18n("source"), elem_id="edit-source")
                target = photo_field(label=i18n("target"), elem_id="edit-target")
            faces = gr.HTML("", elem_id="edit-faces", elem_classes=["p-look"])
            face = gr.Radio([("1", 1)], value=1, label=i18n("face"), visible=False, elem_id="edit-face")
            own = _own_fields(ui)
            controls = Studio.controls(ui, run="run_edit", name="edit")
            form = ui.form(edit_rows(ui.rows, OPTIONS, "-"))
        with gr.Column(scale=3, min_width=300):
            studio = Studio.finish(ui, controls, name="edit", wide=True)
    shifts = [own[name] for name in own if name.startswith("shift_")]
    _connect_further(ui, studio, task, source, target)
    _connect_fields(ui, task, about, source, target, own, faces, face)

    def prepare(values: Sequence[Any], words: Words, session: str, model: str) -> Order:
        kind, first, second, number, regions, mask, prompt, pieces, *rest = values
        amounts, options = rest[: len(shifts)], form.read(rest[len(shifts) :])
        fields = EditFields(
            task=kind,
            source=path_of(first),
            target=path_of(second),
            face=1 if number is None else int(number),
            regions=regions or (),
            mask=None if second is None else painted(mask, _size_of(second)) if kind == "inpaint" else None,
            prompt=prompt or "",
            pieces=pieces or (),
            shift={name: amount for name, amount in zip(_directions(ui), amounts, strict=True) if amount},
        )
        return order_of(fields, options, model=model, words=words, shelf=ui.desk.shelf)

    inputs = [task, source, target, face, own["regions"], own["mask"], own["prompt"], own["pieces"], *shifts]
    studio.connect([*inputs, *form.widgets], prepare)
    studio.ask_again(source, target)


def _directions(ui: Ui) -> list[str]:
    return [name for name in ui.directions if name in _STANDARD]


def _parts(words: Words, names: Sequence[str]) -> list[tuple[str, str]]:
    return [(words(f"part_{name}"), name) for name in names]


def _own_fields(ui: Ui) -> dict[str, Any]:
    """The fields of single tasks, hidden until their task is chosen."""
    i18n = ui.i18n
    fields: dict[str, Any] = {
        "regions": gr.CheckboxGroup(_parts(Words(), REGIONS), label=i18n("regions"), visible=False),
        "mask": gr.ImageMask(
            label=i18n("mask"),
            type="pil",
            sources=(),
            transforms=(),
            brush=gr.Brush(colors=["#58a08d"], color_mode="fixed"),
            height=360,
            visible=False,
            elem_id="edit-mask",
        ),
        "prompt": gr.Textbox(
            label=i18n("option_prompt"), placeholder="photo of a {person}, black and white", visible=False
        ),
        "pieces": gr.CheckboxGroup(_parts(Words(), PIECES), value=["hair"], label=i18n("pieces"), visible=False),
    }
    ui.choices(fields["regions"], lambda words: _parts(words, REGIONS))
    ui.choices(fields["pieces"], lambda words: _parts(words, PIECES))
    for name in _directions(ui):
        fields[f"shift_{name}"] = gr.Slider(
            -_SHIFTED, _SHIFTED, value=0, step=0.1, label=direction_label(ui, name), visible=False
        )
    return fields


def _connect_fields(
    ui: Ui, task: Any, about: Any, source: Any, target: Any, own: dict[str, Any], faces: Any, face: Any
) -> None:
    """What follows from a choice of task, and from a photo."""
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def choose(request: gr.Request, kind: str) -> list[Any]:
        words = words_of(request)
        wanted = FIELDS[kind]
        labels = ("photo_to_change", "driver") if changes_source(kind) else ("source", "target")
        target_label = words(labels[1] if takes_two(kind) else "photo_to_change")
        return [
            f'<p class="p-note">{words(f"about_{kind}")}</p>',
            gr.update(visible=takes_two(kind), label=words(labels[0])),
            gr.update(label=target_label),
            *(gr.update(visible=name.partition("_")[0] in wanted) for name in own),
        ]

    def look(request: gr.Request, model: str, kind: str, first: Any, second: Any, before: Any) -> list[Any]:
        words = words_of(request)
        photo = path_of(first if changes_source(kind) else second)
        now = (model, kind, None if photo is None else str(photo))
        if now == before:  # the other photo has come: the face that was chosen meanwhile stays
            return [gr.skip()] * 4
        nothing = [gr.update(choices=[("1", 1)], value=1, visible=False), gr.skip(), now]
        if photo is None:
            return ["", *nothing]
        try:
            found = faces_of(ui.desk, photo, session_of(request), model, motion=False)
        except Exception as error:
            return [work.complaint(error, words), *nothing]
        choices = [(words("face_number", number=number), number) for number in range(1, len(found) + 1)]
        choices += [(words("all_faces"), ALL_FACES)]
        picture = {"background": str(photo), "layers": [], "composite": None} if kind == "inpaint" else gr.skip()
        return [
            picker(photo, found, 1, words),
            gr.update(choices=choices, value=1, visible=len(found) > 1),
            picture,
            now,
        ]

    task.change(choose, task, [about, source, target, *own.values()], queue=False, **hidden)
    looked = gr.State(None)  # at which photo, for which task
    gr.on(  # one look after the other: a late one would take a choice back
        [task.change, source.change, target.change],
        look,
        [ui.picker, task, source, target, looked],
        [faces, face, own["mask"], looked],
        concurrency_limit=None,
        trigger_mode="always_last",
        **hidden,
    )


def _connect_further(ui: Ui, studio: Studio, task: Any, source: Any, target: Any) -> None:
    """*Edit further*: a result becomes the photo that is changed, so that its next face may get another source."""

    def go_on(event: gr.EventData, kind: str) -> list[Any]:
        path = ui.desk.shelf.own(str((event._data or {}).get("further", "")))
        if path is None:
            return [gr.skip(), gr.skip()]
        return [str(path), gr.skip()] if changes_source(kind) else [gr.skip(), str(path)]

    studio.row.click(go_on, task, [source, target], show_progress="hidden", api_visibility="private")


def _size_of(photo: Any) -> tuple[int, int]:
    """(width, height) of a photo, upright. Raises `BadImage`."""
    height, width = load_photo(str(photo)).pixels.shape[:2]
    return width, height
