"""The engine: the bytes of the library, requests side by side, cancelling, time, memory, what the operator forbids."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from adapters_by_hand import write_lora
from conftest import made_up
from personae.errors import BadOption, JobCancelled, JobTimedOut, NoFaceFound, QueueFull, Refused, SpaceMismatch
from personae.pipeline import FacePipeline
from personae.serving import Blend, DenyList, Edit, Engine, Generate, Mean, Policy, Read, Sample, Shift, Ticket
from personae.serving.engine.models import ModelShelf, size_of
from personae.serving.engine.preview import steps_with_preview
from personae.serving.engine.waiting import WaitingLine
from personae.types import RELEASED_SPACES, Generation, Identity

SMALL = {"num_inference_steps": 2}


@pytest.fixture
def engine(nano_like: FacePipeline) -> Iterator[Engine]:
    with Engine({"tiny": lambda: nano_like}) as made:
        assert made.wait_until_ready(60)
        yield made


def pixels(result: Generation) -> np.ndarray:
    return np.stack([np.asarray(image) for image in result.images])


class Gate:
    """An output filter at which the worker waits until it is opened: what comes meanwhile queues up."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, image: Image.Image) -> None:
        self.reached.set()
        assert self.opened.wait(30)


@pytest.fixture
def busy(nano_like: FacePipeline) -> Iterator[tuple[Engine, Gate]]:
    """An engine whose worker is held by a first request."""
    gate = Gate()
    with Engine({"tiny": lambda: nano_like}, waiting=3, policy=Policy(output_filter=gate)) as made:
        made.submit(Generate(people=made_up(nano_like, 1), seed=0, options=SMALL))
        assert gate.reached.wait(30)
        yield made, gate
        gate.opened.set()


# ---------------------------------------------------------------------- the same as the library


def test_alone_the_bytes_are_the_librarys(nano_like: FacePipeline, engine: Engine) -> None:
    people = made_up(nano_like, 2)
    wanted = nano_like(people, num_images_per_prompt=2, seed=7, **SMALL)
    request = Generate(people=people, num_images_per_prompt=2, seed=7, options=SMALL, batch=False)
    result = engine.run(request)
    np.testing.assert_array_equal(pixels(result), pixels(wanted))
    assert (result.seeds, result.people, result.recipe) == (wanted.seeds, wanted.people, wanted.recipe)
    np.testing.assert_array_equal(result.likeness, wanted.likeness)


def test_requests_with_the_same_options_share_a_call(busy: tuple[Engine, Gate], nano_like: FacePipeline) -> None:
    """And each gets what it would have got alone, up to the rounding of a larger batch."""
    engine, gate = busy
    ann, bob, cem = made_up(nano_like, 3)
    wanted = [
        Generate(people=[ann, bob], num_images_per_prompt=2, seed=7, options=SMALL),
        Generate(people=[cem], seed=3, options=SMALL),
        Generate(people=[ann], seed=3, options={"num_inference_steps": 3}),
    ]
    before = engine.stats()
    tickets = [engine.submit(request) for request in wanted]
    gate.opened.set()
    results = [ticket.result(30) for ticket in tickets]
    assert engine_counts(engine) == (before.requests + 4, before.batches + 3)  # with the one that held the gate
    for request, result in zip(wanted, results, strict=True):
        alone = nano_like(
            list(request.people),
            num_images_per_prompt=request.num_images_per_prompt,
            seed=request.seed,
            **request.options,
        )
        assert np.abs(pixels(result).astype(int) - pixels(alone)).max() <= 1
        assert (result.seeds, result.people, result.recipe) == (alone.seeds, alone.people, alone.recipe)


def engine_counts(engine: Engine) -> tuple[int, int]:
    """Requests and batches, once the worker has counted the last one."""
    until = time.monotonic() + 5
    while engine.stats().waiting and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    stats = engine.stats()
    return stats.requests, stats.batches


