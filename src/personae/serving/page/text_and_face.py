"""The tab Text and face (Face0): words and a face side by side, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from personae.serving.page.generate import order_of, photos_field
from personae.serving.page.options_form import OptionsForm, offered, read
from personae.serving.page.photos import paths_of
from personae.serving.page.reading import person_of
from personae.serving.page.texts import Words
from personae.serving.page.ui import Studio, Ui
from personae.serving.page.work import Order

GROUP = "Words and face"
OWN = ""  # no look: the sliders count


def options_of(
    prompt: str, look: str, weights: Mapping[str, Any], more: Mapping[str, Any], words: Words
) -> dict[str, Any]:
    """The options of a request: with a look the sliders do not count. Raises `Mistake` without a prompt."""
    if not prompt.strip():
        raise words.mistake("words_missing")
    chosen = {"look": look} if look else dict(weights)
    return {"prompt": prompt.strip(), **chosen, **more}


def build(ui: Ui) -> None:
    """Draw the tab."""
    rows = offered(ui.rows, groups=[GROUP], components=ui.components)
    sliders = [row for row in rows if row["type"] == "number"]
    looks: list[str] = next((row["choices"] for row in rows if row["type"] == "choice"), [])
    own_names = [row["name"] for row in rows if row["type"] in ("number", "choice")]
    ui.intro("words_intro")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photos = photos_field(ui, "words")
            prompt = gr.Textbox(
                label=ui.i18n("option_prompt"),
                placeholder="photo of a smiling person, black and white",
                lines=2,
                elem_id="words-prompt",
            )
            look = gr.Radio([(name, name) for name in (*looks, OWN)], value=OWN, label=ui.i18n("option_look"))
            ui.choices(look, lambda words: [(words(f"look_{name or 'own'}"), name) for name in (*looks, OWN)])
            weights = OptionsForm.of(sliders, ui.i18n)
            controls = Studio.controls(ui, run="run_generate", name="words")
            more = ui.options(groups=[GROUP, "Sampling", "Likeness"], besides=own_names)
        with gr.Column(scale=3, min_width=300):
            studio = Studio.finish(ui, controls, name="words")
    sliding: Any  # they are sliders
    for sliding in weights.widgets:
        sliding.input(lambda: OWN, None, look, queue=False, show_progress="hidden", api_visibility="private")

    def prepare(values: Sequence[Any], words: Words, session: str, model: str) -> Order:
        gallery, text, style, *rest = values
        at = len(weights.rows)
        options = options_of(text or "", style or OWN, read(weights.rows, rest[:at]), more.read(rest[at:]), words)
        paths = paths_of(gallery)
        person = person_of(ui.desk, paths, session, words, model)
        return order_of(person, paths, options, model=model, words=words)

    studio.connect([photos, prompt, look, *weights.widgets, *more.widgets], prepare)
    studio.ask_again(photos)
