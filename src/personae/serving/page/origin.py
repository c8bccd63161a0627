"""The tab Origin: what marks a file carries, what each proves and what it does not, and the recipe inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from personae import describe
from personae.errors import BadImage, BadOption, BadVideo
from personae.provenance.detection import Detected, detect
from personae.provenance.findings import RECIPE, Finding
from personae.serving.page import results, work
from personae.serving.page.edit_orders import FIELDS
from personae.serving.page.photos import path_of
from personae.serving.page.texts import Words
from personae.serving.page.ui import Ui, words_of

_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def report(path: Path, words: Words) -> str:
    """What is found in a file, as HTML. Raises `BadImage` for what is neither picture nor video."""
    found = detect(path)
    marks = "".join(_mark(one, words) for one in found.marks)
    return (
        f'<p role="status"><strong>{escape(_sentence(words.render(found.verdict)))}</strong></p>'
        f'<div class="p-marks">{marks}</div>{_frames(found, words)}{_stripped(found, words)}{_inputs(found, words)}'
        f"{_recipe(path, words)}"
        f'<p class="p-note">{escape(words("origin_about"))}</p>'
    )


def _mark(finding: Finding, words: Words) -> str:
    state, name = "yes" if finding.found else "no", words(f"state_{finding.state}")
    lines = [("origin_proves", finding.proves), ("origin_proves_not", finding.proves_not)] if finding.found else []
    reason = finding.facts.get("reason")
    rows = "".join(f"<dt>{escape(words(key))}</dt><dd>{escape(words.render(text))}</dd>" for key, text in lines)
    about = f'<p class="p-note" lang="{words.language_of(reason)}">{escape(words.render(reason))}</p>' if reason else ""
    return (
        f'<section class="p-mark p-{state}"><h3>{escape(words(f"mark_{finding.mark}"))} '
        f"<span>{escape(name)}</span></h3>{f'<dl>{rows}</dl>' if rows else ''}{about}</section>"
    )


def _frames(found: Detected, words: Words) -> str:
    if not found.frames:
        return ""
    marked = sum(bool(one["watermark"]) for one in found.frames)
    return f"<p>{escape(words('origin_frames', marked=marked, count=len(found.frames)))}</p>"


def _stripped(found: Detected, words: Words) -> str:
    return _list(words("origin_stripped"), [words.render(one) for one in found.stripped])


def _inputs(found: Detected, words: Words) -> str:
    return _list(words("origin_made_of"), [_input(one, words) for one in found.inputs])


def _input(one: Mapping[str, Any], words: Words) -> str:
    """One of what a file was made of."""
    if one["by"] == RECIPE:
        task = (one.get("edit") or {}).get("task", one.get("task"))
        name = str(task.get("name") if isinstance(task, dict) else task)
        known = {"generate": "way_new"} | {task: f"task_{task}" for task in FIELDS}
        return words("input_earlier", task=words(known[name]) if name in known else name)
    title = one.get("title", words("input_file"))
    if "state" not in one:
        return words("input_unsigned", title=title)
    generator = one.get("generator", words("input_program"))
    return words("input_signed", title=title, generator=generator, state=words(f"state_{one['state']}"))


def _look(path: Path, words: Words) -> str:
    """The file itself, as far as a browser can show it."""
    address, name = escape(results.url(path), quote=True), escape(words("video"), quote=True)
    if path.suffix.lower() in _VIDEOS:
        return f'<video src="{address}" controls muted playsinline aria-label="{name}"></video>'
    return f'<img alt="" src="{address}">'


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(one)}</li>" for one in lines)
    return f"<h3>{escape(title)}</h3><ul>{items}</ul>"


def _recipe(path: Path, words: Words) -> str:
    """The whole recipe, folded away, if there is one that can be read."""
    try:
        recipe: Mapping[str, Any] = describe.path(path)
    except (BadImage, BadVideo, BadOption):  # none, or it cannot be read: the findings say which
        return ""
    text = json.dumps(recipe, indent=1, ensure_ascii=False)
    title = escape(words("origin_recipe"))
    return f'<details class="p-recipe"><summary>{title}</summary><pre tabindex="0">{escape(text)}</pre></details>'


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def build(ui: Ui) -> None:
    """Draw the tab."""
    i18n = ui.i18n
    ui.intro("origin_intro")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            file = gr.File(label=i18n("origin_file"), file_types=["image", "video"], height=160, elem_id="origin-file")
            look = gr.HTML("", elem_id="origin-look", elem_classes=["p-look"])
        with gr.Column(scale=3, min_width=300):
            found = gr.HTML("", elem_id="origin-report", elem_classes=["p-status"])

    def run(request: gr.Request, value: Any) -> Any:
        words, path = words_of(request), path_of(value)
        if path is None:
            yield "", ""
            return
        picture = f'<div class="p-portrait">{_look(path, words)}</div>'
        yield picture, results.sentence(words("origin_looking"))
        try:
            yield picture, report(path, words)
        except Exception as error:
            yield "", work.complaint(error, words)

    file.change(run, file, [look, found], show_progress="hidden", concurrency_limit=2, api_visibility="private")
