"""The training verbs: what the command line takes for granted is what Python does; the labeller is closed in time."""

import gc
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from personae.cli import prepare as prepare_verbs
from personae.cli import train as train_verbs
from personae.data import people, prepare
from personae.data.teachers import Teachers
from personae.training import assemble, recipes

ANOTHER_NAME = {"compile": "compiled"}  # of a Python argument, where the option has one of its own


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Of the arguments that have one; a path counts as its text."""
    found = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in found.items()
        if value is not inspect.Parameter.empty
    }


@pytest.mark.parametrize(
    ("verb", "function", "least"),
    [
        (train_verbs.train, recipes.run, 8),
        (train_verbs.assemble, assemble.assemble, 3),
        (prepare_verbs.photos, prepare.prepare, 1),
        (prepare_verbs.people, people.prepare_people, 3),
        (prepare_verbs.people, people.Settings, 2),
    ],
    ids=["train", "assemble", "prepare photos", "prepare people", "settings of people"],
)
def test_command_line_and_python_have_the_same_defaults(
    verb: Callable[..., Any], function: Callable[..., Any], least: int
) -> None:
    command = {ANOTHER_NAME.get(name, name): value for name, value in defaults(verb).items()}
    both = defaults(function)
    common = command.keys() & both.keys()
    assert len(common) >= least
    assert {name: command[name] for name in common} == {name: both[name] for name in common}


def test_everyone_drawn_is_counted_alike() -> None:
    assert defaults(prepare_verbs.people)["count"] == people.Settings().people


def test_the_landmarker_is_closed_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MediaPipe's own `__del__`, at the end of the process, finds its modules gone and prints a traceback."""
    closed = []
    landmarker = SimpleNamespace(close=lambda: closed.append(True))
    vision = SimpleNamespace(
        FaceLandmarker=SimpleNamespace(create_from_options=lambda options: landmarker),
        FaceLandmarkerOptions=lambda **options: options,
    )
    stub = ModuleType("mediapipe.tasks.python")
    stub.__dict__.update(vision=vision, BaseOptions=lambda **options: options)
    for name in ("mediapipe", "mediapipe.tasks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", stub)
    for name in ("yunet.onnx", "face_landmarker.task", "mobilefacenet.onnx"):
        (tmp_path / name).touch()
    teachers = Teachers(tmp_path)
    assert teachers._landmarker is landmarker
    assert not closed
    del teachers
    gc.collect()
    assert closed == [True]
