"""Run a workflow through ComfyUI's own executor, without its page: `python comfyui_executor.py COMFYUI NODES < graph`.

COMFYUI: a copy of ComfyUI. NODES: the folder of the nodes to load. The graph is ComfyUI's API format, as JSON. The last
line that it prints is JSON: `errors` of validation by node, or `outputs` by node, files below `COMFYUI/output`.

Run in a process of its own: ComfyUI takes over the working directory, the command line and the top of the import path.
What it imports at its start and none of these nodes use is stood in for, so that no torchvision is needed.
"""

import asyncio
import json
import sys
import types
from pathlib import Path


class _Anything(types.ModuleType):
    """A module in which every name is found, for `from torchvision import ...` at the top of files that are not run."""

    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _stand_in(*names: str) -> None:
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), _Anything(".".join(parts[:end])))


def _look_for_torchvision() -> None:
    """Before anything stands in for it: both libraries remember what they found."""
    import diffusers
    import transformers

    assert not transformers.utils.is_torchvision_available()
    assert not diffusers.utils.is_torchvision_available()


class _Server:
    """In place of the page: it hears of everything and answers nothing."""

    client_id = None
    last_node_id = None

    def send_sync(self, event: str, data: object, sid: object = None) -> None:
        """Progress and the like."""


def _errors(messages: list[tuple[str, dict[str, object]]]) -> list[dict[str, object]]:
    """What nodes raised."""
    wanted = ("node_id", "exception_type", "exception_message")
    return [{name: data[name] for name in wanted} for event, data in messages if event == "execution_error"]


def main() -> None:
    """Load the nodes, run the graph of stdin, say what came of it."""
    comfyui, nodes_folder = (str(Path(one).resolve()) for one in sys.argv[1:3])
    graph = json.load(sys.stdin)
    _look_for_torchvision()
    _stand_in("torchvision.transforms.functional", "torchaudio.functional", "spandrel", "kornia.morphology")
    _stand_in("kornia.filters", "kornia.color", "comfyui_frontend_package", "comfyui_workflow_templates")
    _stand_in("comfyui_embedded_docs")
    sys.path.insert(0, comfyui)
    sys.argv = ["main.py", "--cpu", "--disable-all-custom-nodes"]

    import comfy.options

    comfy.options.enable_args_parsing()

    import execution
    import nodes

    asyncio.run(nodes.load_custom_node(nodes_folder))
    found, error, outputs, node_errors = asyncio.run(execution.validate_prompt("test", graph, None))
    if not found:
        reasons = {node: [one["type"] for one in row["errors"]] for node, row in node_errors.items()}
        sys.stdout.write(json.dumps({"errors": reasons, "error": error["type"]}) + "\n")
        return
    executor = execution.PromptExecutor(_Server())
    executor.execute(graph, "test", {}, outputs)
    result = executor.history_result if executor.success else {"outputs": {}}
    sys.stdout.write(json.dumps({"outputs": result["outputs"], "errors": _errors(executor.status_messages)}) + "\n")


if __name__ == "__main__":
    main()
