"""Identities: means, blends, noise, shifts, made-up people, files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from personae import identity
from personae.errors import BadIdentity, BadOption, BadOutput, SpaceMismatch
from personae.identity import Direction, IdentitySampler, nearest_of
from personae.models.catalog import resolve
from personae.types import RELEASED_SPACES, Identity


def person(seed: int, width: int = 32, space: str = "a") -> Identity:
    return Identity(vector=np.random.default_rng(seed).standard_normal(width), space=space)


# Made-up people 0 and 131071 of a cloud of unit spread in four dimensions.
GOLDEN = ((-0.7967499, -0.07760374, 0.52762276, 0.2842209), (0.37714955, -0.71272457, 0.04275936, 0.5898759))

seeds = st.integers(0, 2**32 - 1)
amounts = st.floats(0, 1)


@given(seeds, seeds, amounts)
@settings(max_examples=50, deadline=None)
def test_a_blend_is_a_unit_vector_symmetric_and_at_its_share_of_the_angle(one: int, two: int, amount: float) -> None:
    a, b = person(one), person(two)
    between = identity.blend(a, b, amount)
    assert np.linalg.norm(between.vector) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(between.vector, identity.blend(b, a, 1 - amount).vector, atol=1e-6)
    whole = np.arccos(np.clip(identity.similarity(a, b), -1, 1))
    assert np.arccos(identity.similarity(a, between)) == pytest.approx(amount * whole, abs=2e-3)


def test_a_blend_ends_exactly_at_its_ends() -> None:
    a, b = person(0), person(1)
    np.testing.assert_array_equal(identity.blend(a, b, 0).vector, a.vector)
    np.testing.assert_array_equal(identity.blend(a, b, 1).vector, b.vector)
    np.testing.assert_allclose(identity.blend(a, a, 0.3).vector, a.vector, atol=1e-6)


def test_a_blend_refuses_opposites_and_amounts_outside() -> None:
    a = person(0)
    with pytest.raises(BadIdentity, match="opposite"):
        identity.blend(a, Identity(vector=-a.vector, space="a"), 0.5)
    for amount in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadOption, match="between 0 and 1"):
            identity.blend(a, person(1), amount)


def test_a_mean_weighs_its_members() -> None:
    a, b = person(0), person(1)
    np.testing.assert_allclose(identity.mean([a]).vector, a.vector, atol=1e-6)
    np.testing.assert_allclose(identity.mean([a, b]).vector, identity.blend(a, b, 0.5).vector, atol=1e-6)
    np.testing.assert_allclose(identity.mean([a, b], [1, 0]).vector, a.vector, atol=1e-6)
    near = identity.mean([a, b], [3, 1])
    assert identity.similarity(near, a) > identity.similarity(near, b)


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_a_mean_refuses_weights_that_do_not_fit(weights: list[float]) -> None:
    with pytest.raises(BadOption, match="weights must be 2 numbers"):
        identity.mean([person(0), person(1)], weights)


def test_a_mean_of_nobody_or_of_opposites_is_nobody() -> None:
    with pytest.raises(BadIdentity, match="at least one"):
        identity.mean([])
    with pytest.raises(BadIdentity, match="cancel"):
        identity.mean([person(0), Identity(vector=-person(0).vector, space="a")])


def test_spaces_never_mix() -> None:
    a, other = person(0), person(1, space="b")
    for mix in (
        lambda: identity.mean([a, other]),
        lambda: identity.blend(a, other, 0.5),
        lambda: identity.blend(a, other, 0),
        lambda: identity.similarity(a, other),
    ):
        with pytest.raises(SpaceMismatch, match="'b'"):
            mix()


def test_an_identity_of_an_earlier_bundled_encoder_names_the_release() -> None:
    (space, release), *_ = RELEASED_SPACES.items()
    with pytest.raises(SpaceMismatch, match=f"that of the model in personae {release}, .* identity mean PHOTO"):
        person(1, space=space).require("b")
    with pytest.raises(SpaceMismatch, match="'b', the model reads 'c'"):
        person(1, space="b").require("c")
    old = f"{space}', that of the model in personae {release}"
    for mix in (identity.similarity, lambda a, b: identity.mean([a, b]), lambda a, b: identity.blend(a, b, 0.5)):
        with pytest.raises(SpaceMismatch, match=f"in space '{old}, and in space 'b': read both photos"):
            mix(person(1, space=space), person(2, space="b"))
        with pytest.raises(SpaceMismatch, match=f"in space 'b', and in space '{old}: read both photos"):
            mix(person(2, space="b"), person(1, space=space))


def test_the_space_of_the_bundled_encoder_is_on_the_list() -> None:
    index = json.loads((resolve("nano") / "model_index.json").read_text())
    assert index["identity_space"] in RELEASED_SPACES, "note the release that this encoder comes with"


@given(seeds, st.floats(0, 180))
@example(3, 1.0)  # the very draw that made the person: a direction all but parallel to the vector
@settings(max_examples=30, deadline=None)
def test_noise_turns_by_exactly_its_angle(seed: int, degrees: float) -> None:
    a = person(3)
    turned = identity.noise(a, seed=seed, degrees=degrees)
    assert np.cos(np.radians(degrees)) == pytest.approx(identity.similarity(a, turned), abs=1e-5)


def test_noise_is_decided_by_its_seed_and_strength() -> None:
    a = person(3)
    np.testing.assert_array_equal(
        identity.noise(a, seed=1, strength=0.5).vector, identity.noise(a, seed=1, strength=0.5).vector
    )
    assert identity.similarity(a, identity.noise(a, seed=1, strength=0)) == pytest.approx(1)
    assert identity.similarity(a, identity.noise(a, seed=1, strength=0.2)) > 0.95
    assert identity.similarity(a, identity.noise(a, seed=1, strength=20)) < 0.6


@pytest.mark.parametrize(
    "options", [{}, {"degrees": 3, "strength": 1}, {"degrees": 181}, {"strength": -1}, {"strength": float("inf")}]
)
def test_noise_refuses_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(BadOption):
        identity.noise(person(0), seed=0, **options)


def ahead(spread: float = 0.1, space: str = "a", width: int = 32) -> Direction:
    return Direction(vector=person(11, width=width).vector, spread=spread, space=space)


@given(seeds, st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_a_shift_moves_its_coordinate_by_exactly_so_many_deviations(seed: int, amount: float) -> None:
    a, direction = person(seed), ahead()
    moved = identity.shift(a, direction, amount)
    change = float((moved.vector.astype(np.float64) - a.vector) @ direction.vector)
    assert change == pytest.approx(amount * 0.1, abs=1e-6)
    np.testing.assert_allclose(identity.shift(moved, direction, -amount).vector, a.vector, atol=1e-6)
    # What is across the direction keeps its own: nothing but what was asked for changes.
    across = [one.vector - (one.vector @ direction.vector) * direction.vector for one in (a, moved)]
    assert np.dot(*across) == pytest.approx(np.prod([np.linalg.norm(one) for one in across]), abs=1e-5)


def test_a_shift_ends_where_identities_end() -> None:
    a, direction = person(3), ahead()
    for amount in (30, -30, float("nan"), float("inf")):
        with pytest.raises(BadOption, match="can be shifted by"):
            identity.shift(a, direction, amount)
    with pytest.raises(BadOption, match="can be shifted by"):
        identity.shift(Identity(vector=direction.vector, space="a"), direction, -0.1)


def test_a_shift_keeps_to_its_space() -> None:
    with pytest.raises(SpaceMismatch, match="'b'"):
        identity.shift(person(3), ahead(space="b"), 1)
    with pytest.raises(BadIdentity, match="16 numbers"):
        identity.shift(person(3), ahead(width=16), 1)


@pytest.fixture(scope="module")
def crowd() -> np.ndarray:
    """Real people's vectors look like this: a common centre, a few strong directions."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 32)) * np.linspace(1.5, 0.2, 32) + 0.2
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_made_up_people_are_spread_like_the_crowd_and_not_alike(crowd: np.ndarray) -> None:
    sampler = IdentitySampler.fit(crowd, "a")
    people = sampler.sample(200, seed=0, most_alike=1.0)
    made = np.stack([p.vector for p in people])
    np.testing.assert_allclose(made.mean(0), crowd.mean(0), atol=0.05)
    np.testing.assert_allclose(made.std(0), crowd.std(0), atol=0.04)
    few = np.stack([p.vector for p in sampler.sample(8, seed=0, most_alike=0.3)])
    assert (few @ few.T - np.eye(8)).max() <= 0.3 + 1e-6
    assert {p.space for p in people} == {"a"}


