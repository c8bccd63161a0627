"""A LoRA from a file, for one request: as diffusers applies it, and gone afterwards; and what cannot be."""

import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from adapters_by_hand import write_lora
from conftest import made_up
from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline

FAST = {"seed": 0, "num_inference_steps": 2, "output_type": "np", "measure_likeness": False}


@pytest.fixture
def lora(pipe: FacePipeline, tmp_path: Path) -> Path:
    return write_lora(tmp_path, pipe.unet)


def test_a_lora_acts_for_one_request(pipe: FacePipeline, lora: Path) -> None:
    [person] = made_up(pipe, 1)
    weights = copy.deepcopy(pipe.unet.state_dict())
    plain = pipe(person, **FAST).images
    styled = pipe(person, lora=lora, **FAST)
    assert all(torch.equal(value, weights[name]) for name, value in pipe.unet.state_dict().items())
    assert np.array_equal(pipe(person, **FAST).images, plain)

    by_hand = copy.copy(pipe)
    by_hand.unet = copy.deepcopy(pipe.unet)
    by_hand.unet.load_lora_adapter(str(lora), prefix="unet")
    np.testing.assert_allclose(by_hand(person, **FAST).images, styled.images, atol=1e-4)
    assert np.abs(styled.images - plain).max() > 1e-2
    assert np.array_equal(pipe(person, lora=lora, lora_scale=0, **FAST).images, plain)

    # The recipe says which file, not where it lies.
    said = json.loads(json.dumps(styled.recipe["settings"]))
    assert said["lora"] == {"sha256": hashlib.sha256(lora.read_bytes()).hexdigest(), "name": lora.name}
    again = {"lora": lora, "lora_scale": said["lora_scale"]}
    assert np.array_equal(pipe(person, **again, **FAST).images, styled.images)


def test_bad_loras(pipe: FacePipeline, lora: Path) -> None:
    def refused(error: type[Exception], message: str, **options: object) -> None:
        with pytest.raises(error, match=message):
            pipe(made_up(pipe, 1), **options, **FAST)

    refused(WeightsMissing, "nothing", lora=lora.with_name("nothing.safetensors"))
    refused(BadOption, "lora_scale must be a number between 0 and 2, got 3", lora=lora, lora_scale=3)
    refused(BadOption, "lora_scale has nothing to act on: give lora with it", lora_scale=0.5)
    refused(BadOption, "path of a safetensors file, got 7", lora=7)
    refused(BadOption, "path of a safetensors file", lora={"file": str(lora), "sha256": "0" * 64})
    lora.write_bytes(lora.read_bytes()[:-100])
    refused(WeightsCorrupt, "not a LoRA of this model", lora=lora)