@pytest.mark.parametrize(
    "change",
    [{"batch": False}, {"measure_likeness": False}, {"options": {"num_inference_steps": 3}}, {"model": "other"}],
    ids=str,
)
def test_who_does_not_share_a_call(nano_like: FacePipeline, change: dict) -> None:
    from personae.serving.engine.batching import key_of

    own = {"people": made_up(nano_like, 1), "seed": 0, "options": SMALL}
    assert key_of(Generate(**own)) is not None
    assert key_of(Generate(**own)) == key_of(Generate(**own | {"people": made_up(nano_like, 2), "seed": 5}))
    assert key_of(Generate(**own)) != key_of(Generate(**own | change))


def test_options_about_all_images_of_a_call_go_alone(nano_like: FacePipeline) -> None:
    from personae.serving.engine.batching import key_of

    people = made_up(nano_like, 2)
    for options in (
        {"regions": [(0, 0, 0.5, 1), (0.5, 0, 1, 1)]},
        {"image": b"a picture"},
        {"pose": [(20, 0, 0), (0, 0, 0)]},
    ):
        assert key_of(Generate(people=people, seed=0, options=options)) is None, options
    assert key_of(Generate(people=people, seed=0, options={"pose": (20, 0, 0)})) is not None


def test_one_request_leaves_nothing_behind_for_the_next(
    nano_like: FacePipeline, engine: Engine, tmp_path: Path
) -> None:
    """Whatever the one before set, or however it ended."""
    plain = Generate(people=made_up(nano_like, 1), seed=1, options=SMALL, batch=False)
    before = pixels(engine.run(plain))
    lora = write_lora(tmp_path, nano_like.unet, seed=1)
    changed = Generate(people=plain.people, seed=1, options=SMALL | {"lora": lora, "scheduler": "dpm++"}, batch=False)
    assert (pixels(engine.run(changed)) != before).any()
    np.testing.assert_array_equal(pixels(engine.run(plain)), before)
    with pytest.raises(BadOption, match="scheduler"):
        engine.run(Generate(people=plain.people, seed=1, options={"scheduler": "nonsense"}))
    stopped = engine.submit(Generate(people=plain.people, seed=1, options={"num_inference_steps": 1000, "lora": lora}))
    next(progress for progress in stopped.events() if progress.step)
    stopped.cancel()
    np.testing.assert_array_equal(pixels(engine.run(plain)), before)


def test_threads_side_by_side(nano_like: FacePipeline, engine: Engine) -> None:
    people = made_up(nano_like, 1)
    wanted = [nano_like(people, seed=seed, **SMALL) for seed in range(4)]
    found: dict[int, Generation] = {}

    def ask(seed: int) -> None:
        found[seed] = engine.run(Generate(people=people, seed=seed, options=SMALL, batch=False))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for seed, one in enumerate(wanted):
        np.testing.assert_array_equal(pixels(found[seed]), pixels(one))


# ---------------------------------------------------------------------- progress, cancelling, time


def test_progress_with_previews(nano_like: FacePipeline, engine: Engine) -> None:
    request = Generate(people=made_up(nano_like, 1), seed=0, options={"num_inference_steps": 8}, previews=3)
    heard = []
    ticket = engine.submit(request)
    ticket.listen(heard.append)
    assert ticket.result(30).images
    steps = [one for one in heard if one.step and one.stage == "running"]
    assert [one.step for one in steps][-1] == 8
    assert {one.steps for one in steps} == {8}
    previews = [one.preview for one in steps if one.preview is not None]
    assert previews
    assert all(one.size == ticket.result().images[0].size for one in previews)
    assert (heard[-1].stage, heard[-1].share) == ("done", 1.0)
    assert [one.stage for one in ticket.events()] == ["done"]


def test_previews_are_spread_evenly() -> None:
    assert steps_with_preview(8, 3) == {2, 4, 6}
    assert steps_with_preview(25, 4) == {5, 10, 15, 20}
    assert steps_with_preview(1, 3) == set()
    assert steps_with_preview(3, 16) == {1, 2}
    assert steps_with_preview(8, 0) == set()


def test_previews_change_no_result(nano_like: FacePipeline, engine: Engine) -> None:
    own = {"people": made_up(nano_like, 1), "seed": 0, "options": {"num_inference_steps": 4}, "batch": False}
    np.testing.assert_array_equal(pixels(engine.run(Generate(**own))), pixels(engine.run(Generate(**own, previews=2))))


