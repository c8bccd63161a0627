"""A training's folder: one process at a time, and a full disk said in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from personae.errors import BadOutput
from personae.io import lock
from personae.training.loop import Schedule, train


class Tiny:
    """Learns a linear map to nothing."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(64, 64)

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return rng.random((size, 64)).astype(np.float32)

    def loss(self, model, batch, generator):
        return model(batch).square().mean(), {}

    def report(self, model) -> dict[str, float]:
        return {}

    def export(self, model, folder: Path) -> None:
        torch.save(model.state_dict(), folder / "tiny.pt")


SCHEDULE = Schedule(steps=3, batch=2, lr=1e-3, compile=False)

OWN = """
import sys
from personae.io import lock
with lock.own(sys.argv[1], "the training run"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_the_next_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWN, str(tmp_path / lock.NAME)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BadOutput, match=rf"process {other.pid} on .* already at work on the training run"):
            train(Tiny(), SCHEDULE, tmp_path, bf16=False)
        assert [path.name for path in tmp_path.iterdir()] == [lock.NAME]
        other.kill()
    train(Tiny(), SCHEDULE, tmp_path, bf16=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "export", "log.jsonl", "logs"]
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["tiny.pt"]


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from test_training_folder import SCHEDULE, Tiny
from personae.errors import BadOutput
from personae.training.loop import train
for limit in (60, 150, 1000, 5000, 25000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        train(Tiny(), SCHEDULE, f"{sys.argv[2]}/{limit}", bf16=False)
    except BadOutput as error:
        print(limit, error)
"""


def test_a_full_disk_is_one_line_wherever_it_happens(tmp_path: Path) -> None:
    """In TensorBoard's thread, the log, a checkpoint; a limit on the size of files stands for the disk."""
    command = [sys.executable, "-c", FULL, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines][:4] == ["60", "150", "1000", "5000"]
    assert all(": File too large" in line or ": the disk is full" in line for line in lines), lines
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("step-*"))[1:]
