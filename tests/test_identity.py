"""Identities: means, blends, noise, made-up people, files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from personae import identity
from personae.errors import BadIdentity, BadOption, BadOutput, SpaceMismatch
from personae.identity import IdentitySampler
from personae.types import Identity


def person(seed: int, width: int = 32, space: str = "a") -> Identity:
    return Identity(vector=np.random.default_rng(seed).standard_normal(width), space=space)


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
    with pytest.raises(BadIdentity, match="not zero"):
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


def test_an_identity_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "ann.identity"
    identity.save(path, person(0, space="x/y/z"), note="two photos, März")
    again = identity.load(path)
    np.testing.assert_allclose(again.vector, person(0).vector, atol=1e-7)
    assert (again.space, identity.note(path)) == ("x/y/z", "two photos, März")
    assert [p.name for p in tmp_path.iterdir()] == ["ann.identity"]


def test_unreadable_identity_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.identity"
    with pytest.raises(BadIdentity, match="no file"):
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


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="cannot write"):
        identity.save(tmp_path / "no" / "ann.identity", person(0))
    (tmp_path / "taken").mkdir()
    with pytest.raises(BadOutput, match="cannot write"):
        identity.save(tmp_path / "taken", person(0))
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
