"""Guidance by the recogniser: towards the person, for every scheduler, at no cost to those who do not ask."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from conftest import made_up, sd15_parts
from model_fixtures import face_photo
from personae.errors import BadOption, WeightsMissing
from personae.evaluation import tables
from personae.evaluation.judge import Judge, JudgeSpec
from personae.evaluation.people import Person
from personae.evaluation.subjects import Subject
from personae.evaluation.suites import likeness_guidance as benchmark
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.reading import align
from personae.reading.differentiable import AlignedRecogniser
from personae.reading.onnx_module import OnnxModule
from personae.reading.reader import FaceReader
from personae.replay import replay
from personae.sampling import codec, parameterisation, scheduler_table, schedulers
from personae.sampling.fast import modes
from personae.sampling.identity_guidance import IdentityScore, ReaderGuidance
from personae.sampling.loop import denoise, draw_noise, generators_for
from personae.types import Array
from test_evaluation_report import judge_file
from tolerances import assert_same

FLOW = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.5)
NOISE = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
STEPS = 6
STRENGTH = 0.2


@pytest.fixture(scope="module")
def reader(nano_folder: Path) -> FaceReader:
    return FaceReader.from_folder(nano_folder / "reader", threads=1)


@pytest.fixture(scope="module")
def sd15_read(reader: FaceReader) -> FacePipeline:
    """The other family, with the tiny reader."""
    pipe = FacePipeline(**sd15_parts(), reader=reader, crop_template="ffhq", steps=4)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(params=["nano_like", "sd15_read"])
def pipe(request: pytest.FixtureRequest) -> FacePipeline:
    return request.getfixturevalue(request.param)


def recogniser_of(pipe: FacePipeline) -> AlignedRecogniser:
    return AlignedRecogniser(pipe.reader.embedder.path, source=pipe.config.crop_template)


def latents(pipe: FacePipeline, count: int = 3, **options) -> Tensor:
    options = {"num_inference_steps": STEPS, "seed": 0} | options
    return pipe(made_up(pipe, count), output_type="latent", **options).images


def wanted(pipe: FacePipeline, count: int = 3) -> Tensor:
    return torch.from_numpy(np.stack([one.vector for one in made_up(pipe, count)]))


def towards(pipe: FacePipeline, people: Sequence[int] = range(3)) -> ReaderGuidance:
    score = IdentityScore(recogniser=recogniser_of(pipe), wanted=wanted(pipe)[list(people)])
    return ReaderGuidance(vae=pipe.vae, reader_score=score, strength=STRENGTH, interval=(0, 1))


@torch.no_grad()
def alike(pipe: FacePipeline, clean: Tensor) -> Tensor:
    """(N,) the cosine of each of the latents, decoded, to its person."""
    return (recogniser_of(pipe)(codec.decode(pipe.vae, clean)) * wanted(pipe, len(clean))).sum(-1)


@contextmanager
def decoded(pipe: FacePipeline) -> Iterator[list[int]]:
    """How many latents each call of the decoder was given."""
    calls: list[int] = []
    hook = pipe.vae.decoder.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    yield calls
    hook.remove()


# ---------------------------------------------------------------------- what a prediction means

NOISE_PREDICTIONS = ("epsilon", "v_prediction")
CASES = [(name, "flow_prediction") for name, entry in scheduler_table.SCHEDULERS.items() if entry.flow]
CASES += [(name, p) for name, entry in scheduler_table.SCHEDULERS.items() if entry.noise for p in NOISE_PREDICTIONS]


@pytest.mark.parametrize(("name", "predicts"), CASES)
def test_who_always_predicts_the_same_clean_latents_arrives_at_them(name: str, predicts: str) -> None:
    """Every scheduler reads what `from_clean` writes as `from_clean` meant it."""
    like = FLOW
    if predicts in NOISE_PREDICTIONS:
        like = diffusers.DDIMScheduler.from_config(NOISE.config, prediction_type=predicts)
    walker, generators = schedulers.fresh(name, like=like, steps=40), generators_for(range(2))
    goal = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def oracle(x: Tensor, t: Tensor) -> Tensor:
        form = parameterisation.at(walker, t)
        assert form.predicts == predicts
        prediction = form.from_clean(goal, x)
        torch.testing.assert_close(form.to_clean(prediction, x), goal, atol=1e-3, rtol=1e-3)
        return prediction

    made = denoise(oracle, draw_noise((3, 4, 4), generators), walker, generators=generators)
    # DDIM as configured ends a last, small sigma before zero; DEIS integrates even a straight line by steps.
    assert (made - goal).abs().max() < (0.15 if name in ("ddim", "deis") else 1e-3)


def test_latents_predicted_as_such_mean_themselves() -> None:
    like = diffusers.DDIMScheduler.from_config(NOISE.config, prediction_type="sample")
    form = parameterisation.at(schedulers.fresh("ddim", like=like, steps=4), torch.tensor(500))
    x, clean = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    assert form.to_clean(clean, x) is clean
    assert form.from_clean(clean, x) is clean
    assert form.signal**2 + form.noise**2 == pytest.approx(1)


# ---------------------------------------------------------------------- the recogniser


def test_the_tiny_recogniser_is_the_same_in_torch(reader: FaceReader) -> None:
    crops = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = onnxruntime.InferenceSession(reader.embedder.path).run(None, {"crop": crops.numpy()})[0]
    assert_same(OnnxModule(reader.embedder.path)(crops), expected)


def faint(side: int) -> Array:
    """(3, side, side, 3) uint8: smooth pictures, with fine grain on top that a careless reduction would alias."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(40, 215, (3, 3, 6, 6)))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").permute(0, 2, 3, 1).numpy()
    grain = 25 * (-1.0) ** np.arange(side)[None, None, :, None]
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("source", "side"), [("portrait", 128), ("portrait", 512), ("ffhq", 512), ("ffhq", 300)])
def test_it_sees_what_the_reader_sees(reader: FaceReader, source: str, side: int) -> None:
    images = faint(side)
    matrix = align.similarity(np.array(align.template(source).points) * side - 0.5, "arcface", 112)
    expected = reader.embedder.embed(np.stack([align.crop(image, matrix, 112) for image in images]))
    seen = AlignedRecogniser(reader.embedder.path, source=source)(codec.to_tensor(images)).numpy()
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    assert (seen * expected).sum(1).min() > 0.999


