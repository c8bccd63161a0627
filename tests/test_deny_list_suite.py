"""The suite behind a deny-list's threshold: shares are of what they say."""

import numpy as np
import pytest

from personae.evaluation.suites.deny_list import highest, shares


def test_shares_reach_the_threshold_or_not() -> None:
    rows = {row["threshold"]: row for row in shares(np.array([0.3, 0.5, 0.9]), np.array([0.1, 0.4]), np.array([0.65]))}
    assert rows[0.5]["caught"] == pytest.approx(2 / 3, abs=1e-4)
    assert rows[0.4]["strangers"] == 0.5
    assert rows[0.45]["strangers"] == 0
    assert (rows[0.65]["strangers_of_100"], rows[0.7]["strangers_of_100"]) == (1, 0)


def test_the_highest_is_of_others() -> None:
    vectors = np.eye(4)
    vectors[1] = vectors[3]
    np.testing.assert_array_equal(highest(vectors), [0, 1, 0, 1])
    np.testing.assert_array_equal(highest(vectors, size=1), [0, 0, 0, 0])
