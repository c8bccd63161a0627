"""PYTHONPATH=tests python tests/golden/make_expression.py

Writes `expression.npz`: final latents of a tiny random SD 1.5 under a random expression adapter, by diffusers alone
(`StableDiffusionPipeline.load_ip_adapter`), 25 DPM-Solver++ steps at guidance 3, at scales 1 and 0.5.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from conftest import made_up, sd15_parts
from expression_fixtures import SCALES, plain_diffusers, random_adapter
from personae.pipeline import FacePipeline

if __name__ == "__main__":
    torch.set_num_threads(1)
    pipe = FacePipeline(**sd15_parts(), identity_space="random/test/0", identity_width=16)
    positive, negative = pipe.condition(made_up(pipe))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder) / "exp_adapter.bin"
        torch.save(random_adapter(pipe.unet, 55), file)
        made = {str(scale): plain_diffusers(file, positive.tokens, negative.tokens, scale).numpy() for scale in SCALES}
    np.savez_compressed(Path(__file__).with_name("expression.npz"), **made)
