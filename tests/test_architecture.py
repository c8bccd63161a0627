"""docs/architecture.md is true: its table of layers is the module graph's, and the steps that it numbers are called, in
that order, by a real run of the command that it names."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import module_graph
import personae
from personae.cli import app
from personae.models import catalog

DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
_LIFE = re.compile(r"<!-- the life of one image: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)
_STEP = re.compile(r"^\d+\. `([\w/]+\.py)` `([\w.]+)`: ", re.MULTILINE)
LIVES = dict(_LIFE.findall(DOCUMENT.read_text()))

# The command of each list, how many files it may name, and how many steps it has.
COMMANDS = {
    "generate": ("personae generate me.jpg --steps 2 -o out", 12, 10),
    "edit": ("personae edit swap me.jpg party.jpg --steps 2 -o out", 18, 10),
}


@dataclass(frozen=True)
class Step:
    """A numbered line: a file below src/personae and the qualified name of a function in it."""

    file: str
    function: str


def steps_of(life: str) -> list[Step]:
    return [Step(file, function) for file, function in _STEP.findall(life)]


def test_the_table_of_layers_is_the_module_graphs() -> None:
    assert DOCUMENT.read_text() == module_graph.redraw(DOCUMENT), (
        "run: python tests/module_graph.py docs/architecture.md"
    )


def test_the_table_names_every_room() -> None:
    table = module_graph.table()
    rooms = {path.name + "/" for path in module_graph.ROOT.iterdir() if (path / "__init__.py").is_file()}
    files = {path.name for path in module_graph.ROOT.glob("*.py")}
    assert all(f"| `{name}` |" in table for name in rooms | files)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_list_names_few_files_and_all_of_them_exist(name: str) -> None:
    _, most, steps = COMMANDS[name]
    files = set(re.findall(r"`([\w/]+\.py)`", LIVES[name]))
    assert len(files) <= most
    assert all((module_graph.ROOT / file).is_file() for file in files)
    assert len(steps_of(LIVES[name])) == steps == len(re.findall(r"^\d+\. ", LIVES[name], re.MULTILINE))


@pytest.fixture(scope="module")
def loaded() -> None:
    """Everything imported and loaded once, outside the trace, which would slow it down."""
    from personae.demo import portrait

    pipe = personae.load("nano")
    pipe(pipe.read(portrait())[0], num_inference_steps=1, seed=0)


@pytest.mark.skipif(not catalog.present(catalog.MODELS["nano"]), reason="the bundled model is not in this checkout")
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("loaded")
def test_the_steps_are_called_in_their_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from personae.demo import portrait

    monkeypatch.chdir(tmp_path)
    portrait().save("me.jpg")
    portrait().rotate(8).save("party.jpg")
    called = _traced(COMMANDS[name][0].split(), app.main, monkeypatch)
    steps = steps_of(LIVES[name])
    missing = [step for step in steps if step not in called]
    assert not missing, "these are not called: mend the list in docs/architecture.md"
    assert _in_order(steps, called), [called.index(step) for step in steps]
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


def _traced(words: list[str], main: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Every call of a function of personae while a command runs, in order."""
    root, called = str(module_graph.ROOT) + "/", []

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(root):
            called.append(Step(code.co_filename.removeprefix(root), code.co_qualname))

    monkeypatch.setattr(sys, "argv", words)
    before, code = sys.getprofile(), None
    sys.setprofile(note)
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code
    finally:
        sys.setprofile(before)
    assert not code, words
    return called


def _in_order(steps: list[Step], called: list[Step]) -> bool:
    """Whether the first calls of the steps come one after the other."""
    firsts = [called.index(step) for step in steps]
    return firsts == sorted(firsts)


def test_a_wrong_order_is_noticed() -> None:
    first, second = Step("a.py", "f"), Step("b.py", "g")
    assert _in_order([first, second], [first, second, first])
    assert not _in_order([second, first], [first, second, first])
