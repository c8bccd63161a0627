"""The page: everything that personae does, in a browser (`personae page`, extra `page`).

    page = blocks(engine)      # for `gradio.mount_gradio_app(app, page, path="/page", **look())`
    serve(engine, port=7860)   # or by itself

app.py         the tabs put together; the program of its own
theme.py       colours; page.css, page.js: what is ours beside them
texts/         what it says, by language
ui.py          what every tab is built with; work.py   a press of a button, carried out
results.py     cards and their files; commands.py   the line of the shell that makes the same; consent.py
generate.py text_and_face.py edit.py motion.py people.py video.py origin.py   one for each tab

What can be set is derived from `controls.registry`. Pictures leave through `provenance.writer`, marked.
"""

from personae.serving.page.app import blocks, look, serve

__all__ = ["blocks", "look", "serve"]
