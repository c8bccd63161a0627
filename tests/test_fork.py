"""A process that was forked after a model had computed reads and generates as its parent does; it used to hang."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import multiprocessing, os, signal, sys, time
import numpy as np
import torch
from personae.pipeline import FacePipeline
from personae.types import Identity

torch.set_num_threads(2)
pipe = FacePipeline.from_pretrained(sys.argv[1])
pipe.set_progress_bar_config(disable=True)
crops = np.zeros((8, pipe.reader.embedder.size, pipe.reader.embedder.size, 3), np.uint8)
person = Identity(vector=np.ones(pipe.config.identity_width), space=pipe.config.identity_space)

def work():
    # Large enough for torch to share it out among threads.
    torch.nn.functional.conv2d(torch.ones(4, 32, 64, 64), torch.ones(32, 32, 3, 3))
    made = pipe(person, seed=0, num_inference_steps=2, output_type="np", measure_likeness=False).images
    return pipe.reader.embedder.embed(crops), made

def child(wanted):
    for one, other in zip(work(), wanted):
        np.testing.assert_allclose(one, other, atol=1e-4)

wanted = work()
forked = multiprocessing.get_context("fork").Process(target=child, args=(wanted,))
forked.start()
forked.join(60)
if forked.is_alive():
    forked.kill()
    sys.exit("hangs")
if forked.exitcode:
    sys.exit("failed")
# By hand, so that the child ends as a program does, and frees what it holds.
number = os.fork()
if number == 0:
    child(wanted)
    sys.exit(0)
until = time.monotonic() + 60
while time.monotonic() < until:
    ended, status = os.waitpid(number, os.WNOHANG)
    if ended:
        sys.exit(status and "failed")
    time.sleep(0.05)
os.kill(number, signal.SIGKILL)
sys.exit("hangs at its end")
"""


def test_a_forked_child_computes_and_ends(nano_folder: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", CODE, str(nano_folder)]
    patient = os.environ | {"OMP_WAIT_POLICY": "passive"}  # two workers that spin keep a busy machine from all else
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=patient)
    assert done.returncode == 0, done.stderr