# ---------------------------------------------------------------------- the guidance


def test_the_direction_leads_uphill(pipe: FacePipeline) -> None:
    clean = latents(pipe)
    guidance = towards(pipe)
    direction = guidance.direction(clean)
    torch.testing.assert_close(direction.square().mean((1, 2, 3)).sqrt(), torch.ones(3))
    assert (alike(pipe, clean + 0.01 * direction) > alike(pipe, clean)).all()
    assert (alike(pipe, clean - 0.01 * direction) < alike(pipe, clean)).all()
    alone = [towards(pipe, [i]).direction(clean[[i]]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), direction, atol=1e-3, rtol=1e-3)


def test_the_image_looks_more_like_the_person(pipe: FacePipeline) -> None:
    before = alike(pipe, latents(pipe))
    weak, strong = (alike(pipe, latents(pipe, likeness_guidance=s)) for s in (STRENGTH / 4, STRENGTH))
    assert (weak > before).all()
    assert (strong > weak).all()


def test_who_does_not_ask_pays_nothing(pipe: FacePipeline) -> None:
    plain = latents(pipe)
    for options in ({"likeness_guidance": None}, {"likeness_guidance": 0}):
        with decoded(pipe) as calls:
            torch.testing.assert_close(latents(pipe, **options), plain, rtol=0, atol=0)
        assert calls == []


@pytest.mark.parametrize(("interval", "steps"), [((0, 1), 6), ((0.5, 1), 3), ((0.3, 0.7), 2), (None, 4)])
def test_it_acts_in_its_interval_only(pipe: FacePipeline, interval: tuple[float, float] | None, steps: int) -> None:
    with decoded(pipe) as calls:
        latents(pipe, likeness_guidance=STRENGTH, likeness_interval=interval)
    assert calls == [3] * steps


@pytest.mark.parametrize("name", scheduler_table.SCHEDULERS)
def test_every_scheduler_is_guided(pipe: FacePipeline, name: str) -> None:
    entry = scheduler_table.SCHEDULERS[name]
    if entry.flow if schedulers.is_flow(pipe.scheduler) else entry.noise:
        options = {"scheduler": name, "num_inference_steps": 8}
        before, after = (alike(pipe, latents(pipe, likeness_guidance=s, **options)) for s in (0, STRENGTH))
        assert after.mean() > before.mean()


