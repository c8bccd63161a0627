"""`make checked` finds wrong shapes, dtypes and axes that differ, which go unnoticed without it.

Each case is run twice: as it is, where nothing happens, and in a process with `-p runtime_checks`, where it must fail.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from personae.conditioning.blendshapes import adapter_input
from personae.conditioning.facex.representation import gaze
from personae.editing.paste import inside
from personae.identity import IdentitySampler
from personae.reading import align
from personae.sampling import codec, guidance
from personae.types import Detection, Edit

CHECKS = "runtime_checks" in sys.modules


def _edit(faces: int) -> Edit:
    before, after = np.zeros((1, 4, 4, 3), np.uint8), np.zeros((0, 1, 4, 4, 3), np.uint8)
    masks, mask = np.zeros((faces, 4, 4), bool), np.zeros((8, 8), bool)
    return Edit(images=[], seeds=[], likeness=None, before=before, after=after, edit_masks=masks, mask=mask, recipe={})


def _decode(channels: int) -> torch.Tensor:
    config = SimpleNamespace(scaling_factor=1.0, get=lambda name: None)
    vae = SimpleNamespace(config=config, dtype=torch.float32)
    vae.decode = lambda latents, return_dict: (torch.zeros(len(latents), channels, 2, 2),)
    return codec.decode(vae, torch.zeros(2, 4, 1, 1))


GREY = np.zeros((4, 6, 3), np.uint8)
RIGHT: dict[str, Callable[[], object]] = {
    "number of an axis": lambda: gaze(np.zeros(52)),
    "number of axes": lambda: align.apply(np.eye(2, 3), np.zeros((7, 2))),
    "any axes before": lambda: adapter_input(np.zeros((2, 5, 52))),
    "axis of two arguments": lambda: inside(GREY, GREY, None),
    "shape of two arguments": lambda: guidance.combine(torch.zeros(2, 3), torch.zeros(2, 3), 1.0),
    "dtype": lambda: align.recoloured(GREY, np.ones(3), np.zeros(3)),
    "result": lambda: _decode(3),
    "field": lambda: Detection(box=np.zeros(4, np.float32), points=np.zeros((5, 2), np.float32), score=1.0),
    "axis of two fields": lambda: _edit(1),
    "method of a class": lambda: IdentitySampler.fit(np.eye(4), "test"),
}
WRONG: dict[str, Callable[[], object]] = {
    "number of an axis": lambda: gaze(np.zeros(53)),
    "number of axes": lambda: inside(GREY[:, :4, 0], GREY[:, :4, 0], np.zeros((4, 4), bool)),
    "any axes before": lambda: align.recoloured(GREY[..., :1], np.ones(3), np.zeros(3)),
    "axis of two arguments": lambda: inside(GREY, GREY[:1], np.zeros((4, 6), bool)),
    "shape of two arguments": lambda: guidance.combine(torch.zeros(2, 3), torch.zeros(1, 3), 1.0),
    "dtype": lambda: align.recoloured(GREY.astype(float), np.ones(3), np.zeros(3)),
    "result": lambda: _decode(1),
    "field": lambda: Detection(box=np.zeros(4), points=np.zeros((5, 2), np.float32), score=1.0),
    "axis of two fields": lambda: _edit(2),
    "method of a class": lambda: IdentitySampler.fit(np.eye(4, dtype=int), "test"),
}


@pytest.mark.parametrize("what", RIGHT)
def test_what_is_right_passes(what: str) -> None:
    RIGHT[what]()


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_fails_where_calls_are_checked(what: str) -> None:
    if not CHECKS:
        WRONG[what]()  # unnoticed
        return
    from beartype.roar import BeartypeCallHintViolation, BeartypeDoorHintViolation

    with pytest.raises((BeartypeCallHintViolation, BeartypeDoorHintViolation)):
        WRONG[what]()


@pytest.mark.skipif(CHECKS, reason="this is the process with checks")
def test_the_checks_are_on_in_make_checked() -> None:
    """And find every wrong case above: pytest's own count says so."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "runtime_checks", "-p", "no:cacheprovider", __file__]
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300)
    assert f"{len(RIGHT) + len(WRONG)} passed, 1 skipped" in done.stdout, done.stdout + done.stderr
