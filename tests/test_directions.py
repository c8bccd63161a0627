"""Directions: fitted to labelled people, judged on others, kept in a file, followed. All people here are made up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from model_fixtures import tiny_model_folder
from personae import identity
from personae.data.labelled_people import ATTRIBUTES, LabelledPeople, labels_of
from personae.errors import BadData, BadIdentity, BadOption, SpaceMismatch, WeightsMissing
from personae.evaluation import shift_effects
from personae.evaluation.judge import Judge, JudgeSpec
from personae.evaluation.shift_effects import Probe
from personae.identity import Direction, IdentitySampler, directions, nearest_of
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.reading.reader import FaceReader
from personae.training import fit_directions as fitting
from personae.training import fit_sampler
from personae.types import BLENDSHAPES, Identity
from reading_fixtures import tiny_reader_folder
from training_fixtures import write_cache

AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
SPACE = "made-up/arcface/0"


def made_up(count: int, seed: int, width: int = 128) -> LabelledPeople:
    """People whose vectors hold their age along axis 0, their gender presentation along axis 1, and no smile.

    Most of the old are men and most of the young women: what goes with one label goes with the other, too.
    """
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 9, count)
    male = rng.random(count) < 0.2 + 0.6 * age / 8
    vectors = 0.08 * rng.standard_normal((count, width)) + 0.1
    vectors[:, 0] += 0.3 * (age - 4) / 2.6
    vectors[:, 1] += np.where(male, 0.3, -0.3)
    shapes = rng.random((count, 52)).astype(np.float32)
    return LabelledPeople(
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        teacher=vectors.astype(np.float32),
        blendshapes=shapes,
        age=[AGES[i] for i in age],
        gender=["Male" if one else "Female" for one in male],
    )


@pytest.fixture(scope="module")
def people() -> LabelledPeople:
    return made_up(3000, seed=0)


@pytest.fixture(scope="module")
def table(people: LabelledPeople) -> dict[str, Direction]:
    return fitting.fit(people, SPACE)


# ---------------------------------------------------------------------- fitting and judging


def test_each_direction_follows_its_own_label_though_labels_go_together(table: dict[str, Direction]) -> None:
    assert list(table) == ["age", "masculine", "smile"]
    for axis, name in enumerate(("age", "masculine")):
        assert table[name].vector[axis] > 0.95  # the sign, too: more of the label lies ahead
        assert abs(table[name].vector[1 - axis]) < 0.15
    assert np.corrcoef(labels_of(made_up(3000, seed=0))[:, :2].T)[0, 1] > 0.3  # ... which was to be kept apart


def test_a_directions_spread_is_that_of_the_people(people: LabelledPeople, table: dict[str, Direction]) -> None:
    for direction in table.values():
        assert direction.spread == pytest.approx((people.vectors @ direction.vector).std(), rel=1e-4)


def test_what_is_held_is_found_on_others_and_what_is_not_is_not(
    people: LabelledPeople, table: dict[str, Direction]
) -> None:
    found = shift_effects.correlations(table, people, made_up(600, seed=1))
    for name in ("age", "masculine"):
        assert found[name]["low"] <= found[name]["correlation"] <= found[name]["high"]
        assert found[name]["correlation"] > 0.8
        assert found[name]["auc"] > 0.9
        assert found[name]["readable"] > 0.9
    assert abs(found["smile"]["correlation"]) < 0.15
    assert abs(found["smile"]["auc"] - 0.5) < 0.1
    assert found["smile"]["n"] == 600


def test_auc_is_the_chance_to_rank_rightly() -> None:
    scores, has = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert shift_effects.auc(scores, has) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert shift_effects.auc(-scores, has) == pytest.approx(1 - 3.5 / 4)
    assert np.isnan(shift_effects.auc(scores, np.ones(4, dtype=bool)))


def test_people_without_labels_stand_aside(people: LabelledPeople, table: dict[str, Direction]) -> None:
    strangers = replace(made_up(300, seed=5), age=[""] * 300)
    both = LabelledPeople(
        vectors=np.concatenate([people.vectors, strangers.vectors]),
        teacher=np.concatenate([people.teacher, strangers.teacher]),
        blendshapes=np.concatenate([people.blendshapes, strangers.blendshapes]),
        age=people.age + strangers.age,
        gender=people.gender + strangers.gender,
    )
    for name, direction in fitting.fit(both, SPACE).items():
        np.testing.assert_array_equal(direction.vector, table[name].vector)


def test_labels_that_teach_nothing_are_refused() -> None:
    with pytest.raises(BadData, match="at least 50 people"):
        fitting.fit(made_up(49, seed=0), SPACE)
    with pytest.raises(BadData, match="alike in masculine"):
        fitting.fit(replace(made_up(100, seed=0), gender=["Male"] * 100), SPACE)
    with pytest.raises(BadData, match="more people than that, got 100"):
        Probe.fit(np.ones((100, 128)), np.ones((100, 2)))


def test_faces_made_of_shifted_people_are_read_back(nano_like: FacePipeline, nano_folder: Path) -> None:
    space, width = nano_like.config.identity_space, nano_like.config.identity_width
    people = made_up(400, seed=0, width=width)
    table = {"age": fitting.fit(people, space)["age"]}
    who = [Identity(vector=row, space=space) for row in people.vectors[:3]]
    eyes_and_mouth = np.array([(10, 12), (21, 12), (16, 18), (11, 24), (20, 24)], np.float32)
    found = shift_effects.measure_shifts(
        nano_like,
        table,
        who,
        judge=Judge(JudgeSpec(path=str(nano_folder / "reader" / "embedder.onnx"))),
        finder=lambda image: eyes_and_mouth,
        probe=Probe.fit(people.teacher, labels_of(people)),
        amounts=(0, 3),
        progress=False,
    )
    assert [(one.direction, one.amount) for one in found] == [("age", 0), ("age", 3), ("random", 0), ("random", 3)]
    for still in found[::2]:
        assert still.likeness.value == pytest.approx(1, abs=1e-4)
        assert still.change["age"].value == pytest.approx(0, abs=0.05)
    assert found[1].likeness.value < 0.9999
    assert found[1].change["age"].value != pytest.approx(0, abs=0.05)
    assert found[1].change["smile"].value == 0  # the tiny reader sees the same expression in every face
    assert {one.change["age"].n for one in found} == {3}
    with pytest.raises(BadData, match="no face was found"):
        shift_effects.measure_shifts(
            nano_like,
            table,
            who,
            judge=Judge(JudgeSpec(path=str(nano_folder / "reader" / "embedder.onnx"))),
            finder=lambda image: None,
            probe=Probe.fit(people.teacher, labels_of(people)),
            progress=False,
        )


# ---------------------------------------------------------------------- from a cache


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FaceReader:
    folder = tmp_path_factory.mktemp("reader")
    tiny_reader_folder(folder)
    return FaceReader.from_folder(folder / "reader", threads=1)


def test_a_cache_is_read_as_the_reader_sees_it(reader: FaceReader, tmp_path: Path) -> None:
    cache = write_cache(tmp_path, count=40)
    seen, kept = (LabelledPeople.read(cache, reader.embedder, held_out=held_out) for held_out in (False, True))
    assert len(seen) + len(kept) == 40
    assert len(kept) > 0
    np.testing.assert_allclose(np.linalg.norm(seen.vectors, axis=1), 1, atol=1e-5)
    assert (seen.vectors.shape, seen.teacher.shape, seen.blendshapes.shape) == (
        (len(seen), reader.width),
        (len(seen), 128),
        (len(seen), len(BLENDSHAPES)),
    )
    labels = labels_of(seen)
    np.testing.assert_array_equal(labels[:, :2], np.tile((25.0, 1.0), (len(seen), 1)))
    smiles = [BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    np.testing.assert_allclose(labels[:, 2], seen.blendshapes[:, smiles].mean(1), rtol=1e-6)
    np.testing.assert_array_equal(LabelledPeople.read(cache, reader.embedder, limit=3).vectors, seen.vectors[:3])
    with pytest.raises(BadData, match="no training people"):
        LabelledPeople.read(tmp_path / "elsewhere", reader.embedder)


def test_the_whole_recipe_refuses_a_cache_that_teaches_nothing(reader: FaceReader, tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache", count=80)  # 80 people, all annotated alike
    with pytest.raises(BadData, match="alike in age, masculine"):
        fitting.run(reader, cache=cache, out=tmp_path / directions.FILE)
    assert not (tmp_path / directions.FILE).exists()


def test_random_people_are_no_more_like_the_trained_on_than_real_strangers_are(people: LabelledPeople) -> None:
    others = made_up(300, seed=9)
    sampler = fit_sampler.fit(people, others, SPACE, count=2048)
    nearest = nearest_of(others.vectors, people.vectors)
    assert sampler.most_alike_known == pytest.approx(np.median(nearest), abs=1e-3)
    assert isinstance(sampler, IdentitySampler)
    drawn = np.stack([one.vector for one in sampler.sample(20, seed=0, most_alike=1.0)])
    assert nearest_of(drawn, people.vectors).max() <= sampler.most_alike_known + 1e-5


# ---------------------------------------------------------------------- following


def test_several_shifts_add_up_whatever_their_order(table: dict[str, Direction]) -> None:
    ann = Identity(vector=made_up(1, seed=3).vectors[0], space=SPACE)
    one = directions.shift(ann, table, {"age": 1.5, "masculine": -1})
    other = directions.shift(ann, table, {"masculine": -1, "age": 1.5})
    np.testing.assert_allclose(one.vector, other.vector, atol=1e-6)
    np.testing.assert_allclose(
        directions.shift(ann, table, {"age": 1.5}).vector, identity.shift(ann, table["age"], 1.5).vector, atol=1e-6
    )
    assert directions.shift(ann, table, {"age": 0, "smile": 0}) is ann
    assert directions.shift(ann, table, {}) is ann


def test_shifts_that_will_not_do_are_refused(table: dict[str, Direction]) -> None:
    ann = Identity(vector=made_up(1, seed=3).vectors[0], space=SPACE)
    with pytest.raises(BadOption, match="did you mean 'smile'"):
        directions.shift(ann, table, {"smiel": 1})
    with pytest.raises(BadOption, match="got nan"):
        directions.shift(ann, table, {"age": float("nan")})
    with pytest.raises(SpaceMismatch, match="elsewhere"):
        directions.shift(Identity(vector=ann.vector, space="elsewhere"), table, {"age": 0})


def test_amounts_are_written_as_pairs() -> None:
    assert directions.parse("age=1.5, masculine=-1") == {"age": 1.5, "masculine": -1.0}
    for text in ("age", "age=much", "", "age=1,"):
        with pytest.raises(BadOption, match=r"age=1\.5"):
            directions.parse(text)


# ---------------------------------------------------------------------- the file


def test_directions_come_back_from_their_file(table: dict[str, Direction], tmp_path: Path) -> None:
    path = tmp_path / directions.FILE
    measured = {name: {"correlation": 0.5, "n": 3} for name in table}
    directions.save(path, table, measured)
    again = directions.of_model(tmp_path)
    assert list(again) == list(ATTRIBUTES)
    for name, direction in table.items():
        np.testing.assert_array_equal(again[name].vector, direction.vector)
        assert again[name].spread == pytest.approx(direction.spread)
        assert again[name].space == SPACE
    assert directions.measured(path) == measured
    assert path.stat().st_size < 4000


def test_a_saved_model_keeps_its_directions_and_its_people(table: dict[str, Direction], tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path)
    directions.save(model / directions.FILE, table, {name: {} for name in table})
    catalog.seal(model)
    FacePipeline.from_pretrained(model).save_pretrained(tmp_path / "again")
    for file in (directions.FILE, identity.PEOPLE):
        assert (tmp_path / "again" / file).read_bytes() == (model / file).read_bytes()
    catalog.verify(tmp_path / "again")


def test_files_that_are_no_directions_are_named(table: dict[str, Direction], tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="fit-directions"):
        directions.of_model(tmp_path)
    path = tmp_path / directions.FILE
    rows = {"vectors": np.eye(2, 8, dtype=np.float32), "spreads": np.ones(2, np.float32)}
    for facts, message in (
        ({"format": "personae.people/1", "space": "a"}, "not a personae.directions/1"),
        ({"format": "personae.directions/1", "space": "a"}, "names 0 directions"),
        ({"format": "personae.directions/1", "space": "a", "names": '["age"]'}, "names 1 directions"),
        ({"format": "personae.directions/1", "space": "a", "names": "age"}, "names 0 directions"),
    ):
        save_file(rows, path, facts)
        with pytest.raises(BadIdentity, match=message):
            directions.load(path)
    other = replace(table["age"], space="b")
    with pytest.raises(BadIdentity, match="one identity space"):
        directions.save(path, {"age": table["age"], "smile": other}, {})


@pytest.mark.parametrize(
    "broken",
    [
        lambda one: replace(one, spread=0.0),
        lambda one: replace(one, spread=float("nan")),
        lambda one: replace(one, vector=np.zeros(128)),
    ],
)
def test_impossible_directions_are_refused(
    table: dict[str, Direction], broken: Callable[[Direction], Direction]
) -> None:
    with pytest.raises(BadIdentity):
        broken(table["age"])


def test_a_shift_too_far_is_answered_in_the_units_it_came_in() -> None:
    axes = np.eye(4)
    table = {
        name: Direction(vector=axis, spread=0.2, space="s") for name, axis in zip(("age", "smile"), axes, strict=False)
    }
    person = Identity(vector=np.array([0.0, 0, 0, 1]), space="s")
    for amount in (6, -6):
        with pytest.raises(BadOption, match=rf"age .* by -5\.0 to 5\.0 standard deviations, got {amount}$"):
            directions.shift(person, table, {"age": amount})
    with pytest.raises(BadOption, match=r"age=6,smile=-8 .* by age=3,smile=-4 or less"):
        directions.shift(person, table, {"age": 6, "smile": -8})
    assert directions.shift(person, table, {"age": 4.9}).vector[0] == pytest.approx(0.98)
