"""The seam between a request and the UNet: who is told what, and that nothing stays behind."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from conftest import made_up
from personae.conditioning.types import Rows
from personae.errors import BadOption
from personae.pipeline import FacePipeline
from personae.sampling.guidance import guided
from personae.sampling.unet_hooks import arguments, engaged, stacked
from tolerances import assert_same


class Nudge:
    """Adds to the UNet's middle block, image by image, in the conditional half only."""

    def __init__(self, amounts: list[float]) -> None:
        self.amounts = torch.tensor(amounts)
        self.seen: list[Rows] = []
        self.log: list[str] = []

    @contextmanager
    def engaged(self, unet) -> Iterator[None]:
        self.log.append("on")
        try:
            yield
        finally:
            self.log.append("off")

    def arguments(self, latents, t, told, rows: Rows) -> dict:
        self.seen.append(rows)
        amount = torch.where(rows.conditional, self.amounts[rows.images], 0.0)
        # The tiny UNet has four skips, whose own additions stay zero.
        return {
            "mid_block_additional_residual": amount[:, None, None, None],
            "down_block_additional_residuals": (torch.zeros(()),) * 4,
        }


def told(pipe: FacePipeline, count: int):
    positive, negative = pipe.condition(made_up(pipe, count))
    return positive, negative


@torch.no_grad()
def test_controls_know_their_images_in_any_batch(pipe: FacePipeline) -> None:
    positive, negative = told(pipe, 3)
    x, t = torch.randn(3, 4, 8, 8), torch.tensor(500)
    whole = guided(pipe.unet, positive, negative, 2.0, hooks=[Nudge([0.0, 1.0, 5.0])])(x, t)
    parts = guided(pipe.unet, positive, negative, 2.0, hooks=[Nudge([0.0, 1.0, 5.0])], batch_size=2)(x, t)
    plain = guided(pipe.unet, positive, negative, 2.0)(x, t)
    assert_same(whole, parts)
    assert_same(whole[0], plain[0])
    assert not torch.allclose(whole[1], plain[1], atol=1e-3)
    assert not torch.allclose(whole[2], whole[1], atol=1e-3)


@torch.no_grad()
def test_unguided_calls_have_no_unconditional_rows(pipe: FacePipeline) -> None:
    positive, negative = told(pipe, 2)
    nudge = Nudge([0.0, 0.0])
    guided(pipe.unet, positive, negative, 1.0, hooks=[nudge])(torch.randn(2, 4, 8, 8), torch.tensor(500))
    (rows,) = nudge.seen
    assert rows.conditional.tolist() == [True, True]
    assert rows.images.tolist() == [0, 1]


def test_halves_are_first_unconditional_then_conditional() -> None:
    rows = stacked(torch.tensor([4, 7]), [None, 0])
    assert rows.images.tolist() == [4, 7, 4, 7]
    assert rows.conditional.tolist() == [False, False, True, True]


def test_two_controls_may_not_set_the_same(pipe: FacePipeline) -> None:
    rows = stacked(torch.tensor([0]), [None, 0])
    two = [Nudge([1.0]), Nudge([2.0])]
    with pytest.raises(BadOption, match="two controls set the UNet's down_block"):
        arguments(two, torch.zeros(2, 4, 8, 8), torch.tensor(1), told(pipe, 1)[0], rows)


def test_all_are_disengaged_after_an_error(pipe: FacePipeline) -> None:
    two = [Nudge([1.0]), Nudge([2.0])]
    with pytest.raises(RuntimeError, match="midway"), engaged(two, pipe.unet):
        raise RuntimeError("midway")
    assert [nudge.log for nudge in two] == [["on", "off"]] * 2


def test_unknown_steering_is_answered_with_the_nearest(pipe: FacePipeline) -> None:
    with pytest.raises(BadOption, match="did you mean 'pose'"):
        pipe(made_up(pipe, 1), poze=(1, 2, 3))


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_a_list_of_prompts_is_refused_at_the_door(pipe: FacePipeline, name: str) -> None:
    with pytest.raises(BadOption, match=f"{name} is one text for all images of a call, got a list: call once"):
        pipe(made_up(pipe, 1), **{name: ["a {person}", "an old {person}"]})
