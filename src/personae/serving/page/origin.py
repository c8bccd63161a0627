"""The tab Origin: what a file says of where it comes from, and what of that can be proven."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from personae import describe
from personae.errors import BadRecipe
from personae.serving.page import results, work
from personae.serving.page.photos import path_of
from personae.serving.page.texts import Words
from personae.serving.page.ui import Ui, words_of

# What of a recipe is worth a line; all of it stands below.
_FACTS = ("software", "task", "seed", "likeness")


def report(path: Path, words: Words) -> str:
    """What is found in a file, as HTML. Raises `BadImage` for what is no picture."""
    try:
        recipe = describe.path(path)
    except BadRecipe as error:
        return _sentence(words("origin_none")) + f'<p class="p-note">{escape(work.explained(error, words))}</p>'
    return _sentence(words("origin_found")) + _table(recipe, words) + _whole(recipe, words)


def _sentence(text: str) -> str:
    return f'<p role="status"><strong>{escape(text)}</strong></p>'


def _table(recipe: Mapping[str, Any], words: Words) -> str:
    rows = {name: recipe[name] for name in _FACTS if recipe.get(name) is not None}
    model = recipe.get("model")
    if isinstance(model, Mapping):
        rows["model"] = model.get("name")
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in rows.items()
    )
    return f'<table class="p-facts"><tbody>{lines}</tbody></table><p class="p-note">{escape(words("origin_about"))}</p>'


def _whole(recipe: Mapping[str, Any], words: Words) -> str:
    text = json.dumps(recipe, indent=1, ensure_ascii=False)
    return (
        f'<details><summary>{escape(words("origin_recipe"))}</summary><pre tabindex="0">{escape(text)}</pre></details>'
    )


def build(ui: Ui) -> None:
    """Draw the tab."""
    i18n = ui.i18n
    ui.intro("origin_intro")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            file = gr.File(label=i18n("origin_file"), file_types=["image"], height=160, elem_id="origin-file")
            look = gr.HTML("", elem_id="origin-look", elem_classes=["p-look"])
        with gr.Column(scale=3, min_width=300):
            found = gr.HTML("", elem_id="origin-report", elem_classes=["p-status"])

    def run(request: gr.Request, value: Any) -> tuple[str, str]:
        words, path = words_of(request), path_of(value)
        if path is None:
            return "", ""
        try:
            picture = f'<div class="p-portrait"><img alt="" src="{escape(results.url(path), quote=True)}"></div>'
            return picture, report(path, words)
        except Exception as error:
            return "", results.error(work.explained(error, words))

    file.change(run, file, [look, found], show_progress="hidden", concurrency_limit=None, api_visibility="private")
