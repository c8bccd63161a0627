"""The tab Video: a photo that does what a video does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from personae.errors import BadOption
from personae.serving.engine.requests import Animate
from personae.serving.page import commands, results, work
from personae.serving.page.options_form import OptionsForm, offered
from personae.serving.page.photos import path_of, photo_field
from personae.serving.page.results import Card
from personae.serving.page.texts import Words
from personae.serving.page.ui import Studio, Ui, first_seed, session_of, words_of
from personae.serving.page.work import Desk

SMOOTHING = ("savgol", "one-euro", "none")
NO_FACE = ("error", "hold", "skip")
OPTIONS = ("num_inference_steps", "guidance_scale", "speed")  # of `personae edit animate`; tests compare
# Of `video.animate`, beside the queue's; before the first of them the photo is read.
_STAGES = {"waiting": "waiting", "reading the driver": "video_reading", "drawing": "video_drawing"}


@dataclass(frozen=True, kw_only=True)
class VideoFields:
    """What the fields hold. frames: of the beginning; None: all."""

    photo: Path | None
    driver: Path | None
    frames: int | None = None
    smooth: str = SMOOTHING[0]
    on_no_face: str = NO_FACE[0]

    def request(self, out: Path, options: Mapping[str, Any], *, seed: int, model: str, words: Words) -> Animate:
        """Raises `Mistake` for a file that is missing."""
        if self.photo is None or self.driver is None:
            raise words.mistake("video_missing")
        from personae.video.animation import Settings  # late: it brings the reader

        settings = Settings(seed=seed, smooth=self.smooth, on_no_face=self.on_no_face)
        frames = None if self.frames is None else (0, self.frames)
        return Animate(
            source=self.photo,
            driver=self.driver,
            out=out,
            settings=settings,
            frames=frames,
            options=options,
            model=model,
        )

    def command(self, options: Mapping[str, Any], *, seed: int, model: str | None) -> str:
        """The line of the shell that makes the same."""
        assert self.photo is not None  # a request was made of it
        assert self.driver is not None
        flags: dict[str, Any] = {"seed": seed, "out": f"{self.photo.stem}-animated.mp4"}
        flags |= {"frames": f"0:{self.frames}"} if self.frames is not None else {}
        flags |= {"smooth": self.smooth} if self.smooth != SMOOTHING[0] else {}
        flags |= {"on_no_face": self.on_no_face} if self.on_no_face != NO_FACE[0] else {}
        return commands.animate(self.photo, self.driver, options, model=model, **flags)


def frames_of(typed: Any) -> int | None:
    """How many frames were typed; None: nothing was. Raises `BadOption`."""
    text = str(typed or "").strip()
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or int(text) < 1:
        raise BadOption(f"a number of frames is a whole number of at least 1, got {text!r:.40}")
    return int(text)


def animated(
    desk: Desk,
    fields: VideoFields,
    options: Mapping[str, Any],
    *,
    session: str,
    seed: int,
    model: str,
    words: Words,
) -> Iterator[tuple[str, str]]:
    """Status and result, as HTML, until the video is there. Errors are views, too."""
    began, row = time.monotonic(), results.row([], waiting=1, words=words)
    try:
        stem = fields.photo.stem if fields.photo else "photo"
        files = [one for one in (fields.photo, fields.driver) if one is not None]
        with desk.shelf.place(f"{stem}-animated.mp4", inputs=files) as out:
            ticket = desk.engine.submit(fields.request(out, options, seed=seed, model=model, words=words))
            desk.running.add(session, ticket)
            latest = 0.0
            for progress in ticket.events():
                if ticket.done or time.monotonic() - latest < work.OFTEN:
                    continue
                latest = time.monotonic()
                text = words(_STAGES.get(progress.stage, "reading"), step=progress.step, steps=progress.steps)
                yield results.sentence(text, share=progress.share), row
            path = ticket.result().path
    except Exception as error:  # whatever a library raises, the page goes on
        yield work.complaint(error, words), results.row([], words=words)
        return
    card = Card(
        path=path,
        seed=seed,
        likeness=None,
        command=fields.command(options, seed=seed, model=desk.engine.source_of(model)),
        alt=words("video_alt"),
    )
    done = words("done", total=1, seconds=time.monotonic() - began)
    yield results.sentence(f"{done} {words('marked')}"), results.row([card], words=words)


def build(ui: Ui) -> None:
    """Draw the tab."""
    i18n = ui.i18n
    ui.intro("video_intro")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photo = photo_field(label=i18n("photo"), elem_id="video-photo")
            driver = gr.File(
                label=i18n("driver_video"),
                file_types=["video", ".json", ".csv", ".npz"],
                height=150,
                elem_id="video-driver",
            )
            frames = gr.Textbox(label=i18n("frames"), info=i18n("frames_info"), elem_id="video-frames")
            with gr.Row():
                smooth = gr.Dropdown([(name, name) for name in SMOOTHING], value=SMOOTHING[0], label=i18n("smooth"))
                no_face = gr.Dropdown(
                    [(name, name) for name in NO_FACE], value=NO_FACE[0], label=i18n("no_face_frames")
                )
            ui.choices(smooth, lambda words: [(words(f"smooth_{name}"), name) for name in SMOOTHING])
            ui.choices(no_face, lambda words: [(words(f"no_face_{name}"), name) for name in NO_FACE])
            controls = Studio.controls(ui, run="run_video", name="video", several=False)
            rows = [row for row in offered(ui.rows, components=ui.components) if row["name"] in OPTIONS]
            form = ui.form(rows)
        with gr.Column(scale=3, min_width=300):
            studio = Studio.finish(ui, controls, name="video", wide=True)
    _connect(ui, studio, form, [photo, driver, frames, smooth, no_face])


def _connect(ui: Ui, studio: Studio, form: OptionsForm, inputs: Sequence[gr.components.Component]) -> None:
    def run(request: gr.Request, model: str, seed: Any, lock: Any, agreed: Any, *values: Any) -> Any:
        words = words_of(request)
        first: Any = seed
        photo, driver, frames, smooth, no_face, *rest = values
        try:
            first = first_seed(seed, lock)
            if not agreed:
                raise words.mistake("consent_missing")
            fields = VideoFields(
                photo=path_of(photo),
                driver=path_of(driver),
                frames=frames_of(frames),
                smooth=smooth,
                on_no_face=no_face,
            )
            options = form.read(rest)
            ui.desk.consent.record("animate", pictures=1)
        except Exception as error:
            yield work.complaint(error, words), gr.skip(), first
            return
        facts: dict[str, Any] = {"session": session_of(request), "seed": first, "model": model, "words": words}
        for status, row in animated(ui.desk, fields, options, **facts):
            yield status, row, first

    studio.start(run, [ui.picker, studio.seed, studio.lock, studio.consent, *inputs, *form.widgets])
    studio.ask_again(inputs[0], inputs[1])
