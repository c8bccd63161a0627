"""The loop: exact resume after a kill, schedules, caches; the recipes' tasks at tiny size, with real classes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from personae.errors import BadData, BadOption, WeightsMissing
from personae.reading.differentiable import AlignedRecogniser
from personae.reading.onnx_module import OnnxModule
from personae.training import captions, recipes
from personae.training.compilation import compile_blocks
from personae.training.export_onnx import export_onnx
from personae.training.face_table import FaceTable
from personae.training.images import psnr, to_tensor
from personae.training.jitter import jitter
from personae.training.loop import Schedule, _Norms, train
from personae.training.methods.autoencoder.method import AutoencoderTask
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.base.method import BaseTask
from personae.training.methods.embedder.network import Embedder
from personae.training.networks import MotionNet
from reading_fixtures import model_of
from tolerances import assert_same
from training_fixtures import write_cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("cache"), count=48)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("embedder") / "embedder.onnx"
    model = Embedder((8, 8, 8), (1, 1, 1), 16).eval()
    export_onnx(model, torch.zeros(2, 3, 112, 112), path, input_names=["crop"], output_names=["identity"])
    return path


def test_onnx_module_equals_onnxruntime(embedder: Path) -> None:
    import onnxruntime

    crops = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = onnxruntime.InferenceSession(embedder).run(None, {"crop": crops.numpy()})[0]
    module = OnnxModule(embedder)
    assert_same(module(crops), expected)
    wanted = crops.requires_grad_()
    module(wanted)[:, 0].sum().backward()
    assert wanted.grad is not None
    assert float(wanted.grad.abs().sum()) > 0


def test_one_output_of_several_needs_only_its_own_operators(tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "motion.onnx"
    names = ["landmarks", "pose", "blendshapes"]
    export_onnx(MotionNet(widths=(8,) * 5).eval(), torch.zeros(2, 3, 128, 128), path, ["crop"], names)
    crops = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = onnxruntime.InferenceSession(path).run(["blendshapes"], {"crop": crops.numpy()})[0]
    assert_same(OnnxModule(path, "blendshapes")(crops), expected)
    with pytest.raises(BadData, match="no output 'gaze', only landmarks, pose, blendshapes"):
        OnnxModule(path, "gaze")


def test_inputs_that_a_node_leaves_out_are_left_out(tmp_path: Path) -> None:
    """By an empty name, which shifts none of the others."""
    import onnx
    import onnxruntime
    from onnx import helper

    nodes = [
        helper.make_node("Clip", ["crop", "", "most"], ["low"]),
        helper.make_node("Slice", ["low", "starts", "ends", "", "strides"], ["some"]),
        helper.make_node("Flatten", ["some"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", ""], ["product"]),
        helper.make_node("ReduceSum", ["product", ""], ["sum"]),
        helper.make_node("Mul", ["product", "sum"], ["identity"]),
    ]
    constants = {
        "most": np.float32(0.5),
        "starts": np.array([0, 0, 1, 0]),
        "ends": np.array([9, 3, 4, 4]),
        "strides": np.array([1, 1, 2, 1]),
        "weight": np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32),
    }
    model = model_of(nodes, ("crop", ["N", 3, 4, 4]), [("identity", ["N", 5])], constants)
    onnx.save(model, tmp_path / "some.onnx")
    crops = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = onnxruntime.InferenceSession(tmp_path / "some.onnx").run(None, {"crop": crops.numpy()})[0]
    assert_same(OnnxModule(tmp_path / "some.onnx")(crops), expected)


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("crop", "identity")]
    graph = helper.make_graph([helper.make_node("Sinh", ["crop"], ["identity"])], "odd", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "odd.onnx")
    with pytest.raises(BadData, match="Sinh"):
        OnnxModule(tmp_path / "odd.onnx")


def test_held_out_people_never_train(cache: Path) -> None:
    train_keys, kept_keys = set(FaceTable.load(cache).keys), set(FaceTable.load(cache, held_out=True).keys)
    assert kept_keys
    assert not train_keys & kept_keys
    assert len(train_keys | kept_keys) == 48


def test_empty_cache_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="personae prepare"):
        FaceTable.load(tmp_path)


def test_schedule() -> None:
    schedule = Schedule(steps=100, batch=4, lr=1.0, warmup=10, decay=0.5)
    assert schedule.rate(0) == pytest.approx(0.1)
    assert schedule.rate(30) == 1.0
    assert 0 < schedule.rate(99) < 0.01
    with pytest.raises(BadOption):
        Schedule(steps=0, batch=4, lr=1.0)


def test_captions_speak_of_what_is_measured(cache: Path, tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    rng = np.random.default_rng(0)
    measured = captions.measure(FaceTable.load(cache))
    said = [captions.caption(m, rng, identity=bool(i % 2)) for i, m in enumerate(measured)]
    assert all(set(text.split(", ")[1:]) <= set(m.phrases) for text, m in zip(said, measured, strict=True))
    assert not any("Black" in text or "black m" in text for text in said)
    captions.train_tokenizer(tmp_path, said)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(captions.IDENTITY_PROMPT).input_ids)
    assert tokens == ["<|startoftext|>", "photo</w>", "of</w>", "a</w>", "id</w>", "person</w>", "<|endoftext|>"]
    assert tokenizer.decode(tokenizer("zebra ünïcode", add_special_tokens=False).input_ids).strip() == "zebra ünïcode"


def test_mirrored_captions_swap_sides() -> None:
    m = captions.Measures(subject="man", phrases=("smiling", "looking left"))
    assert captions.mirrored(m).phrases == ("smiling", "looking right")
    assert captions.mirrored(captions.mirrored(m)) == m


def test_jitter_is_near_the_identity_map() -> None:
    maps = jitter(64, torch.Generator().manual_seed(0))
    assert maps.shape == (64, 2, 3)
    assert float((maps.mean(0) - torch.eye(2, 3)).abs().max()) < 0.05


def test_aligned_recogniser_cuts_the_arcface_crop() -> None:
    """The grid of the recogniser and `align.crop` cut the same pixels out of a portrait."""
    from personae.reading import align
    from personae.reading.differentiable import crop_grid

    ramp = np.stack([*np.meshgrid(np.arange(128), np.arange(128)), np.zeros((128, 128))], -1).astype(np.uint8)
    points = np.array(align.template("portrait").points) * 128 - 0.5
    expected = align.crop(ramp, align.similarity(points, "arcface"), 112)
    grid = crop_grid("portrait", "arcface", 112)[None]
    made = torch.nn.functional.grid_sample(to_tensor(ramp[None]), grid, padding_mode="border", align_corners=False)
    difference = np.abs((made[0].permute(1, 2, 0).numpy() + 1) * 127.5 - expected)
    assert difference[12:-12, 12:-12].max() <= 1.5


def test_psnr_of_a_known_error() -> None:
    real = torch.zeros(2, 3, 8, 8)
    assert float(psnr(real + 0.2, real)) == pytest.approx(20.0)


_RUN = """
import sys
from pathlib import Path
from personae.training.methods.autoencoder.method import AutoencoderTask
from personae.training.loop import Schedule, train
from personae.training.networks import MotionNet
import torch
torch.manual_seed(0)
torch.set_num_threads(1)
schedule = Schedule(steps=8, batch=2, lr=1e-3, warmup=2, save_minutes=0, report_every=100, compile=False)
train(AutoencoderTask(Path(sys.argv[1]), Path(sys.argv[2])), schedule, sys.argv[3])
"""


def _losses(folder: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_a_killed_training_resumes_exactly(cache: Path, embedder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RUN, str(cache), str(embedder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    killed = subprocess.Popen(
        [*command, str(tmp_path / "killed")], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = tmp_path / "killed" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(_losses(tmp_path / "killed")) < 8
    subprocess.run([*command, str(tmp_path / "killed")], check=True, env=environment, capture_output=True)
    assert _losses(tmp_path / "killed") == _losses(tmp_path / "whole")


def test_base_trains_reports_and_exports(cache: Path, embedder: Path, tmp_path: Path) -> None:
    short = Schedule(steps=1, batch=2, lr=1e-3, compile=False)
    train(AutoencoderTask(cache, embedder), short, tmp_path / "vae")
    files = BaseFiles(caches=[cache], vae=tmp_path / "vae" / "export" / "vae", embedder=embedder)
    task = BaseTask(files, identity_weight=0.1, identity_images=2)
    report = train(task, short, tmp_path / "base")
    assert np.isfinite(list(report.values())).all()
    for name in ("unet", "text_encoder", "tokenizer", "samples.png"):
        assert (tmp_path / "base" / "export" / name).exists()
    again = BaseTask(replace(files, start=tmp_path / "base" / "export"))
    before, after = task.model.state_dict(), again.model.state_dict()
    # The export holds the averaged weights in half precision.
    assert all(torch.allclose(before[name], after[name], atol=0.02) for name in before)


def test_identity_changes_the_condition_only_where_it_is_asked(cache: Path, embedder: Path, tmp_path: Path) -> None:
    train(AutoencoderTask(cache, embedder), Schedule(steps=1, batch=2, lr=1e-3, compile=False), tmp_path)
    task = BaseTask(BaseFiles(caches=[cache], vae=tmp_path / "export" / "vae", embedder=embedder))
    tokens = torch.from_numpy(task.setting.prompts.tokens([captions.IDENTITY_PROMPT, "photo of a man"]))
    one, other = torch.nn.functional.normalize(
        torch.randn(2, 2, 128, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    with torch.no_grad():
        a, b = (task.model.condition(tokens, vectors).pooled for vectors in (one, other))
    assert not torch.allclose(a[0], b[0], atol=1e-3)
    torch.testing.assert_close(a[1], b[1])


def test_unknown_recipe_and_missing_inputs(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="nano-base"):
        recipes.recipe("nano-bass")
    inputs = recipes.Inputs(cache=tmp_path, teachers=tmp_path, runs=tmp_path)
    with pytest.raises(WeightsMissing, match="personae train nano-embedder-longer"):
        inputs.embedder()


def test_recogniser_gradient_reaches_the_image(embedder: Path) -> None:
    recogniser = AlignedRecogniser(embedder)
    image = torch.zeros(2, 3, 128, 128, requires_grad=True)
    vectors = recogniser(image, jitter(2, torch.Generator().manual_seed(0)))
    assert vectors.shape == (2, 128)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
    vectors[:, 0].sum().backward()
    assert image.grad is not None
    assert bool(torch.isfinite(image.grad).all())


def test_adapters_are_taken_from_runs_or_the_bundle_or_left_out(tmp_path: Path) -> None:
    runs, bundle = tmp_path / "runs", tmp_path / "bundle"
    ours, theirs = runs / "nano-expression" / "export" / "exp_adapter", bundle / "controlnet"
    for folder in (ours, theirs, bundle / "exp_adapter"):
        folder.mkdir(parents=True)
    inputs = recipes.Inputs(cache=tmp_path, teachers=tmp_path, runs=runs, bundle=bundle)
    assert inputs.adapters("face0-nano") == {"exp_adapter": ours, "controlnet": theirs}
    with pytest.raises(WeightsMissing, match="personae train nano-fast"):
        inputs.export("nano-fast", "lcm")


def test_compiled_blocks_have_the_gradients_of_the_plain_unet() -> None:
    """Compiled whole, under autocast, torch 2.13 gave every attention a gradient of zero, and the right output."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32,),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    ).train()
    given = torch.randn(2, 4, 8, 8), torch.rand(2) * 1000, torch.randn(2, 6, 32)

    def gradients() -> dict[str, torch.Tensor]:
        unet.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            made = unet(*given, return_dict=False)[0]
        made.float().square().mean().backward()
        return {name: weight.grad.clone() for name, weight in unet.named_parameters()}

    plain = gradients()
    compile_blocks(unet)
    compiled = gradients()
    listening = [name for name in plain if "attn2.to_v" in name or "attn1.to_v" in name]
    assert listening
    for name in [*listening, "conv_in.weight"]:
        assert plain[name].any()
        apart = (compiled[name] - plain[name]).norm() / plain[name].norm()
        assert apart < 0.1, name