def test_fewer_people_are_the_first_of_more(crowd: np.ndarray) -> None:
    sampler = IdentitySampler.fit(crowd, "a", components=20)
    few, many = (sampler.sample(count, seed=5, most_alike=0.5) for count in (2, 5))
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.vector, b.vector)


def test_a_cap_that_cannot_be_kept_is_an_error(crowd: np.ndarray) -> None:
    with pytest.raises(BadOption, match="ask for fewer"):
        IdentitySampler.fit(crowd, "a").sample(60, seed=0, most_alike=-0.5, tries=50)


def test_a_sampler_comes_back_from_its_file(crowd: np.ndarray, tmp_path: Path) -> None:
    sampler = IdentitySampler.fit(crowd, "a/b/c", components=8)
    sampler.save(tmp_path / "people.safetensors")
    again = IdentitySampler.load(tmp_path / "people.safetensors")
    assert again.space == "a/b/c"
    for a, b in zip(sampler.sample(3, seed=1), again.sample(3, seed=1), strict=True):
        np.testing.assert_array_equal(a.vector, b.vector)


def test_a_made_up_person_is_the_same_by_its_number_everywhere() -> None:
    """Golden: were these to change, what was checked of them would not hold."""
    plain = IdentitySampler(
        centre=np.zeros(4, np.float32), components=np.eye(4, dtype=np.float32), spread=np.ones(4, np.float32), space="a"
    )
    np.testing.assert_allclose(plain.person(0).vector, GOLDEN[0], atol=1e-6)
    np.testing.assert_allclose(plain.person(2**17 - 1).vector, GOLDEN[1], atol=1e-6)


