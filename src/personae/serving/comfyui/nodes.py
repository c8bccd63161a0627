"""The nodes, as ComfyUI's V3 interface wants them. Only ComfyUI imports this: its `comfy_api` is nowhere else.

Every node is a schema over a function of `actions`; what it shows of options follows from `sockets`.
"""

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import ComfyExtension, io

from personae.editing.tasks import TASKS
from personae.serving.comfyui import actions, sockets
from personae.serving.comfyui.sockets import Socket

CATEGORY = "personae"
MODELS = Path(folder_paths.models_dir) / "personae"
folder_paths.add_model_folder_path("personae", str(MODELS))

Model = io.Custom("PERSONAE_MODEL")
Person = io.Custom("PERSONAE_PERSON")
_KINDS = {"FLOAT": io.Float, "INT": io.Int, "STRING": io.String, "COMBO": io.Combo, "IMAGE": io.Image}
_MOST = 2**32 - 1  # of a seed


def _inputs(found: list[Socket]) -> list[Any]:
    return [_KINDS[one.kind].Input(one.id, **one.facts) for one in found]


def _of_options(names: list[str]) -> list[Any]:
    return _inputs(sockets.sockets_of(names, files={"lora": folder_paths.get_filename_list("loras")}))


def _files(values: dict[str, Any]) -> dict[str, Path]:
    chosen = values.get("lora", sockets.UNSET)
    return {} if chosen == sockets.UNSET else {"lora": Path(folder_paths.get_full_path_or_raise("loras", chosen))}


def _seed() -> Any:
    return io.Int.Input("seed", default=0, min=0, max=_MOST, control_after_generate=True)


def _count() -> Any:
    return io.Int.Input("count", default=1, min=1, max=64, tooltip="How many; image n has seed + n.")


def _consent() -> Any:
    text = "The people in these photos agreed to this."
    return io.Boolean.Input("consent", default=False, tooltip=text, label_on="agreed", label_off="not yet")


def _pictures() -> list[Any]:
    return [io.Image.Output(display_name="images"), io.String.Output(display_name="recipe")]


class LoadModel(io.ComfyNode):
    """A model, for all the nodes that need one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        return io.Schema(
            node_id="PersonaeLoadModel",
            display_name="Load face model",
            category=CATEGORY,
            description="A model of personae: by name, or a folder of models/personae.",
            inputs=[
                io.Combo.Input("name", options=actions.names_of_models(MODELS), default="nano"),
                io.Boolean.Input("accept_licence", default=False, tooltip="Of weights that ask for it."),
            ],
            outputs=[Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, name: str, accept_licence: bool) -> io.NodeOutput:
        """Open it."""
        return io.NodeOutput(actions.open_model(name, MODELS, accept_licence=accept_licence))


class Read(io.ComfyNode):
    """A photo's person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        return io.Schema(
            node_id="PersonaeRead",
            display_name="Read face",
            category=CATEGORY,
            description="Who is in a photo. A batch of photos of one person gives their mean.",
            inputs=[
                Model.Input("model"),
                io.Image.Input("image"),
                io.Int.Input("face", default=1, min=1, max=100, tooltip="Which one: 1 is the largest."),
                _consent(),
            ],
            outputs=[Person.Output(display_name="person")],
        )

    @classmethod
    def execute(cls, model: Any, image: Any, face: int, consent: bool) -> io.NodeOutput:
        """Read it."""
        return io.NodeOutput(actions.read(model, image, face=face, consent=consent))


class Mean(io.ComfyNode):
    """Several readings of one person, averaged."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        others = [Person.Input(f"person_{number}", optional=True) for number in (2, 3, 4)]
        return io.Schema(
            node_id="PersonaeMean",
            display_name="Mean of faces",
            category=CATEGORY,
            description="Several photos of one person in one identity.",
            inputs=[Person.Input("person_1"), *others],
            outputs=[Person.Output(display_name="person")],
        )

    @classmethod
    def execute(cls, person_1: Any, **others: Any) -> io.NodeOutput:
        """Average them."""
        return io.NodeOutput(actions.mean([person_1, *(one for one in others.values() if one is not None)]))


class Blend(io.ComfyNode):
    """Between two people."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        return io.Schema(
            node_id="PersonaeBlend",
            display_name="Blend faces",
            category=CATEGORY,
            description="A person between two others.",
            inputs=[
                Person.Input("first"),
                Person.Input("second"),
                io.Float.Input("amount", default=0.5, min=0, max=1, step=0.01, display_mode=io.NumberDisplay.slider),
            ],
            outputs=[Person.Output(display_name="person")],
        )

    @classmethod
    def execute(cls, first: Any, second: Any, amount: float) -> io.NodeOutput:
        """Blend them."""
        return io.NodeOutput(actions.blend(first, second, amount))


