"""What every tab is built with: the desk, the words, and the half of a tab that starts work and shows results."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from personae.controls import registry
from personae.errors import BadOption
from personae.serving.page import results, work
from personae.serving.page.options_form import OptionsForm, Row, Translate, choices_of, offered
from personae.serving.page.texts import LANGUAGES, Words
from personae.serving.page.work import Desk, Order

MOST_DRAWN = 1_000_000  # seeds, as the command line draws them: short enough to be typed again
_MOST_PICTURES = 8
# A card's *Edit further* says which file it means.
_ON_LOAD = """element.addEventListener("click", (event) => {
    const card = event.target.closest("[data-further]");
    if (!card) return;
    trigger("click", { further: card.dataset.further });
    document.getElementById("edit-task")?.scrollIntoView({ block: "start" });
});"""
Prepare = Callable[[Sequence[Any], Words, str, str], Order]


def words_of(request: gr.Request) -> Words:
    """The sentences in the language of whoever looks at the page."""
    return Words.of_header(request.headers.get("accept-language"))


def session_of(request: gr.Request) -> str:
    """Which open page this is."""
    return str(request.session_hash)


def first_seed(typed: Any, lock: Any) -> int:
    """The seed of the first picture: the one that is held, else a new one. Raises `BadOption` for what is no seed."""
    text = str(typed or "").strip()
    if not lock or not text:
        return secrets.randbelow(MOST_DRAWN)
    if not text.isdecimal() or not text.isascii() or int(text) >= 2**63:
        raise BadOption(f"a seed is a whole number between 0 and 2^63 - 1, got {text!r:.40}")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class Ui:
    """What tabs are built with.

    i18n: a text's key -> what the browser translates. picker: of the model, if there are several to choose from.
    rows: the options; of a page with one model, with that model's own defaults.
    localised: fields whose choices are named in the reader's language when the page is opened.
    """

    desk: Desk
    i18n: Translate
    picker: gr.Dropdown
    rows: Sequence[Row]
    components: frozenset[str] | None
    directions: tuple[str, ...] = ()
    localised: list[tuple[gr.components.Component, Callable[[Words], Any]]] = field(default_factory=list)

    @classmethod
    def of(cls, desk: Desk, i18n: Translate) -> Ui:
        """For an engine's models; the picker is drawn where the page is being built. What is known of the only one
        (its defaults, its optional components) shapes the forms; of several, each says by itself what it cannot do."""
        names = desk.engine.models
        with gr.Column(scale=0, min_width=240, visible=len(names) > 1, elem_id="model"):
            choices = [(Path(name).name, name) for name in names]
            picker = gr.Dropdown(choices, value=names[0], label=i18n("model"))
        known = [desk.engine.facts[name] for name in names if name in desk.engine.facts]
        facts = known[0] if known and len(names) == 1 else None
        own: dict[str, dict[str, Any]] = {}
        if facts is not None:
            side = {"default": facts.side, "soft_low": facts.side // 2, "soft_high": facts.side * 2}
            own = {
                "num_inference_steps": {"default": facts.steps},
                "guidance_scale": {"default": facts.guidance_scale},
                "height": {**side, "step": 8},
                "width": {**side, "step": 8},
            }
        return cls(
            desk=desk,
            i18n=i18n,
            picker=picker,
            rows=[row | own.get(row["name"], {}) for row in registry.rows()],
            components=None if facts is None else frozenset(facts.components),
            directions=tuple(dict.fromkeys(name for one in known for name in one.directions)),
        )

    def intro(self, key: str) -> None:
        """A sentence at the head of a tab."""
        gr.HTML(f'<p class="p-intro">{self.i18n(key)}</p>')

    def choices(self, component: gr.components.Component, of: Callable[[Words], list[tuple[str, Any]]]) -> None:
        """Name the choices of a field in the reader's language."""
        self.localised.append((component, lambda words: gr.update(choices=of(words))))

    def options(
        self, *, groups: Sequence[str], besides: Sequence[str] = (), other: Callable[[Row], Row] = lambda row: row
    ) -> OptionsForm:
        """The options of some groups of the registry, folded away, each group under its name. besides: names of those
        that are shown elsewhere. other: a row as a tab shows it, if not as it is."""
        elsewhere = ("seed", "num_images_per_prompt", *besides)
        wanted = offered(self.rows, groups=groups, besides=elsewhere, components=self.components)
        return self.form([other(row) for row in wanted])

    def form(self, rows: Sequence[Row]) -> OptionsForm:
        """These rows, folded away."""
        if not rows:
            return OptionsForm(rows=[], widgets=[])
        with gr.Accordion(self.i18n("options"), open=False):
            parts = [
                (gr.HTML(f'<h3 class="p-note">{self.i18n(f"group_{group}")}</h3>'), OptionsForm.of(own, self.i18n))
                for group, own in _by_group(rows)
            ]
        forms = [form for _, form in parts]
        whole = OptionsForm(
            rows=[row for form in forms for row in form.rows],
            widgets=[widget for form in forms for widget in form.widgets],
        )
        for row, widget in zip(whole.rows, whole.widgets, strict=True):
            if row["type"] == "choice":
                self.choices(widget, partial(choices_of, row))
        return whole