def test_what_runs_is_cancelled_at_the_next_step(nano_like: FacePipeline, engine: Engine) -> None:
    long = Generate(people=made_up(nano_like, 1), seed=0, options={"num_inference_steps": 1000})
    ticket = engine.submit(long)
    next(progress for progress in ticket.events() if progress.step)
    assert ticket.cancel()
    assert not ticket.cancel()
    with pytest.raises(JobCancelled):
        ticket.result()
    began = time.monotonic()
    assert engine.run(Generate(people=long.people, seed=0, options=SMALL)).images
    assert time.monotonic() - began < 3  # 1000 steps take longer


def test_one_of_a_batch_is_cancelled_and_the_others_go_on(busy: tuple[Engine, Gate], nano_like: FacePipeline) -> None:
    engine, gate = busy
    people, options = made_up(nano_like, 1), {"num_inference_steps": 20}
    stays, goes = (engine.submit(Generate(people=people, seed=seed, options=options)) for seed in (0, 1))
    gate.opened.set()
    next(progress for progress in goes.events() if progress.step)
    goes.cancel()
    assert stays.result(30).seeds == [0]
    assert goes.progress.stage == "cancelled"


def test_what_waits_is_cancelled_at_once_and_leaves_its_place(
    busy: tuple[Engine, Gate], nano_like: FacePipeline
) -> None:
    engine, _ = busy
    request = Generate(people=made_up(nano_like, 1), seed=0, options=SMALL)
    tickets = [engine.submit(request) for _ in range(3)]
    with pytest.raises(QueueFull) as refusal:
        engine.submit(request)
    assert refusal.value.retry_after >= 1
    tickets[1].cancel()
    assert engine.stats().waiting == 2
    with pytest.raises(JobCancelled):
        tickets[1].result(0)
    engine.submit(request)


def test_time_is_over_while_it_waits_and_while_it_runs(busy: tuple[Engine, Gate], nano_like: FacePipeline) -> None:
    engine, gate = busy
    people = made_up(nano_like, 1)
    waits = engine.submit(Generate(people=people, seed=0, options=SMALL, timeout=0.1))
    with pytest.raises(JobTimedOut, match="within 0 seconds"):
        waits.result()
    gate.opened.set()
    runs = engine.submit(Generate(people=people, seed=0, options={"num_inference_steps": 1000}, timeout=0.5))
    with pytest.raises(JobTimedOut):
        runs.result()
    assert engine.run(Generate(people=people, seed=0, options=SMALL)).images


def test_a_caller_who_waits_no_longer_cancels_nothing(busy: tuple[Engine, Gate], nano_like: FacePipeline) -> None:
    engine, gate = busy
    ticket = engine.submit(Generate(people=made_up(nano_like, 1), seed=0, options=SMALL))
    with pytest.raises(TimeoutError):
        ticket.result(0.05)
    gate.opened.set()
    assert ticket.result(30).images


def test_closing_cancels_what_waits(nano_like: FacePipeline) -> None:
    gate = Gate()
    engine = Engine({"tiny": lambda: nano_like}, policy=Policy(output_filter=gate))
    request = Generate(people=made_up(nano_like, 1), seed=0, options=SMALL)
    runs, waits = engine.submit(request), None
    assert gate.reached.wait(30)
    waits = engine.submit(request)
    threading.Timer(0.1, gate.opened.set).start()
    engine.close()
    assert runs.result(0).images
    with pytest.raises(JobCancelled, match="closed"):
        waits.result(0)
    with pytest.raises(QueueFull, match="closed"):
        engine.submit(request)


# ---------------------------------------------------------------------- faults


