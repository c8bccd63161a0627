"""personae as nodes of ComfyUI: `personae comfyui install DIR`.

`sockets` derives the inputs of nodes from the registry of options, `actions` does the work on tensors, `nodes` shows it
to ComfyUI (imported there alone), `install` puts a folder into `custom_nodes/`.
"""
