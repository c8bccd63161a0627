"""A tiny model of nano's kind with all of the optional components but FaceX, whose recogniser must be a real one."""

from pathlib import Path

import diffusers
import torch

from adapters_by_hand import write_lora
from conftest import WIDTH, nano_parts
from controlnet_fixtures import random_controlnet
from expression_fixtures import random_adapter
from face_token_fixtures import random_tokens
from personae.conditioning.expression_adapter import ExpressionAdapter
from personae.pipeline import FacePipeline
from personae.reading.reader import FaceReader
from reading_fixtures import tiny_reader_folder
from test_parser import tiny_segformer

NAMES = ("autoguidance", "controlnet", "exp_adapter", "face_tokens", "lcm", "parser", "ref_adapter", "taesd")


def complete(folder: Path) -> Path:
    """A model folder of its own, with components as their authors write them."""
    tiny_reader_folder(folder / "made")
    parts, target = nano_parts(), folder / "model"
    pipe = FacePipeline(**parts, reader=FaceReader.from_folder(folder / "made" / "reader", threads=1), steps=4)
    pipe.save_pretrained(target)
    (target / "sha256.json").unlink()
    unet = parts["unet"]
    torch.manual_seed(9)
    diffusers.UNet2DConditionModel.from_config(unet.config).save_pretrained(target / "autoguidance")
    random_controlnet(unet).save_pretrained(target / "controlnet")
    ExpressionAdapter.from_weights(random_adapter(unet, 52), unet).save(target / "exp_adapter")
    random_tokens(WIDTH, pooled=True, space=pipe.config.identity_space).save(target / "face_tokens")
    write_lora(target / "lcm", unet)
    (target / "lcm" / "lcm.json").write_text('{"scheduler": "flow-euler"}')
    write_lora(target / "ref_adapter", unet)
    tiny_segformer(target / "parser")
    torch.manual_seed(0)
    blocks = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
    widths = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
    diffusers.AutoencoderTiny(latent_channels=4, **blocks, **widths).save_pretrained(target / "taesd")
    return target