def test_alone_as_in_company_and_no_trace_is_left(pipe: FacePipeline) -> None:
    plain = latents(pipe)
    together = latents(pipe, likeness_guidance=STRENGTH)
    torch.testing.assert_close(latents(pipe, likeness_guidance=STRENGTH), together, rtol=0, atol=0)
    torch.testing.assert_close(latents(pipe, likeness_guidance=STRENGTH, batch_size=2), together, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(latents(pipe, 1, likeness_guidance=STRENGTH)[0], together[0], atol=1e-2, rtol=1e-2)
    assert all(weight.grad is None for part in (pipe.vae, pipe.unet) for weight in part.parameters())
    torch.testing.assert_close(latents(pipe), plain, rtol=0, atol=0)


def test_decoders_prepared_for_speed_have_the_same_gradient(pipe: FacePipeline) -> None:
    """Their activations work in place: nothing that a gradient needs may be gone."""
    clean = latents(pipe)
    expected = towards(pipe).direction(clean)
    prepared = FacePipeline(
        **(pipe.components | {"vae": type(pipe.vae).from_config(pipe.vae.config)}), reader=pipe.reader
    )
    prepared.vae.load_state_dict(pipe.vae.state_dict())
    modes.prepare(prepared)
    found = replace(towards(pipe), vae=prepared.vae.eval()).direction(clean)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_the_recipe_asks_for_the_same_again(nano_like: FacePipeline, tmp_path: Path) -> None:
    person = made_up(nano_like, 1)
    made = nano_like(person, seed=3, likeness_guidance=STRENGTH, likeness_interval=(0.25, 1))
    settings = made.recipe["settings"]
    assert (settings["likeness_guidance"], settings["likeness_interval"]) == (STRENGTH, [0.25, 1.0])
    (path,) = writer.save(made, tmp_path, people=person)
    assert replay(path, pipe=nano_like)[1].max == 0
    assert "likeness_guidance" not in nano_like(person, seed=3).recipe["settings"]


def test_the_benchmark_compares_every_strength_with_the_first(nano_like: FacePipeline, tmp_path: Path) -> None:
    faces = [nano_like.read(face_photo(tmp_path / f"{left}.png", left=left))[0] for left in (10, 40)]
    people = [Subject(person=Person(key="", photo=face.photo, groups={}), face=face) for face in faces]
    judge = Judge(JudgeSpec(path=str(judge_file(tmp_path / "judge.onnx"))))
    points = np.array(align.TEMPLATES["portrait"].points)
    report = benchmark.compare(
        nano_like, people, judge, lambda pixels: points * len(pixels), steps=4, strengths=(0, STRENGTH)
    )
    rows = report["groups"]["likeness_guidance"]
    assert rows["0"]["gain"]["value"] == rows["0"]["gain_halved"]["value"] == 0
    assert rows["0.2"]["gain"]["value"] != 0
    assert all(row["core_seconds"]["value"] > 0 for row in rows.values())
    assert report["figures"] == {name: rows["0.2"][name] for name in ("gain", "gain_halved")}
    assert "| 0.2 | 2 |" in tables.markdown(report)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likeness_guidance": -1}, "a number between 0 and 1000, got -1"),
        ({"likeness_guidance": float("nan")}, "a number between 0 and 1000, got nan"),
        ({"likeness_guidance": float("inf")}, "a number between 0 and 1000, got inf"),
        ({"likeness_guidance": "much"}, "a number between 0 and 1000, got 'much'"),
        ({"likeness_guidance": True}, "a number between 0 and 1000, got True"),
        ({"likeness_interval": (0.2, 0.8)}, "likeness_interval has nothing to act on: give likeness_guidance with it"),
        ({"likeness_guidance": 1, "likeness_interval": 0.5}, "two shares of the steps, like"),
        ({"likeness_guidance": 1, "likeness_interval": (0.8, 0.2)}, r"0 <= first < last <= 1, got \(0.8, 0.2\)"),
        ({"likeness_guidance": 1, "likeness_interval": (0, 2)}, r"0 <= first < last <= 1, got \(0.0, 2.0\)"),
    ],
)
def test_impossible_requests_are_refused(nano_like: FacePipeline, options: dict, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        latents(nano_like, **options)


class Borrowed:
    """An embedder on another library, which shows vectors and keeps its network to itself."""

    template, size = "arcface", 112

    def __init__(self, embedder) -> None:
        self.space, self.width, self.embed = embedder.space, embedder.width, embedder.embed


def test_a_recogniser_without_gradient_is_refused(sd15_like: FacePipeline, reader: FaceReader) -> None:
    with pytest.raises(WeightsMissing, match="this model came without one"):
        latents(sd15_like, likeness_guidance=1)
    borrowed = FaceReader(detector=reader.detector, embedder=Borrowed(reader.embedder))
    pipe = FacePipeline(**sd15_parts(), reader=borrowed)
    with pytest.raises(WeightsMissing, match=r"needs the model's recogniser as a network .*\(Borrowed\) is none"):
        latents(pipe, likeness_guidance=1)
    assert latents(pipe, likeness_guidance=0).isfinite().all()
