"""Threads: each with its own pipeline they load and compute as alone; in one pipeline, the second is refused."""

import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from adapters_by_hand import write_lora
from conftest import made_up
from personae.errors import PipelineBusy
from personae.pipeline import FacePipeline
from personae.threads import WhileAny, _Turns

FAST = {"num_inference_steps": 2, "output_type": "np", "measure_likeness": False}


def side_by_side(*work: Callable[[], object]) -> list:
    """Their results, each in a thread, all begun at once."""
    together = threading.Barrier(len(work))

    def begun(one: Callable[[], object]) -> object:
        together.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [job.result(timeout=120) for job in [pool.submit(begun, one) for one in work]]


def test_threads_with_their_own_pipelines_load_and_use_loras_as_alone(
    nano_like: FacePipeline, nano_folder: Path, tmp_path: Path
) -> None:
    loras = [write_lora(tmp_path / str(seed), nano_like.unet, seed=seed) for seed in (1, 2)]
    [person] = made_up(nano_like, 1)

    def work(lora: Path) -> list[np.ndarray]:
        pipe = FacePipeline.from_pretrained(nano_folder)
        pipe.set_progress_bar_config(disable=True)
        changed = [pipe(person, lora=lora, seed=seed, **FAST).images for seed in range(2)]
        return [*changed, pipe(person, seed=0, **FAST).images]

    alone = [work(lora) for lora in loras]
    assert np.abs(alone[0][0] - alone[1][0]).max() > 1e-2
    np.testing.assert_array_equal(side_by_side(*(lambda lora=lora: work(lora) for lora in loras)), alone)


def test_who_computes_is_not_disturbed_by_who_loads(nano_like: FacePipeline, nano_folder: Path) -> None:
    """Libraries set torch's default dtype while they load."""
    [person] = made_up(nano_like, 1)
    wanted = nano_like(person, seed=0, **FAST).images
    over = threading.Event()

    def load() -> None:
        for _ in range(3):
            FacePipeline.from_pretrained(nano_folder, dtype=torch.bfloat16)
        over.set()

    def compute() -> int:
        count = 0
        while not over.is_set() or count < 3:
            np.testing.assert_array_equal(nano_like(person, seed=0, **FAST).images, wanted)
            count += 1
        return count

    assert side_by_side(load, compute)[1] >= 3
    assert torch.get_default_dtype() == torch.float32


def test_a_second_thread_in_a_running_pipeline_is_refused(nano_like: FacePipeline) -> None:
    [person] = made_up(nano_like, 1)
    wanted = nano_like(person, seed=0, **FAST).images
    again = FacePipeline(**nano_like.components | {"reader": None}, identity_space=person.space, identity_width=128)
    # A call writes the person into the text encoder's embedding, too.
    parts = nano_like.components | {"reader": None, "unet": copy.deepcopy(nano_like.unet)}
    encoding = FacePipeline(**parts, identity_space=person.space, identity_width=128)
    refusals: list[str] = []

    def intrude() -> None:
        for other in (nano_like, again, encoding):  # the second has the same networks
            with pytest.raises(PipelineBusy) as refusal:
                other(person, seed=1, **FAST)
            refusals.append(str(refusal.value))
        with pytest.raises(PipelineBusy):
            nano_like.edit("swap", source="no.jpg", target="no.jpg")

    def callback(pipe: FacePipeline, step: int, t: torch.Tensor, tensors: dict) -> None:
        began = time.monotonic()
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        assert time.monotonic() - began < 1

    made = nano_like(person, seed=0, callback_on_step_end=callback, **FAST).images
    np.testing.assert_array_equal(made, wanted)
    assert len(refusals) == 6
    assert "personae.load in each" in refusals[0]
    assert "queue" in refusals[0]
    assert side_by_side(lambda: nano_like(person, seed=0, **FAST).images.shape) == [wanted.shape]  # free again


def test_a_pipeline_is_free_again_after_an_error(nano_like: FacePipeline) -> None:
    with pytest.raises(ZeroDivisionError):
        nano_like(made_up(nano_like, 1), seed=0, callback_on_step_end=lambda *_: 1 // 0, **FAST)
    side_by_side(lambda: nano_like(made_up(nano_like, 1), seed=0, **FAST))


# ---------------------------------------------------------------------- turns, without networks


def watched(events: list[str], name: str, block, seconds: float = 0.02) -> None:
    with block:
        events.append(f"+{name}")
        time.sleep(seconds)
        events.append(f"-{name}")


def overlaps(events: Sequence[str], name: str) -> bool:
    """Whether anything happened while `name` was inside."""
    inside = [(i, events.index(f"-{name}", i)) for i, event in enumerate(events) if event == f"+{name}"]
    return any(end != start + 1 for start, end in inside)


def test_loaders_are_alone_and_who_computes_is_not() -> None:
    turns, events = _Turns(), []

    def compute(name: str) -> None:
        for _ in range(5):
            watched(events, name, turns.computing())

    def load() -> None:
        for _ in range(3):
            watched(events, "load", turns.loading())

    side_by_side(lambda: compute("a"), lambda: compute("b"), load, load)
    assert not overlaps(events, "load")
    assert overlaps(events, "a")


def test_two_that_compute_may_both_load() -> None:
    turns, events = _Turns(), []

    def work(name: str) -> None:
        with turns.computing(), turns.computing():
            watched(events, name, turns.loading())
            with turns.loading(), turns.loading(), turns.computing():
                pass
        with turns.computing():
            pass

    side_by_side(*(lambda name=name: work(name) for name in "abcd"))
    assert not any(overlaps(events, name) for name in "abcd")
    assert turns._computing == {}
    assert turns._loader is None


def test_a_change_of_the_process_lasts_from_the_first_to_the_last() -> None:
    events: list[str] = []

    @contextmanager
    def change():
        events.append("on")
        yield
        events.append("off")

    shared = WhileAny(change)
    first, second = threading.Event(), threading.Event()

    def long() -> None:
        with shared:
            first.set()
            second.wait(10)

    def short() -> None:
        first.wait(10)
        with shared:
            pass
        assert events == ["on"]
        second.set()

    side_by_side(long, short)
    assert events == ["on", "off"]
