"""The verbs, as a user types them; and every bad input: one line, exit code 2."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save as safetensors_bytes

import model_fixtures
from cli_fixtures import Done, Run, fails
from controlnet_fixtures import random_controlnet
from expression_fixtures import random_adapter
from face_token_fixtures import random_tokens
from model_fixtures import empty_photo, face_photo, tiny_model_folder
from personae import identity
from personae.data import shards
from personae.identity import Direction, directions
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.types import BLENDSHAPES, Identity
from training_fixtures import write_cache

model, photo = model_fixtures.model, model_fixtures.photo  # the fixtures


# ---------------------------------------------------------------------- the verbs


def test_help_shows_an_example_of_every_verb(run: Run) -> None:
    verbs = [
        "demo",
        "generate",
        "edit",
        "read",
        "train",
        "prepare",
        "evaluate",
        "models",
        "inspect",
        "replay",
        "doctor",
    ]
    verbs += [
        f"identity {verb}"
        for verb in ("mean", "blend", "shift", "directions", "noise", "sample", "fit-directions", "show")
    ]
    assert all(verb.split()[0] in run().out for verb in verbs)
    for verb in verbs:
        assert f"Example: personae {verb}" in run(*verb.split(), "--help").out


def test_seeds_count_on_over_images_and_people(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    second = face_photo(tmp_path / "ann.png", left=40)
    done = run("generate", photo, second, "-m", model, "--seed", 7, "-n", 2, "-o", "out")
    assert done == Done(code=0, err="", out=done.out)
    assert done.lines == [f"out/{name}.png" for name in ("me-seed7", "me-seed8", "ann-seed9", "ann-seed10")]
    assert all(Image.open(line).size == (32, 32) for line in done.lines)


def test_generate_takes_every_option(run: Run, model: Path, photo: Path) -> None:
    options = [
        "--prompt",
        "a smiling {person}",
        "--steps",
        3,
        "--guidance",
        2,
        "--scheduler",
        "dpm++",
        "--format",
        "jpg",
    ]
    done = run("generate", photo, "-m", model, "--seed", 1, "-n", 2, *options, "--sheet", "--json", "-o", "out")
    answers = json.loads(done.out)
    assert [answer["seed"] for answer in answers] == [1, 2]
    settings = json.loads(run("inspect", answers[0]["path"]).out)["settings"]
    assert (settings["num_inference_steps"], settings["guidance_scale"], settings["scheduler"]) == (3, 2, "dpm++")
    page = Path("out/me-seed1.html").read_text()
    assert page.count("<img") == 3
    assert "http" not in page.replace("data:", "")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_used_whatever_is_faster_here(
    run: Run, model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setenv("PERSONAE_DTYPE", {"float32": "bfloat16", "bfloat16": "float32"}[dtype])
    for verb in (["generate", photo], ["edit", "inpaint", photo, "--region", "mouth"]):
        (path,) = run(*verb, "-m", model, "--dtype", dtype, "--seed", 1, "--steps", 2, "-f", "-o", "out").lines
        assert json.loads(run("inspect", path).out)["dtype"] == dtype
    assert "float16" in run("generate", photo, "-m", model, "--dtype", "float16").err


def test_a_blend_is_one_person(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    second = face_photo(tmp_path / "ann.png", left=40)
    done = run("generate", photo, second, "-m", model, "--blend", 0.5, "--seed", 0, "-o", "out")
    assert done.lines == ["out/me-ann-seed0.png"]
    fails(run("generate", photo, "-m", model, "--blend", 0.5), "two people", "got 1")


@pytest.fixture(scope="module")
def steered(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a ControlNet and an expression adapter."""
    folder = tmp_path_factory.mktemp("steered") / "tiny"
    shutil.copytree(model, folder)
    pipe = FacePipeline.from_pretrained(folder)
    random_controlnet(pipe.unet).save_pretrained(folder / "controlnet")
    (folder / "exp_adapter").mkdir()
    torch.save(random_adapter(pipe.unet, len(BLENDSHAPES)), folder / "exp_adapter" / "exp_adapter.bin")
    catalog.seal(folder)
    return folder