class Toy:
    """A training of a model on ones, by a loss of the step's number and of the model's answer."""

    def __init__(
        self, model: torch.nn.Module, loss: Callable[[int, torch.nn.Module, torch.Tensor], torch.Tensor]
    ) -> None:
        self.model, self._loss, self._step = model, loss, 0

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return np.ones((size, 1), np.float32)

    def loss(
        self, model: torch.nn.Module, batch: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict]:
        self._step += 1
        return self._loss(self._step, model, batch), {}

    def report(self, model: torch.nn.Module) -> dict[str, float]:
        return {}

    def export(self, model: torch.nn.Module, folder: Path) -> None:
        pass


def test_weights_that_nothing_reaches_are_named(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"heard": torch.nn.Linear(1, 1), "deaf": torch.nn.Linear(1, 1)})
    task = Toy(model, lambda _, model, ones: model["heard"](ones).square().mean() + 0 * model["deaf"](ones).sum())
    schedule = Schedule(steps=25, batch=2, lr=1e-3, compile=False)
    with pytest.warns(UserWarning, match="no gradient has reached 2 tensors in 20 steps, deaf.bias among them"):
        train(task, schedule, tmp_path, bf16=False)


@pytest.mark.parametrize("wild", [31.0, float("inf"), float("nan")])
def test_a_training_that_runs_away_says_so(wild: float) -> None:
    norms = _Norms()
    for step in range(10):
        norms.add(1.0, step)
    norms.add(29.0, 10)  # a rare batch
    with pytest.warns(UserWarning, match=f"norm is {wild:.3g} at step 11, usually it was 1: this training runs away"):
        norms.add(wild, 11)


def test_the_loop_watches_the_norm_of_the_gradient(tmp_path: Path) -> None:
    task = Toy(torch.nn.Linear(1, 1), lambda step, model, ones: model(ones).mean() * (1 if step < 20 else 100))
    with pytest.warns(UserWarning, match="runs away"):
        train(task, Schedule(steps=20, batch=1, lr=1e-3, compile=False), tmp_path, bf16=False)