def test_made_up_people_keep_their_distance_from_those_they_were_fitted_to(crowd: np.ndarray) -> None:
    sampler = IdentitySampler.fit(crowd, "a")
    free = np.stack([p.vector for p in sampler.sample(200, seed=0, most_alike=1.0)])
    cap = float(np.median(nearest_of(free, crowd)))
    checked = sampler.checked(crowd, cap, count=4096)
    kept = np.stack([p.vector for p in checked.sample(200, seed=0, most_alike=1.0)])
    assert nearest_of(kept, crowd).max() <= cap + 1e-6
    assert checked.most_alike_known == cap
    assert checked.allowed is not None
    assert 0.4 < checked.allowed.mean() < 0.6
    alike = [number for number in range(20) if nearest_of(sampler.person(number).vector[None], crowd)[0] > cap]
    assert alike == np.flatnonzero(~checked.allowed[:20]).tolist()
    assert len({tuple(row) for row in kept.tolist()}) == 200


def test_a_check_that_leaves_nobody_or_fits_nobody_is_refused(crowd: np.ndarray) -> None:
    sampler = IdentitySampler.fit(crowd, "a")
    with pytest.raises(BadOption, match="all 64 made-up people"):
        sampler.checked(crowd, -1, count=64)
    with pytest.raises(BadIdentity, match=r"\(N, 32\) vectors"):
        sampler.checked(crowd[:, :16], 0.5)
    with pytest.raises(BadIdentity, match="come together"):
        replace(sampler, most_alike_known=0.5)


def test_a_checked_sampler_comes_back_from_its_file(crowd: np.ndarray, tmp_path: Path) -> None:
    checked = IdentitySampler.fit(crowd, "a", components=8).checked(crowd, 0.8, count=512)
    checked.save(tmp_path / "people.safetensors")
    again = IdentitySampler.load(tmp_path / "people.safetensors")
    assert again.most_alike_known == 0.8
    np.testing.assert_array_equal(again.allowed, checked.allowed)
    for a, b in zip(checked.sample(3, seed=1), again.sample(3, seed=1), strict=True):
        np.testing.assert_array_equal(a.vector, b.vector)


def test_an_identity_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "ann.identity"
    identity.save(path, person(0, space="x/y/z"), note="two photos, März")
    again = identity.load(path)
    np.testing.assert_allclose(again.vector, person(0).vector, atol=1e-7)
    assert (again.space, identity.note(path)) == ("x/y/z", "two photos, März")
    assert [p.name for p in tmp_path.iterdir()] == ["ann.identity"]


