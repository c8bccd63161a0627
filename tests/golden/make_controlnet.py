"""PYTHONPATH=tests python tests/golden/make_controlnet.py

Writes `controlnet.npz`: final latents of a tiny random SD 1.5 with a random ControlNet shown three pose maps, by
diffusers alone (`StableDiffusionControlNetPipeline`), 25 DPM-Solver++ steps at guidance 3, at scales 1 and 0.5.
"""

from pathlib import Path

import numpy as np
import torch

from conftest import made_up, sd15_parts
from controlnet_fixtures import SCALES, plain_diffusers
from personae.pipeline import FacePipeline

if __name__ == "__main__":
    torch.set_num_threads(1)
    pipe = FacePipeline(**sd15_parts(), identity_space="random/test/0", identity_width=16)
    positive, negative = pipe.condition(made_up(pipe))
    made = {str(scale): plain_diffusers(positive.tokens, negative.tokens, scale).numpy() for scale in SCALES}
    np.savez_compressed(Path(__file__).with_name("controlnet.npz"), **made)