def _by_group(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return list(groups.items())


@dataclass(frozen=True, kw_only=True)
class Studio:
    """How many pictures, from which seed, with whose consent; the buttons; and the results."""

    ui: Ui
    count: gr.Slider
    seed: gr.Textbox
    lock: gr.Checkbox
    consent: gr.Checkbox
    go: gr.Button
    stop: gr.Button
    status: gr.HTML
    row: gr.HTML

    @classmethod
    def controls(cls, ui: Ui, *, run: str, name: str, several: bool = True) -> dict[str, Any]:
        """The fields and buttons, drawn where the page is being built; `finish` wants them. name: of the tab, for the
        ids of its elements. several: whether a press may make more than one picture."""
        i18n = ui.i18n
        with gr.Row():
            count = gr.Slider(
                1,
                _MOST_PICTURES,
                value=1 if name == "edit" else 4,
                step=1,
                label=i18n("count"),
                visible=several,
                elem_id=f"{name}-count",
            )
            seed = gr.Textbox(label=i18n("seed"), placeholder=i18n("seed_random"), elem_id=f"{name}-seed")
        lock = gr.Checkbox(label=i18n("lock"), elem_id=f"{name}-lock")
        consent = gr.Checkbox(label=i18n("consent"), elem_id=f"{name}-consent")
        with gr.Row():
            go = gr.Button(i18n(run), variant="primary", elem_id=f"{name}-run", scale=3)
            stop = gr.Button(i18n("stop"), elem_id=f"{name}-stop", scale=1, min_width=90)
        return {"count": count, "seed": seed, "lock": lock, "consent": consent, "go": go, "stop": stop}

    @classmethod
    def finish(cls, ui: Ui, controls: dict[str, Any], *, name: str, wide: bool = False) -> Studio:
        """The results, drawn where the page is being built."""
        status = gr.HTML("", elem_classes=["p-status"], elem_id=f"{name}-status")
        empty = f'<div class="p-empty">{ui.i18n("results_empty")}</div>'
        classes = ["p-wide"] if wide else []
        row = gr.HTML(empty, elem_id=f"{name}-results", elem_classes=classes, js_on_load=_ON_LOAD)
        return cls(ui=ui, **controls, status=status, row=row)

    def connect(
        self,
        inputs: Sequence[gr.components.Component],
        prepare: Prepare,
        *,
        consented: Callable[[Sequence[Any]], bool] = lambda values: False,
    ) -> None:
        """Let the button work: `prepare` makes an order out of the inputs' values, the reader's words, the session and
        the name of the model. consented: whether these need no
        consent, since nobody in them exists."""
        desk = self.ui.desk

        def run(request: gr.Request, model: str, count: Any, seed: Any, lock: Any, agreed: Any, *values: Any) -> Any:
            words, session = words_of(request), session_of(request)
            stops = desk.running.stops(session)
            first: Any = seed
            try:
                first = first_seed(seed, lock)
                free = consented(values)
                if not agreed and not free:
                    raise words.mistake("consent_missing")
                yield results.sentence(words("reading")), gr.skip(), first
                order = prepare(values, words, session, model)
                if not free:
                    desk.consent.record(order.kind, pictures=int(count))
            except Exception as error:
                yield work.complaint(error, words), gr.skip(), first
                return
            facts: dict[str, Any] = {"session": session, "seed": first, "count": int(count), "words": words}
            for view in work.make(desk, order, **facts, stops=stops):
                yield view.status, view.row, first

        self.start(run, [self.ui.picker, self.count, self.seed, self.lock, self.consent, *inputs])

    def start(self, run: Callable[..., Any], inputs: Sequence[gr.components.Component]) -> None:
        """Let the buttons work. run: (request, *values) -> views of status, row and seed, one after the other."""

        def stop(request: gr.Request) -> None:
            self.ui.desk.running.stop(session_of(request))

        self.go.click(
            run,
            inputs,
            [self.status, self.row, self.seed],
            show_progress="hidden",
            concurrency_limit=None,
            trigger_mode="once",
            api_visibility="private",
        )
        self.stop.click(stop, None, None, queue=False, show_progress="hidden", api_visibility="private")

    def ask_again(self, *photos: Any) -> None:
        """Take the consent back when other photos come."""
        for photo in photos:
            photo.change(
                lambda: False, None, self.consent, queue=False, show_progress="hidden", api_visibility="private"
            )


def direction_label(ui: Ui, name: str) -> Any:
    """What a direction of people is called; one that a model brings by its own name."""
    return ui.i18n(f"direction_{name}") if f"direction_{name}" in LANGUAGES["en"] else name.capitalize()


def edit_rows(rows: Sequence[Row], names: Sequence[str], usual: str) -> list[Row]:
    """The rows of options that an edit has a default of its own for: an empty field is the task's."""
    return [dict(row) | {"default": None, "default_text": usual} for row in rows if row["name"] in names]
