"""Statistics against known answers: intervals, likeness, distances, looks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from personae.errors import BadData, WeightsCorrupt, WeightsMissing
from personae.evaluation import appearance, contact_sheet, diversity, estimate, likeness, realism
from personae.types import BLENDSHAPES, Motion, Pose


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


# ---------------------------------------------------------------- estimates


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(150):
        found = estimate.mean(rng.normal(0.4, 0.1, 60), seed=trial)
        covered += found.low <= 0.4 <= found.high
    assert 0.88 <= covered / 150 <= 0.99


def test_bootstrap_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = estimate.mean(values)
    assert found.n == 400
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_wilson_interval_at_known_points() -> None:
    none, half = estimate.proportion(np.zeros(200, bool)), estimate.proportion(np.arange(100) < 50)
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(0.01885, abs=1e-4)
    assert (half.low, half.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_wilson_interval_is_scipys(hits: list[bool]) -> None:
    found, expected = (
        estimate.proportion(np.array(hits)),
        binomtest(sum(hits), len(hits)).proportion_ci(method="wilson"),
    )
    assert found.value == sum(hits) / len(hits)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_ratio_is_of_means_over_the_rows_that_both_have() -> None:
    above, below = np.array([1.0, 3.0, np.nan, 9.0]), np.array([2.0, 6.0, 1.0, np.nan])
    found = estimate.ratio(above, below)
    assert (found.value, found.n) == (0.5, 2)
    assert np.isnan(estimate.ratio(above[:2], np.zeros(2)).value)
    assert estimate.ratio(np.full(2, np.nan), below[:2]) is estimate.UNKNOWN
    assert estimate.mean_of_finite(above).n == 3
    assert estimate.mean_of_finite(above[2:3]) is estimate.UNKNOWN


def test_correlation_of_a_line_and_of_noise() -> None:
    x = np.random.default_rng(2).normal(size=300)
    assert estimate.correlation(x, 3 * x - 1).value == pytest.approx(1)
    noise = estimate.correlation(x, np.random.default_rng(3).normal(size=300))
    assert noise.low < 0 < noise.high
    assert np.isnan(estimate.correlation(x, np.ones(300)).value)


def test_one_person_has_no_interval_and_nobody_has_no_figure() -> None:
    alone = estimate.mean(np.array([0.5]))
    assert alone.as_json() == {"value": 0.5, "low": None, "high": None, "n": 1}
    for make in (estimate.mean, estimate.proportion):
        with pytest.raises(BadData, match="empty"):
            make(np.array([]))


# ---------------------------------------------------------------- likeness


def test_likeness_of_exact_copies() -> None:
    real = unit(np.random.default_rng(0).normal(size=(20, 64)))
    figures = likeness.measure(real, np.repeat(real[:, None], 3, axis=1))
    assert figures["likeness"].value == pytest.approx(1, abs=1e-5)
    assert figures["rank1"].value == figures["rank1_person"].value == 1
    assert figures["missing"].value == 0
    assert figures["strangers_generated"].value == pytest.approx(figures["strangers_real"].value, abs=1e-5)
    assert likeness.gap(real, real[:, None]).value == pytest.approx(0, abs=1e-6)


def test_an_image_without_a_face_counts_as_zero_and_as_a_miss() -> None:
    real = np.eye(4, dtype=np.float32)
    made = np.repeat(real[:, None], 2, axis=1)
    made[0, 1] = np.nan
    made[3] = np.nan
    figures = likeness.measure(real, made)
    assert figures["likeness"].value == pytest.approx(5 / 8)
    assert figures["likeness_found"].value == pytest.approx(1)
    assert figures["missing"].value == pytest.approx(3 / 8)
    assert figures["rank1"].value == pytest.approx(5 / 8)
    assert figures["rank1_person"].value == pytest.approx(3 / 4)


def test_a_judge_that_finds_no_face_at_all_says_zero() -> None:
    figures = likeness.measure(np.eye(3, dtype=np.float32), np.full((3, 2, 1), np.nan))
    assert (figures["likeness"].value, figures["missing"].value, figures["rank1"].value) == (0, 1, 0)
    assert "likeness_found" not in figures


def test_rank_counts_those_who_are_likelier() -> None:
    real = np.eye(3, dtype=np.float32)
    made = unit(np.array([[[3, 2, 1]], [[3, 2, 1]], [[3, 2, 1]]], np.float32))
    assert likeness.ranks(real, made)[:, 0].tolist() == [0, 1, 2]


def test_one_face_for_everyone_scores_no_rank_and_a_large_gap() -> None:
    real = unit(np.random.default_rng(0).normal(size=(40, 128)))
    same = np.broadcast_to(real[0], (40, 2, 128)).copy()
    assert likeness.measure(real, same)["rank1"].value == pytest.approx(1 / 40)
    assert likeness.gap(real, same).value == pytest.approx(1, abs=0.05)


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 99))
def test_strangers_is_the_mean_over_all_pairs(people: int, images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = unit(rng.normal(size=(people, images, 5))), unit(rng.normal(size=(people, 2, 5)))
    a[0, 0] = np.nan
    for p in range(people):
        pairs = [x @ y for x in a[p] for q in range(people) if q != p for y in b[q] if np.isfinite(x).all()]
        expected = np.mean(pairs) if pairs else np.nan
        assert likeness.strangers(a, b)[p] == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_groups_share_one_gallery_and_carry_their_n() -> None:
    real = np.eye(4, dtype=np.float32)
    table = likeness.by_group(real, real[[0, 1, 3, 2]][:, None], ["a", "a", "a", "b"])
    assert table["a"]["rank1"].value == pytest.approx(2 / 3)
    assert (table["a"]["rank1"].n, table["b"]["rank1"].n, table["b"]["rank1"].value) == (3, 1, 0)


def test_likeness_refuses_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(BadData, match="compares"):
        likeness.cosines(np.eye(3), np.zeros((2, 4, 3)))


# ---------------------------------------------------------------- realism


def test_frechet_distance_of_gaussians_is_the_textbook_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, (40_000, 3))
    b = rng.normal(0, 1, (40_000, 3)) * (1, 2, 3) + (2, 0, 0)
    # |shift|^2 + sum (s_a - s_b)^2 for axis-aligned Gaussians
    assert realism.frechet(a, b) == pytest.approx(4 + 1 + 4, rel=0.03)
    assert realism.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert realism.frechet(a, b) == pytest.approx(realism.frechet(b, a), rel=1e-6)


def test_frechet_distance_survives_fewer_images_than_features() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(10, 64)), rng.normal(size=(12, 64))
    assert np.isfinite(realism.frechet(a, b))
    assert realism.frechet(a, b) > 0


def test_kernel_distance_is_unbiased_and_sees_a_shift() -> None:
    rng = np.random.default_rng(0)
    same = [realism.kernel(rng.normal(size=(60, 4)), rng.normal(size=(60, 4))) for _ in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(60)
    assert realism.kernel(rng.normal(size=(60, 4)), rng.normal(1, 1, (60, 4))) > 5 * np.std(same)


def test_real_people_score_the_floor() -> None:
    rng = np.random.default_rng(0)
    reference, floor = rng.normal(size=(500, 8)), rng.normal(size=(100, 8))
    generated = rng.normal(size=(100, 4, 8))
    figures = realism.measure(generated, reference, floor)
    assert figures["frechet"].value == pytest.approx(figures["frechet_floor"].value, rel=0.5)
    draws = sorted(realism.frechet(generated[:, image], reference) for image in range(4))
    assert [figures["frechet"].low, figures["frechet"].high] == pytest.approx([draws[0], draws[-1]])
    shifted = realism.measure(generated + 1, reference, floor)
    assert shifted["frechet"].low > 5 * figures["frechet"].high
    assert shifted["kernel"].low > figures["kernel"].high


def test_distances_need_two_images_of_one_width() -> None:
    with pytest.raises(BadData, match="at least two"):
        realism.frechet(np.zeros((1, 4)), np.zeros((5, 4)))


class Means(torch.nn.Module):
    """What a TorchScript of Inception looks like from outside: features of bytes, on request."""

    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return img.float().mean((2, 3)) if return_features else img.float().mean((1, 2, 3))[:, None]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_distances_are_measured_on_the_users_own_network(tmp_path: Path) -> None:
    file = tmp_path / "inception.pt"
    torch.jit.script(Means()).save(str(file))
    network = realism.backbone(str(file), None, "portrait")  # type: ignore[arg-type]
    images = list(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    np.testing.assert_allclose(network.features(images), np.stack(images).mean((1, 2)), rtol=1e-6)
    assert "inception.pt" in network.name
    file.write_bytes(b"no network")
    with pytest.raises(WeightsCorrupt, match="TorchScript"):
        realism.backbone(str(file), None, "portrait")  # type: ignore[arg-type]
    with pytest.raises(WeightsMissing, match="no TorchScript file"):
        realism.backbone(str(tmp_path / "gone.pt"), None, "portrait")  # type: ignore[arg-type]


# ---------------------------------------------------------------- appearance, diversity


def test_grid_is_seen_where_there_is_one() -> None:
    rng = np.random.default_rng(0)
    plain = rng.integers(60, 190, (6, 64, 64, 3)).astype(np.uint8)
    checked = plain.copy()
    checked[:, ::8] += 40
    assert appearance.grid(plain) < 1.3 < 2 < appearance.grid(checked)


def test_a_grid_is_seen_at_its_own_period() -> None:
    """Of the cells of 16 pixels that some decoders have, and of their last enlargement."""
    rng = np.random.default_rng(0)
    plain = rng.integers(60, 190, (6, 64, 64, 3)).astype(np.float32)
    wave = (plain + 40 * np.sin(np.arange(64) * np.pi / 8)[:, None, None]).astype(np.uint8)
    assert appearance.grid(wave, 8) < 1.3 < 2 < appearance.grid(wave, 16)
    pairs = plain.astype(np.uint8)
    pairs[:, ::2] += 20
    assert appearance.grid(pairs, 8) < 1.3 < 2 < appearance.grid(pairs, 2)
    figures = appearance.measure(pairs, wave, period=16)
    assert figures["grid_real"].value == appearance.grid(wave, 16)
    assert figures["pixel_pairs"].value == appearance.grid(pairs, 2)


def test_blur_and_cast_are_measured_against_real_crops() -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(50, 150, (8, 32, 32, 3)).astype(np.uint8)
    soft = ((real.astype(int) + np.roll(real, 1, 1) + np.roll(real, 1, 2)) // 3).astype(np.uint8)
    assert appearance.measure(real, real)["sharpness"].value == pytest.approx(1)
    assert appearance.measure(soft, real)["sharpness"].value < 0.8
    assert appearance.measure(real + np.uint8(20), real)["colour_cast"].value == pytest.approx(20, abs=0.5)


def moved(yaw: float, smile: float) -> Motion:
    shapes = np.full(len(BLENDSHAPES), smile, np.float32)
    return Motion(landmarks=np.zeros((478, 3)), pose=Pose(yaw=yaw, pitch=yaw, roll=0), blendshapes=shapes)


def test_diversity_of_copies_is_nothing_and_of_opposites_is_all() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    images = np.stack([[black, black], [black, white]])
    features = np.array([[[1.0, 0], [1, 0]], [[1, 0], [0, 1]]])
    motions = [[moved(0, 0), moved(0, 0)], [moved(-10, 0), moved(10, 0.5)]]
    figures = diversity.measure(images, motions, features, [moved(-20, 0), moved(20, 1)])
    assert figures["pixel_distance"].value == pytest.approx(0.5)
    assert figures["feature_distance"].value == pytest.approx(0.5)
    assert figures["pose_spread"].value == pytest.approx(np.std([-10, 10], ddof=1) / 2)
    assert figures["pose_spread_real"].value == pytest.approx(np.std([-20, 20], ddof=1))


def test_images_without_a_face_stand_aside_in_spread() -> None:
    images = np.zeros((2, 2, 4, 4, 3), np.uint8)
    motions = [[moved(0, 0), None], [None, None]]
    figures = diversity.measure(images, motions, np.ones((2, 2, 3)), [])
    assert "pose_spread" not in figures
    assert "pixel_distance" in figures


# ---------------------------------------------------------------- sheet


def test_sheet_shows_every_picture_on_neutral_grey() -> None:
    red, blue = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    row = contact_sheet.Row(real=red, generated=[blue, blue], likeness=[0.5, float("nan")], caption="one")
    sheet = np.asarray(contact_sheet.draw([row] * 3, columns=2, side=32))
    assert (sheet == (255, 0, 0)).all(-1).sum() == 3 * 32 * 32
    assert (sheet == (0, 0, 255)).all(-1).sum() == 6 * 32 * 32
    assert len(set(sheet[0, 0].tolist())) == 1


def test_sheet_of_nobody_is_an_error() -> None:
    with pytest.raises(BadData, match="at least one"):
        contact_sheet.draw([])
