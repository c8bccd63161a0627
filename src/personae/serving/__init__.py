"""One owner of each model that serves all others: `Engine`, its requests, and the surfaces that stand on it.

    from personae.serving import Engine, Generate

    with Engine(["nano"]) as engine:
        ticket = engine.submit(Generate(people=["me.jpg"], seed=0, options={"num_inference_steps": 12}))
        for progress in ticket.events():
            print(progress.stage, progress.step, progress.steps)
        ticket.result().images[0].save("again.png")

Importing this brings no torch: models are loaded in the engine's own threads.
"""

from personae.serving.engine.engine import Engine
from personae.serving.engine.progress import Progress
from personae.serving.engine.requests import (
    Animate,
    Blend,
    Detect,
    Edit,
    EngineRequest,
    Generate,
    Mean,
    Read,
    Sample,
    Shift,
)
from personae.serving.engine.ticket import Ticket
from personae.serving.safety import DenyList, Policy

__all__ = [
    "Animate",
    "Blend",
    "DenyList",
    "Detect",
    "Edit",
    "Engine",
    "EngineRequest",
    "Generate",
    "Mean",
    "Policy",
    "Progress",
    "Read",
    "Sample",
    "Shift",
    "Ticket",
]
