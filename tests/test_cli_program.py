"""The program around the verbs: examples that can be typed, defaults that are the functions', libraries that are quiet,
completion."""

import inspect
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from cli_fixtures import Run
from personae import best_of, demo, identity
from personae.cli import animate, edit, evaluate, generate, libraries, train
from personae.cli import app as program
from personae.cli import identity as people
from personae.cli import prepare as labelling
from personae.cli.terminal import noted
from personae.data import prepare
from personae.data.people import Settings, prepare_people
from personae.editing import edit as editing
from personae.editing import task_table, tasks
from personae.evaluation import suites
from personae.evaluation.suites import generation, reading
from personae.identity import directions
from personae.models import catalog
from personae.reading import face_regions
from personae.sampling import guidance_weights, scheduler_table
from personae.sampling.fast import mode_table
from personae.training import assemble, recipe_table, recipes
from personae.video import animate as animating
from personae.video.animation import Settings as AnimationSettings
from typed_commands import parse


def _verbs(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, one in getattr(command, "commands", {}).items():
        yield (*path, name), one
        yield from _verbs(one, *path, name)


VERBS = dict(_verbs(typer.main.get_command(program.app)))


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_the_example_of_every_verb_can_be_typed(path: tuple[str, ...]) -> None:
    """Parsed by Typer itself, with every option, choice and number in it; nothing is run."""
    found = re.search(r"Example: (personae .+)", VERBS[path].help or "")
    assert found, path
    parse(found[1])


# What a verb is called and what it calls; names that differ between the two.
SAME: list[tuple[Callable[..., Any], Callable[..., Any], dict[str, str]]] = [
    (train.assemble, assemble.assemble, {}),
    (train.train, recipes.run, {}),
    (labelling.photos, prepare.prepare, {}),
    (labelling.people, Settings, {"count": "people"}),
    (labelling.people, prepare_people, {}),
    (evaluate.evaluate, generation.evaluate, {"images": "images_per_person", "guidance": "guidance_scale"}),
    (evaluate.evaluate, reading.evaluate_reader, {}),
    (generate.demo, demo.run, {}),
    (generate.generate, best_of.generate_verified, {}),
    (edit.Common, editing.edit, {"count": "num_images"}),
    (animate.animate, animating.animate, {}),
    (animate.animate, AnimationSettings, {}),
    (people.blend_people, identity.blend, {}),
    (people.relative, identity.noise, {}),
]


def _defaults(of: Callable[..., Any]) -> dict[str, Any]:
    """None is whatever the function itself takes then, and so agrees with everything."""
    parameters = inspect.signature(of).parameters.values()
    found = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    return {name: str(getattr(value, "value", value)) for name, value in found.items() if value is not None}


@pytest.mark.parametrize(("verb", "function", "renamed"), SAME, ids=lambda one: getattr(one, "__qualname__", ""))
def test_defaults_of_a_verb_are_those_of_its_function(
    verb: Callable[..., Any], function: Callable[..., Any], renamed: dict[str, str]
) -> None:
    typed = {renamed.get(name, name): value for name, value in _defaults(verb).items()}
    own = _defaults(function)
    different = {name: (typed[name], own[name]) for name in typed.keys() & own.keys() if typed[name] != own[name]}
    assert not different, "the command line's, the function's"


# ---------------------------------------------------------------------- libraries


def test_libraries_log_errors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY", "HF_HUB_VERBOSITY"):
        monkeypatch.delenv(name, raising=False)
    before = {name: logging.getLogger(name).level for name in libraries.LIBRARIES}
    try:
        logging.getLogger("transformers").setLevel(logging.WARNING)
        libraries.hush()
        assert not logging.getLogger("transformers.tokenization_utils_base").isEnabledFor(logging.WARNING)
        assert logging.getLogger("transformers").isEnabledFor(logging.ERROR)
        # Those imported later read it then.
        code = "from transformers.utils import logging; print(logging.get_verbosity() == logging.ERROR)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
        monkeypatch.setenv("DIFFUSERS_VERBOSITY", "info")
        logging.getLogger("diffusers").setLevel(logging.INFO)
        libraries.hush()
        assert logging.getLogger("diffusers").level == logging.INFO  # as the user wants it
        assert os.environ["DIFFUSERS_VERBOSITY"] == "info"
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def test_only_personae_warns(capsys: pytest.CaptureFixture[str]) -> None:
    with noted():
        for module in ("personae.editing.edit", "diffusers.utils.deprecation_utils", "torch"):
            warnings.warn_explicit(f"from {module}", UserWarning, f"{module}.py", 1, module=module)
        warnings.warn_explicit("soon to go", FutureWarning, "torch.py", 1, module="torch.nn")
    assert capsys.readouterr().err == "personae: from personae.editing.edit\n"


# ---------------------------------------------------------------------- completion


# What is typed, and every name that a table of the heavy code holds.
COMPLETED: dict[str, Callable[[], Any]] = {
    "personae generate --scheduler ": lambda: scheduler_table.SCHEDULERS,
    "personae generate --speed ": lambda: mode_table.MODES,
    "personae edit animate --speed ": lambda: mode_table.MODES,
    "personae generate --look ": lambda: guidance_weights.LOOKS,
    "personae evaluate --suite ": lambda: suites.SUITES,
    "personae train ": lambda: recipes.RECIPES,
    "personae assemble --final ": lambda: recipes.RECIPES,
    "personae edit inpaint --region ": lambda: [*face_regions.GROUPS, *face_regions.REGIONS],
    "personae edit ": lambda: [*tasks.TASKS, "animate", "track"],
    "personae generate --shift ": lambda: [f"{name}=" for name in _directions()],
    "personae identity shift --by smile=1,": lambda: [f"smile=1,{name}=" for name in _directions() if name != "smile"],
    "personae generate -m nowhere --shift ": list,
}


def _directions() -> dict[str, Any]:
    return directions.of_model(catalog.resolve("nano"))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("personae gen", {"generate"}),
        ("personae generate --likeness-g", {"--likeness-guidance"}),
        ("personae generate -m na", {"nano"}),
        ("personae edit swap --model arc", {"arc2face"}),
        ("personae evaluate nan", {"nano"}),
        ("personae generate --format w", {"webp"}),
    ],
)
def test_a_shell_completes_verbs_options_and_models(
    run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, offered: set[str]
) -> None:
    monkeypatch.setenv("_PERSONAE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert set(run().lines) == offered


@pytest.mark.parametrize("typed", COMPLETED)
def test_a_shell_completes_every_name_of_a_table(run: Run, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    words = typed.split(" ")
    monkeypatch.setenv("_PERSONAE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert sorted(filter(None, run().lines)) == sorted(COMPLETED[typed]())


def test_tables_of_names_hold_what_there_is() -> None:
    assert tuple(recipe_table.SUMMARIES) == tuple(recipes.RECIPES)
    assert tuple(task_table.SUMMARIES) == tuple(tasks.TASKS)
    assert {name: one.summary for name, one in tasks.TASKS.items()} == task_table.SUMMARIES


def test_completion_brings_no_torch() -> None:
    code = (
        "import os, sys; from personae.cli import app\n"
        "os.environ['_PERSONAE_COMPLETE'] = 'complete_bash'\n"
        f"for typed in {list(COMPLETED)!r}:\n"
        "    sys.argv = ['personae']\n"
        "    os.environ |= {'COMP_WORDS': typed, 'COMP_CWORD': str(len(typed.split(' ')) - 1)}\n"
        "    try: app.main()\n"
        "    except SystemExit: pass\n"
        "print('brought:', [m for m in ('torch', 'diffusers', 'onnxruntime', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "dpm++" in done.stdout
    assert done.stdout.splitlines()[-1] == "brought: []"
