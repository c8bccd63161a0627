"""The nodes, as ComfyUI's V3 interface wants them. Only ComfyUI imports this: its `comfy_api` is nowhere else.

A node is a row of `NODES`: a function of `actions` with its inputs. What it shows of options follows from `sockets`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import ComfyExtension, io

from personae.editing.tasks import TASKS
from personae.serving.comfyui import actions, sockets
from personae.serving.comfyui.sockets import Socket

MODELS = Path(folder_paths.models_dir) / "personae"
folder_paths.add_model_folder_path("personae", str(MODELS))

Model = io.Custom("PERSONAE_MODEL")
Person = io.Custom("PERSONAE_PERSON")
_KINDS = {"FLOAT": io.Float, "INT": io.Int, "STRING": io.String, "COMBO": io.Combo, "IMAGE": io.Image}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node.

    id: in workflows. name: on the node. inputs: a function, since ComfyUI asks again for the files that there are.
    run: what it does, its arguments the inputs by name; returns a value for each output. ends: whether a workflow may
    end with it; then its first output is a text to show.
    """

    id: str
    name: str
    about: str
    inputs: Callable[[], Sequence[Any]]
    outputs: Callable[[], Sequence[Any]]
    run: Callable[..., Sequence[Any]]
    ends: bool = False

    def for_comfyui(self) -> type[io.ComfyNode]:
        """The class that ComfyUI wants."""

        def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
            facts: dict[str, Any] = {"display_name": self.name, "description": self.about, "is_output_node": self.ends}
            inputs, outputs = list(self.inputs()), list(self.outputs())
            return io.Schema(node_id=self.id, category="personae", inputs=inputs, outputs=outputs, **facts)

        def execute(cls: type[io.ComfyNode], **values: Any) -> io.NodeOutput:
            found = self.run(**values)
            return io.NodeOutput(*found, ui={"text": [found[0]]} if self.ends else None)

        body = {"define_schema": classmethod(define_schema), "execute": classmethod(execute), "__doc__": self.about}
        return type(self.id, (io.ComfyNode,), body)


# ---------------------------------------------------------------------- inputs and outputs


def _inputs(found: Sequence[Socket]) -> list[Any]:
    return [_KINDS[one.kind].Input(one.id, **one.facts) for one in found]


def _pictures_wanted() -> list[Any]:
    """Which seed, and how many."""
    seed = sockets.own("seed", most=2**32 - 1, control_after_generate=True)
    count = sockets.own("num_images_per_prompt", id="count", most=64, tooltip="How many; image n has seed + n.")
    return _inputs([seed, count])


def _options(*, words: bool) -> list[Any]:
    names = sockets.generation_options(words=words)
    return _inputs(sockets.sockets_of(names, files={"lora": folder_paths.get_filename_list("loras")}))


def _consent() -> Any:
    text = "The people in these photos agreed to this."
    return io.Boolean.Input("consent", default=False, tooltip=text, label_on="agreed", label_off="not yet")


def _face() -> Any:
    return io.Int.Input("face", default=1, min=1, max=100, tooltip="Which one: 1 is the largest.")


def _amount() -> Any:
    slider = io.NumberDisplay.slider
    return io.Float.Input("amount", default=0.5, min=0, max=1, step=0.01, display_mode=slider)


def _person() -> list[Any]:
    return [Person.Output(display_name="person")]


def _pictures() -> list[Any]:
    return [io.Image.Output(display_name="images"), io.String.Output(display_name="recipe")]


# ---------------------------------------------------------------------- what they do


def _generate(model: Any, person: Any, seed: int, count: int, prompt: str = "", **values: Any) -> Sequence[Any]:
    chosen = values.get("lora", sockets.UNSET)
    files = {} if chosen == sockets.UNSET else {"lora": Path(folder_paths.get_full_path_or_raise("loras", chosen))}
    return actions.generate(model, person, seed=seed, count=count, prompt=prompt, values=values, files=files)


def _edit(model: Any, task: str, **fields: Any) -> Sequence[Any]:
    options = {one.id for one in sockets.of_edits()}
    values = {name: fields.pop(name) for name in options & set(fields)}
    return actions.edit(model, task, values=values, **fields)


# ---------------------------------------------------------------------- the nodes