class Shift(io.ComfyNode):
    """Older, smiling ...: along the model's directions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        return io.Schema(
            node_id="PersonaeShift",
            display_name="Shift face",
            category=CATEGORY,
            description="A person made older, more given to smiling ..., in standard deviations.",
            inputs=[
                Model.Input("model"),
                Person.Input("person"),
                io.String.Input("amounts", default="age=1", tooltip="By name of direction: age=1.5,smile=-1"),
            ],
            outputs=[Person.Output(display_name="person")],
        )

    @classmethod
    def execute(cls, model: Any, person: Any, amounts: str) -> io.NodeOutput:
        """Shift it."""
        return io.NodeOutput(actions.shift(model, person, amounts))


class Generate(io.ComfyNode):
    """New pictures of a person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        return io.Schema(
            node_id="PersonaeGenerate",
            display_name="Generate face",
            category=CATEGORY,
            description="New pictures of a person..",
            inputs=[
                Model.Input("model"),
                Person.Input("person"),
                _seed(),
                _count(),
                *_of_options(sockets.generation_options(words=False)),
            ],
            outputs=_pictures(),
        )

    @classmethod
    def execute(cls, model: Any, person: Any, seed: int, count: int, **values: Any) -> io.NodeOutput:
        """Generate them."""
        return io.NodeOutput(
            *actions.generate(model, person, seed=seed, count=count, values=values, files=_files(values))
        )


class TextAndFace(io.ComfyNode):
    """A person in words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        prompt = "Words around {person}; or words without it, with the weights below."
        return io.Schema(
            node_id="PersonaeTextAndFace",
            display_name="Generate from text and face",
            category=CATEGORY,
            description="New pictures of a person as words describe them..",
            inputs=[
                Model.Input("model"),
                Person.Input("person"),
                io.String.Input("prompt", default="a smiling {person}", multiline=True, tooltip=prompt),
                _seed(),
                _count(),
                *_of_options(sockets.generation_options(words=True)),
            ],
            outputs=_pictures(),
        )

    @classmethod
    def execute(cls, model: Any, person: Any, prompt: str, seed: int, count: int, **values: Any) -> io.NodeOutput:
        """Generate them."""
        found = actions.generate(
            model, person, seed=seed, count=count, prompt=prompt, values=values, files=_files(values)
        )
        return io.NodeOutput(*found)


class Edit(io.ComfyNode):
    """One face of a photo, made anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        return io.Schema(
            node_id="PersonaeEdit",
            display_name="Edit face",
            category=CATEGORY,
            description="; ".join(f"{name}: {task.summary}" for name, task in TASKS.items()),
            inputs=[
                Model.Input("model"),
                io.Combo.Input("task", options=list(TASKS)),
                io.Image.Input("target", optional=True, tooltip="The photo that is edited; of reenact, the driver."),
                io.Image.Input("source", optional=True, tooltip="A photo of who is put in; of reenact, who is moved."),
                io.Mask.Input("mask", optional=True, tooltip="Of the photo's size: what is made anew."),
                io.String.Input("regions", default="", optional=True, tooltip="In place of a mask: mouth,nose"),
                io.String.Input("shift", default="", optional=True, tooltip="Of the person: age=1.5,smile=-1"),
                io.Int.Input("face", default=1, min=1, max=100, tooltip="Which one is edited: 1 is the largest."),
                _seed(),
                _count(),
                _consent(),
                *_inputs(sockets.sockets_of(actions.EDIT_OPTIONS, unset=actions.UNSET_IN_EDITS)),
            ],
            outputs=_pictures(),
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        task: str,
        face: int,
        seed: int,
        count: int,
        consent: bool,
        target: Any = None,
        source: Any = None,
        mask: Any = None,
        regions: str = "",
        shift: str = "",
        **values: Any,
    ) -> io.NodeOutput:
        """Edit it."""
        return io.NodeOutput(
            *actions.edit(
                model,
                task,
                source=source,
                target=target,
                mask=mask,
                regions=regions,
                shift=shift,
                face=face,
                seed=seed,
                count=count,
                consent=consent,
                values=values,
            )
        )


class Detect(io.ComfyNode):
    """Whether pictures carry the watermark."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Its inputs and outputs."""
        return io.Schema(
            node_id="PersonaeDetect",
            display_name="Detect watermark",
            category=CATEGORY,
            description="Whether pictures carry the mark of personae in their pixels. Files say more: personae detect.",
            inputs=[io.Image.Input("image")],
            outputs=[io.String.Output(display_name="found"), io.String.Output(display_name="json")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: Any) -> io.NodeOutput:
        """Look for it."""
        lines, found = actions.detect(image)
        return io.NodeOutput(lines, found, ui={"text": [lines]})


class Extension(ComfyExtension):
    """All of them."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """For ComfyUI."""
        return [LoadModel, Read, Mean, Blend, Shift, Generate, TextAndFace, Edit, Detect]


async def comfy_entrypoint() -> Extension:
    """Where ComfyUI begins."""
    return Extension()