def test_one_bad_request_of_a_batch_fails_alone(busy: tuple[Engine, Gate], nano_like: FacePipeline) -> None:
    engine, gate = busy
    good = Generate(people=made_up(nano_like, 1), seed=0, options=SMALL)
    blank = Generate(people=[np.zeros((64, 64, 3), np.uint8)], seed=0, options=SMALL)
    stranger = Generate(people=[Identity(vector=np.ones(8), space="another/space/0")], seed=0, options=SMALL)
    tickets = [engine.submit(request) for request in (blank, good, stranger)]
    gate.opened.set()
    assert tickets[1].result(30).images
    with pytest.raises(NoFaceFound, match="photo 1 of 1"):
        tickets[0].result(30)
    with pytest.raises(SpaceMismatch):
        tickets[2].result(30)


def test_a_bug_ends_one_request_and_not_the_engine(
    nano_like: FacePipeline, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request = Generate(people=made_up(nano_like, 1), seed=0, options=SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(nano_like.reader, "identify", lambda images: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.run(request)
    assert engine.run(request).images
    assert "a request failed" in caplog.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"options": {"num_inference_step": 2}}, "unknown option|num_inference_step"),
        ({"options": {"pose_scale": 9}}, "pose_scale must be"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt"),
        ({"num_images_per_prompt": 65}, "num_images_per_prompt"),
        ({"seed": -1}, "seed"),
        ({"people": []}, "people"),
        ({"timeout": 0}, "timeout"),
        ({"previews": 99}, "previews"),
    ],
    ids=str,
)
def test_impossible_requests_are_refused_at_once(fields: dict, words: str) -> None:
    somebody = Identity(vector=np.ones(8), space="some/space/0")
    with pytest.raises(BadOption, match=words):
        Generate(**{"people": [somebody], **fields})


def test_requests_are_frozen() -> None:
    request = Sample(count=2)
    with pytest.raises(FrozenInstanceError):
        request.count = 3  # type: ignore[misc]


def test_unknown_models_are_refused_by_name(engine: Engine) -> None:
    with pytest.raises(BadOption, match="did you mean 'tiny'"):
        engine.submit(Sample(model="tinny"))
    with pytest.raises(BadOption, match="unknown model"):
        Engine({"tiny": lambda: None}, warm=["other"])  # type: ignore[arg-type, return-value]


def test_a_model_that_cannot_be_loaded_is_said_at_the_start(tmp_path: Path) -> None:
    from personae.errors import WeightsMissing

    with Engine({"gone": tmp_path / "nothing"}) as engine, pytest.raises(WeightsMissing):
        engine.wait_until_ready(30)


# ---------------------------------------------------------------------- several models


def test_models_leave_when_memory_is_needed(nano_like: FacePipeline, sd15_like: FacePipeline) -> None:
    size = size_of(nano_like)
    loads: list[str] = []
    sources = {name: lambda name=name: loads.append(name) or nano_like for name in ("a", "b", "c")}
    shelf = ModelShelf(sources, device=None, budget=2 * size + 1)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert shelf.get(name) is nano_like
    assert loads == ["a", "b", "c", "b"]
    assert shelf.loaded == ("a", "b")
    with pytest.raises(BadOption, match="more than the budget"):
        ModelShelf(sources, device=None, budget=size - 1).get("a")


def test_a_model_larger_than_the_budget_is_loaded_once(nano_like: FacePipeline) -> None:
    """And sends no other away, which would have to come back."""
    loads: list[str] = []
    small = SimpleNamespace(components={}, folder=None)
    sources = {name: lambda name=name: loads.append(name) or nano_like for name in ("large",)}
    shelf = ModelShelf(sources, device=None, budget=size_of(nano_like) - 1)
    shelf._pipes["small"], shelf._sizes["small"] = small, 8
    for _ in range(3):
        with pytest.raises(BadOption, match="more than the budget"):
            shelf.get("large")
    assert loads == ["large"]
    assert shelf.loaded == ("small",)