NODES = (
    Node(
        id="PersonaeLoadModel",
        name="Load face model",
        about="A model of personae: by name, or a folder of models/personae.",
        inputs=lambda: [
            io.Combo.Input("name", options=actions.names_of_models(MODELS), default="nano"),
            io.Boolean.Input("accept_licence", default=False, tooltip="Of weights that ask for it."),
        ],
        outputs=lambda: [Model.Output(display_name="model")],
        run=lambda name, accept_licence: [actions.open_model(name, MODELS, accept_licence=accept_licence)],
    ),
    Node(
        id="PersonaeRead",
        name="Read face",
        about="Who is in a photo. A batch of photos of one person gives their mean.",
        inputs=lambda: [Model.Input("model"), io.Image.Input("image"), _face(), _consent()],
        outputs=_person,
        run=lambda model, image, **fields: [actions.read(model, image, **fields)],
    ),
    Node(
        id="PersonaeMean",
        name="Mean of faces",
        about="Several photos of one person in one identity.",
        inputs=lambda: [Person.Input(f"person_{number}", optional=number > 1) for number in (1, 2, 3, 4)],
        outputs=_person,
        run=lambda **people: [actions.mean([one for one in people.values() if one is not None])],
    ),
    Node(
        id="PersonaeBlend",
        name="Blend faces",
        about="A person between two others.",
        inputs=lambda: [Person.Input("first"), Person.Input("second"), _amount()],
        outputs=_person,
        run=lambda **fields: [actions.blend(**fields)],
    ),
    Node(
        id="PersonaeShift",
        name="Shift face",
        about="A person made older, more given to smiling ..., in standard deviations.",
        inputs=lambda: [
            Model.Input("model"),
            Person.Input("person"),
            io.String.Input("amounts", default="age=1", tooltip="By name of direction: age=1.5,smile=-1"),
        ],
        outputs=_person,
        run=lambda model, person, amounts: [actions.shift(model, person, amounts)],
    ),
    Node(
        id="PersonaeGenerate",
        name="Generate face",
        about="New pictures of a person.",
        inputs=lambda: [Model.Input("model"), Person.Input("person"), *_pictures_wanted(), *_options(words=False)],
        outputs=_pictures,
        run=_generate,
    ),
    Node(
        id="PersonaeTextAndFace",
        name="Generate from text and face",
        about="New pictures of a person as words describe them.",
        inputs=lambda: [
            *(Model.Input("model"), Person.Input("person")),
            *_inputs([sockets.own("prompt", default="a smiling {person}", multiline=True)]),
            *_pictures_wanted(),
            *_options(words=True),
        ],
        outputs=_pictures,
        run=_generate,
    ),
    Node(
        id="PersonaeEdit",
        name="Edit face",
        about="; ".join(f"{name}: {TASKS[name].summary}" for name in sockets.EDIT_TASKS),
        inputs=lambda: [
            *(Model.Input("model"), io.Combo.Input("task", options=list(sockets.EDIT_TASKS))),
            io.Image.Input("target", optional=True, tooltip="The photo that is edited; of reenact, the driver."),
            io.Image.Input("source", optional=True, tooltip="A photo of who is put in; of reenact, who is moved."),
            io.Mask.Input("mask", optional=True, tooltip="Of the photo's size: what is made anew."),
            io.String.Input("regions", default="", optional=True, tooltip="In place of a mask: mouth,nose"),
            io.String.Input("shift", default="", optional=True, tooltip="Of the person: age=1.5,smile=-1"),
            *(_face(), *_pictures_wanted(), _consent()),
            *_inputs(sockets.of_edits()),
        ],
        outputs=_pictures,
        run=_edit,
    ),
    Node(
        id="PersonaeDetect",
        name="Detect watermark",
        about="Whether pictures carry the mark of personae in their pixels. Files say more: personae detect.",
        inputs=lambda: [io.Image.Input("image")],
        outputs=lambda: [io.String.Output(display_name="found"), io.String.Output(display_name="json")],
        run=lambda image: actions.detect(image),
        ends=True,
    ),
)


class Extension(ComfyExtension):
    """All of them."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """For ComfyUI."""
        return [node.for_comfyui() for node in NODES]


async def comfy_entrypoint() -> Extension:
    """Where ComfyUI begins."""
    return Extension()
