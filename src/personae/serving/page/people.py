"""The tab People: two people, everyone between them, people who do not exist; changed, shown, saved."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from personae import identity
from personae.provenance import writer
from personae.serving.engine.requests import Blend, Generate, Mean, Shift
from personae.serving.page import commands, work
from personae.serving.page.slots import Slot, draw, portrait
from personae.serving.page.texts import Words
from personae.serving.page.ui import MOST_DRAWN, Studio, Ui, direction_label, session_of, words_of
from personae.serving.page.work import Desk, Order
from personae.types import Identity

_HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_SHIFTED = 3.0  # standard deviations, either way


def between(
    desk: Desk, slots: Sequence[Slot], amount: float, by: Mapping[str, float], session: str, model: str
) -> Identity:
    """One person: of two, everyone first shifted, `amount` (0-1) of the way from the first to the second."""
    people = [slot.subject(desk, session, model) for slot in slots]
    if by:
        people = [desk.ask(Shift(person=person, by=by, model=model), session) for person in people]
    if len(people) == 1:
        alone: Identity = desk.ask(Mean(people=people, model=model), session)
        return alone
    found: Identity = desk.ask(Blend(first=people[0], second=people[1], amount=amount, model=model), session)
    return found


def order_of(
    slots: Sequence[Slot],
    person: Identity,
    options: Mapping[str, Any],
    *,
    amount: float,
    by: Mapping[str, float],
    model: str,
    words: Words,
    file: Path,
) -> Order:
    """Pictures of whoever came out of the slots. file: their `.identity` file, to save beside each."""
    changes: dict[str, Any] = {"shift": commands.amounts(by)} if by else {}
    changes |= {"blend": commands.number(amount)} if len(slots) == 2 else {}

    def command(seed: int, source: str | None) -> str:
        first = [commands.sample(slot.drawn, model=source) for slot in slots if slot.drawn is not None]
        line = commands.generate([slot.typed() for slot in slots], options, seed=seed, model=source, **changes)
        return " && ".join([*first, line])

    return Order(
        kind="people",
        stem=file.stem,
        request=lambda seed: Generate(people=[person], seed=seed, options=options, model=model, batch=False),
        encode=lambda result: next(writer.files_of(result, people=[person], identity=False)),
        command=command,
        alt=lambda seed: words("alt_generate", seed=seed),
        more=[(words("save_identity"), file)],
    )


def build(ui: Ui) -> None:
    """Draw the tab."""
    i18n = ui.i18n
    ui.intro("people_intro")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            with gr.Row():
                first = _slot(ui, "first_person", "people-first")
                second = _slot(ui, "second_person", "people-second")
            amount = gr.Slider(0, 1, value=0.5, step=0.01, label=i18n("blend"), elem_id="people-blend")
            shifts = []
            if ui.directions:
                with gr.Accordion(i18n("shift"), open=False):
                    gr.HTML(f'<p class="p-note">{i18n("shift_info")}</p>')
                    shifts = [
                        gr.Slider(-_SHIFTED, _SHIFTED, value=0, step=0.1, label=direction_label(ui, name))
                        for name in ui.directions
                    ]
            controls = Studio.controls(ui, run="run_people", name="people")
            form = ui.options(groups=["Sampling", "Likeness", "Speed"])
            gr.HTML(f'<p class="p-note">{i18n("identity_note")}</p>')
        with gr.Column(scale=3, min_width=300):
            studio = Studio.finish(ui, controls, name="people")

    def prepare(values: Sequence[Any], words: Words, session: str, model: str) -> Order:
        one, two, share, *rest = values
        slots = [slot for slot in (one, two) if slot is not None]
        if not slots:
            raise words.mistake("person_missing")
        by = {name: value for name, value in zip(ui.directions, rest[: len(shifts)], strict=True) if value}
        options = form.read(rest[len(shifts) :])
        person = between(ui.desk, slots, share, by, session, model)
        stem = "-".join(dict.fromkeys(slot.file.stem for slot in slots))
        file = ui.desk.shelf.put(f"{stem}.identity", identity.encode(person))
        return order_of(slots, person, options, amount=share, by=by, model=model, words=words, file=file)

    def nobody_real(values: Sequence[Any]) -> bool:
        slots = [slot for slot in values[:2] if slot is not None]
        return bool(slots) and not any(slot.exists for slot in slots)

    studio.connect([first, second, amount, *shifts, *form.widgets], prepare, consented=nobody_real)
    studio.ask_again(first, second)


def _slot(ui: Ui, label: str, name: str) -> gr.State:
    """A place for a person, and what fills it; its state is a `Slot` or None."""
    with gr.Column(min_width=200):
        slot = gr.State(None)
        gr.HTML(f'<h3 class="p-note">{ui.i18n(label)}</h3>')
        look = gr.HTML("", elem_id=f"{name}-look", elem_classes=["p-look"])
        file = gr.File(
            label=ui.i18n("person_file"),
            file_types=["image", ".identity"],
            height=170,
            elem_id=f"{name}-file",
        )
        draws = gr.Button(ui.i18n("random_person"), size="sm", elem_id=f"{name}-random")

    def upload(request: gr.Request, model: str, path: Any) -> Any:
        return _fill(ui, None if path is None else Slot(file=Path(path)), request, model)

    def somebody(request: gr.Request, model: str) -> Any:
        try:
            found = draw(ui.desk, secrets.randbelow(MOST_DRAWN), session_of(request), model)
        except Exception as error:
            return None, work.complaint(error, words_of(request))
        return _fill(ui, found, request, model)

    file.change(upload, [ui.picker, file], [slot, look], concurrency_limit=None, **_HIDDEN)
    draws.click(somebody, ui.picker, [slot, look], concurrency_limit=None, **_HIDDEN)
    return slot


def _fill(ui: Ui, slot: Slot | None, request: gr.Request, model: str) -> tuple[Slot | None, str]:
    """A slot, and a look at who is in it; empty, with a sentence, if there is nobody."""
    if slot is None:
        return None, ""
    words = words_of(request)
    try:
        return slot, portrait(ui.desk, slot, session_of(request), model, words)
    except Exception as error:
        return None, work.complaint(error, words)
