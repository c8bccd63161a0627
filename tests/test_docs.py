"""The documents are true: links lead somewhere, files that are named exist, commands can be typed, Python runs.

README.md's commands and Python are run by test_readme.py; `make docs` builds the site with warnings as errors.
"""

import ast
import builtins
import functools
import importlib
import importlib.util
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageOps
from typer.main import get_command

import module_graph
import personae
from personae.cli.app import app
from personae.models import catalog
from typed_commands import parse, resolve

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
_BLOCK = re.compile(r"^(<!-- needs weights -->\n)?```(\w*|\{[\w-]+\})\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

# Docstrings whose indented part is neither Python nor a command.
NOT_PYTHON = {
    "personae.data.mobile_stylegan",  # a legend of shapes
    "personae.evaluation.tables",  # the marks in a document
    "personae.threads",  # a decorator alone
    "personae.training.captions",  # a call and what it returns
    "personae.models.limits",
}


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = _BLOCK.sub("", page.read_text())
    plain = (re.sub(r"[`*\[\]]|\(.*?\)", "", one).strip().lower() for one in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", one).replace(" ", "-") for one in plain}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text())):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_files_that_are_named_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # it names what was
    files = [path for top in ("src", "tests", "examples") for path in (ROOT / top).rglob("*.py")]
    for code in _INLINE.findall(_BLOCK.sub("", page.read_text())):
        if re.fullmatch(r"[\w./-]+\.py", code):  # from the root, or the last parts of a path
            assert (ROOT / code).is_file() or any(path.match(code) for path in files), code


def test_the_modules_that_the_changelog_names_as_new_exist() -> None:
    text = (ROOT / "CHANGELOG.md").read_text().partition("### Modules")[2]
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", text, re.MULTILINE)
    assert len(rows) > 50
    assert not [new for _, new in rows if not _is_name(f"personae.{new}")]


def _is_name(dotted: str) -> bool:
    """Whether a module has this name, or one that begins it has the rest as an attribute."""
    if dotted in module_graph.graph():
        return True
    home, _, name = dotted.rpartition(".")
    if home in module_graph.graph():
        return hasattr(importlib.import_module(home), name)
    home, _, owner = home.rpartition(".")
    return home in module_graph.graph() and hasattr(getattr(importlib.import_module(home), owner, None), name)


def commands(page: Path) -> Iterator[str]:
    """The lines of a page's blocks of commands that call personae."""
    for _, kind, text in _BLOCK.findall(page.read_text()):
        if kind in ("", "bash", "sh", "console"):
            for line in text.replace("\\\n", " ").splitlines():
                if line.startswith("personae "):
                    yield line


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_commands_can_be_typed(page: Path) -> None:
    for line in commands(page):
        parse(line)


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_verbs_and_flags_in_the_prose_exist(page: Path) -> None:
    for code in _INLINE.findall(_BLOCK.sub("", page.read_text())):
        if re.match(r"personae [a-z]", code) and "VERB" not in code:
            command, words = resolve(re.sub(r"\.\.\.|…", "", code))
            flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
            asked = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert command.name not in (None, "main", "root"), code
            assert asked <= flags | {"--help", "--version", "--install-completion"}, code


def test_the_guide_lists_all_verbs() -> None:
    text = (ROOT / "docs/guides/command_line.md").read_text().partition("| verbs | do |")[2].partition("\n\n")[0]
    listed = [verb for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for verb in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(get_command(app).commands)  # type: ignore[attr-defined]


def test_a_wrong_command_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse("personae generate me.jpg --frobnicate 3")


# ------------------------------------------------------------------ Python


def python_of(page: Path) -> list[tuple[bool, str]]:
    """(whether it needs weights that are not here, code) of each block of Python."""
    return [(bool(needs), text) for needs, kind, text in _BLOCK.findall(page.read_text()) if kind == "python"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every photo, video and file that the guides name, all of scikit-image's astronaut."""
    from personae.demo import portrait
    from personae.io import video_file

    folder = tmp_path_factory.mktemp("home")
    photo = portrait()
    mirrored = ImageOps.mirror(photo)
    for number, name in enumerate(["me", "me-too", "ann", "bob", "target", "driver", "a", "b", "c", "party"]):
        (photo if number % 2 == 0 else mirrored).rotate(3 * number).save(folder / f"{name}.jpg")
    group = photo.resize((768, 384))
    group.paste(photo, (0, 0))
    group.paste(mirrored, (384, 0))
    group.save(folder / "group.jpg")
    turning = [np.asarray(photo.rotate(degrees)) for degrees in (0, 3)]
    video_file.write(folder / "talk.mp4", turning, fps=Fraction(25))
    return folder


@pytest.fixture(scope="module")
def quick() -> Any:
    """The bundled model with two steps for an image, in place of its own number."""
    pipe = personae.load("nano")
    pipe.register_to_config(steps=2)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.skipif(not catalog.present(catalog.MODELS["nano"]), reason="the bundled model is not in this checkout")
@pytest.mark.parametrize("page", [page for page in GUIDES if python_of(page)], ids=title)
@pytest.mark.filterwarnings("ignore::UserWarning")  # two steps, turned photos: nano says what it cannot do
def test_the_python_of_a_guide_runs(
    page: Path, home: Path, quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(personae, "load", lambda name="nano", **_options: quick, raising=False)
    names: dict[str, Any] = {"pipe": quick}  # a page may go on from the first one
    for needs_weights, code in python_of(page):
        if needs_weights:
            assert not faults(code, "personae")
        else:
            exec(compile(code, title(page), "exec"), names)  # the page's own code


def docstring_blocks(name: str) -> list[str]:
    """The indented parts of a module's docstring."""
    path = module_graph.SOURCE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return [textwrap.dedent(block).strip() for block in re.findall(r"(?:^|\n)((?:    .+(?:\n|$)|\n(?=    ))+)", text)]


MODULES = sorted(module_graph.graph().keys() - {"personae.__main__"})  # to import that one is to run it


@pytest.mark.parametrize("name", [name for name in MODULES if docstring_blocks(name)])
def test_the_examples_of_a_docstring_name_what_there_is(name: str) -> None:
    """Calls of functions that exist, with arguments that they take; commands that can be typed."""
    for block in docstring_blocks(name):
        if block.startswith("personae "):
            for line in block.splitlines():
                if line.startswith("personae "):
                    parse(line.split("  `", 1)[0])
        elif block.startswith("python -m personae."):
            assert block.split()[2] in MODULES, block
        elif name not in NOT_PYTHON:
            assert not faults(block, name), block


def faults(code: str, module: str) -> list[str]:
    """What is wrong with the calls and imports of a piece of code that cannot be run: names that do not exist,
    arguments that are not taken."""
    tree, found = ast.parse(code), []
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            home = importlib.import_module(str(node.module))
            found += [alias.name for alias in node.names if not _there(home, alias.name)]
        if isinstance(node, ast.Call):
            called = _resolved(node.func, module, bound)
            if isinstance(called, str):
                found.append(f"{called} does not exist")
            elif called is not None and (fault := _misfit(called, node)):
                found.append(fault)
    return found


def _there(home: Any, name: str) -> bool:
    if hasattr(home, name) or not hasattr(home, "__path__"):
        return hasattr(home, name)
    return importlib.util.find_spec(f"{home.__name__}.{name}") is not None


def _resolved(node: ast.expr, module: str, bound: set[str]) -> Any:
    """The function that is called; its name, if it should exist and does not; None if that cannot be known."""
    if isinstance(node, ast.Attribute):
        owner = _resolved(node.value, module, bound)
        if owner is None or isinstance(owner, str):
            return owner
        if inspect.ismodule(owner) or inspect.isclass(owner):
            return getattr(owner, node.attr, f"{ast.unparse(node)}")
        return None
    if not isinstance(node, ast.Name):
        return None
    if node.id == "pipe":
        return personae.FacePipeline
    if node.id in bound:
        return None
    own = importlib.import_module(module)
    if node.id == module.rpartition(".")[2]:
        return own
    if hasattr(own, node.id):
        return getattr(own, node.id)
    if hasattr(builtins, node.id) or node.id in _VARIABLES:
        return None
    return _everything().get(node.id, node.id)


# Modules that only another program can import.
OF_ANOTHER_PROGRAM = {"personae.serving.comfyui.nodes"}

# Free names of examples, which stand for what a caller has.
_VARIABLES = {"app", "clip", "conditional", "network", "predict", "typer", "unet"}


@functools.cache
def _everything() -> dict[str, Any]:
    """Every module by its basename, and every public function and class of personae by its name."""
    known: dict[str, Any] = {"np": np, "torch": importlib.import_module("torch"), "Path": Path}
    for name in sorted(set(MODULES) - OF_ANOTHER_PROGRAM, key=lambda name: ("cli" in name, name)):
        module = importlib.import_module(name)
        known.setdefault(name.rpartition(".")[2], module)
        for key, value in vars(module).items():
            if not key.startswith("_") and getattr(value, "__module__", None) == name:
                known.setdefault(key, value)
    return known


def _misfit(called: Any, node: ast.Call) -> str | None:
    """Why a call does not fit the function's signature, in its own words."""
    open_ended = [one for one in node.args if isinstance(one, ast.Starred) or ast.unparse(one) == "..."]
    if open_ended or any(one.arg is None for one in node.keywords):
        return None
    if called is personae.FacePipeline and isinstance(node.func, ast.Name) and node.func.id == "pipe":
        called = personae.FacePipeline.__call__
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return None
    first = [None] if next(iter(signature.parameters), None) == "self" else []
    try:
        signature.bind(*first, *[None] * len(node.args), **{str(one.arg): None for one in node.keywords})
    except TypeError as error:
        return f"{ast.unparse(node)}: {error}"
    return None


def test_a_wrong_example_is_noticed() -> None:
    assert faults("pipe.edit('swap', sauce='ann.jpg')\n", "personae") == []  # options of a call go along
    assert faults("personae.load('nano', devise='cpu')\n", "personae")
    assert faults("personae.lode('nano')\n", "personae")
    assert faults("from personae.types import Fase\n", "personae")