def test_unreadable_identity_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.identity"
    with pytest.raises(BadIdentity, match="no such file"):
        identity.load(path)
    path.write_bytes(b"\xff\xd8 a jpeg")
    with pytest.raises(BadIdentity, match="cannot be read"):
        identity.load(path)
    save_file({"vector": np.ones(4, np.float32)}, path)
    with pytest.raises(BadIdentity, match=r"is not a personae\.identity"):
        identity.load(path)
    save_file({"other": np.ones(4, np.float32)}, path, {"format": "personae.identity/1", "space": "a"})
    with pytest.raises(BadIdentity, match="cannot be read"):
        identity.load(path)
    save_file({"vector": np.full(4, np.nan, np.float32)}, path, {"format": "personae.identity/1", "space": "a"})
    with pytest.raises(BadIdentity, match="finite"):
        identity.load(path)
    identity.save(path, person(0))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadIdentity, match="cannot be read"):
        identity.load(path)


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=600), st.sampled_from(["<f8", "<f4"]))
@example([5e-324, 0.0], "<f8")
@example([1.7e308] * 512, "<f8")
@example([1e-45, -1e-45], "<f4")
@example([3.4e38] * 512, "<f4")
def test_any_finite_vector_is_an_identity_and_is_the_same_after_a_file(tmp_path_factory, numbers, kind: str) -> None:
    with np.errstate(over="ignore"):
        vector = np.array(numbers).astype(kind)
    if not np.isfinite(vector).all() or not vector.any():
        with pytest.raises(BadIdentity, match="finite and not zero"):
            Identity(vector=vector, space="a")
        return
    one = Identity(vector=vector, space="a")
    assert one.vector.dtype == np.float32
    assert np.linalg.norm(one.vector.astype(np.float64)) == pytest.approx(1, abs=1e-7)
    scaled = vector.astype(np.float64) / np.abs(vector).max()
    cosine = one.vector.astype(np.float64) @ scaled / np.linalg.norm(scaled)
    assert cosine == pytest.approx(1, abs=1e-7)
    path = tmp_path_factory.getbasetemp() / "one.identity"
    identity.save(path, one)
    assert identity.load(path).vector.tobytes() == one.vector.tobytes()


@pytest.mark.untyped
def test_a_list_of_numbers_is_an_identity_too() -> None:
    one = Identity(vector=np.array((3.0, -4.0)), space="a")
    assert Identity(vector=one.vector.tolist(), space="a").vector.tobytes() == one.vector.tobytes()


@pytest.mark.parametrize("width", [1, 32, 128, 512])
def test_random_people_are_the_same_after_a_file(tmp_path: Path, width: int) -> None:
    for seed in range(100):
        one = person(seed, width)
        identity.save(tmp_path / "one", one)
        assert identity.load(tmp_path / "one").vector.tobytes() == one.vector.tobytes()


def test_what_a_reader_normalised_in_float32_is_left_alone() -> None:
    vector = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    vector /= np.linalg.norm(vector)
    one = Identity(vector=vector, space="a")
    assert one.vector.tobytes() == vector.tobytes()
    vector[0] = 7  # the caller's own
    assert one.vector[0] != 7


@pytest.mark.untyped
@pytest.mark.parametrize("strange", [["a"], [1j], [object()], [[1.0], [1.0, 2.0]], 3.0, [], None, [np.nan], [np.inf]])
def test_what_has_no_direction_is_no_identity(strange) -> None:
    with pytest.raises(BadIdentity, match=r"one vector|finite"):
        Identity(vector=strange, space="a")


def test_a_mean_of_weights_near_the_ends_of_the_range() -> None:
    a, b = person(0), person(1)
    for scale in (5e-324, 1e-300, 1e308):
        assert identity.similarity(identity.mean([a, b], [scale, scale]), identity.mean([a, b])) > 1 - 1e-6
    with pytest.raises(BadIdentity, match="cancel"):  # but for rounding
        identity.mean([a, a, Identity(vector=-a.vector, space="a")], [0.1, 0.2, 0.1 + 0.2])


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="cannot write"):
        identity.save(tmp_path / "no" / "ann.identity", person(0))
    (tmp_path / "taken").mkdir()
    with pytest.raises(BadOutput, match="cannot write"):
        identity.save(tmp_path / "taken", person(0))
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