def test_steering_is_asked_for_in_words_and_kept_in_the_recipe(run: Run, steered: Path, photo: Path) -> None:
    options = ["--pose", "20,-5,0", "--pose-scale", 0.8, "--expression", "smile=0.8,jawOpen=0.2", "--speed", "balanced"]
    [path] = run("generate", photo, "-m", steered, "--seed", 1, "-o", "out", *options).lines
    settings = json.loads(run("inspect", path).out)["settings"]
    assert (settings["pose"], settings["pose_scale"], settings["speed"]) == ([20, -5, 0], 0.8, "balanced")
    assert settings["expression"]["jawOpen"] == 0.2
    assert json.loads(run("replay", path, "-m", steered, "--photo", photo, "--json").out)["max"] <= 1
    [plain] = run("generate", photo, "-m", steered, "--seed", 1, "-o", "plain").lines
    assert np.any(np.asarray(Image.open(plain)) != np.asarray(Image.open(path)))
    [copied] = run("generate", photo, "-m", steered, "--pose", photo, "--expression", photo, "-o", "copied").lines
    assert isinstance(json.loads(run("inspect", copied).out)["settings"]["expression"], dict)


def test_bad_steering(run: Run, model: Path, steered: Path, photo: Path) -> None:
    fails(run("generate", photo, "-m", model, "--pose", "1,2,3"), "controlnet")
    fails(run("generate", photo, "-m", model, "--reference", photo), "ref_adapter")
    fails(run("generate", photo, "-m", model, "--fast", 4), "lcm")
    fails(run("generate", photo, "-m", steered, "--pose", "1,2"), "yaw, pitch, roll")
    fails(run("generate", photo, "-m", steered, "--pose", "left"), "--pose", "yaw,pitch,roll")
    fails(run("generate", photo, "-m", steered, "--expression", "smlie=1"), "smile")
    fails(run("generate", photo, "-m", steered, "--expression", "smile=much"), "smile=0.8")
    fails(run("generate", photo, "-m", steered, "--speed", "balnced"), "balanced")


