"""POST /v1/animate through the job API: a photo and a driver in, a marked video and its report out."""

from pathlib import Path

import numpy as np

from model_fixtures import face_photo
from personae.io import video_file
from personae.pipeline import FacePipeline
from serving_fixtures import form, server
from video_fixtures import wandering, write_video

FRAMES = 4
REQUEST = {"consent": True, "source": "me.png", "driver": "talk.mp4", "options": {"num_inference_steps": 2}}


def test_a_photo_does_what_a_video_does(moving: FacePipeline, tmp_path: Path) -> None:
    photo = face_photo(tmp_path / "me.png").read_bytes()
    driver = write_video(tmp_path / "talk.mp4", wandering(FRAMES)).read_bytes()
    with server(moving, tmp_path / "state") as client:
        job = client.post("/v1/animate?wait=60", **form(REQUEST, me_png=photo, talk_mp4=driver)).json()
        assert job["status"] == "done", job
        assert job["result"]["data"] == {"drawn": FRAMES}
        rows = {row["name"]: row for row in job["result"]["files"]}
        assert {name: row["media_type"] for name, row in rows.items()} == {
            "0.mp4": "video/mp4",
            "0.json": "application/json",
        }
        report = client.get(rows["0.json"]["url"]).json()
        assert [row["frame"] for row in report["frames"]] == list(range(FRAMES))
        assert str(tmp_path) not in str(report)  # where the server keeps its files is its own business
        path = tmp_path / "out.mp4"
        path.write_bytes(client.get(rows["0.mp4"]["url"]).content)
        pictures = np.stack(list(video_file.frames(path)))
        assert pictures.shape == (FRAMES, 160, 320, 3)
        origin = client.post("/v1/detect?wait=60", **form({"file": "out.mp4"}, out_mp4=path.read_bytes())).json()
        states = {mark["mark"]: mark["state"] for mark in origin["result"]["data"]["marks"]}
        assert states["label"] == "present", states
        assert not list((tmp_path / "state" / "jobs").glob("*/uploads"))


def test_drivers_that_are_none(moving: FacePipeline, tmp_path: Path) -> None:
    photo = face_photo(tmp_path / "me.png").read_bytes()
    elsewhere = b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/a.ts\n#EXT-X-ENDLIST\n"
    with server(moving, tmp_path / "state") as client:
        for content in (b"no video at all", elsewhere, b"ffconcat version 1.0\nfile '/etc/passwd'\n"):
            job = client.post("/v1/animate?wait=60", **form(REQUEST, me_png=photo, talk_mp4=content)).json()
            assert job["status"] == "failed", job
            assert job["error"]["type"] == "BadVideo"
            assert "talk.mp4" in job["error"]["message"]
            assert str(tmp_path) not in job["error"]["message"]
        nameless = REQUEST | {"driver": "talk"}
        refusal = client.post("/v1/animate", files=[*form(nameless, me_png=photo)["files"], ("files", ("talk", b"x"))])
        assert refusal.status_code == 422
        assert "by its name" in refusal.text or "BadImage" in refusal.text
