"""Expressions: names and vectors, the adapter on the UNet and off it again, the same images as plain diffusers."""

import json
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from safetensors.torch import save_file

from conftest import made_up
from expression_fixtures import (
    GUIDANCE,
    SCALES,
    STEPS,
    flame_numbers,
    plain_diffusers,
    random_adapter,
    starting_noise,
)
from personae.conditioning import blendshapes
from personae.conditioning.blendshapes import (
    adapter_input,
    blendshape_vector,
    flame_vector,
    parse_sliders,
    read_file,
    sliders,
)
from personae.conditioning.expression_adapter import ExpressionAdapter, ExpressionHook, convert
from personae.errors import BadImage, BadOption, NoFaceFound, PersonaeError, WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline
from personae.sampling.guidance import guided
from personae.sampling.unet_hooks import engaged, stacked
from personae.types import BLENDSHAPES
from reading_fixtures import SMILE, white_face
from tolerances import assert_same

GOLDEN = Path(__file__).parent / "golden" / "expression.npz"


def write(folder: Path, weights: dict, name: str = "exp_adapter.bin") -> Path:
    """An adapter's folder below `folder`, as a pickle or as safetensors."""
    (folder / "exp_adapter").mkdir(parents=True)
    path = folder / "exp_adapter" / name
    if path.suffix == ".bin":
        torch.save(weights, path)
    else:
        save_file({f"{part}.{key}": value for part, tensors in weights.items() for key, value in tensors.items()}, path)
    return path


