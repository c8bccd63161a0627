"""make docs: these pages as a static site, by Sphinx, in build/docs. Nothing in it is loaded from another host."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SOURCE = Path(__file__).parents[1] / "src"
sys.path.insert(0, str(SOURCE))

project = "personae"
author = "the personae authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["figures", "README.md"]
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
python_maximum_signature_line_length = 88

nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other packages, whose pages are not looked up

html_theme = "furo"
html_title = "personae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"source_edit_link": "", "top_of_page_buttons": []}
html_copy_source = False
html_show_copyright = False


def _as_rst(_app: Sphinx, _what: str, _name: str, obj: Any, _options: Any, lines: list[str]) -> None:
    """A docstring of this house as reStructuredText: code in single backticks, indented examples, and arguments as
    `name: what it is`, of which each becomes a paragraph."""
    paragraphs = "\n".join(lines).strip("\n").split("\n\n")
    lines[:] = [line for paragraph in paragraphs for line in (*_converted(paragraph, _arguments(obj)), "")]


def _arguments(obj: Any) -> set[str]:
    """The names of what a function takes, or a class is made of."""
    try:
        return set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        return set(getattr(obj, "__annotations__", {}))


def _converted(paragraph: str, arguments: set[str]) -> Iterator[str]:
    if paragraph.startswith("    "):
        yield from (".. code-block:: default", "", *paragraph.split("\n"))
        return
    if re.match(r"\s*([-|]|\d+\.) ", paragraph):  # a list stays as it is
        yield from (_escaped(line) for line in paragraph.split("\n"))
        return
    name = "|".join(sorted(map(re.escape, arguments), key=len, reverse=True)) or "(?!)"
    begins = re.compile(rf"(?:^|(?<=[.;,:)] ))((?:{name})(?:, (?:{name}))*): (?=\S)")
    text = re.sub(r"(?<=[.;)]) (?=(Raises|Returns) )", "\n\n", " ".join(paragraph.split()))
    parts = begins.split(text)
    yield from _escaped(parts[0].rstrip()).split("\n")
    for names, words in zip(parts[1::2], parts[2::2], strict=True):
        yield from ("", *f"``{names}``: {_escaped(words.rstrip())}".split("\n"))


def _escaped(text: str) -> str:
    """Single backticks doubled; outside of code, no character has a meaning."""
    parts = re.split(r"(`[^`]+`)", text)  # prose and code in turns
    parts[0::2] = [re.sub(r"([*|`_\\])", r"\\\1", prose) for prose in parts[0::2]]
    parts[1::2] = [f"`{code}`" for code in parts[1::2]]
    return "".join(parts)


class Modules(SphinxDirective):
    """Every module of personae with the first paragraph of its docstring, folder by folder."""

    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        root = SOURCE / "personae"
        folders = [root, *sorted(path.parent for path in root.rglob("*/__init__.py"))]
        for folder in folders:
            name = str(folder.relative_to(SOURCE)) + "/"
            section = nodes.section(ids=[nodes.make_id(name)])
            section += nodes.title(text=name)
            items = nodes.definition_list()
            for path in sorted(folder.glob("*.py")):
                paragraph = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
                term = nodes.term("", "", nodes.literal(text=path.name))
                items += nodes.definition_list_item("", term, nodes.definition("", *self._prose(paragraph)))
            section += items
            found.append(section)
        return found

    def _prose(self, text: str) -> list[nodes.Node]:
        children = [
            nodes.literal(text=part.strip("`")) if part.startswith("`") else nodes.Text(part)
            for part in re.split(r"(`[^`]+`)", " ".join(text.split()))
        ]
        return [nodes.paragraph("", "", *children)]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _as_rst)
    app.add_directive("modules", Modules)
