"""What counts as the same: rounding does, anything else does not."""

import pytest
import torch

from tolerances import ROUNDINGS, assert_same

VALUES = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))


def refused(found: torch.Tensor, expected: torch.Tensor = VALUES, **options: int) -> bool:
    try:
        assert_same(found, expected, **options)
    except AssertionError:
        return True
    return False


def test_rounding_is_allowed_and_anything_else_is_not() -> None:
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(256, generator=torch.Generator().manual_seed(2))
    inputs = torch.randn(8, 256, generator=torch.Generator().manual_seed(3))
    assert_same(inputs[:, order] @ weight[:, order].T, inputs @ weight.T)
    assert_same((inputs @ weight.T).numpy(), torch.cat([row[None] @ weight.T for row in inputs]))
    assert refused(VALUES[[1, 0, 2, 3]])
    assert refused(VALUES * 1.0001)
    assert refused(VALUES + 1e-4 * (torch.arange(64) == 5))
    assert refused(VALUES[:3])
    for wrong in (float("nan"), float("inf")):
        assert refused(torch.where(torch.arange(64) == 5, wrong, VALUES))
        assert refused(VALUES, torch.where(torch.arange(64) == 5, wrong, VALUES))


@pytest.mark.parametrize(("dtype", "eps"), [(torch.float32, 2.0**-23), (torch.bfloat16, 2.0**-7)])
def test_the_allowance_follows_precision_steps_and_size(dtype: torch.dtype, eps: float) -> None:
    for size in (1.0, 128.0):
        for steps in (1, 6):
            off = ROUNDINGS * eps * steps * size
            zeros = torch.zeros(2, dtype=torch.float64)
            expected = torch.tensor([size, 0], dtype=dtype)
            within, beyond = (expected.double() + torch.tensor([0.0, share * off]) for share in (0.99, 1.01))
            assert not refused(within + zeros, expected, steps=steps)
            assert refused(beyond + zeros, expected, steps=steps)


def test_nothing_but_nothing_is_nothing() -> None:
    assert not refused(torch.zeros(3), torch.zeros(3))
    assert refused(torch.full((3,), 1e-12), torch.zeros(3))
