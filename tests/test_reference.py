"""The reference adapter against the same computation by hand: who looks at what, and that nothing stays behind."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from adapters_by_hand import ATTENTION, FILE, reference_by_hand, write_lora
from conftest import made_up, nano_parts, sd15_parts
from model_fixtures import empty_photo, face_photo
from personae.conditioning.reference_attention import ReferenceAttention, record_self_attention
from personae.conditioning.types import Conditioning
from personae.errors import BadImage, BadOption, NoFaceFound, WeightsMissing
from personae.pipeline import FacePipeline
from personae.reading import align
from personae.reading.reader import FaceReader
from personae.sampling.guidance import guided
from personae.sampling.reference_pass import look, reference_latents
from personae.sampling.unet_hooks import engaged
from reading_fixtures import tiny_reader_folder
from tolerances import assert_same

GOLDEN = Path(__file__).parent / "golden" / "fast_reference.json"
CASES = {"sd15": sd15_parts, "nano": nano_parts}
SEEDS = [5, 6, 7]
STEPS, GUIDANCE, SCALE = 4, 3.0, 0.8


def referring(kind: str, folder: Path) -> FacePipeline:
    """A model of either family with a reader, `ref_adapter/` and `lcm/`, loaded from `folder`; a photo beside it."""
    tiny_reader_folder(folder)
    reader = FaceReader.from_folder(folder / "reader", threads=1)
    model = FacePipeline(**CASES[kind](), reader=reader, steps=STEPS, guidance_scale=GUIDANCE)
    model.save_pretrained(folder / "model")
    write_lora(folder / "model" / "ref_adapter", model.unet, targets=ATTENTION)
    write_lora(folder / "model" / "lcm", model.unet, seed=1)
    if kind == "nano":
        (folder / "model" / "lcm" / "lcm.json").write_text('{"scheduler": "flow-euler"}')
    (folder / "model" / "sha256.json").unlink()
    face_photo(folder / "model" / "photo.png")
    pipe = FacePipeline.from_pretrained(folder / "model")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def by_hand(pipe: FacePipeline) -> torch.Tensor:
    return reference_by_hand(
        pipe,
        pipe.folder / "ref_adapter" / FILE,
        SCALE,
        reference_latents(pipe, pipe.folder / "photo.png"),
        pipe.condition(made_up(pipe)),
        SEEDS,
        STEPS,
        GUIDANCE,
    )


@pytest.fixture(scope="module", params=list(CASES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    return referring(request.param, tmp_path_factory.mktemp(request.param))


def latents(pipe: FacePipeline, *, count: int = 3, **options) -> torch.Tensor:
    return pipe(made_up(pipe, count), seed=SEEDS[:count], output_type="latent", **options).images


def test_a_reference_run_equals_the_computation_by_hand(model: FacePipeline) -> None:
    expected = by_hand(model)
    found = latents(model, reference=model.folder / "photo.png")
    assert (found - expected).abs().max() < 1e-3 * expected.std()
    kind = "nano" if model.unet.config.class_embed_type else "sd15"
    golden = torch.tensor(json.loads(GOLDEN.read_text())[f"reference {kind}"])
    assert (found.flatten(1)[:, :8] - golden).abs().max() < 1e-3 * expected.std()
    assert (found - latents(model)).abs().max() > 0.1 * expected.std()


def test_any_batch_gives_the_same_images(model: FacePipeline) -> None:
    photo = model.folder / "photo.png"
    whole = model(made_up(model), num_images_per_prompt=2, seed=0, output_type="latent", reference=photo).images
    parts = model(
        made_up(model), num_images_per_prompt=2, seed=0, output_type="latent", reference=photo, batch_size=2
    ).images
    assert_same(parts, whole, steps=4)
    one = model(made_up(model), seed=[0, 2, 4], output_type="latent", reference=photo).images
    assert_same(one, whole[::2], steps=4)


@torch.no_grad()
def test_the_unconditional_half_does_not_look(model: FacePipeline) -> None:
    people = made_up(model, 2)
    seen = look(model, torch.randn(1, 4, 8, 8), people)
    positive, negative = model.condition(people)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor(300)
    control = ReferenceAttention(seen, [0, 1])
    for scale, alike in ((0.0, True), (1.0, False)):
        with engaged([control], model.unet):
            looking = guided(model.unet, positive, negative, scale, hooks=[control])(x, t)
        plain = guided(model.unet, positive, negative, scale)(x, t)
        assert torch.allclose(looking, plain, atol=1e-5) == alike


@torch.no_grad()
def test_what_is_recorded_is_the_input_of_each_self_attention(model: FacePipeline) -> None:
    unet, said = model.unet, Conditioning(tokens=torch.randn(2, 5, 128), pooled=torch.randn(2, 128))
    x, hooked = torch.randn(2, 4, 8, 8), {}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: hooked.update({name: output}))
        for name, module in unet.named_modules()
        if name.endswith("norm1") and "transformer_blocks" in name
    ]
    labels = said.pooled if unet.config.class_embed_type else None
    with record_self_attention(unet) as seen:
        unet(x, 0, said.tokens, class_labels=labels)
    for hook in hooks:
        hook.remove()
    assert {f"{name}.norm1" for name in seen} == set(hooked)
    assert all(torch.equal(value, hooked[f"{name}.norm1"]) for name, value in seen.items())


def test_afterwards_the_model_is_as_before(model: FacePipeline) -> None:
    photo, plain = model.folder / "photo.png", latents(model)
    processors = model.unet.attn_processors
    both = latents(model, reference=photo, fast=4)
    assert torch.equal(latents(model), plain)
    assert torch.equal(latents(model, reference=photo, fast=4), both)
    assert not torch.allclose(both, latents(model, fast=4), atol=1e-2)

    def stumble(pipe, step, t, tensors) -> None:
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        latents(model, reference=photo, callback_on_step_end=stumble)
    assert torch.equal(latents(model), plain)
    assert all(now is processors[name] for name, now in model.unet.attn_processors.items())


def test_scale_zero_is_no_reference_bit_for_bit(model: FacePipeline) -> None:
    photo = model.folder / "photo.png"
    assert torch.equal(latents(model, reference=photo, reference_scale=0), latents(model))
    assert not torch.equal(latents(model, reference=photo, reference_scale=0.3), latents(model))


def test_the_photo_is_cut_as_the_models_images_are(model: FacePipeline) -> None:
    path = model.folder / "photo.png"
    points = model.reader.read(path)[0].detection.points
    pixels = np.asarray(Image.open(path))
    crop = align.crop(pixels, align.similarity(points, model.config.crop_template, 32), 32)
    image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        encoded = model.vae.encode(image)
    expected = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mean
    assert_same(reference_latents(model, path), expected * model.vae.config.scaling_factor)


def test_the_recipe_names_the_photo(model: FacePipeline) -> None:
    path = model.folder / "photo.png"
    out = model(made_up(model, 1), seed=1, reference=path, measure_likeness=False)
    settings = out.recipe["settings"]
    known = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "name": "photo.png"}
    assert (settings["reference"], settings["reference_scale"]) == (known, 0.8)
    settings = json.loads(json.dumps(settings)) | {"reference": path}
    again = model(made_up(model, 1), seed=1, measure_likeness=False, **settings)
    assert again.images[0].tobytes() == out.images[0].tobytes()
    given = model(made_up(model, 1), seed=1, reference=np.asarray(Image.open(path)), measure_likeness=False)
    assert given.images[0].tobytes() == out.images[0].tobytes()
    with pytest.raises(BadImage, match="a photo is a path"):  # a recipe's words are no photo: the caller gives it
        model(made_up(model, 1), **given.recipe["settings"])


@pytest.mark.parametrize("scale", [-0.1, 1.5, float("nan"), "much"])
def test_scales_out_of_range_are_refused(model: FacePipeline, scale) -> None:
    with pytest.raises(BadOption, match="reference_scale must be a number between 0 and 1"):
        latents(model, reference=model.folder / "photo.png", reference_scale=scale)


def test_bad_references_are_told(model: FacePipeline, pipe: FacePipeline, tmp_path: Path) -> None:
    with pytest.raises(NoFaceFound, match=r"no face was found in the reference .*empty.png"):
        latents(model, reference=empty_photo(tmp_path / "empty.png"))
    with pytest.raises(BadImage, match="no such file"):
        latents(model, reference=tmp_path / "none.png")
    with pytest.raises(BadOption, match="reference_scale has nothing to act on: give reference with it"):
        latents(model, reference_scale=0.5)
    with pytest.raises(WeightsMissing, match=r"no ref_adapter/, which a reference photo"):
        latents(pipe, reference=model.folder / "photo.png")
    without = FacePipeline.from_pretrained(model.folder)
    without.reader = None
    with pytest.raises(WeightsMissing, match="no reader to find the face"):
        latents(without, reference=model.folder / "photo.png")


def test_a_real_unet_of_this_size_has_what_is_hooked() -> None:
    """SD 1.5's own architecture, its weights left out: 16 transformer blocks, as in the published code."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        with record_self_attention(unet) as seen:
            unet(torch.zeros(1, 4, 64, 64), 0, torch.zeros(1, 77, 768))
    assert len(seen) == 16
    assert {tuple(value.shape) for value in seen.values()} == {
        *((1, 4096, 320), (1, 1024, 640), (1, 256, 1280), (1, 64, 1280))
    }
