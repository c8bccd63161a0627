"""The page put together, for a server to mount, and as a program of its own.

    with Engine(["nano"]) as engine:
        engine.wait_until_ready()
        serve(engine, port=7860)

Uploads and results lie in a folder of this process, which nobody else may read, for an hour at most.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from personae.io.user_folders import config_folder
from personae.serving.engine.engine import Engine
from personae.serving.page import edit, generate, motion, origin, people, text_and_face, theme, together, video
from personae.serving.page.consent import ConsentLog
from personae.serving.page.fence import Fence
from personae.serving.page.results import Shelf
from personae.serving.page.sweep import HOUR, repeat
from personae.serving.page.texts import translations
from personae.serving.page.ui import Ui, session_of, words_of
from personae.serving.page.work import Desk

TABS: tuple[tuple[str, Callable[[Ui], None]], ...] = (
    ("tab_generate", generate.build),
    ("tab_words", text_and_face.build),
    ("tab_together", together.build),
    ("tab_edit", edit.build),
    ("tab_motion", motion.build),
    ("tab_people", people.build),
    ("tab_video", video.build),
    ("tab_origin", origin.build),
)
_FETCH = "async_move_resource_to_block_cache"
_OWN_NAMES = ["localhost", "127.0.0.1"]
_LARGEST_UPLOAD = "512mb"  # a video; photos have a limit of their own, where they are read


def blocks(engine: Engine, *, folder: Path | None = None, consent: Path | None = None) -> gr.Blocks:
    """The page for an engine.

    engine: warm, so that the forms know its first model's defaults. folder: of uploads and results; None: one of this
    process, gone with it. consent: the file of the records of consent; None: `consent.jsonl` beside the user's other
    decisions. Give `look()` to whoever serves it.
    """
    own = _own_folder() if folder is None else folder
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(own.resolve())  # read when a component is made, and not again
    log = ConsentLog(config_folder() / "consent.jsonl" if consent is None else consent)
    desk = Desk(engine=engine, shelf=Shelf(own.resolve() / "results", uploads=own.resolve()), consent=log)
    repeat(desk.shelf.sweep)
    i18n = gr.I18n(**translations())
    # Gradio's own deleting is for what is left at the end.
    with gr.Blocks(title="personae", analytics_enabled=False, delete_cache=(int(HOUR), int(HOUR))) as page:
        with gr.Row(elem_classes=["p-top"]):
            gr.HTML(f'<h1>personae</h1><p class="p-lead">{i18n("lead")}</p>', elem_classes=["p-head"], scale=1)
            ui = Ui.of(desk, i18n)
        with gr.Tabs():
            for name, build in TABS:
                with gr.Tab(i18n(name), id=name):
                    build(ui)
        _on_load(page, ui)
    for component in page.blocks.values():
        if hasattr(component, _FETCH):
            setattr(component, _FETCH, _only_uploads(getattr(component, _FETCH)))
    return page


def _only_uploads(take: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Gradio's way to a file that a browser names, without addresses: it would open any that is not of this network."""

    async def take_upload(path: Any) -> Any:
        if str(path).lower().startswith(("http:", "https:")):
            raise gr.Error("an address is no upload: choose a file")
        return await take(path)

    return take_upload


def look(*, alone: bool = False) -> dict[str, Any]:
    """How the page looks and speaks, and what it answers: arguments of `gradio.mount_gradio_app` and of
    `Blocks.launch`. alone: for a program of its own, without a server around it that refuses other sites' pages."""
    # A site whose name was made to lead here is no other site to a browser: only this machine's own names are answered.
    names = [Middleware(TrustedHostMiddleware, allowed_hosts=_OWN_NAMES)] if alone else []
    return {
        "theme": theme.theme(),
        "css": theme.css(),
        "head": theme.head(),
        "i18n": gr.I18n(**translations()),
        "footer_links": [],
        "ssr_mode": False,
        "max_file_size": _LARGEST_UPLOAD,
        "show_error": True,
        "run_history": False,  # Gradio's own would lie in the browser, or on a hub
        "enable_monitoring": False,
        "app_kwargs": {"middleware": [*names, Middleware(Fence, alone=alone)]},
    }


def serve(
    engine: Engine, *, port: int | None = None, inbrowser: bool = False, wait: bool = True
) -> tuple[gr.Blocks, str]:
    """Serve the page to this machine alone; returns it and its address. port: None: the first free one from 7860. wait:
    until it is interrupted."""
    page = blocks(engine)
    _, address, _ = page.queue(default_concurrency_limit=8).launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        inbrowser=inbrowser,
        quiet=True,
        prevent_thread_lock=True,
        **look(alone=True),
    )
    if wait:
        page.block_thread()
    return page, str(address)


def _own_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="personae-page-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _on_load(page: gr.Blocks, ui: Ui) -> None:
    """What happens when a browser opens the page, and when it leaves."""
    fields = [component for component, _ in ui.localised]

    def localise(request: gr.Request) -> Any:
        updates = [update(words_of(request)) for _, update in ui.localised]
        return updates if len(updates) > 1 else updates[0]

    def leave(request: gr.Request) -> None:
        ui.desk.running.stop(session_of(request))

    if fields:
        page.load(localise, None, fields, show_progress="hidden", queue=False, api_visibility="private")
    page.unload(leave)
