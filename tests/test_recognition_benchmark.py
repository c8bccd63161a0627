"""The benchmark of recognition: its figures of vectors whose answer is known."""

import numpy as np

from personae.evaluation.suites import recognition


def pairs(apart: float, count: int = 200) -> np.ndarray:
    """(count, 2, 64): two photos of each of many people, `apart` times as far from one another as strangers are."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(count, 1, 64))
    found = people + apart * rng.normal(size=(count, 2, 64))
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def test_who_is_always_known_again_is_known_without_error() -> None:
    found = recognition.figures(pairs(0.1))
    assert found["TAR at 1e-3"] == found["rank-1"] == 1
    assert found["equal error"] < 0.003
    assert found["same"] > 0.95
    assert abs(found["strangers"]) < 0.05


def test_who_is_hardly_known_again_is_often_missed() -> None:
    worse, worst = recognition.figures(pairs(1.5)), recognition.figures(pairs(6.0))
    assert 0.02 < worse["equal error"] < 0.2
    assert worst["equal error"] > 0.3
    assert worst["rank-1"] < 0.2 < worse["rank-1"] < 1
    assert worst["TAR at 1e-3"] < worse["TAR at 1e-3"] < 1