@pytest.fixture(scope="module")
def telling(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a projector for words beside the face, and with directions."""
    folder = tmp_path_factory.mktemp("telling") / "tiny"
    shutil.copytree(model, folder)
    pipe = FacePipeline.from_pretrained(folder)
    space, width = pipe.config.identity_space, pipe.config.identity_width
    random_tokens(width, pooled=True, space=space).save(folder / "face_tokens")
    table = {
        name: Direction(vector=np.eye(width)[i], spread=0.1, space=space) for i, name in enumerate(("age", "smile"))
    }
    measured = {
        "age": {"less": "younger", "more": "older", "correlation": 0.84, "low": 0.8, "high": 0.87, "auc": 0.9, "n": 62},
        "smile": {
            "less": "serious",
            "more": "smiling",
            "correlation": 0.5,
            "low": 0.4,
            "high": 0.6,
            "auc": 0.7,
            "n": 64,
        },
    }
    directions.save(folder / directions.FILE, table, measured)
    catalog.seal(folder)
    return folder


def _settings(run: Run, path: str) -> dict:
    return json.loads(run("inspect", path).out)["settings"]


def _pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), int)


def test_words_beside_the_face_are_weighed(run: Run, telling: Path, photo: Path) -> None:
    asked = ["generate", photo, "-m", telling, "--seed", 1, "--prompt", "a man", "--steps", 4]
    weights = ["--text-weight", 2, "--face-weight", -0.4, "--both-weight", 0, "--face-interval", "0,0.5"]
    [path] = run(*asked, *weights, "-o", "out").lines
    settings = _settings(run, path)
    assert [settings[f"{name}_weight"] for name in ("text", "face", "both")] == [2, -0.4, 0]
    assert settings["face_interval"] == [0, 0.5]
    assert json.loads(run("replay", path, "-m", telling, "--json").out)["max"] <= 1
    [plain] = run(*asked, "-o", "plain").lines
    assert np.any(_pixels(plain) != _pixels(path))
    [stylised] = run(*asked, "--look", "stylised", "-o", "look").lines
    [spoken] = run(*asked, "--text-weight", 0.45, "--both-weight", 0.55, "-o", "spoken").lines
    assert np.array_equal(_pixels(stylised), _pixels(spoken))


def test_all_people_in_one_picture_each_in_a_region(run: Run, telling: Path, photo: Path, tmp_path: Path) -> None:
    second = face_photo(tmp_path / "ann.png", left=40)
    mask = np.zeros((32, 64, 3), np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save("right.png")
    where = ["--region", "0,0,0.5,1", "--region", "right.png"]
    options = ["-m", telling, "--prompt", "a man", "--width", 64, "--height", 32, "--sheet"]
    done = run("generate", photo, second, *where, *options, "-n", 2, "--seed", 3, "-o", "out")
    assert done.lines == ["out/me-ann-seed3.png", "out/me-ann-seed4.png", "out/me-ann-seed3.html"]
    assert Image.open(done.lines[0]).size == (64, 32)
    assert Path(done.lines[2]).read_text().count("<img") == 4
    assert _settings(run, done.lines[0])["regions"][0] == [0, 0, 0.5, 1]
    assert json.loads(run("replay", done.lines[0], "-m", telling, "--json").out)["max"] <= 1
    other = run("generate", second, photo, *where, *options, "-n", 2, "--seed", 3, "-o", "out").lines
    assert np.any(_pixels(other[0]) != _pixels(done.lines[0]))


def test_the_recogniser_pulls(run: Run, model: Path, photo: Path) -> None:
    asked = ["generate", photo, "-m", model, "--seed", 1, "--steps", 4]
    [path] = run(*asked, "--likeness-guidance", 0.2, "--likeness-interval", "0.1,0.9", "-o", "out").lines
    settings = _settings(run, path)
    assert (settings["likeness_guidance"], settings["likeness_interval"]) == (0.2, [0.1, 0.9])
    [plain] = run(*asked, "-o", "plain").lines
    assert np.any(_pixels(plain) != _pixels(path))


@pytest.fixture(scope="module")
def white(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, painting nothing but white: to its reader all images show the face of `white.png`."""
    folder = tmp_path_factory.mktemp("white") / "tiny"
    pipe = FacePipeline.from_pretrained(model)
    last = pipe.vae.decoder.conv_out.conv
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(1)
    pipe.save_pretrained(folder)
    return folder


def test_only_what_is_verified_is_written(run: Run, white: Path, photo: Path) -> None:
    Image.new("RGB", (32, 32), "white").save("white.png")
    verified = ["-m", white, "--seed", 5, "-n", 2, "--min-likeness", 0.99, "--tries", 3]
    done = run("generate", "white.png", photo, *verified, "--json", "-o", "out")
    assert done.code == 0
    assert [(row["path"], row["seed"], row["tries"]) for row in json.loads(done.out)] == [
        ("out/white-seed5.png", 5, 1),
        ("out/white-seed6.png", 6, 1),
    ]
    assert sorted(path.name for path in Path("out").iterdir()) == ["white-seed5.png", "white-seed6.png"]
    assert done.err.startswith("personae: 2 of 4 images fell short of likeness 0.99 in 3 tries")
    recipe = json.loads(run("inspect", "out/white-seed5.png").out)
    assert (recipe["verified"]["min_likeness"], recipe["verified"]["passed"]) == (0.99, True)
    assert run("generate", "white.png", *verified, "-o", "alone").err == ""

    fails(run("generate", photo, *verified, "--sheet", "-o", "none"), "2 of 2 images fell short")
    assert not Path("none").exists()


def test_the_seeds_of_later_tries_overwrite_nothing(run: Run, white: Path, photo: Path) -> None:
    run("generate", photo, "-m", white, "--seed", 8, "-o", "out")
    verified = ["-m", white, "--seed", 5, "-n", 2, "--min-likeness", 0.99, "-o", "out"]
    fails(run("generate", photo, *verified, "--tries", 2), "me-seed8.png already there", "--force")


def test_people_are_shifted(run: Run, telling: Path, photo: Path, tmp_path: Path) -> None:
    run("identity", "mean", photo, "-m", telling, "-o", "me.identity")
    done = run("identity", "shift", photo, "-m", telling, "--by", "age=1.5,smile=-1", "-o", "older.identity")
    assert done.lines == ["older.identity"]
    me, table = identity.load("me.identity"), directions.of_model(telling)
    by_hand = directions.shift(me, table, {"age": 1.5, "smile": -1})
    assert identity.load("older.identity").vector == pytest.approx(by_hand.vector, abs=1e-6)
    assert np.all(np.abs(by_hand.vector - me.vector)[:2] > 0.09)
    asked = ["generate", "-m", telling, "--seed", 0]
    [shifted] = run(*asked, photo, "--shift", "age=1.5,smile=-1", "-o", "shifted").lines
    [older] = run(*asked, "older.identity", "-o", "older").lines
    assert np.array_equal(_pixels(shifted), _pixels(older))
    assert json.loads(run("replay", shifted, "-m", telling, "--json").out)["max"] <= 1

    second = face_photo(tmp_path / "ann.png", left=40)
    run("identity", "shift", second, "-m", telling, "--by", "age=1", "-o", "ann.identity")
    run("identity", "shift", photo, "-m", telling, "--by", "age=1", "-o", "me.identity", "--force")
    [between] = run(*asked, "me.identity", "ann.identity", "--blend", 0.3, "-o", "between").lines
    [same] = run(*asked, photo, second, "--blend", 0.3, "--shift", "age=1", "-o", "same").lines
    assert np.array_equal(_pixels(between), _pixels(same))


def test_directions_are_listed(run: Run, telling: Path) -> None:
    assert run("identity", "directions", "-m", telling).lines == [
        "age          from younger to older; correlation 0.84 with the labels of 62 held-out people",
        "smile        from serious to smiling; correlation 0.50 with the labels of 64 held-out people",
    ]
    assert json.loads(run("identity", "directions", "-m", telling, "--json").out)["age"]["auc"] == 0.9


def _labelled_variously(cache: Path) -> Path:
    """The drawn people of a cache as if some were old, and some women."""
    [tar] = cache.glob("*.tar")
    records = list(shards.read(tar))
    for number, (_, parts) in enumerate(records):
        facts = {"age": ("3-9", "20-29", "50-59")[number % 3], "gender": ("Male", "Female")[number % 2]}
        parts["json"] = shards.pack_json(json.loads(parts["json"]) | facts)
    shards.write(tar, records)
    return cache


def test_directions_are_fitted_and_then_of_use(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    cache = _labelled_variously(write_cache(tmp_path / "cache", count=160))
    home = tmp_path / "mine"
    shutil.copytree(model, home)
    made = tmp_path / "new" / "d.safetensors"
    fit = ["identity", "fit-directions", "-m", model, "--cache", cache, "-o", made]
    done = run(*fit)
    assert [line.split()[0] for line in done.lines] == ["age", "masculine", "smile", str(made)]
    shutil.copy(made, home / directions.FILE)
    catalog.seal(home)
    assert done.lines[:-1] == run("identity", "directions", "-m", home).lines
    assert run("identity", "shift", photo, "-m", home, "--by", "masculine=-0.5", "-o", "a.identity").code == 0
    fails(run(*fit), "already there", "--force")
    assert json.loads(run(*fit, "--force", "--json").out).keys() == {"age", "masculine", "smile"}


def test_relatives_are_made_at_random(run: Run, model: Path, photo: Path) -> None:
    for out, options in (("me", ["--degrees", 0]), ("a", []), ("b", ["--degrees", 30]), ("c", ["--seed", 1])):
        assert run("identity", "noise", photo, "-m", model, *options, "-o", f"{out}.identity").code == 0
    me, *others = (identity.load(f"{name}.identity") for name in ("me", "a", "b", "c"))
    angles = [np.degrees(np.arccos(identity.similarity(me, one))) for one in others]
    assert angles == pytest.approx([10, 30, 10], abs=0.01)
    assert identity.similarity(others[0], others[2]) < 0.99


def test_bad_words_regions_and_likeness(run: Run, model: Path, telling: Path, photo: Path) -> None:
    asked = ["generate", photo, "-m", telling, "-o", "out"]
    told = [*asked, "--prompt", "a man"]
    fails(run("generate", photo, "-m", model, "--prompt", "a man"), "{person}", "face_tokens")
    fails(run(*asked, "--prompt", "a man and a woman " * 5), "at most", "13")
    fails(run(*asked, "--look", "photo"), "{person}")
    fails(run(*told, "--look", "paintng"), "'painting'")
    fails(run(*told, "--both-weight", 0), "more than 0")
    fails(run(*told, "--text-weight", "much"), "--text-weight")
    fails(run(*told, "--both-interval", "0,half"), "--both-interval", "0,half")
    fails(run(*told, "--region", "left"), "--region", "x0,y0,x1,y1")
    fails(run(*told, "--region", "0,0,2,1"), "in shares of the image")
    fails(run(*told, "--region", "nowhere.png"), "nowhere.png")
    fails(run(*told, "--region", "0,0,1,1", "--region", "0,0,1,1"), "1 people, got 2")
    fails(run(*told, "--width", 33), "width", "33")
    fails(run(*asked, "--likeness-interval", "0,1"), "likeness_guidance")
    fails(run(*asked, "--min-likeness", 2), "-1 to 1")
    fails(run(*asked, "--tries", 3), "--min-likeness")
    assert not Path("out").exists()


def test_bad_shifts(run: Run, model: Path, telling: Path, photo: Path, tmp_path: Path) -> None:
    for asked in (["generate", photo, "--shift"], ["identity", "shift", photo, "-o", "a.identity", "--by"]):
        fails(run(*asked, "age", "-m", telling), "age=1.5")
        fails(run(*asked, "agee=1", "-m", telling), "'age'")
        fails(run(*asked, "age=500", "-m", telling), "can be shifted by")
        fails(run(*asked, "age=1", "-m", model), directions.FILE, "fit-directions")
    fails(run("identity", "directions", "-m", model), directions.FILE, "fit-directions")
    fails(run("identity", "noise", photo, "-m", model, "--degrees", 200, "-o", "a.identity"), "180")
    cache = write_cache(tmp_path / "cache", count=80)  # all of them annotated alike
    fit = ["identity", "fit-directions", "-m", model, "-o", "made.safetensors", "--cache"]
    fails(run(*fit, cache), "alike in age, masculine")
    fails(run(*fit, tmp_path / "nowhere"), "nowhere", "personae prepare")
    assert not list(Path().glob("*.identity")) + list(Path().glob("made*"))


def test_replay_says_how_far_it_is_off(run: Run, model: Path, photo: Path) -> None:
    [path] = run("generate", photo, "-m", model, "--seed", 5, "-o", "out").lines
    drift = json.loads(run("replay", path, "-m", model, "--json", "-o", "again.png").out)
    assert drift["max"] <= 1
    assert drift["same_model"]
    assert json.loads(run("inspect", "again.png").out)["seed"] == 5
    assert "mean difference 0.000" in run("replay", path, "-m", model).out


def test_a_replay_goes_where_any_result_goes(run: Run, model: Path, photo: Path) -> None:
    [path] = run("generate", photo, "-m", model, "--seed", 5, "-o", "out").lines
    again = ("replay", path, "-m", model)
    assert run(*again, "-o", "again.jpg").code == 0
    with Image.open("again.jpg") as image:
        assert image.format == "JPEG"
    assert run(*again, "-o", "folder").code == 0
    assert [one.name for one in Path("folder").iterdir()] == ["me-seed5.png"]
    nothing = ("replay", path, "-m", "no-such-model")
    fails(run(*nothing, "-o", "out"), "already there")
    fails(run(*nothing, "-o", "again.tiff"), ".png, .jpg")


def test_read_lists_faces(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    nobody = empty_photo(tmp_path / "empty.png")
    faces = json.loads(run("read", photo, nobody, "-m", model, "--json").out)
    assert {name: len(found) for name, found in faces.items()} == {str(photo): 1, str(nobody): 0}
    face = faces[str(photo)][0]
    assert (len(face["landmarks"]), len(face["blendshapes"]), face["identity"]["width"]) == (478, 52, 128)
    done = run("read", photo, nobody, "-m", model)
    assert "1 face" in done.lines[0]
    assert "0 faces" in done.lines[-1]


def test_identities_become_files_and_files_become_people(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    second = face_photo(tmp_path / "ann.png", left=40)
    assert run("identity", "mean", photo, second, "--weights", "2,1", "-m", model, "-o", "us.identity").code == 0
    assert run("identity", "blend", photo, "us.identity", "--amount", 0.3, "-m", model, "-o", "b.identity").code == 0
    sampled = run("identity", "sample", "-n", 2, "--seed", 4, "-m", model, "-o", "people").lines
    assert sampled == ["people/stranger4-0.identity", "people/stranger4-1.identity"]
    shown = json.loads(run("identity", "show", "b.identity", "-m", model).out)
    assert np.linalg.norm(shown["vector"]) == pytest.approx(1, abs=1e-4)
    assert json.loads(run("inspect", "b.identity").out)["space"] == shown["space"]
    done = run("generate", "b.identity", *sampled, "-m", model, "--seed", 0, "-o", "out")
    assert [Path(line).name for line in done.lines] == ["b-seed0.png", "stranger4-0-seed1.png", "stranger4-1-seed2.png"]
    fails(run("identity", "sample", "--seed", 4, "-m", model, "-o", "people"), "already there", "--force")


def test_a_photo_without_a_face_can_be_skipped(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    nobody = empty_photo(tmp_path / "empty.png")
    done = run("generate", nobody, photo, "-m", model, "--on-no-face", "skip", "--seed", 0, "-o", "out")
    assert done.lines == ["out/me-seed0.png"]
    assert "empty.png: skipped" in done.err
    fails(run("generate", nobody, "-m", model), "no face found in", "--on-no-face skip")
    done = run("identity", "mean", nobody, photo, "-m", model, "-o", "us.identity")
    fails(done, "give a photo that shows one clearly")
    assert "--on-no-face" not in done.err, "which this verb does not have"


def test_models_train_and_doctor_answer(run: Run) -> None:
    assert {"nano", "arc2face"} <= set(json.loads(run("models", "--json").out))
    assert "CC BY 4.0" in run("models").out
    assert "nano-base" in run("train", "--list").out
    doctor = json.loads(run("doctor", "--json").out)
    assert doctor["versions"]["torch"]
    assert {"float32_gflops", "bfloat16_gflops", "ratio", "picked", "by"} <= set(doctor["precision"])
    assert (doctor["precision"]["by"], doctor["machine"]["dtype"]) == ("PERSONAE_DTYPE", "float32")  # conftest's
    fails(run("train", "nano-bass"), "nano-base")


def test_inspect_shows_a_model_folder(run: Run, model: Path) -> None:
    shown = json.loads(run("inspect", model).out)
    assert shown["sha256"] == catalog.fingerprint(model)
    assert "unet/diffusion_pytorch_model.safetensors" in shown["files"]


# ---------------------------------------------------------------------- bad input


def _bytes(name: str, photo: Path) -> bytes:
    buffer = io.BytesIO()
    if name == "truncated.jpg":
        Image.open(photo).save(buffer, "JPEG")
        return buffer.getvalue()[: len(buffer.getvalue()) // 2]
    if name == "bomb.png":
        Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    if name == "dot.png":
        Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue() or b"this is no picture"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text.jpg", "not a JPEG, PNG, WebP or AVIF"),
        ("truncated.jpg", "damaged or cut short"),
        ("bomb.png", "pixels"),
        ("dot.png", "1 x 1 pixels"),
    ],
)
@pytest.mark.parametrize("verb", ["generate", "read"])
def test_bad_pictures(run: Run, model: Path, photo: Path, tmp_path: Path, verb: str, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(_bytes(name, photo))
    fails(run(verb, name, "-m", model), name, words)


def test_no_such_file(run: Run, model: Path) -> None:
    for verb in ("generate", "read"):
        fails(run(verb, "nowhere.jpg", "-m", model), "nowhere.jpg: no such file")
    for verb in ("inspect", "replay"):
        fails(run(verb, "nowhere.png"), "no such file", "nowhere.png")
    fails(run("generate", "nowhere.identity", "-m", model), "nowhere.identity")


def test_no_face(run: Run, model: Path, tmp_path: Path) -> None:
    nobody = empty_photo(tmp_path / "empty.png")
    fails(run("generate", nobody, "-m", model), "no face found in", "empty.png")
    fails(run("identity", "mean", nobody, "-m", model, "-o", "a.identity"), "no face found in")


def test_bad_embeddings(run: Run, model: Path, tmp_path: Path) -> None:
    facts = {"format": "personae.identity/1", "space": "other/arcface/0"}
    hole = np.full(128, np.nan, np.float32)
    (tmp_path / "nan.identity").write_bytes(safetensors_bytes({"vector": hole}, facts))
    fails(run("generate", "nan.identity", "-m", model), "finite")
    identity.save(tmp_path / "other.identity", Identity(vector=np.ones(128), space="other/arcface/0"))
    fails(run("generate", "other.identity", "-m", model), "other/arcface/0", "space")
    space = json.loads(run("identity", "show", face_photo(tmp_path / "a.png"), "-m", model).out)["space"]
    identity.save(tmp_path / "short.identity", Identity(vector=np.ones(64), space=space))
    fails(run("generate", "short.identity", "-m", model), "128", "64")
    (tmp_path / "text.identity").write_text("no tensors")
    fails(run("generate", "text.identity", "-m", model), "text.identity")


def test_unknown_names_are_answered(run: Run, model: Path, photo: Path) -> None:
    fails(run("generate", photo, "-m", "nanoo"), "unknown model 'nanoo'", "'nano'")
    fails(run("generate", photo, "-m", model, "--scheduler", "flow-eule"), "unknown --scheduler", "'flow-euler'")
    fails(run("generate", photo, "-m", "arc2face"), "non-commercial", "--accept-licence")
    fails(run("generate", photo, "-m", photo.parent), catalog.INDEX)
    fails(run("generrate", photo), "generrate")


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model.safetensors", "reader/embedder.onnx"])
def test_corrupt_weights(run: Run, photo: Path, tmp_path: Path, part: str) -> None:
    broken = tiny_model_folder(tmp_path / "made")
    file = broken / part
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    fails(run("generate", photo, "-m", broken), Path(part).name)
    file.unlink()
    fails(run("generate", photo, "-m", broken), Path(part).name)


def test_unwritable_outputs(run: Run, model: Path, photo: Path) -> None:
    Path("file").write_text("")
    for verb in (["generate", photo], ["demo"]):
        fails(run(*verb, "-m", model, "-o", "file"), "cannot write to folder file")
    fails(run("identity", "mean", photo, "-m", model, "-o", "file/a.identity"), "cannot write")
    run("generate", photo, "-m", model, "--seed", 1, "-o", "out")
    fails(run("generate", photo, "-m", model, "--seed", 1, "-o", "out"), "me-seed1.png already there", "--force")
    assert run("generate", photo, "-m", model, "--seed", 1, "-o", "out", "--force").code == 0


def test_bad_options(run: Run, model: Path, photo: Path) -> None:
    fails(run("generate"), "PHOTO")
    fails(run("generate", photo, "-m", model, "-n", 0), "--count", "1")
    fails(run("generate", photo, "-m", model, "--steps", 0), "steps")
    fails(run("generate", photo, "-m", model, "--format", "gif"), "gif")
    fails(run("identity", "mean", photo, "-m", model, "--weights", "a", "-o", "a.identity"), "--weights")


def test_ctrl_c_is_clean(model: Path, photo: Path, tmp_path: Path) -> None:
    words = ["generate", photo, "-m", model, "-n", "400", "--steps", "1000", "-o", "out", "--json"]
    command = [sys.executable, "-m", "personae", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, cwd=tmp_path, **pipes)
    try:
        while not (tmp_path / "out").exists():
            time.sleep(0.05)
        time.sleep(4)  # well into the loop, which takes much longer
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
    assert (running.returncode, out, err) == (130, "", "personae: stopped\n")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_amid_an_exec_is_as_clean(tmp_path: Path) -> None:
    """An import makes dataclasses by `exec`; what strikes there would end `python -m` by the signal, not by 130."""
    source = """
        from personae import cli
        from personae.cli import app as program

        def app(**options):
            exec("raise KeyboardInterrupt")

        program.app = app
        cli.main()
    """
    (tmp_path / "struck.py").write_text(textwrap.dedent(source))
    ended = subprocess.run([sys.executable, "-m", "struck"], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "personae: stopped\n")


def test_help_loads_nothing_that_takes_its_time() -> None:
    """How long it takes is `personae evaluate --suite speed`'s to measure; what takes long is these."""
    code = """
        import sys
        from personae import cli
        sys.argv = ["personae", "--help"]
        try:
            cli.main()
        except SystemExit:
            print([name for name in ("torch", "diffusers", "transformers", "onnxruntime", "skimage", "scipy", "numpy")
                   if name in sys.modules], file=sys.stderr)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "Start with: personae demo" in " ".join(ended.stdout.split())  # however wide the terminal is
    assert ended.stderr.strip() == "[]"


def test_evaluate_and_assemble_say_what_they_lack(run: Run, model: Path, tmp_path: Path) -> None:
    fails(run("evaluate", model, "--judge", "nowhere.onnx", "--people", 2), "nowhere.onnx")
    fails(run("evaluate", model, "--reading", "--source", tmp_path / "nowhere"), "nowhere")
    fails(run("assemble", "--runs", tmp_path, "-o", "made", "--final", "nano-longer"), "personae train nano-longer")
    fails(run("assemble", "--runs", tmp_path, "--cache", tmp_path, "-o", "made"), "holds no training people")
    assert not list(Path().glob("made*"))
