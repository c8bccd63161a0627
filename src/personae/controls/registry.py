"""The controls there are, and what follows from their declarations: the plan of a request, tables, rows.

    controls = controls_of({"fast": 4, "expression": {"smile": 0.8}})
    plan = plan_for(model, request)             # a `Request` with these controls
    options()["pose_scale"].help                # of the command line, pages and docs
    rows()                                      # the same as JSON, for whoever draws sliders
    rows(model)                                 # ... with that model's defaults, and what it can do

A new way to steer is a file of this folder and its class in `CONTROLS`. Brings no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personae.controls.batch import BatchControl
from personae.controls.expression import ExpressionControl
from personae.controls.fast import FastControl
from personae.controls.inpaint import InpaintControl
from personae.controls.likeness import LikenessControl
from personae.controls.lora import LoraControl
from personae.controls.motion import MotionControl
from personae.controls.picture_size import PictureSizeControl
from personae.controls.pieces import PiecesControl
from personae.controls.pose import PoseControl
from personae.controls.prompt import PromptControl
from personae.controls.reference import ReferenceControl
from personae.controls.regions import RegionsControl
from personae.controls.request import Plan, Request
from personae.controls.speed import SpeedControl
from personae.controls.steps import StepsControl
from personae.controls.text import TextControl
from personae.errors import BadOption, unknown_name

if TYPE_CHECKING:
    from personae.controls.control import Control
    from personae.controls.option import Option
    from personae.io.json_kinds import Kind
    from personae.model import Model

# What the pipeline reads by itself; the command line's help names these first.
OF_EVERY_CALL: tuple[type[Control], ...] = (PromptControl, BatchControl, StepsControl, PictureSizeControl)

# In the order in which they act, and in which the command line's help names their options.
CONTROLS: tuple[type[Control], ...] = (
    *OF_EVERY_CALL,
    PoseControl,
    ExpressionControl,
    PiecesControl,
    FastControl,
    LoraControl,
    ReferenceControl,
    InpaintControl,
    SpeedControl,
    MotionControl,
    LikenessControl,
    TextControl,  # its hook lies around what others make of the UNet's attention
    RegionsControl,  # the last: what the others make is a prediction of its windows
)


def options() -> dict[str, Option]:
    """Every option by name, in the order of `CONTROLS`."""
    return {name: one for control in CONTROLS for name, one in control.options().items()}


def require_known(name: str) -> None:
    """Raise `BadOption`, naming the nearest ones, for a name that is no option's."""
    known = options()
    if name not in known:
        raise unknown_name("option", name, known)


def recipe_kinds(*, history: bool = False) -> dict[str, Kind]:
    """What a recipe's settings may say of each option; without those that no recipe holds. history: only those that the
    recipe of a later edit holds, too."""
    kinds = {name: one.recipe_kind for name, one in options().items() if one.in_history or not history}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def set_by_edits(*, by_default: bool = False) -> tuple[str, ...]:
    """The options that an edit sets, and its caller may not; by_default: those that it sets unless its caller does."""
    how = "default" if by_default else "always"
    return tuple(name for name, one in options().items() if one.by_edit == how)


def work_of_a_step(settings: Mapping[str, Any]) -> float:
    """What a step of a call with such settings costs, in calls of the UNet for one picture."""
    return 1 + sum(one.work for name, one in options().items() if one.work and settings.get(name, 0) > 0)


def controls_of(request_options: Mapping[str, Any], *, provided: Collection[str] = ()) -> list[Control]:
    """One control of each class, with its own of a request's options. provided: names of options that are set
    elsewhere, so that others may need them. Raises `BadOption` for an unknown option, a value out of range, or an
    option without what it needs."""
    for name in request_options:
        require_known(name)
    return [control.of(request_options, provided) for control in CONTROLS]


def plan_for(model: Model, request: Request) -> Plan:
    """The whole plan of a request. Raises `BadOption` for options that contradict each other; `WeightsMissing` for a
    component that the model does not have; whatever a control raises."""
    controls: Sequence[Control] = request.controls
    for control in controls:
        request = control.laid_out(model, request)
    _require_one_face(controls, request, model.unet.config.sample_size)
    whole = Plan()
    for control in controls:
        part = control.plan(model, request)
        if part is not None:
            whole = _joined(whole, part)
    return whole


def _joined(whole: Plan, part: Plan) -> Plan:
    return Plan(
        hooks=whole.hooks + part.hooks,
        around=whole.around + part.around,
        defaults=whole.defaults | part.defaults,
        settings=whole.settings | part.settings,
        mode=part.mode or whole.mode,
        guidance=part.guidance or whole.guidance,
        mask_blend=part.mask_blend or whole.mask_blend,
    )


def _require_one_face(controls: Sequence[Control], request: Request, side: int) -> None:
    """Raise `BadOption` for options that need a face of its own in everything that the UNet makes."""
    people = request.person_index if request.windows is None else request.windows.people
    alone = request.regions is None or request.windows is not None
    if request.grid == (side, side) and None not in people and alone:
        return
    for control in controls:
        if control.one_face and control.explicit:
            name = next(name for name in control.options() if name in control.explicit)
            raise BadOption(
                f"{name} is for pictures of one face: leave it out, or regions, height and width; or give regions of "
                "a larger picture whose windows leave nothing out"
            )


def rows(model: Model | None = None) -> list[dict[str, Any]]:
    """The options as JSON values, for the schema of a server, the sliders of a page and the sockets of a node.

    What is declared: `name`, `title`, `group` (a heading for a page), `help`, `type` (text, number, integer, choice,
    interval, photo, mask, file, pose, expression, assembly, regions), `unit`, `low` and `high` (`above_low`: without
    `low` itself), `soft_low` and `soft_high` (of a slider), `step` (of a slider), `choices`, `default` and the same in
    words, `per` (person, picture or image, if it may be a list with one for each), `needs` (one of these options),
    `component` (that the model must have), `one_face` (in every picture), `by_edit` (always, default: whether an edit
    sets it), `in_recipe`, `flag` (of `personae generate`) and `control`, the class. What does not apply is None.

    With a model: `available`, whether it has what the option needs; and its own `default`, `choices`, `low` and `step`
    in place of the declared ones. Without: `available` is None.
    """
    found = []
    for control in CONTROLS:
        of_model = {} if model is None else control.of_model(model)
        available = None if model is None else control.works_with(model)
        for name, one in control.options().items():
            own = {"component": control.component, "one_face": control.one_face, "group": control.group}
            facts = one.facts(name) | own | {"available": available, "control": control.__name__}
            found.append(facts | dict(of_model.get(name, {})))
    return found
