"""The benchmark of Face0, rehearsed on a tiny model: what counts as obeyed, and a report that documents can draw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from face_token_fixtures import telling
from personae.evaluation import claims, tables
from personae.evaluation.claims import CLAIMS, Ages, Examiner, Known
from personae.evaluation.judge import Judge, JudgeSpec
from personae.evaluation.people import Person
from personae.evaluation.subjects import Subject
from personae.evaluation.suites import face0
from personae.types import BLENDSHAPES, Array, Detection, Face, Identity, Motion, Photo, Pose
from test_evaluation_report import judge_file

POINTS = np.array([[10, 12], [22, 12], [16, 18], [12, 24], [20, 24]], np.float32)


def known(rng: np.random.Generator) -> Known:
    """Children to one side of everybody, old people to the other."""
    age = ["3-9", "60-69", "30-39", "0-2", "more than 70"] * 40
    side = np.array([{"3": 1, "0": 1, "6": -1, "m": -1}.get(one[0], 0) for one in age])
    side[np.array(age) == "30-39"] = 0
    vectors = rng.standard_normal((200, 32))
    vectors[:, 0] += 4 * side
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Known(vectors=vectors, age=age, held_out=np.arange(200) % 4 == 0)


def readings(**readings: float) -> claims.Readings:
    return {name: np.array([value]) for name, value in readings.items()}


def test_a_claim_holds_on_its_side_of_the_middle_and_clearly_further_out() -> None:
    for value, smiling, serious in (
        (0.6, [1, 1], [0, 0]),
        (0.3, [1, 0], [0, 0]),
        (0.2, [0, 0], [1, 0]),
        (0.01, [0, 0], [1, 1]),
    ):
        for name, expected in (("smiling", smiling), ("serious", serious)):
            claim, one = CLAIMS[name], readings(smile=value)
            assert [int(claim.holds(one)[0]), int(claim.holds(one, clearly=True)[0])] == expected
    assert CLAIMS["looking left"].beats(readings(yaw=4), readings(yaw=-1)).all()
    assert not CLAIMS["looking right"].beats(readings(yaw=4), readings(yaw=-1)).any()


def test_no_face_bears_out_nothing() -> None:
    for name in ("smiling", "serious", "looking left", "looking right", "child", "old"):
        nothing = {CLAIMS[name].read: np.array([np.nan])}
        assert not CLAIMS[name].holds(nothing).any()
        assert not CLAIMS[name].beats(nothing, nothing).any()


def test_what_is_asked_names_who_they_are() -> None:
    people = [
        Subject(person=Person(key="0", photo=Photo(pixels=np.zeros((8, 8, 3), np.uint8)), groups=groups), face=None)
        for groups in ({"gender": "Male"}, {"gender": "Female"})
    ]
    assert [CLAIMS["child"].prompt(one) for one in people] == ["photo of a young boy", "photo of a young girl"]
    assert CLAIMS["serious"].prompt(people[1]) == "photo of a woman, serious"


def test_colours_are_what_differs_not_what_is_shared() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8).repeat(3, -1)
    tinted = grey // 2 + np.array([0, 10, 20], np.uint8)
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    figures = [claims.colourfulness(one) for one in (grey, tinted, colours)]
    assert figures[0] == 0
    assert figures[1] == pytest.approx(0.3 * np.hypot(10, 15), abs=0.01)
    assert figures[2] > 60


def test_ages_are_told_on_people_that_the_fit_never_saw() -> None:
    ages = Ages.fit(known(np.random.default_rng(0)))
    assert ages.count == 40
    assert min(ages.right) > 0.9


def test_the_report_is_made_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = telling("nano", tmp_path)
    rng, shapes = np.random.default_rng(0), np.zeros(52, np.float32)
    shapes[BLENDSHAPES.index("jawOpen")] = 0.2
    found = Detection(box=np.array([4, 4, 28, 28], np.float32), points=POINTS, score=1.0)
    people = [
        Subject(
            person=Person(key=str(n), photo=Photo(pixels=rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)), groups={}),
            face=Face(
                detection=found,
                identity=Identity(
                    vector=rng.standard_normal(pipe.config.identity_width), space=pipe.config.identity_space
                ),
            ),
        )
        for n in range(4)
    ]

    def motion(image: Array) -> Motion | None:
        """Turned by what the picture shows, so that different pictures are read differently."""
        assert image.shape == (96, 96, 3)  # twice as large and framed
        pose = Pose(yaw=float(image.astype(float).mean() - 120), pitch=0, roll=0)
        return Motion(landmarks=np.zeros((478, 3), np.float32), pose=pose, blendshapes=shapes)

    everyone = known(rng)
    judge = Judge(JudgeSpec(path=str(judge_file(tmp_path / "judge.onnx"))))
    examiner = Examiner(motion=motion, ages=Ages.fit(everyone), judge=judge, find=lambda _: POINTS)
    real = judge.look([one.person.photo.pixels for one in people], examiner.find)
    # The tiny tokenizer has no room for more words.
    short = {name: replace(claim, words="photo of a {noun}, smiling") for name, claim in CLAIMS.items()}
    monkeypatch.setattr(face0, "CLAIMS", short)
    bench = face0.Bench(pipe=pipe, people=people, examiner=examiner, real=real, options={"num_inference_steps": 2})
    report = face0.measure(bench, everyone.vectors, fewer=2, trials=2)
    assert report["figures"]["mouth"]["value"] == 1
    assert report["figures"]["smile"]["value"] == 0.5  # nobody smiles, and half were asked to
    assert report["groups"]["asked in words beside the face"]["mouth open"]["beats"]["value"] == 0
    assert report["figures"]["attributes"]["n"] == 5
    assert list(report["groups"]["two people in one picture"]) == list(face0.TOGETHER)
    text = tables.markdown(report)
    assert "| words, attention alone | 2 |" in text
    assert "| **kept**" in text