@pytest.fixture(scope="module")
def smiling(nano_like: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    """A nano-like model with an adapter of blendshapes."""
    folder = tmp_path_factory.mktemp("smiling")
    nano_like.save_pretrained(folder)
    write(folder, random_adapter(nano_like.unet, 52, mlp="four"), "exp_adapter.safetensors")
    (folder / "sha256.json").unlink()
    pipe = FacePipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def flame(sd15_like: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    """An SD-like model with an adapter as published: a pickle, 55 FLAME numbers."""
    folder = tmp_path_factory.mktemp("flame")
    sd15_like.save_pretrained(folder)
    write(folder, random_adapter(sd15_like.unet, 55))
    (folder / "sha256.json").unlink()
    pipe = FacePipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(params=["smiling", "flame"])
def asked(request: pytest.FixtureRequest) -> tuple[FacePipeline, object]:
    """Each family with something to ask of it."""
    what = {"smiling": {"smile": 0.8, "jawOpen": 0.2}, "flame": flame_numbers().tolist()}
    return request.getfixturevalue(request.param), what[request.param]


def latents(pipe: FacePipeline, people: int = 1, seed: int = 0, **options: object) -> torch.Tensor:
    return pipe(made_up(pipe, people), seed=seed, output_type="latent", **options).images


# ---------------------------------------------------------------------- names and numbers


def test_names_exact_paired_and_friendly() -> None:
    assert sliders({"jawOpen": 0.2}) == {"jawOpen": 0.2}
    assert sliders({"mouthSmile": 0.5}) == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert sliders({"smile": 0.8, "jawOpen": 0.0}) == {"jawOpen": 0.0, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    assert sliders({"smile": 0}) == {"mouthSmileLeft": 0, "mouthSmileRight": 0}
    assert sliders({"neutral": 1}) == {}
    assert parse_sliders("smile=0.8, jawOpen=0.2") == {"smile": 0.8, "jawOpen": 0.2}


def test_the_exact_name_has_the_last_word_in_any_order() -> None:
    one = sliders({"mouthSmileLeft": 0.1, "mouthSmile": 0.5, "laugh": 1.0})
    assert one == sliders({"laugh": 1.0, "mouthSmile": 0.5, "mouthSmileLeft": 0.1})
    assert (one["mouthSmileLeft"], one["mouthSmileRight"]) == (0.1, 0.5)
    assert sliders({"surprise": 0.1, "laugh": 1.0})["jawOpen"] == 0.5


def test_a_change_names_what_changes() -> None:
    before = np.linspace(0, 0.5, len(BLENDSHAPES)).astype(np.float32)
    after = dict(zip(BLENDSHAPES, blendshapes.with_sliders(before, {"smile": 0.8, "jawOpen": 0}), strict=True))
    wanted = dict(zip(BLENDSHAPES, before, strict=True)) | {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0}
    assert after == pytest.approx(wanted)
    with pytest.raises(BadOption, match="smyle"):
        blendshapes.with_sliders(before, {"smyle": 1})


@pytest.mark.parametrize("name", blendshapes.FRIENDLY)
def test_friendly_names_move_blendshapes_there_are(name: str) -> None:
    moved = sliders({name: 1.0})
    assert set(moved) <= set(BLENDSHAPES[1:])
    assert all(0 < amount <= 1 for amount in moved.values())
    assert bool(moved) == (name != "neutral")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"smlie": 0.5}, "unknown expression 'smlie': did you mean 'smile'"),
        ({"_neutral": 0.5}, "unknown expression '_neutral'"),
        ({"smile": 1.2}, "smile goes from 0 to 1, got 1.2"),
        ({"smile": -0.1}, "smile goes from 0 to 1"),
        ({"jawOpen": float("nan")}, "jawOpen goes from 0 to 1, got nan"),
        pytest.param({"jawOpen": "wide"}, "jawOpen goes from 0 to 1, got 'wide'", marks=pytest.mark.untyped),
    ],
)
def test_impossible_sliders(wrong: dict, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        sliders(wrong)


@pytest.mark.parametrize("text", ["smile", "smile=", "smile=much", "smile=0.5,,"])
def test_sliders_written_wrongly(text: str) -> None:
    with pytest.raises(BadOption, match=r"written smile=0\.8"):
        parse_sliders(text)


def test_a_resting_face_is_not_nothing() -> None:
    resting = blendshape_vector({})
    assert resting.shape == (52,)
    assert resting.dtype == np.float32
    assert resting.tolist() == [1.0] + [0.0] * 51
    many = np.full((3, 52), 0.25)
    assert adapter_input(many)[:, 0].tolist() == [1, 1, 1]
    assert many[0, 0] == 0.25  # a copy
    assert blendshape_vector({"jawOpen": 0.5})[BLENDSHAPES.index("jawOpen")] == 0.5


def test_flame_numbers_stay_in_smirks_ranges() -> None:
    given = np.full(55, -3.0, np.float32)
    given[[51, 54]] = 3.0
    kept = flame_vector(given)
    assert kept[:50].tolist() == [-3.0] * 50
    np.testing.assert_allclose(kept[50:], [0, 1, 0, -0.2, 0.2])
    assert flame_vector(given[None]).tolist() == kept.tolist()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.zeros(52), r"expressions of 55 numbers .* got shape \(52,\)"),
        (np.zeros((5, 11)), "55 numbers"),
        ([float("nan")] * 55, "must be finite"),
        pytest.param(["a"] * 55, "a list of 55 numbers", marks=pytest.mark.untyped),
        pytest.param([[0.0], [1.0, 2.0]], "a list of 55 numbers", marks=pytest.mark.untyped),
    ],
)
def test_impossible_vectors(numbers: object, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        flame_vector(numbers)


def test_files_of_numbers_and_of_sliders(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", flame_numbers().numpy())
    (tmp_path / "b.json").write_text(json.dumps(flame_numbers().tolist()))
    (tmp_path / "c.json").write_text('{"smile": 0.5}')
    np.testing.assert_array_equal(read_file(tmp_path / "a.npy"), read_file(tmp_path / "b.json"))
    assert read_file(tmp_path / "c.json") == {"smile": 0.5}


class Evil:
    """Unpickling it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_files_that_hold_no_expression(tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "broken.json").write_text("[0.5,")
    (tmp_path / "words.json").write_text('["a", "b"]')
    np.save(tmp_path / "evil.npy", np.array([Evil(tmp_path / "made")]), allow_pickle=True)
    for name in ("broken.npy", "empty.npy", "broken.json", "words.json", "evil.npy"):
        with pytest.raises(BadOption, match=f"{name} (holds no expression|is no numpy array)"):
            read_file(tmp_path / name)
    assert not (tmp_path / "made").exists()
    with pytest.raises(BadOption, match="no such file"):
        read_file(tmp_path / "missing.npy")


# ---------------------------------------------------------------------- on the UNet and off again


def snapshot(unet) -> tuple:
    """What an adapter changes of a UNet."""
    processors = {name: id(processor) for name, processor in unet.attn_processors.items()}
    return processors, unet.encoder_hid_proj, unet.config.encoder_hid_dim_type, list(unet.state_dict())


def control_for(pipe: FacePipeline, count: int = 1, scale: float = 1.0) -> ExpressionHook:
    adapter = pipe.component("exp_adapter")
    vectors = torch.rand(count, adapter.width, generator=torch.Generator().manual_seed(3))
    return ExpressionHook(adapter=adapter, vectors=vectors, scale=scale)


def test_spaces_follow_from_the_width(smiling: FacePipeline, flame: FacePipeline) -> None:
    assert smiling.component("exp_adapter").space == "blendshapes"
    assert flame.component("exp_adapter").space == "flame55"


@torch.no_grad()
def test_the_unet_is_as_before_bit_for_bit(asked: tuple) -> None:
    pipe, what = asked
    before, plain = snapshot(pipe.unet), latents(pipe)
    steered = latents(pipe, expression=what)
    assert not torch.allclose(steered, plain, atol=1e-2)
    assert snapshot(pipe.unet) == before
    assert torch.equal(latents(pipe), plain)


@torch.no_grad()
def test_also_after_an_exception(asked: tuple) -> None:
    pipe, what = asked
    before, plain = snapshot(pipe.unet), latents(pipe)

    def fail(*_: object) -> None:
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        latents(pipe, expression=what, callback_on_step_end=fail)
    assert snapshot(pipe.unet) == before
    assert torch.equal(latents(pipe), plain)


class Lora:
    """Another control: a LoRA on the attention, and plain processors in the self-attention."""

    @contextmanager
    def engaged(self, unet) -> Iterator[None]:
        before = {name: processor for name, processor in unet.attn_processors.items() if "attn1" in name}
        torch.manual_seed(0)
        unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False), "other")
        unet.set_attn_processor({**unet.attn_processors, **{name: AttnProcessor() for name in before}})
        try:
            yield
        finally:
            unet.set_attn_processor({**unet.attn_processors, **before})
            unet.unload_lora()

    def arguments(self, latents, t, told, rows) -> dict:
        return {}


@torch.no_grad()
@pytest.mark.parametrize("first", ["lora", "expression"])
def test_beside_another_control(asked: tuple, first: str) -> None:
    pipe, _ = asked
    controls = [Lora(), control_for(pipe)]
    if first == "expression":
        controls.reverse()
    positive, negative = pipe.condition(made_up(pipe, 1))
    x, t = starting_noise()[:1], torch.tensor(500)

    def predict(active: list) -> torch.Tensor:
        with engaged(active, pipe.unet):
            return guided(pipe.unet, positive, negative, 2.0, hooks=active)(x, t)

    before, plain = snapshot(pipe.unet), predict([])
    both = predict(controls)
    assert snapshot(pipe.unet) == before
    assert torch.equal(predict([]), plain)
    assert_same(both, predict(controls[::-1]))
    for alone in controls:
        assert not torch.allclose(both, predict([alone]), atol=1e-3)


@pytest.mark.untyped  # no conditioning
def test_only_the_conditional_half_is_told(smiling: FacePipeline) -> None:
    control = control_for(smiling, count=3)
    rows = stacked(torch.tensor([2, 0]), [None, 0])
    arguments = control.arguments(torch.zeros(4, 4, 8, 8), torch.tensor(1), None, rows)
    (told,) = arguments["added_cond_kwargs"]["image_embeds"]
    assert told.shape == (4, 1, 52)
    assert torch.equal(told[:2], torch.zeros(2, 1, 52))
    assert torch.equal(told[2:, 0], control.vectors[[2, 0]])


@torch.no_grad()
def test_scale_zero_is_no_adapter_bit_for_bit(asked: tuple) -> None:
    pipe, what = asked
    assert torch.equal(latents(pipe, expression=what, expression_scale=0), latents(pipe))
    weak = latents(pipe, expression=what, expression_scale=0.5)
    assert not torch.allclose(weak, latents(pipe), atol=1e-3)
    assert not torch.allclose(weak, latents(pipe, expression=what), atol=1e-3)


@torch.no_grad()
def test_three_at_once_are_three_times_one(asked: tuple) -> None:
    pipe, what = asked
    together = latents(pipe, 3, expression=what, seed=5)
    for person in range(3):
        alone = pipe(made_up(pipe, 3)[person], seed=5 + person, output_type="latent", expression=what).images
        assert_same(together[person], alone[0], steps=4)
    assert_same(together, latents(pipe, 3, expression=what, seed=5, batch_size=2), steps=4)


@torch.no_grad()
def test_an_expression_of_each_person(smiling: FacePipeline) -> None:
    asked_for = [{"smile": 0.9}, {"jawOpen": 0.7}, {}]
    together = latents(smiling, 3, expression=asked_for, seed=5)
    for person, what in enumerate(asked_for):
        alone = smiling(made_up(smiling, 3)[person], seed=5 + person, output_type="latent", expression=what).images
        assert_same(together[person], alone[0], steps=4)
    with pytest.raises(BadOption, match="2 expressions for 3 people"):
        latents(smiling, 3, expression=asked_for[:2])


@torch.no_grad()
def test_the_recipe_asks_for_the_same_again(asked: tuple) -> None:
    pipe, what = asked
    first = pipe(made_up(pipe, 1), seed=1, output_type="latent", expression=what, expression_scale=0.7)
    settings = json.loads(json.dumps(first.recipe["settings"]))
    assert settings["expression_scale"] == 0.7
    again = pipe(made_up(pipe, 1), seed=1, output_type="latent", **settings)
    assert torch.equal(again.images, first.images)


@torch.no_grad()
def test_an_expression_off_a_photo(smiling: FacePipeline) -> None:
    photo = white_face(np.full((160, 320, 3), 90, np.uint8), 20, 30, 110, 130)
    made = smiling(made_up(smiling, 1), seed=0, output_type="latent", expression=photo)
    asked_for = made.recipe["settings"]["expression"]
    assert asked_for == dict.fromkeys(BLENDSHAPES[1:], SMILE)
    assert torch.equal(made.images, latents(smiling, expression=asked_for))
    assert torch.equal(made.images, latents(smiling, expression=np.full(52, SMILE)))


@torch.no_grad()
def test_expressions_out_of_files(asked: tuple, tmp_path: Path) -> None:
    pipe, what = asked
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(what))
    assert torch.equal(latents(pipe, expression=path), latents(pipe, expression=what))
    assert torch.equal(latents(pipe, expression=str(path)), latents(pipe, expression=what))


def test_impossible_requests(smiling: FacePipeline, flame: FacePipeline, sd15_like: FacePipeline) -> None:
    def wanted(pipe: FacePipeline, error: type[PersonaeError], message: str, **options: object) -> None:
        with pytest.raises(error, match=message):
            latents(pipe, **options)

    empty = np.full((160, 320, 3), 90, np.uint8)
    wanted(smiling, NoFaceFound, "shows no face whose expression", expression=empty)
    wanted(smiling, BadImage, "no such file", expression="nowhere.jpg")
    wanted(smiling, BadOption, "unknown expression 'smlie'", expression={"smlie": 1})
    wanted(smiling, BadOption, r"52 numbers .* got shape \(55,\)", expression=[0.0] * 55)
    wanted(smiling, BadOption, "goes from 0 to 1", expression=np.full(52, 1.5))
    wanted(
        smiling,
        BadOption,
        "expression_scale must be a number between 0 and 1, got 1.5",
        expression={"smile": 1},
        expression_scale=1.5,
    )
    wanted(
        smiling,
        BadOption,
        "must be a number between 0 and 1, got nan",
        expression={"smile": 1},
        expression_scale=float("nan"),
    )
    wanted(smiling, BadOption, "nothing to act on", expression_scale=0.5)
    wanted(flame, BadOption, "give a .npy or .json file with 50 expression", expression={"smile": 1})
    wanted(flame, BadOption, "give a .npy or .json file with 50 expression", expression="me.jpg")
    wanted(flame, BadOption, "55 numbers", expression=[0.0] * 54)
    wanted(sd15_like, WeightsMissing, "no exp_adapter/", expression={"smile": 1})
    numbers = "motion_guidance compares blendshapes, and the expressions of this model are FLAME numbers"
    wanted(flame, BadOption, numbers, expression=[0.0] * 55, motion_guidance=0.1)


def test_people_of_one_map_share_an_expression(smiling: FacePipeline) -> None:
    together = {"prompt": "a man", "regions": [(0, 0, 0.5, 1), (0.5, 0, 1, 1)]}
    with pytest.raises(BadOption, match="share one expression: give one for all, or regions of a larger picture"):
        latents(smiling, 2, expression=[{"smile": 1}, {"jawOpen": 1}], **together)
    with pytest.raises(WeightsMissing, match="no face_tokens/"):  # one for all is none of this error's
        latents(smiling, 2, expression={"smile": 1}, **together)


# ---------------------------------------------------------------------- files of weights


def test_bad_weights_say_so(sd15_like: FacePipeline, nano_like: FacePipeline, tmp_path: Path) -> None:
    good = random_adapter(sd15_like.unet, 55)

    def wanted(name: str, message: str, content: object, error: type[PersonaeError] = WeightsCorrupt) -> None:
        folder = tmp_path / name / "exp_adapter"
        folder.mkdir(parents=True)
        if isinstance(content, bytes):
            (folder / "exp_adapter.bin").write_bytes(content)
        elif content is not None:
            torch.save(content, folder / "exp_adapter.bin")
        with pytest.raises(error, match=message):
            ExpressionAdapter.load(folder, sd15_like.unet)

    wanted("empty", "neither exp_adapter.safetensors nor exp_adapter.bin", None, WeightsMissing)
    wanted("evil", "might run code", pickle.dumps(Evil(tmp_path / "made"), protocol=2))
    assert not (tmp_path / "made").exists()
    whole = write(tmp_path / "good", good).read_bytes()
    wanted("cut", "is damaged", whole[: len(whole) // 2])
    wanted("nothing", "is damaged", b"")
    wanted("list", "holds no image_proj and ip_adapter", [1.0])
    wanted("strings", "holds no image_proj", {"image_proj": {"a": 1}, "ip_adapter": {}})
    wanted("half", "holds no image_proj", {"image_proj": good["image_proj"]})
    wanted("width", "reads vectors of 56 numbers, expected 52", random_adapter(sd15_like.unet, 56))
    wanted("pictures", "no projection that takes an expression", good | {"image_proj": {"latents": torch.ones(1)}})
    layers = dict(good["ip_adapter"])
    layers["3.to_k_ip.weight"] = torch.zeros(3, 3)
    wanted("shape", r"3.to_k_ip.weight is \(3, 3\), expected \(16, 128\)", good | {"ip_adapter": layers})
    del layers["3.to_k_ip.weight"]
    wanted("lacks", "3.to_k_ip.weight is missing", good | {"ip_adapter": layers})
    narrow = {"proj.weight": torch.ones(64, 55), "proj.bias": torch.ones(64)}
    narrow |= {"norm.weight": torch.ones(16), "norm.bias": torch.ones(16)}
    wanted("narrow", r"image_proj.norm is \(16,\), expected \(128,\)", good | {"image_proj": narrow})
    (tmp_path / "st").mkdir()
    (tmp_path / "st" / "exp_adapter.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(WeightsCorrupt, match="cannot be read"):
        ExpressionAdapter.load(tmp_path / "st", nano_like.unet)


@torch.no_grad()
def test_converted_once_it_reads_the_same(flame: FacePipeline, tmp_path: Path) -> None:
    pickled = write(tmp_path, random_adapter(flame.unet, 55))
    assert convert(pickled.parent).name == "exp_adapter.safetensors"
    pickled.unlink()
    one, other = flame.component("exp_adapter"), ExpressionAdapter.load(pickled.parent, flame.unet)
    assert list(one.processors) == list(other.processors)
    for key, processor in {"projection": one.projection, **one.processors}.items():
        again = other.processors.get(key, other.projection).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in processor.state_dict().items())


def test_factors_are_multiplied_out(nano_like: FacePipeline, tmp_path: Path) -> None:
    whole = random_adapter(nano_like.unet, 52)
    down, up = torch.randn(2, 128), torch.randn(16, 2)
    layers = dict(whole["ip_adapter"])
    del layers["1.to_v_ip.weight"]
    layers |= {"1.to_v_ip.up.weight": up.half(), "1.to_v_ip.down.weight": down.half()}
    path = write(tmp_path, {"image_proj": whole["image_proj"], "ip_adapter": layers}, "exp_adapter.safetensors")
    adapter = ExpressionAdapter.load(path.parent, nano_like.unet)
    first = next(iter(adapter.processors.values()))
    torch.testing.assert_close(first.to_v_ip[0].weight, up @ down, atol=0.02, rtol=0.01)


# ---------------------------------------------------------------------- equal to plain diffusers


@pytest.fixture
def ours(flame: FacePipeline, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict, float], torch.Tensor]:
    """(an adapter's weights, scale) -> final latents of three people."""

    def sample(weights: dict, scale: float) -> torch.Tensor:
        monkeypatch.setattr(flame, "exp_adapter", ExpressionAdapter.from_weights(weights, flame.unet))
        made = flame(
            made_up(flame),
            latents=starting_noise(),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            expression=flame_numbers().tolist(),
            expression_scale=scale,
            output_type="latent",
        )
        return made.images

    return sample


def close(made: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Image by image, within a thousandth of the latents' spread."""
    return all(float((a - b).abs().max()) < 1e-3 * float(b.std()) for a, b in zip(made, wanted, strict=True))


@torch.no_grad()
@pytest.mark.parametrize(("mlp", "scale"), [(None, 1.0), (None, 0.5), ("four", 1.0), ("one", 0.5)])
def test_equal_to_plain_diffusers(flame: FacePipeline, ours: Callable, tmp_path: Path, mlp: str, scale: float) -> None:
    weights = random_adapter(flame.unet, 55, mlp=mlp)
    positive, negative = flame.condition(made_up(flame))
    wanted = plain_diffusers(write(tmp_path, weights), positive.tokens, negative.tokens, scale)
    assert close(ours(weights, scale), wanted)
    assert not close(ours(weights, 0.9 * scale), wanted)


@torch.no_grad()
@pytest.mark.parametrize("scale", SCALES)
def test_equal_to_the_golden_latents(flame: FacePipeline, ours: Callable, scale: float) -> None:
    with np.load(GOLDEN) as file:
        assert close(ours(random_adapter(flame.unet, 55), scale), torch.from_numpy(file[str(scale)]))
