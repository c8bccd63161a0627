"""A parser of faces: its labels are the regions, edits follow what it sees, and one that cannot be used says so."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from facex_fixtures import made_up_face
from personae.conditioning.facex.representation import GRID, measure
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.retarget import retarget
from personae.editing.inputs import in_crop
from personae.errors import BadOption, WeightsCorrupt
from personae.pipeline import FacePipeline
from personae.reading import face_regions
from personae.reading.parser import FaceParser
from personae.reading.region_table import REGIONS
from personae.types import Pose
from reading_fixtures import white_face

LABELS = [
    *("background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip"),
    *("l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
]
IS = {
    "skin": "skin",
    "l_ear": "skin",
    "eye_g": "eyes",
    "r_brow": "brows",
    "u_lip": "mouth",
    "hat": "hair",
    "neck": "surroundings",
    "ear_r": "surroundings",
    "background": "surroundings",
}


def by_red(pixels: torch.Tensor) -> torch.Tensor:
    """(N, 128, 128) labels: the number that the picture's red is."""
    red = (pixels[:, 0] * 0.229 + 0.485) * 255  # undoes ImageNet's
    return torch.nn.functional.interpolate(red[:, None], size=128).round().long()[:, 0]


def hair_above(pixels: torch.Tensor) -> torch.Tensor:
    labels = torch.full((len(pixels), 128, 128), LABELS.index("skin"))
    labels[:, :64] = LABELS.index("hair")
    return labels


class Seeing:
    """In a network's place: as sure of its labels as can be."""

    config = SimpleNamespace(id2label=dict(enumerate(LABELS)))
    device = torch.device("cpu")

    def __init__(self, labels: Callable[[torch.Tensor], torch.Tensor] = by_red) -> None:
        self._labels = labels

    def eval(self) -> "Seeing":
        return self

    def requires_grad_(self, requires_grad: bool) -> "Seeing":
        return self

    def __call__(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        sure = torch.nn.functional.one_hot(self._labels(pixel_values), len(LABELS))
        return SimpleNamespace(logits=50 * sure.permute(0, 3, 1, 2).float())


def painting(*names: str, size: int = 64) -> np.ndarray:
    """(size, size, 3) from left to right equal stripes of labels."""
    stripes = np.repeat([LABELS.index(name) for name in names], size // len(names))
    return np.broadcast_to(stripes[None, :, None], (size, size, 3)).astype(np.uint8)


def tiny_segformer(folder: Path, labels: list[str] = LABELS) -> Path:
    torch.manual_seed(0)
    config = SegformerConfig(
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("label", IS)
def test_labels_are_regions(label: str) -> None:
    (parts,) = FaceParser(Seeing()).parts([painting(label)])
    assert parts.shape == (len(REGIONS), 64, 64)
    assert parts.dtype == np.float32
    np.testing.assert_allclose(parts[REGIONS.index(IS[label])], 1, atol=1e-5)


def test_regions_lie_where_the_parser_sees_them() -> None:
    first, second = FaceParser(Seeing()).parts([painting("hair", "l_eye"), painting("nose", "l_brow")])
    for parts, (left, right) in ((first, ("hair", "eyes")), (second, ("nose", "brows"))):
        assert parts[REGIONS.index(left), :, :28].min() > 0.99
        assert parts[REGIONS.index(right), :, 36:].min() > 0.99
        np.testing.assert_allclose(parts.sum(0), 1, atol=1e-5)


def test_a_folder_as_transformers_saves_it(tmp_path: Path) -> None:
    parser = FaceParser.load(tiny_segformer(tmp_path / "parser")).to(torch.device("cpu"))
    (parts,) = parser.parts([np.zeros((32, 32, 3), np.uint8)])
    assert parts.shape == (len(REGIONS), 32, 32)
    np.testing.assert_allclose(parts.sum(0), 1, atol=1e-5)


def test_what_parses_no_faces_is_refused(tmp_path: Path) -> None:
    streets = tiny_segformer(tmp_path / "streets", ["road", "car", "skin"])
    with pytest.raises(WeightsCorrupt, match=r"streets.*does not tell l_brow.*road, car, skin.*CelebAMask-HQ"):
        FaceParser.load(streets)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsCorrupt, match="empty is no SegFormer"):
        FaceParser.load(tmp_path / "empty")


def test_a_face_has_the_regions_that_were_seen() -> None:
    face, model = made_up_face(), FaceModel.bundled()
    by_landmarks = face.shares(GRID)
    parts = np.zeros((len(REGIONS), 128, 128), np.float32)
    parts[REGIONS.index("hair"), :, :64] = parts[REGIONS.index("skin"), :, 64:] = 1
    seen = dataclasses.replace(face, parts=parts)
    np.testing.assert_array_equal(seen.region("hair"), parts[REGIONS.index("hair")] > 0)
    assert seen.region("head").all()
    np.testing.assert_array_equal(measure(seen, model).regions[0], seen.shares(GRID))
    np.testing.assert_array_equal(seen.shares(GRID)[REGIONS.index("hair")], np.repeat([[1, 0]], 16, 1).repeat(32, 0))
    np.testing.assert_array_equal(measure(face, model).regions[0], by_landmarks)
    with pytest.raises(BadOption, match="did you mean 'hair'"):
        seen.region("hairs")
    turned = retarget(seen, model, pose=Pose(yaw=30, pitch=0, roll=0))  # what it will look like, nobody has seen
    np.testing.assert_array_equal(turned.region("head"), face_regions.head(turned.landmarks, 128))


def test_an_edit_follows_the_parser(nano_like: FacePipeline, nano_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(nano_folder, folder)
    (folder / "sha256.json").unlink()  # it knows of no parser
    tiny_segformer(folder / "parser")
    pipe = FacePipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    photo = white_face(np.zeros((120, 200, 3), np.uint8), 15, 20, 65, 90)
    place = in_crop(pipe, pipe.read(photo)[0])
    assert place.parts is not None
    np.testing.assert_array_equal(place.parts, pipe.component("parser").parts([place.crop])[0])
    assert in_crop(nano_like, nano_like.read(photo)[0]).parts is None

    pipe.parser = FaceParser(Seeing(hair_above))
    done = pipe.edit("inpaint", target=photo, region="hair", seed=0, num_inference_steps=2, likeness_guidance=0)
    free = done.edit_masks[0]
    assert free[: len(free) // 2 - 1].all()
    assert not free[len(free) // 2 + 1 :].any()
