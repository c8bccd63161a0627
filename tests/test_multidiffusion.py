"""Several people in a picture larger than the model's own: windows that are ordinary pictures, and how they join."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import made_up
from face_token_fixtures import telling
from personae.conditioning.regional_attention import region_masks
from personae.errors import BadOption
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.replay import replay
from personae.sampling.multidiffusion import MultiDiffusion
from tolerances import assert_same

LEFT, RIGHT = (0, 0, 0.5, 1), (0.5, 0, 1, 1)
WORDS, NAMED = "photo of a man", "photo of a {person}, smiling"


@pytest.fixture(scope="module", params=["nano", "sd15"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    return telling(request.param, tmp_path_factory.mktemp(request.param))


def latents_of(pipe: FacePipeline, people: object, **options: object) -> Tensor:
    return pipe(people, num_inference_steps=3, output_type="latent", **options).images


def noise(count: int, width: int) -> Tensor:
    return torch.randn(count, 4, 8, width, generator=torch.Generator().manual_seed(5))


# ---------------------------------------------------------------------- where they lie


def test_each_region_gets_a_window_around_its_middle() -> None:
    masks = region_masks([(0, 0, 0.3, 1), (0.6, 0, 1, 1)], grid=(8, 20), size=(32, 80))
    windows = MultiDiffusion.for_regions(masks, side=8)
    assert (windows.corners, windows.people) == ([(0, 0), (0, 12), (0, 8)], [0, 1, None])
    masks = region_masks([(0, 0, 0.2, 0.2), (0.7, 0.6, 1, 1)], grid=(20, 20), size=(80, 80))
    assert MultiDiffusion.for_regions(masks, side=8).corners[:2] == [(0, 0), (12, 12)]


@pytest.mark.parametrize("grid", [(8, 12), (13, 20), (24, 24)], ids=str)
def test_the_shares_of_every_cell_add_up_to_one(grid: tuple[int, int]) -> None:
    masks = region_masks([LEFT, RIGHT], grid=grid, size=(grid[0] * 4, grid[1] * 4))
    windows = MultiDiffusion.for_regions(masks, side=8)
    whole = torch.zeros(grid)
    for (row, column), share in zip(windows.corners, windows.weights, strict=True):
        assert share.min() >= 0
        whole[row : row + 8, column : column + 8] += share
    torch.testing.assert_close(whole, torch.ones(grid))


def test_in_a_region_its_own_window_alone_counts() -> None:
    masks = region_masks([(0, 0, 0.5, 1), (0.75, 0, 1, 1)], grid=(8, 16), size=(32, 64))
    windows = MultiDiffusion.for_regions(masks, side=8)
    assert windows.corners == [(0, 0), (0, 8)]
    masks = region_masks([(0, 0, 0.5, 1), (0.6, 0, 1, 1)], grid=(8, 12), size=(32, 48))
    windows = MultiDiffusion.for_regions(masks, side=8)  # columns 0-7 and 4-11; the regions are 0-5 and 7-11
    first, second = windows.weights
    assert first[:, :6].eq(1).all()
    assert second[:, 3:].eq(1).all()
    between = first[:, 6]  # picture column 6: the middle of neither region, nearer to the second's middle
    assert ((between > 0) & (between < 0.5)).all()
    assert first[:, 7].eq(0).all()


def test_predictions_are_averaged_by_their_shares() -> None:
    windows = MultiDiffusion.for_regions(region_masks([LEFT, RIGHT], grid=(8, 12), size=(32, 48)), side=8)
    seen: list[Tensor] = []

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        seen.append(latents)
        return torch.arange(len(latents)).float()[:, None, None, None].expand_as(latents)

    latents = torch.randn(3, 4, 8, 12)
    found = windows(predict, None)(latents, torch.tensor(1.0))
    torch.testing.assert_close(seen[0][2], latents[1, :, :, :8])  # picture after picture, window after window
    torch.testing.assert_close(seen[0][3], latents[1, :, :, 4:])
    for picture in range(3):
        torch.testing.assert_close(found[picture, :, :, :6], torch.full((4, 8, 6), 2.0 * picture))
        torch.testing.assert_close(found[picture, :, :, 6:], torch.full((4, 8, 6), 2.0 * picture + 1))


@pytest.mark.parametrize(
    ("grid", "message"), [((8, 10), "regions 1 and 2 are too close"), ((6, 20), "8 x 8 cells do not fit .* 6 x 20")]
)
def test_what_cannot_be_laid_out_is_one_clear_error(grid: tuple[int, int], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        MultiDiffusion.for_regions(region_masks([LEFT, RIGHT], grid=grid, size=(grid[0] * 4, grid[1] * 4)), side=8)


# ---------------------------------------------------------------------- what they show


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": WORDS},
        {"prompt": WORDS, "look": "stylised"},
        {"prompt": WORDS, "face_weight": 1, "both_weight": 0},
        {"prompt": WORDS, "negative_prompt": "black", "guidance_interval": (0, 0.5)},
        {"prompt": NAMED},
        {"prompt": None, "cache_interval": 2},
    ],
    ids=str,
)
def test_windows_side_by_side_are_the_pictures_of_each(model: FacePipeline, options: dict) -> None:
    people, start = made_up(model, 2), noise(2, 16)
    made = latents_of(model, people, latents=start, regions=[LEFT, RIGHT], width=64, num_images_per_prompt=2, **options)
    for person, half in zip(people, (slice(0, 8), slice(8, 16)), strict=True):
        alone = latents_of(model, person, latents=start[..., half], num_images_per_prompt=2, **options)
        assert_same(made[..., half], alone, steps=3)


@pytest.mark.parametrize(
    ("options", "there"), [({}, WORDS), ({"face_weight": 1, "both_weight": 0}, "")], ids=["both", "face"]
)
def test_where_nobody_is_the_words_say_what_is(model: FacePipeline, options: dict, there: str) -> None:
    start, regions = noise(1, 24), [(0, 0, 0.33, 1), (0.67, 0, 1, 1)]
    made = latents_of(model, made_up(model, 2), latents=start, prompt=WORDS, regions=regions, width=96, **options)
    alone = latents_of(model, made_up(model, 1), latents=start[..., 8:16], prompt=there, text_weight=1, both_weight=0)
    assert_same(made[..., 8:16], alone, steps=3)


@pytest.mark.parametrize("prompt", [WORDS, NAMED])
def test_seeds_make_pictures_of_all_and_batches_change_nothing(model: FacePipeline, prompt: str) -> None:
    people, asked = made_up(model, 2), {"prompt": prompt, "regions": [LEFT, RIGHT], "width": 56, "height": 36}
    made = model(people, num_images_per_prompt=3, seed=4, batch_size=2, output_type="pt", **asked)
    assert (made.seeds, made.people) == ([4, 5, 6], [0, 0, 0])
    assert made.images.shape == (3, 3, 36, 56)
    singles = [model(people, seed=seed, output_type="pt", **asked).images for seed in (4, 5, 6)]
    assert_same(made.images, torch.cat(singles), steps=4)
    swapped = {**asked, "regions": [RIGHT, LEFT]}
    assert_same(
        model(people[::-1], num_images_per_prompt=3, seed=4, output_type="pt", **swapped).images, made.images, steps=4
    )


def test_likeness_guidance_sees_each_face_in_its_window(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = telling("nano", tmp_path_factory.mktemp("guided"))
    people, start = made_up(model, 2), noise(1, 16)
    options = {"prompt": WORDS, "likeness_guidance": 0.1}
    made = latents_of(model, people, latents=start, regions=[LEFT, RIGHT], width=64, **options)
    alone = latents_of(model, people[1], latents=start[..., 8:], **options)
    assert_same(made[..., 8:], alone, steps=3)
    with pytest.raises(BadOption, match="likeness_guidance is for pictures of one face"):
        model(people, regions=[LEFT, RIGHT], width=96, **options)


def test_a_picture_through_windows_is_replayed_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    model = telling("nano", tmp_path_factory.mktemp("replayed"))
    people = made_up(model, 2)
    made = model(people, prompt=NAMED, seed=3, regions=[LEFT, RIGHT], width=56)
    (path,) = writer.save(made, tmp_path / "with", people=people)
    assert replay(path, pipe=model)[1].max == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 40}, "regions 1 and 2 are too close"),
        ({"width": 64, "look": "photo"}, "look is for words beside the face"),
        ({}, "regions in a picture that is not larger .* is for words beside the face"),
        ({"width": 64, "height": 16}, "is for words beside the face"),
    ],
)
def test_what_windows_cannot_do_is_one_clear_error(model: FacePipeline, options: dict, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        model(made_up(model, 2), **{"prompt": NAMED, "regions": [LEFT, RIGHT]} | options)
