"""The tab Generate: photos of one person, options, new pictures of that person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from personae.provenance import writer
from personae.serving.engine.requests import Generate
from personae.serving.page import commands
from personae.serving.page.photos import paths_of
from personae.serving.page.reading import person_of
from personae.serving.page.texts import Words
from personae.serving.page.ui import Studio, Ui
from personae.serving.page.work import Order
from personae.types import Face, Identity

# Groups of options with a tab of their own; any other is offered here, also one that a later version brings.
OF_OTHER_TABS = ("Words and face", "Pose and expression", "Editing", "Several people")


def order_of(
    person: Face | Identity,
    photos: Sequence[Path],
    options: Mapping[str, Any],
    *,
    model: str,
    words: Words,
    kind: str = "generate",
) -> Order:
    """Pictures of one person. The files say nothing of who it is: whoever has one cannot make the person again."""
    stem = photos[0].stem

    def encode(result: Any) -> bytes:
        return next(writer.files_of(result, people=[person], identity=False))

    return Order(
        kind=kind,
        stem=stem,
        request=lambda seed: Generate(people=[person], seed=seed, options=options, model=model, batch=False),
        encode=encode,
        command=lambda seed, source: commands.averaged(photos, options, seed=seed, model=source),
        alt=lambda seed: words("alt_generate", seed=seed),
    )


def photos_field(ui: Ui, name: str, *, label: str = "photos") -> gr.Gallery:
    """For several photos: of one person, or whatever else its label says."""
    return gr.Gallery(
        label=ui.i18n(label),
        file_types=["image"],
        type="filepath",
        interactive=True,
        columns=2,
        height=230,
        object_fit="contain",
        sources=["upload", "clipboard"],
        buttons=[],
        elem_id=f"{name}-photos",
    )


def build(ui: Ui) -> None:
    """Draw the tab."""
    groups = list(dict.fromkeys(row["group"] for row in ui.rows if row["group"] not in OF_OTHER_TABS))
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photos = photos_field(ui, "generate")
            gr.HTML(f'<p class="p-note">{ui.i18n("photos_info")}</p>')
            controls = Studio.controls(ui, run="run_generate", name="generate")
            form = ui.options(groups=groups)
        with gr.Column(scale=3, min_width=300):
            studio = Studio.finish(ui, controls, name="generate")

    def prepare(values: Sequence[Any], words: Words, session: str, model: str) -> Order:
        gallery, *rest = values
        options, paths = form.read(rest), paths_of(gallery)
        person = person_of(ui.desk, paths, session, words, model)
        return order_of(person, paths, options, model=model, words=words)

    studio.connect([photos, *form.widgets], prepare)
    studio.ask_again(photos)
