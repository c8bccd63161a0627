"""People drawn where a training runs: the crops of the stream are those of the reader, and every batch is a seed's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn

import personae
from people_fixtures import WIDTH, tiny_networks, tiny_wheel
from personae.data.generator import RANDOM_FACE
from personae.data.people_stream import PeopleStream, similarity
from personae.data.views import TRAITS, Directions
from personae.errors import BadData
from personae.reading import align
from personae.reading.differentiable import AlignedLandmarks
from personae.reading.face_motion import MotionConfig, OnnxMotionReader
from personae.reading.onnx_file import file_sha256
from personae.reading.steady import five_points
from personae.training.inputs import Inputs
from personae.training.methods.portrait_autoencoder.data import DrawnPictures

MOTION = Path(personae.__file__).parent / "weights" / "nano" / "reader" / "motion.onnx"
PLACES = [[-0.3, -0.1], [0.2, -0.15], [0.0, 0.1], [-0.2, 0.4], [0.15, 0.35]]


class _Landmarks(nn.Module):
    """Finds every face at `PLACES`, turned by as many degrees as its frame is bright."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pose = images.mean((1, 2, 3))[:, None].expand(-1, 3) * 40
        return pose, torch.tensor(PLACES).expand(len(images), -1, -1)


@pytest.fixture(scope="module")
def stream() -> PeopleStream:
    rng = np.random.default_rng(0)
    directions = Directions(vectors=rng.standard_normal((len(TRAITS), WIDTH)).astype(np.float32) * 0.05)
    return PeopleStream(*tiny_networks(), directions, _Landmarks(), size=32, at_once=2).eval()  # type: ignore[arg-type]


def test_a_batch_is_a_function_of_its_seed_however_many_are_drawn_at_once(stream: PeopleStream) -> None:
    first = stream.draw(3, 2, torch.Generator().manual_seed(5))
    assert first.images.shape == (3, 2, 3, 32, 32)
    assert first.angles.shape == (3, 2, 2)
    assert float(first.images.abs().max()) <= 1
    stream.at_once = 4
    again, other = (stream.draw(3, 2, torch.Generator().manual_seed(seed)) for seed in (5, 6))
    torch.testing.assert_close(again.images, first.images, atol=1e-4, rtol=0)
    assert not torch.allclose(other.images, first.images, atol=0.1)


def test_views_of_one_person_differ_less_than_people(stream: PeopleStream) -> None:
    images = stream.draw(6, 2, torch.Generator().manual_seed(0)).images
    views = (images[:, 0] - images[:, 1]).square().mean((1, 2, 3))
    people = (images[:, 0] - images[:, 0].roll(1, 0)).square().mean((1, 2, 3))
    assert 0 < float(views.mean()) < float(people.mean())


def test_drawn_pictures_are_given_as_stored_ones_are(stream: PeopleStream) -> None:
    drawn = DrawnPictures(stream)
    rng, again = np.random.default_rng(2), np.random.default_rng(2)
    heads = drawn.heads(rng, 3)
    assert heads.shape == (3, 32, 32, 3)
    assert heads.dtype == torch.uint8
    assert torch.equal(heads, drawn.heads(again, 3))
    details = drawn.details(rng, 5, 16)
    assert details.shape == (5, 16, 16, 3)
    whole = drawn.heads(again, 2)  # of which details are cut, four of each
    found = whole[0].unfold(0, 16, 1).unfold(1, 16, 1).permute(0, 1, 3, 4, 2)
    assert bool((found == details[3]).all((-1, -2, -3)).any())
    assert not (torch.from_numpy(drawn.held_out(1)) == heads[:1]).all()


def test_a_stream_needs_no_more_than_a_wheel_and_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(cache=tmp_path / "none", teachers=tmp_path, runs=tmp_path, draw=8, bundle=MOTION.parents[1])
    with pytest.raises(BadData, match="--people"):
        inputs.stream()
    inputs = replace(inputs, people=tmp_path)
    with pytest.raises(BadData, match=r"views\.safetensors"):
        inputs.stream()
    wheel = RANDOM_FACE.file
    sha256 = tiny_wheel(tmp_path / wheel)
    monkeypatch.setattr("personae.data.generator.RANDOM_FACE", replace(RANDOM_FACE, sha256=sha256))
    Directions(vectors=np.zeros((len(TRAITS), WIDTH), np.float32)).save(tmp_path / "views.safetensors", {"seed": "0"})
    drawn = inputs.stream()
    assert drawn is not None
    assert drawn.draw(1, 2, torch.Generator().manual_seed(0)).images.shape == (1, 2, 3, 192, 192)
    assert inputs.caches() == []
    assert replace(inputs, draw=0).stream() is None


def test_points_are_brought_to_the_template_as_the_reader_brings_them() -> None:
    rng = np.random.default_rng(0)
    points, target = rng.uniform(-1, 1, (4, 5, 2)), np.array(align.template("head").points) * 2 - 1
    scale, shift = similarity(torch.from_numpy(points), torch.from_numpy(target))
    for row in range(4):
        # `align` counts pixels of a crop of side S from the centre of the first: here S is 2, from -0.5 to 1.5.
        matrix = align.similarity(points[row] * 0.5 + 0.5, "head", 2)
        found = scale[row] * torch.view_as_complex(torch.from_numpy(points[row])) + shift[row]
        expected = (align.apply(matrix, points[row] * 0.5 + 0.5) + 0.5) / 2 * 2 - 1
        np.testing.assert_allclose(torch.view_as_real(found).numpy(), expected, atol=1e-9)


def test_a_crop_shows_the_face_where_the_template_says(stream: PeopleStream) -> None:
    places = torch.tensor([PLACES])
    side = 64
    frame = torch.full((1, 3, side, side), -1.0)
    column, row = ((places[0, 2] + 1) / 2 * side).long().tolist()  # the tip of the nose
    frame[..., row - 2 : row + 2, column - 2 : column + 2] = 1
    crop = stream._cut(frame, places)[0, 0]
    bright = (crop > crop.max() / 2).nonzero().float().mean(0) + 0.5
    scale, shift = similarity(places, stream.target)
    nose = torch.view_as_real(scale * torch.view_as_complex(places[:, 2]) + shift)[0]
    np.testing.assert_allclose(bright.flip(0).numpy() / 32 * 2 - 1, nose.numpy(), atol=0.08)


def test_landmarks_with_a_gradient_are_the_motion_readers() -> None:
    pixels = np.ascontiguousarray(data.astronaut())
    points = np.array([(202.0, 114), (244, 114), (224, 140), (207, 160), (241, 158)])
    matrix = align.similarity(points, "ffhq", 256)
    crop = align.crop(pixels, matrix, 256)
    pose, found = AlignedLandmarks(MOTION, source="ffhq").eval()(
        torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    )
    config = MotionConfig(file=MOTION.name, sha256=file_sha256(MOTION))
    wanted = OnnxMotionReader(MOTION.parent, config).read(crop, np.array(align.template("ffhq").points) * 256 - 0.5)
    np.testing.assert_allclose((found[0].detach().numpy() + 1) * 128 - 0.5, five_points(wanted), atol=0.6)
    np.testing.assert_allclose(pose[0].detach().numpy()[:2], (wanted.pose.yaw, wanted.pose.pitch), atol=2)
