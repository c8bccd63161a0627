"""The tab Pose and expression: sliders that move a drawn head, and pictures of a person who does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from personae.conditioning.blendshapes import FRIENDLY, parse_sliders, sliders
from personae.models.limits import GEOMETRY, Limits
from personae.serving.engine.engine import Engine
from personae.serving.page import edit_orders, generate, work
from personae.serving.page.drawing import head_html
from personae.serving.page.edit_orders import EditFields
from personae.serving.page.options_form import offered
from personae.serving.page.photos import path_of, photo_field
from personae.serving.page.reading import person_of
from personae.serving.page.texts import Words
from personae.serving.page.ui import Studio, Ui, words_of
from personae.serving.page.work import Order
from personae.types import Pose

GROUP = "Pose and expression"
NAMES = tuple(name for name, parts in FRIENDLY.items() if parts)
NEW, PHOTO = "new", "photo"
AHEAD = Pose(yaw=0, pitch=0, roll=0)
_HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True, kw_only=True)
class Movement:
    """What the sliders say. angles: yaw, pitch, roll in degrees. amounts: of an expression by name, 0-1, above 0."""

    angles: tuple[float, float, float]
    amounts: Mapping[str, float]

    @classmethod
    def of(cls, values: Sequence[Any], more: str) -> Movement:
        """Of the sliders' values, angles first, and what was typed beside them. Raises `BadOption`."""
        angles, rest = values[: len(GEOMETRY)], values[len(GEOMETRY) :]
        amounts = {name: float(value) for name, value in zip(NAMES, rest, strict=True) if value}
        amounts |= parse_sliders(more) if more.strip() else {}
        sliders(amounts)  # whether there are such names
        return cls(angles=(float(angles[0]), float(angles[1]), float(angles[2])), amounts=amounts)

    @property
    def pose(self) -> Pose:
        """The angles as a pose."""
        return Pose(yaw=self.angles[0], pitch=self.angles[1], roll=self.angles[2])

    def options(self) -> dict[str, Any]:
        """As options of a request: what is at rest is left to the model."""
        options: dict[str, Any] = {"pose": list(self.angles)} if any(self.angles) else {}
        return options | ({"expression": dict(self.amounts)} if self.amounts else {})


def limits_of(engine: Engine, model: str) -> Mapping[str, float]:
    """By angle, degrees either way up to which a model makes whole faces; of one that is not loaded, or says nothing of
    it, what geometry allows."""
    facts = engine.facts.get(model)
    return Limits.of(facts.folder if facts else None).good


def photo_order(
    photo: Path, movement: Movement, options: Mapping[str, Any], *, model: str, words: Words, ui: Ui
) -> Order:
    """The photo itself, changed. Raises `Mistake` for an option of new pictures, and if nothing is to change."""
    for name in options:
        if name not in edit_orders.OPTIONS:
            raise words.mistake("only_of_new", option=words.title_of(name))
    wishes = movement.options()
    if not wishes:
        raise words.mistake("nothing_to_change")
    fields = EditFields(task="attribute", source=None, target=photo, moved=wishes)
    return edit_orders.order_of(fields, options, model=model, words=words, shelf=ui.desk.shelf)


def build(ui: Ui) -> None:
    """Draw the tab."""
    i18n = ui.i18n
    ui.intro("motion_intro")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            with gr.Row():
                with gr.Column(min_width=240):
                    head = gr.HTML(head_html(AHEAD, {}, Words()), elem_id="motion-head")
                    ui.localised.append((head, _ahead))
                    rest = gr.Button(i18n("reset"), size="sm", elem_id="motion-reset")
                with gr.Column(min_width=240):
                    angles = [
                        gr.Slider(-most, most, value=0, step=1, label=i18n(name), elem_id=f"motion-{name}")
                        for name, most in limits_of(ui.desk.engine, ui.desk.engine.models[0]).items()
                    ]
            shapes = _shapes(ui)
            more = gr.Textbox(label=i18n("more_shapes"), info=i18n("more_shapes_info"), elem_id="motion-more")
        with gr.Column(scale=3, min_width=300):
            photo = photo_field(label=i18n("photo"), elem_id="motion-photo", height=220)
            way = gr.Radio([(NEW, NEW), (PHOTO, PHOTO)], value=NEW, label=i18n("motion_way"))
            ui.choices(way, lambda words: [(words("way_new"), NEW), (words("way_photo"), PHOTO)])
            controls = Studio.controls(ui, run="run_generate", name="motion")
            form = _options(ui)
            studio = Studio.finish(ui, controls, name="motion")
    moving = [*angles, *shapes]
    _connect_drawing(head, rest, moving, more)

    def prepare(values: Sequence[Any], words: Words, session: str, model: str) -> Order:
        source, kind, typed, *others = values
        movement = Movement.of(others[: len(moving)], typed or "")
        options, path = form.read(others[len(moving) :]), path_of(source)
        if path is None:
            raise words.mistake("photo_missing")
        if kind == PHOTO:
            return photo_order(path, movement, options, model=model, words=words, ui=ui)
        person = person_of(ui.desk, [path], session, words, model)
        whole = {**movement.options(), **options}
        return generate.order_of(person, [path], whole, model=model, words=words, kind="pose")

    studio.connect([photo, way, more, *moving, *form.widgets], prepare)
    studio.ask_again(photo)


def _ahead(words: Words) -> Any:
    """The first drawing in the reader's language: it was made in English."""
    return gr.skip() if words == Words() else gr.update(value=head_html(AHEAD, {}, words))


def _shapes(ui: Ui) -> list[gr.Slider]:
    found = []
    names = list(NAMES)
    while names:
        with gr.Row():
            for name in names[:2]:
                label = ui.i18n(f"shape_{name}")
                found.append(gr.Slider(0, 1, value=0, step=0.05, label=label, min_width=150, elem_id=f"motion-{name}"))
        names = names[2:]
    return found


def _options(ui: Ui) -> Any:
    own = offered(ui.rows, groups=[GROUP], components=ui.components)
    rest = offered(ui.rows, groups=["Sampling", "Likeness"], components=ui.components)
    return ui.form([*own, *rest])


def _connect_drawing(head: gr.HTML, rest: gr.Button, moving: Sequence[gr.Slider], more: gr.Textbox) -> None:
    """Draw the head anew whenever a slider moves."""

    def draw(request: gr.Request, typed: str, *values: Any) -> str:
        words = words_of(request)
        try:
            movement = Movement.of(values, typed or "")
            return head_html(movement.pose, movement.amounts, words)
        except Exception as error:
            return work.complaint(error, words)

    def ahead(request: gr.Request) -> list[Any]:
        return [head_html(AHEAD, {}, words_of(request)), "", *[0] * len(moving)]

    triggers = [slider.input for slider in moving]
    gr.on([*triggers, more.submit, more.blur], draw, [more, *moving], head, trigger_mode="always_last", **_HIDDEN)
    rest.click(ahead, None, [head, more, *moving], queue=False, **_HIDDEN)
