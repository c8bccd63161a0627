"""A LoRA that lets the UNet sample in a few steps without guidance, and the scheduler that it was distilled for.

    student = FewSteps.read(folder / "lcm", unet, like=scheduler)
    student.scheduler, student.lora.at(1.0)

The published kind is a latent consistency model's (Luo et al. 2023, arXiv 2311.05556): one file, for `lcm`. A LoRA
that was distilled for another scheduler says so in `lcm.json`: {"scheduler": "flow-euler"}.
"""

import json
from pathlib import Path
from typing import Any

from personae.component_module import ComponentModule
from personae.errors import BadOption, WeightsCorrupt
from personae.io import atomic
from personae.sampling import schedulers
from personae.sampling.lora_weights import FILE, Lora

CONFIG = "lcm.json"


class FewSteps(ComponentModule):
    """What an option for few steps needs of a model's folder.

    Arguments:
        lora: for the model's UNet.
        scheduler: the name in `schedulers.SCHEDULERS` of the one that it was distilled for.
    """

    def __init__(self, *, lora: Lora, scheduler: str) -> None:
        super().__init__()
        self.lora, self.scheduler = lora, scheduler

    def save(self, folder: Path) -> None:
        """Write the LoRA and `lcm.json` into `folder`. Raises as `Lora.save`; `BadOutput`."""
        self.lora.save(folder)
        atomic.write_json(folder / CONFIG, {"scheduler": self.scheduler})

    @classmethod
    def read(cls, folder: Path, unet: Any, *, like: Any) -> "FewSteps":
        """Read what `save` wrote, or a published folder.

        Arguments:
            folder: with the LoRA's file and, unless its scheduler is `lcm`, `lcm.json`.
            unet: that the LoRA is for.
            like: the model's own scheduler, whose noise schedule the other one takes over.

        Raises `WeightsMissing` without the LoRA's file; `WeightsCorrupt` if the LoRA does not fit the UNet, or its
        scheduler the model.
        """
        name = _scheduler(folder / CONFIG)
        try:
            schedulers.fresh(name, like=like, steps=1)
        except BadOption as error:
            raise WeightsCorrupt(f"{folder} was not distilled from this model ({error})") from error
        return cls(lora=Lora.read(folder / FILE, unet), scheduler=name)


def _scheduler(path: Path) -> str:
    """The name in `lcm.json`; without that file, the published kind's."""
    if not path.is_file():
        return "lcm"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["scheduler"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsCorrupt(f'{path} must read {{"scheduler": NAME}}: fetch it again') from error
