"""The angles that a model can hold: from its folder, refused beyond, warned of near the edge."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import personae
from personae.controls import pose_values
from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.evaluation.suites.angles import unlimited
from personae.models import catalog, components
from personae.models.limits import FILE, GEOMETRY, Limits
from personae.pipeline import FacePipeline
from personae.training import assemble as assembling
from personae.training.assemble import assemble
from personae.video.frame_renderer import moves_of
from personae.video.motion_track import COLUMNS, Track

NANO = catalog.MODELS["nano"].folder
ROWS = {name: {"good": 10, "most": 20} for name in GEOMETRY}


def folder_with(folder: Path, table: object) -> Path:
    (folder / FILE).write_text(table if isinstance(table, str) else json.dumps(table))
    return folder


def test_a_folder_says_how_far(tmp_path: Path) -> None:
    assert Limits.of(None).most == Limits.of(tmp_path).good == GEOMETRY
    limits = Limits.of(folder_with(tmp_path, {"format": "personae.limits/1", "pose": ROWS}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        limits.require({"yaw": -10, "jawOpen": 1})
        assert limits.within({"yaw": 20, "roll": 0, "jawOpen": 1}) == {"yaw": 20, "roll": 0, "jawOpen": 1}
    with pytest.warns(UserWarning, match=r"pitch 15 is near .*20 degrees.*up to 10"):
        limits.require({"pitch": 15})
    with pytest.warns(UserWarning, match="photo's yaw is -64 degrees, of which this model holds 20"):
        assert limits.within({"yaw": -64}) == {"yaw": -20}
    for angle in (21, -21, float("nan")):
        with pytest.raises(BadOption, match="roll of a pose lies within 20 degrees with this model"):
            limits.require({"roll": angle})


@pytest.mark.parametrize(
    "table",
    [
        "[]",
        "no json",
        {"format": "personae.limits/2", "pose": ROWS},
        {"format": "personae.limits/1", "pose": {"yaw": ROWS["yaw"]}},
        {"format": "personae.limits/1", "pose": ROWS | {"yaw": {"good": 30, "most": 20}}},
        {"format": "personae.limits/1", "pose": ROWS | {"yaw": {"good": 30, "most": 90}}},
        {"format": "personae.limits/1", "pose": ROWS | {"yaw": {"good": "x", "most": 20}}},
        "[" * 100_000,
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, table: object) -> None:
    with pytest.raises(WeightsCorrupt, match=r"limits\.json"):
        Limits.of(folder_with(tmp_path, table))


def test_the_bundled_model_refuses_what_it_cannot_hold() -> None:
    pipe, holds = personae.load("nano", device="cpu"), Limits.of(NANO)
    yaw, roll = holds.most["yaw"], holds.most["roll"]
    for asked in ({"yaw": -60}, (0, 0, roll + 1), {"roll": 45}, {"pitch": 50}):
        with pytest.raises(BadOption, match=r"lies within .* degrees with this model"):
            pose_values.values_of(pipe, asked)
    with pytest.warns(UserWarning, match="near what this model can hold"):
        assert pose_values.values_of(pipe, {"yaw": yaw - 1})["yaw"] == yaw - 1
    assert pose_values.values_of(pipe, (holds.good["yaw"], 0, 0))["yaw"] == holds.good["yaw"]
    sampler = personae.identity.IdentitySampler.load(NANO / personae.identity.PEOPLE)
    made = pipe(sampler.sample(1, seed=4), seed=0, num_inference_steps=8, measure_likeness=False)
    with pytest.raises(BadOption, match=f"yaw of a pose lies within {yaw:g} degrees with this model"):
        pipe.edit("attribute", target=made.images[0], pose={"yaw": yaw + 1}, seed=0)


def test_a_driver_is_followed_as_far_as_the_model_can() -> None:
    motion = np.zeros((1, len(COLUMNS)))
    motion[0, 0] = 60
    [free], [held] = (
        moves_of(Track(fps=25, motion=motion), "portrait", able) for able in (GEOMETRY, Limits.of(NANO).most)
    )
    assert not free.limited
    assert held.limited
    assert held.pose.yaw == Limits.of(NANO).most["yaw"]


def test_copies_take_the_table_along(tmp_path: Path) -> None:
    shutil.copy(NANO / FILE, tmp_path)
    target = tmp_path / "copy"
    target.mkdir()
    components.copy(tmp_path, target)
    assert (target / FILE).read_bytes() == (NANO / FILE).read_bytes()


def test_an_assembled_model_has_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled one's, or one that was measured; without either, or with what is none, nothing is made."""
    made = tmp_path / "made"
    monkeypatch.setattr(assembling, "_fill", lambda *parts: None)  # networks, which take long
    assemble(made, cache=tmp_path, runs=tmp_path)
    assert (made / FILE).read_bytes() == (NANO / FILE).read_bytes()
    own = folder_with(tmp_path, {"format": "personae.limits/1", "pose": ROWS}) / FILE
    assemble(made, cache=tmp_path, runs=tmp_path, limits=own)
    assert Limits.of(made).most == dict.fromkeys(GEOMETRY, 20)
    with pytest.raises(WeightsCorrupt, match="is no table of angles"):
        assemble(tmp_path / "none", cache=tmp_path, runs=tmp_path, limits=tmp_path / "nowhere.json")
    monkeypatch.setattr(assembling, "bundled", lambda: None)
    with pytest.raises(WeightsMissing, match="evaluate --suite angles"):
        assemble(tmp_path / "none", cache=tmp_path, runs=tmp_path)
    assert not (tmp_path / "none").exists()


def test_the_hashes_of_an_assembled_model_cover_the_table(tmp_path: Path, sd15_like: FacePipeline) -> None:
    """It lies in the folder before the pipeline is written there, as `assemble` does it."""
    shutil.copy(NANO / FILE, tmp_path)
    sd15_like.save_pretrained(tmp_path)
    assert FILE in json.loads((tmp_path / "sha256.json").read_text())


def test_an_unknown_model_is_free(sd15_like: FacePipeline) -> None:
    assert pose_values.values_of(sd15_like, {"yaw": 70})["yaw"] == 70


def test_what_measures_angles_asks_for_more_than_the_table_allows() -> None:
    with unlimited(NANO) as folder:
        assert Limits.of(folder).most == GEOMETRY
        assert personae.load(folder, reader=False).has_component("controlnet")
    assert not folder.exists()
