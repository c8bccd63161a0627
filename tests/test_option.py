"""An option is declared once: the call, the command line, recipes, checks and rows follow from its declaration."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from conftest import made_up
from personae.cli import edit as edit_verbs
from personae.cli import generate as verbs
from personae.cli.steering import controls_from, typer_option, with_controls
from personae.controls import options_file, registry
from personae.controls.control import Control
from personae.controls.image_settings import options_of_some, settings_of, settings_of_some
from personae.controls.option import option
from personae.controls.options import Options
from personae.controls.request import Plan, Request, for_each_person, per_person
from personae.errors import BadOption, BadRecipe
from personae.io.json_kinds import Choice, Interval, Number
from personae.models.components import COMPONENTS
from personae.pipeline import FacePipeline
from personae.provenance import recipe as recipes
from personae.provenance import recipe_schema, writer
from personae.replay import replay
from personae.sampling import schedulers
from personae.sampling.fast.mode_table import MODES
from personae.sampling.guidance_weights import LOOKS, GuidanceWeights
from personae.types import Pose

# ---------------------------------------------------------------------- a toy option, declared in one place


@dataclass(frozen=True, kw_only=True)
class ToyControl(Control):
    """Adds a constant to what the UNet predicts."""

    tint: float | None = option(
        Number(low=-2, high=2), unit="standard deviations", default_text="off", help="How far all latents are moved."
    )
    tint_interval: tuple[float, float] = option(
        Interval(), default=(0.0, 0.5), needs=("tint",), help="Between which shares of the steps."
    )

    def plan(self, model: Any, request: Request) -> Plan | None:
        if self.tint is None:
            return None

        def around(predict: Any, scheduler: Any) -> Any:
            return lambda x, t: predict(x, t) + self.tint

        return Plan(around=[around], settings={"tint": self.tint, "tint_interval": list(self.tint_interval)})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CONTROLS", (*registry.CONTROLS, ToyControl))


@pytest.fixture
def toy_app(toy: None) -> typer.Typer:
    """`personae generate` as it is read anew, with nothing behind it but what was typed."""
    spec = importlib.util.spec_from_file_location("generate_with_a_toy", verbs.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = typer.Typer(rich_markup_mode=None)
    app.command()(module.generate)
    return app


@pytest.mark.usefixtures("toy")
@torch.no_grad()
def test_a_toy_option_acts_and_is_replayed(nano_like: FacePipeline, tmp_path: Path) -> None:
    people = made_up(nano_like, 1)
    plain = nano_like(people, seed=3, measure_likeness=False)
    tinted = nano_like(people, seed=3, measure_likeness=False, tint=1)  # type: ignore[call-arg]
    assert np.any(np.asarray(plain.images[0]) != np.asarray(tinted.images[0]))
    assert tinted.recipe["settings"]["tint"] == 1
    (path,) = writer.save(tinted, tmp_path, people=people)
    assert replay(path, pipe=nano_like)[1].max == 0


@pytest.mark.usefixtures("toy")
def test_a_toy_option_is_checked(nano_like: FacePipeline) -> None:
    people = made_up(nano_like, 1)
    for wrong, message in (
        ({"tint": 3}, "tint must be a number between -2 and 2, got 3"),
        ({"tint_interval": (0, 1)}, "tint_interval has nothing to act on: give tint with it"),
        ({"tint": 1, "tint_interval": (1, 0)}, "tint_interval is two shares of the steps, 0 <= first < last <= 1"),
        ({"tnt": 1}, "unknown option 'tnt': did you mean 'tint'"),
    ):
        with pytest.raises(BadOption, match=message):
            nano_like(people, **wrong)


def test_a_toy_option_is_of_the_command_line(toy_app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(CliRunner().invoke(toy_app, ["--help"]).stdout.split())
    assert "--tint <float> How far all latents are moved. [default: (off)]" in text
    assert "--tint-interval <str> Between which shares of the steps. [default: (0,0.5)]" in text
    app, typed = typer.Typer(), {}

    @app.command()
    @with_controls
    def verb(photo: str, **values: Any) -> None:
        typed.update(controls_from(values))

    assert CliRunner().invoke(app, ["me.jpg", "--tint", "0.5", "--tint-interval", "0,1"]).exit_code == 0
    assert typed == {"tint": 0.5, "tint_interval": [0, 1]}
    bad = CliRunner().invoke(app, ["me.jpg", "--tint-interval", "late"])
    assert isinstance(bad.exception, BadOption)
    assert "--tint-interval takes numbers separated by commas, got 'late'" in str(bad.exception)


def test_a_toy_option_is_of_recipes(request: pytest.FixtureRequest) -> None:
    recipe = {
        "format": recipes.FORMAT,
        "model": {"name": "nano"},
        "settings": {"tint": 0.5},
        "seed": 1,
        "noise": "seed",
        "task": "generate",
    }
    with pytest.raises(BadRecipe, match="settings of the recipe has 'tint', which this version"):
        recipes.checked(recipe)
    request.getfixturevalue("toy")
    assert recipes.checked(recipe)["settings"] == {"tint": 0.5}
    with pytest.raises(BadRecipe, match="tint of settings of the recipe must be a number between -2 and 2, got 3"):
        recipes.checked(recipe | {"settings": {"tint": 3}})
    assert recipes.history([recipe])[0]["settings"] == {"tint": 0.5}


def test_what_is_typed_is_checked_before_any_work(toy_app: typer.Typer) -> None:
    for words, message in (
        (["-n", "0"], "--count must be a whole number between 1 and 1000000, got 0"),
        (["--steps", "0"], "--steps must be a whole number between 1 and 1000, got 0"),
        (["--scheduler", "unpic"], "unknown --scheduler 'unpic': did you mean 'unipc'"),
        (["--seed", "-1"], "--seed must be a whole number between 0 and 9223372036854775807, got -1"),
        (["--tint", "3"], "--tint must be a number between -2 and 2, got 3"),
    ):
        done = CliRunner().invoke(toy_app, ["nobody.jpg", *words])
        assert isinstance(done.exception, BadOption)
        assert message in str(done.exception)


@pytest.mark.usefixtures("toy")
def test_a_toy_option_is_of_the_rows_and_of_the_types() -> None:
    row = {row["name"]: row for row in registry.rows()}["tint"]
    assert (row["type"], row["low"], row["high"], row["unit"]) == ("number", -2, 2, "standard deviations")
    assert "    tint: float | None\n" in options_file.text()


# ---------------------------------------------------------------------- what follows from the declarations there are


def test_the_signature_of_the_call_is_as_declared() -> None:
    assert Path(inspect.getfile(Options)).read_text() == options_file.text(), "python -m personae.controls.options_file"
    assert list(Options.__annotations__) == list(registry.options())


def test_rows_are_json_and_say_what_a_page_needs() -> None:
    rows = json.loads(json.dumps(registry.rows()))
    found = {row["name"]: row for row in rows}
    assert len(found) == len(rows) == len(registry.options())
    assert all(row["help"].endswith(".") and row["type"] for row in rows)
    assert found["pose_scale"] == {
        "name": "pose_scale",
        "title": "Pose scale",
        "group": "Pose and expression",
        "type": "number",
        "help": "How strictly to hold the pose, 0-2.",
        "unit": None,
        "low": 0,
        "high": 2,
        "above_low": False,
        "soft_low": 0,
        "soft_high": 2,
        "step": 0.05,
        "choices": None,
        "default": 1.0,
        "default_text": "1",
        "per": None,
        "needs": ["pose", "pose_map"],
        "component": "controlnet",
        "one_face": True,
        "by_edit": None,
        "in_recipe": True,
        "flag": "--pose-scale",
        "available": None,
        "control": "PoseControl",
    }
    assert found["strength"]["above_low"]
    assert (found["face_interval"]["low"], found["face_interval"]["high"]) == (0, 1)
    assert found["speed"]["choices"] == ["exact", "balanced", "fast"]
    assert {name for name, row in found.items() if row["per"] == "person"} == {"pose", "expression"}
    assert {name for name, row in found.items() if row["per"] == "image"} == {"seed"}
    assert {name for name, row in found.items() if row["per"] == "picture"} == {"image", "mask_image"}
    assert {row["component"] for row in rows} - {None} <= COMPONENTS.keys()
    assert found["num_images_per_prompt"]["flag"] == "--count"
    assert found["batch_size"]["flag"] is None
    assert found["num_inference_steps"]["title"] == "Steps"
    sliders = [row for row in rows if row["type"] in ("number", "integer")]
    for row in sliders:
        assert row["low"] <= row["soft_low"] < row["soft_high"] <= row["high"]
        assert row["step"] > 0


def test_rows_of_a_model_say_what_it_can_do(nano_like: FacePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = {row["name"]: row for row in registry.rows()}
    found = {row["name"]: row for row in json.loads(json.dumps(registry.rows(nano_like)))}
    assert found.keys() == declared.keys()
    assert found["num_inference_steps"]["default"] == nano_like.config.steps
    assert found["guidance_scale"]["default"] == nano_like.config.guidance_scale
    own = nano_like.unet.config.sample_size * 4
    assert {name: found["width"][name] for name in ("default", "low", "step")} == {"default": own, "low": 4, "step": 4}
    for name in found["scheduler"]["choices"]:
        schedulers.fresh(name, like=nano_like.scheduler, steps=2)
    for name in set(declared["scheduler"]["choices"]) - set(found["scheduler"]["choices"]):
        with pytest.raises(BadOption, match="cannot sample a model"):
            schedulers.fresh(name, like=nano_like.scheduler, steps=2)
    for row in found.values():
        if row["component"] is not None:
            assert row["available"] is nano_like.has_component(row["component"])
    assert found["prompt"]["available"]
    guided = ("likeness_guidance", "motion_guidance")
    assert [found[name]["available"] for name in guided] == [True, True]
    monkeypatch.setattr(nano_like, "reader", None)
    assert not any(row["available"] for row in registry.rows(nano_like) if row["name"] in guided)


@pytest.mark.parametrize("control", registry.CONTROLS)
def test_declarations_make_sense(control: type[Control]) -> None:
    defaults = control()
    for name, one in control.options().items():
        assert getattr(defaults, name) == one.default
        assert set(one.needs) <= set(registry.options())
        if one.kind is not None and one.default is not None:
            assert one.checked(name, one.default) == one.default
        if one.in_commands and one.parse is None:
            assert one.typed in (str, float, int, Path)


def test_names_to_choose_from_are_those_there_are() -> None:
    choices = {name: one.choices for name, one in registry.options().items() if isinstance(one.kind, Choice)}
    assert choices["speed"] == tuple(MODES)
    assert choices["look"] == tuple(LOOKS)
    weights = GuidanceWeights()
    for name in ("text", "face", "both"):
        assert registry.options()[f"{name}_weight"].default == getattr(weights, name)
        assert registry.options()[f"{name}_interval"].default == getattr(weights, f"{name}_interval")


def test_defaults_of_the_command_line_are_those_of_the_call() -> None:
    """`generate` passes on what was typed and no more; its help shows what the declaration says."""
    parameters = inspect.signature(verbs.generate).parameters
    offered = {name: one for name, one in registry.options().items() if one.in_commands}
    assert set(offered) <= set(parameters)
    for name, one in offered.items():
        info = get_args(parameters[name].annotation)[1]
        assert parameters[name].default is None
        assert (info.show_default or None, info.help) == (one.default_words, one.help)
        assert info.default == one.flags(name)[0]  # where typer keeps the first name of an annotated option
    assert controls_from(dict.fromkeys(offered)) == {}
    call = inspect.signature(FacePipeline.__call__).parameters
    assert {name: call[name].default for name in registry.options()} == {
        name: one.default for name, one in registry.options().items()
    }
    assert "options" not in call


def test_edits_offer_options_as_they_are_declared() -> None:
    for name in ("likeness_guidance", "motion_guidance", "strength"):
        info = get_args(get_type_hints(edit_verbs.Common, include_extras=True)[name])[1]
        assert info.help == registry.options()[name].help
    assert typer_option("strength", default="the task's").show_default == "the task's"


def test_declarations_bring_no_torch() -> None:
    code = (
        "import sys, personae.controls.registry as r, personae.cli.app; r.rows(); r.options();"
        "print([m for m in ('torch', 'numpy', 'diffusers', 'onnxruntime', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, personae.provenance.recipe_schema as r; len(r.SETTINGS); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_edits_set_what_is_declared_so() -> None:
    assert set(registry.set_by_edits()) == {
        *("image", "mask_image", "assembly", "regions"),
        *("num_images_per_prompt", "height", "width"),
    }
    assert set(registry.set_by_edits(by_default=True)) == {"pose", "expression", "reference"}


def test_settings_of_an_image_are_its_own() -> None:
    masks = [[[0, 1]], [[1, 1]]]
    settings = {"pose": [[1, 0, 0], {"yaw": 2}], "expression": {"smile": 1}, "mask_image": masks, "strength": 0.5}
    assert settings_of(settings, person=1, image=0, images=2) == {
        "pose": {"yaw": 2},
        "expression": {"smile": 1},
        "mask_image": [[0, 1]],
        "strength": 0.5,
    }
    assert settings_of({"pose": [1, 0, 0]}, person=1, image=0, images=2) == {"pose": [1, 0, 0]}


def test_settings_of_some_images_follow_them() -> None:
    """Two people, two images each; of these the third and the second, in this order."""
    slots, poses = [(1, 2), (0, 1)], [(20, 0, 0), (-20, 0, 0)]
    settings = {"pose": poses, "image": ["a", "b", "c", "d"], "mask_image": ["m", "n"], "strength": 0.5}
    some = settings_of_some(settings, slots, images=4)
    assert some == {"pose": poses, "image": ["c", "b"], "mask_image": ["n", "m"], "strength": 0.5}
    assert settings_of_some(settings, slots[:1], images=4)["image"] == "c"
    assert settings_of_some(settings, [], images=4) == settings
    callback = len
    options = options_of_some(settings | {"callback_on_step_end": callback}, slots, images=4)
    assert options == some | {"pose": poses[::-1], "callback_on_step_end": callback}
    rows = np.arange(4 * 5 * 5 * 3, dtype=np.uint8).reshape(4, 5, 5, 3)
    np.testing.assert_array_equal(options_of_some({"image": rows}, slots, images=4)["image"], rows[[2, 1]])
    assert options_of_some({"pose": (1, 0, 0), "image": None}, slots, images=4) == {"pose": (1, 0, 0), "image": None}


def test_a_value_for_each_person_is_told_from_one_for_all() -> None:
    assert not per_person((20, 0, 0))
    assert not per_person({"smile": 1})
    assert per_person([(20, 0, 0), Pose(yaw=1, pitch=0, roll=0)])
    assert for_each_person((20, 0, 0), 2) == [(20, 0, 0)] * 2
    assert for_each_person([{"smile": 1}, {}], 2) == [{"smile": 1}, {}]


def test_numbers_of_numpy_are_numbers(nano_like: FacePipeline) -> None:
    people = made_up(nano_like, 1)
    numbers: Any = {"num_inference_steps": np.int64(2), "guidance_scale": np.float32(2), "seed": np.arange(3, 4)}
    plain = nano_like(people, num_inference_steps=2, guidance_scale=2, seed=[3], measure_likeness=False)
    same = nano_like(people, measure_likeness=False, **numbers)
    assert json.dumps(same.recipe) == json.dumps(plain.recipe)
    assert same.seeds == plain.seeds == [3]


def test_none_is_as_good_as_absent(nano_like: FacePipeline) -> None:
    nothing: Any = dict.fromkeys(set(registry.options()) - {"seed"})
    people = made_up(nano_like, 1)
    alike = [nano_like(people, seed=1, measure_likeness=False, **options) for options in ({}, nothing)]
    assert alike[0].recipe == alike[1].recipe


def test_no_setting_of_a_recipe_is_a_path() -> None:
    kinds = registry.recipe_kinds()
    assert {name for name, kind in kinds.items() if kind.fits("/etc/passwd")} == {"prompt", "negative_prompt"}
    assert "assembly" not in registry.recipe_kinds()
    assert set(recipe_schema.HISTORY_SETTINGS) == set(recipe_schema.SETTINGS) - {"mask_image", "regions"}