def test_pictures_are_counted_that_there_are(nano_like: FacePipeline) -> None:
    people = made_up(nano_like, 2)
    stranger = Identity(vector=np.ones(4), space="another/space/0")
    with Engine({"tiny": lambda: nano_like}) as engine:
        engine.run(Generate(people=people[:1], num_images_per_prompt=3, seed=0, options=SMALL))
        ticket = engine.submit(Generate(people=[stranger], num_images_per_prompt=4, seed=0, options=SMALL))
        with pytest.raises(SpaceMismatch):
            ticket.result(30)
        side = engine.facts["tiny"].side
        halves = [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
        together = SMALL | {"regions": halves, "width": 2 * side, "height": side}
        engine.run(Generate(people=people, seed=0, options=together, batch=False))  # two people in one picture
    assert engine.stats().images == 4


def test_several_models_by_name(nano_like: FacePipeline, sd15_like: FacePipeline) -> None:
    with Engine({"nano": lambda: nano_like, "sd15": lambda: sd15_like}) as engine:
        assert engine.wait_until_ready(60)
        tickets = [
            engine.submit(Generate(model=name, people=made_up(pipe, 1), seed=3, options=SMALL, batch=False))
            for name, pipe in (("sd15", sd15_like), ("nano", nano_like))
        ]
        results = [ticket.result(30) for ticket in tickets]
        for result, pipe in zip(results, (sd15_like, nano_like), strict=True):
            wanted = pipe(made_up(pipe, 1), seed=3, **SMALL)
            np.testing.assert_array_equal(pixels(result), pixels(wanted))
        assert set(engine.stats().loaded) == {"nano", "sd15"}
        assert engine.facts["sd15"].identity_width == 16
        assert not engine.facts["sd15"].reads


# ---------------------------------------------------------------------- the bundled model


def test_the_other_requests_are_the_librarys_too(nano: FacePipeline, two_photos: Sequence[np.ndarray]) -> None:
    ann, bob = two_photos
    faces = [nano.read(photo)[0] for photo in (ann, bob)]
    with Engine({"nano": lambda: nano}) as engine:
        assert engine.wait_until_ready(60)
        read = engine.run(Read(photo=ann))
        assert [face.detection.score for face in read] == [face.detection.score for face in nano.read(ann)]
        mean = engine.run(Mean(people=[ann, faces[1]]))
        blend = engine.run(Blend(first=ann, second=bob, amount=0.25))
        from personae import identity

        assert (mean.vector == identity.mean([face.identity for face in faces]).vector).all()
        assert (blend.vector == identity.blend(faces[0].identity, faces[1].identity, 0.25).vector).all()
        older = engine.run(Shift(person=ann, by={"age": 1.0}))
        assert identity.similarity(older, faces[0].identity) < 0.999
        people = engine.run(Sample(count=2, seed=4))
        assert len(people) == 2
        edit = engine.run(Edit(task="swap", source=ann, target=bob, seed=0, options={"num_inference_steps": 2}))
        wanted = nano.edit("swap", source=ann, target=bob, seed=0, num_inference_steps=2)
        assert edit.images[0].tobytes() == wanted.images[0].tobytes()
        assert edit.recipe == wanted.recipe
        facts = engine.facts["nano"]
        assert facts.bundled
        assert "controlnet" in facts.components
        assert "age" in facts.directions


# ---------------------------------------------------------------------- what the operator forbids


def test_denied_people_are_refused_wherever_they_come_from(
    nano: FacePipeline, two_photos: Sequence[np.ndarray], tmp_path: Path
) -> None:
    ann, bob = two_photos
    denied = nano.read(ann)[0].identity
    DenyList.of([denied], threshold=0.6).save(tmp_path / "denied.safetensors")
    policy = Policy(deny_list=DenyList.load(tmp_path / "denied.safetensors"))
    options = {"num_inference_steps": 1}
    with Engine({"nano": lambda: nano}, policy=policy) as engine:
        for request in (
            Generate(people=[bob, ann], seed=0, options=options),
            Generate(people=[denied], seed=0, options=options),
            Edit(task="swap", source=ann, target=bob, seed=0, options=options),
            Edit(task="attribute", target=ann, shift={"age": 1.0}, seed=0, options=options),
            Edit(task="mix", target=bob, tokens={"identity": ann}, seed=0, options=options),
            Mean(people=[ann, bob]),
            Blend(first=bob, second=ann),
            Shift(person=ann, by={"age": 1.0}),
        ):
            with pytest.raises(Refused, match="deny-list"):
                engine.run(request)
        assert engine.run(Generate(people=[bob], seed=0, options=options)).images
        assert engine.run(Read(photo=ann))  # reading makes nothing


def test_a_deny_list_of_another_space_stops_the_start(nano_like: FacePipeline) -> None:
    elsewhere = DenyList.of([Identity(vector=np.ones(8), space="another/space/0")], threshold=0.5)
    with (
        Engine({"tiny": lambda: nano_like}, policy=Policy(deny_list=elsewhere)) as engine,
        pytest.raises(SpaceMismatch, match="deny-list"),
    ):
        engine.wait_until_ready(30)


def test_a_deny_list_of_an_earlier_encoder_names_the_release() -> None:
    (space, release), *_ = RELEASED_SPACES.items()
    old = DenyList.of([Identity(vector=np.ones(8), space=space)], threshold=0.5)
    with pytest.raises(SpaceMismatch, match=f"the model in personae {release}, .* identity deny PHOTOS"):
        old.require_space("another/space/0")


@pytest.mark.parametrize("threshold", [0, 1.5, float("nan")])
def test_a_deny_list_states_a_threshold(threshold: float) -> None:
    with pytest.raises(BadOption, match="threshold"):
        DenyList.of([Identity(vector=np.ones(8), space="some/space/0")], threshold=threshold)


def test_the_output_filter_sees_every_picture_and_no_preview_passes_it(nano_like: FacePipeline) -> None:
    seen = []

    def refuse_second(image: Image.Image) -> str | None:
        seen.append(image)
        return "too dark" if len(seen) == 2 else None

    with Engine({"tiny": lambda: nano_like}, policy=Policy(output_filter=refuse_second)) as engine:
        one = Generate(people=made_up(nano_like, 1), seed=0, options={"num_inference_steps": 4}, previews=2)
        ticket = engine.submit(one)
        heard = []
        ticket.listen(heard.append)
        assert ticket.result(30).images
        assert not any(progress.preview for progress in heard)
        with pytest.raises(Refused, match="too dark"):
            engine.run(one)


def test_importing_it_brings_no_torch() -> None:
    code = "import sys, personae.serving; print('torch' in sys.modules, 'diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_listener_after_the_end_hears_of_it() -> None:
    ticket = Ticket(Sample())
    ticket.fail(BadOption("no"))
    heard = []
    ticket.listen(heard.append)
    assert [one.stage for one in heard] == ["failed"]


# ---------------------------------------------------------------------- without a model


@pytest.fixture
def idle() -> Iterator[Engine]:
    """An engine that allows 10 seconds, and whose model cannot be loaded."""
    with Engine({"tiny": lambda: 1 / 0}, warm=(), timeout=10) as made:  # type: ignore[arg-type, return-value]
        yield made


@pytest.mark.parametrize(("wanted", "allowed"), [(None, 10), (3, 3), (3600, 10)])
def test_a_request_may_ask_for_less_time_and_not_for_more(idle: Engine, wanted: float | None, allowed: float) -> None:
    began = time.monotonic()
    ticket = idle.submit(Sample(timeout=wanted), waited=1)
    assert ticket.deadline == pytest.approx(began + allowed - 1, abs=0.5)


def test_whoever_has_no_time_left_leaves_the_line_at_once() -> None:
    line, heard = WaitingLine(1), []
    late = Ticket(Sample(), 5, waited=6)
    late.listen(heard.append)
    line.put(late, retry_after=1)
    line.put(Ticket(Sample()), retry_after=1)  # there is room again
    assert [progress.stage for progress in heard] == ["failed"]
    with pytest.raises(JobTimedOut, match="within 5 seconds"):
        late.result(0)
    [batch] = [line.take(lambda batch, ticket: False)]
    assert late not in batch


def test_messages_name_a_model_and_not_its_folder(idle: Engine, tmp_path: Path) -> None:
    idle._workers[0].shelf.facts["tiny"] = SimpleNamespace(folder=tmp_path)  # type: ignore[assignment]
    assert idle.in_models_words(f"{tmp_path} holds no directions") == "model 'tiny' holds no directions"
