"""A recipe is a stranger's text: it opens no file, fetches no model, asks for no endless work, and whatever is wrong
with it is one clear error."""

import base64
import contextlib
import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from cli_fixtures import Run, fails
from conftest import made_up
from model_fixtures import face_photo, tiny_model_folder
from personae import pipeline, replay
from personae.controls import registry
from personae.errors import BadImage, BadOption, BadOutput, BadRecipe, PersonaeError, SpaceMismatch, WeightsMissing
from personae.models import catalog, hub
from personae.pipeline import FacePipeline, load
from personae.provenance import recipe as recipes
from personae.provenance import recipe_schema, writer
from personae.types import RELEASED_SPACES, Edit, Face, Generation, Identity

HASH = "0123456789abcdef" * 4
MUTATIONS = 1000
CHEAP = {"num_inference_steps": 1, "likeness_guidance": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    return load(tiny_model_folder(tmp_path_factory.mktemp("model")))


def stored(width: int = 128) -> dict[str, str]:
    vector = np.linspace(-1, 1, width, dtype="<f4")
    return {"space": "tiny/arcface/0", "vector": base64.b64encode(vector.tobytes()).decode()}


def generation(**settings: Any) -> dict[str, Any]:
    return {
        "format": recipes.FORMAT,
        "task": "generate",
        "model": {"name": "tiny", "sha256": HASH, "identity_space": "tiny/arcface/0"},
        "settings": {"prompt": None, "negative_prompt": "", "num_inference_steps": 4, "guidance_scale": 3.0} | settings,
        "seed": 7,
        "noise": "seed",
        "identity": stored(),
        "input": {"sha256": HASH, "box": [1, 2, 30, 40]},
        "inputs": [{"photo_sha256": HASH, "identity_sha256": HASH}],
        "dtype": "float32",
        "device": "cpu",
        "versions": {"personae": "0.1"},
        "likeness": 0.5,
        "ai_generated": True,
    }


def edited(**edit: Any) -> dict[str, Any]:
    facts = {"sha256": HASH, "name": "me.png", "faces": [1], "boxes": [[1, 2, 30, 40]], "identity_sha256": [HASH]}
    made = generation(strength=0.5) | {
        "task": "edit",
        "edit": {"task": "swap"} | edit,
        "inputs": {"source": facts, "target": facts, "mask": {"sha256": HASH, "name": "mask.png"}},
        "earlier": [{n: v for n, v in generation().items() if n not in ("identity", "input")}] * 2,
    }
    return {name: value for name, value in made.items() if name not in ("identity", "input")}


FILE = {"sha256": HASH, "name": "private.png"}
VALID = [
    generation(),
    generation(pose=[20, -5, 0], pose_scale=0.8, expression={"jawOpen": 0.2}, speed="balanced", decoder="full"),
    generation(image=FILE, mask_image=[[0, 1], [1, 0]], strength=0.5, lora=FILE, lora_scale=1, reference=FILE),
    generation(regions=[[0, 0, 0.5, 1], [[0, 1], [0, 1]]], width=64, text_weight=1, text_interval=[0, 0.5])
    | {"others": [stored()]},
    generation(likeness_guidance=0.1, likeness_interval=[0.2, 0.8], fast=4, scheduler="lcm", pose_map=FILE),
    edited(),
    edited(task="inpaint", region=["mouth"], shift={"age": 1.5}, pose={"yaw": 5.0}, expression={"smile": 0.5}),
]


def forged(path: Path, text: str | bytes, size: tuple[int, int] = (32, 32)) -> Path:
    """A picture with any text where its recipe stands."""
    info = PngImagePlugin.PngInfo()
    info.add_text("personae", text) if isinstance(text, bytes) else info.add_itxt("personae", text)
    Image.new("1", size).save(path, pnginfo=info)
    return path


class Stand:
    """In a pipeline's place: of its size, finds a face in every photo, and writes down what is asked of it."""

    def __init__(self, like: FacePipeline) -> None:
        self.unet, self.vae, self.config = (
            like.unet,
            like.vae,
            SimpleNamespace(steps=4, identity_space="tiny/arcface/0"),
        )
        self.asked: dict[str, Any] = {}

    def read(self, photo: Any) -> list[Face]:
        box = SimpleNamespace(box=np.array([1, 2, 30, 40], np.float32))
        return [Face(detection=box, photo=photo)]  # type: ignore[arg-type]

    def _made(self, kind: type, **asked: Any) -> Any:
        self.asked = asked
        recipe = {"model": {"name": "/home/me/tiny", "sha256": HASH}, "dtype": "float32"}
        images = [Image.new("RGB", (32, 32))]
        if kind is Generation:
            return Generation(images=images, seeds=[7], people=[0], likeness=None, recipe=recipe)
        nothing = np.zeros(0)
        return Edit(
            images=images, seeds=[7], likeness=None, before=nothing, after=nothing, edit_masks=nothing, mask=nothing,
            recipe=recipe,
        )  # fmt: skip

    def __call__(self, people: Any, **asked: Any) -> Generation:
        return self._made(Generation, people=people, **asked)

    def edit(self, task: Any, **asked: Any) -> Edit:
        return self._made(Edit, task=task, **asked)


# ---------------------------------------------------------------------- the table


def test_every_option_of_a_call_has_a_row() -> None:
    rows = {name for name, one in registry.options().items() if one.in_recipe}
    assert set(recipe_schema.SETTINGS) == rows - {"assembly"}
    assert recipe_schema.FILES == ("expression", "image", "lora", "pose", "pose_map", "reference")
    assert not any(
        kind.fits("/etc/passwd") for name, kind in recipe_schema.SETTINGS.items() if name in recipe_schema.FILES
    )


@pytest.mark.parametrize("recipe", VALID)
def test_what_personae_writes_is_in_range(recipe: dict[str, Any]) -> None:
    assert recipes.checked(json.loads(json.dumps(recipe))) == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": -1}, "seed of the recipe must be a whole number between 0"),
        ({"seed": True}, "seed of the recipe"),
        ({"dtype": "float8"}, "dtype of the recipe must be 'float32' or 'bfloat16' or 'float16'"),
        ({"noise": 3}, "noise"),
        ({"format": "personae.recipe/3"}, "this version reads personae.recipe/2"),
        ({"model": {"name": "a" * 300}}, "name of model of the recipe must be text in UTF-8 of at most 255"),
        ({"settings": {"num_images_per_prompt": 10**9}}, "'num_images_per_prompt', which this version"),
        ({"settings": {"num_inference_steps": 10**9}}, "between 1 and 1000, got 1000000000"),
        ({"settings": {"height": 10**7}}, "height of settings"),
        ({"settings": {"prompt": "a" * 10**5}}, "prompt of settings"),
        ({"settings": {"prompt": "\ud800"}}, "prompt of settings"),
        ({"settings": {"lora": "/dev/zero"}}, "lora of settings of the recipe must be an object, got '/dev/zero'"),
        ({"settings": {"regions": ["/etc/passwd"]}}, "regions of settings"),
        ({"settings": {"strength": float("1e400")}}, "strength of settings .* got inf"),
        ({"others": [stored()] * 100}, "others of the recipe must be a list of 0 to 15"),
        ({"task": "edit"}, "lacks the edit"),
        ({"settings": 7}, "settings of the recipe must be an object, got 7"),
    ],
)
def test_what_is_out_of_range_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRecipe, match=words):
        recipes.checked(generation() | change)


JUNK = (
    None, True, -1, 0, 1.5, 1e308, 10**400, "", "text", "/dev/zero", "\ud800", "\x1b[2J", [], [[]], {}, {"a": []},
    [0, 1], [[0, 1]], [None], {"sha256": HASH}, {"name": "x"}, "nothing" * 9999, [0] * 999,
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*at, key))


def mutated(recipe: dict[str, Any], chance: random.Random) -> Any:
    """With one to three of its values replaced, taken out, doubled, or put under another name."""
    found: Any = copy.deepcopy(recipe)
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice([at for at in places(found) if at] or [("seed",)])
        inner = found
        for key in way:
            inner = inner[key]
        what = chance.randrange(6)
        if what == 0:
            del inner[last]
        elif what == 1 and isinstance(inner, dict):
            inner[chance.choice(["edit", "settings", "pose", "lora", "inputs", "new", "format"])] = inner.pop(last)
        elif what == 2 and isinstance(inner, list):
            inner *= 3
        else:
            inner[last] = copy.deepcopy(chance.choice(JUNK))
    return found


def test_mutated_recipes_are_errors_of_ours_or_replayed(nano_like: FacePipeline, tmp_path: Path) -> None:
    chance, photo, done = random.Random(0), tmp_path / "me.png", 0
    Image.new("RGB", (32, 32)).save(photo)
    # What is replayed comes from memory: so many files would take a minute.
    first_version = [{k: v for k, v in recipe.items() if k != "format"} for recipe in VALID]
    path = forged(tmp_path / "made.png", "{}")
    for number in range(MUTATIONS):
        recipe = mutated(chance.choice(VALID + first_version), chance)
        text = json.dumps(recipe)
        recipes.history([recipe])
        stand = Stand(nano_like)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipes, "text_of", lambda path, text=text: text)
            patch.setattr(replay, "_input", lambda name, given, facts: replay.load_photo(given))
            try:
                found = replay.readable(path)
                recipes.nameless(found)
                wanted = dict.fromkeys(recipes.needed(found), photo)
                replay.remake(path, pipe=stand, inputs=wanted)  # type: ignore[arg-type]
                done += 1
            except PersonaeError:
                continue
            except Exception as error:
                raise AssertionError(f"mutation {number}: {text[:2000]}") from error
        roles = ("source", "target", "mask", *recipe_schema.FILES)
        files = [stand.asked.get(name) for name in roles] + list(stand.asked.get("tokens", {}).values())
        assert not any(isinstance(one, str) for one in files), text[:2000]
    assert done > MUTATIONS / 10  # it is not that all are refused


LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
KEYS = st.text() | st.sampled_from(["settings", "model", "seed", "edit"])
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@examples(max_examples=100, deadline=None)
@given(JSON)
def test_any_json_is_a_recipe_or_one_error(value: Any) -> None:
    try:
        recipes.checked(recipes.parsed(json.dumps(value)))
    except BadRecipe:
        return
    raise AssertionError("random values make no recipe")


DAMAGED = (
    "[" * 10**5,
    '{"a":' * 10**5,
    '{"a":' * 30 + "1" + "}" * 30,
    "{" * 30,
    "7",
    '{"seed": NaN}',
    '{"seed": ' + "9" * 9999 + "}",
    "{}" * 2**19,
)


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_what_is_no_recipe_is_one_line(run: Run, text: str, tmp_path: Path) -> None:
    path = forged(tmp_path / "a.png", text)
    for verb in ("inspect", "replay"):
        fails(run(verb, path), "a.png", "the recipe", "damaged")


# ---------------------------------------------------------------------- files that hold one


@pytest.fixture(scope="module")
def person(nano_like: FacePipeline) -> Identity:
    return made_up(nano_like, 1)[0]


@pytest.mark.parametrize("kind", writer.FORMATS)
def test_mutated_files_are_errors_of_ours(kind: str, tmp_path: Path) -> None:
    chance, path = random.Random(kind), tmp_path / f"a.{kind}"
    whole = writer.encode(Image.new("RGB", (32, 32)), kind, generation())
    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            broken[chance.randrange(min(len(broken), 400))] = chance.randrange(256)
        path.write_bytes(broken[: chance.choice([None, chance.randrange(len(broken))])])
        with contextlib.suppress(BadImage):
            recipes.find_recipe(path)


def test_recipes_that_other_programs_have_packed_are_read(tmp_path: Path) -> None:
    text = json.dumps(generation())
    info = PngImagePlugin.PngInfo()
    info.add_itxt("personae", text, zip=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png", pnginfo=info)
    zipped = PngImagePlugin.PngInfo()
    zipped.add_text("personae", text, zip=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "b.png", pnginfo=zipped)
    for name in ("a.png", "b.png"):
        assert recipes.read_recipe(tmp_path / name) == generation()
    bomb = PngImagePlugin.PngInfo()
    bomb.add_itxt("personae", "[" * 2**26, zip=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "bomb.png", pnginfo=bomb)
    with pytest.raises(BadRecipe, match="more than 1048576 bytes"):
        recipes.read_recipe(tmp_path / "bomb.png")


def test_endless_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path, tmp_path / "nul\0.png"):
        with pytest.raises(BadImage):
            recipes.read_recipe(path)


# ---------------------------------------------------------------------- what a recipe may not do


@pytest.mark.parametrize("name", recipe_schema.FILES)
@pytest.mark.parametrize("first_version", [True, False])
def test_no_recipe_opens_a_path(nano_like: FacePipeline, tmp_path: Path, name: str, first_version: bool) -> None:
    """A pipe, which whoever opens it waits for without end."""
    private = tmp_path / "private.png"
    os.mkfifo(private)
    recipe = generation(**{name: str(private)})
    if first_version:
        del recipe["format"]
    path = forged(tmp_path / "made.png", json.dumps(recipe))
    error, words = (BadOption, f"--input {name}=FILE") if first_version else (BadRecipe, f"{name} of settings")
    with pytest.raises(error, match=words):
        replay.replay(path, pipe=Stand(nano_like))  # type: ignore[arg-type]


def test_recipes_of_the_first_version_replay_with_files_of_the_caller(model: FacePipeline, tmp_path: Path) -> None:
    photo = face_photo(tmp_path / "photo.png")
    drawing = tmp_path / "crop.png"
    Image.new("RGB", (32, 32), (200, 90, 10)).save(drawing)
    face = model.read(photo)[0]
    (path,) = writer.save(model(face, seed=3, image=drawing, strength=0.5), tmp_path / "new", people=[face])
    recipe = recipes.read_recipe(path)
    assert recipe["format"] == "personae.recipe/2"
    assert str(tmp_path) not in json.dumps(recipe)
    del recipe["format"]
    recipe["settings"]["image"] = str(drawing)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("personae", json.dumps(recipe))
    Image.open(path).save(tmp_path / "old.png", pnginfo=info)
    for made in (path, tmp_path / "old.png"):
        with pytest.raises(BadOption, match=r"the image file \(crop.png\): --input image=FILE"):
            replay.replay(made, pipe=model)
        assert replay.replay(made, pipe=model, inputs={"image": drawing})[1].max == 0
    with pytest.raises(BadOption, match=r"photo.png is not the image file.*\(crop.png\): its sha256 is another"):
        replay.replay(path, pipe=model, inputs={"image": photo})


@pytest.mark.parametrize(
    ("settings", "size", "words"),
    [
        (
            {"num_inference_steps": 1000, "likeness_guidance": 0.1},
            32,
            "work of 3000 steps, 1000 are allowed: --budget 3000",
        ),
        ({"num_inference_steps": 4, "width": 8192, "height": 8192}, 8192, "work of 262144 steps"),
        ({"num_inference_steps": 1, "width": 160, "height": 160}, 160, "25 times as large"),
        ({"width": 8192, "height": 8192}, 32, "was resized: it is 32 x 32 pixels, its recipe makes 8192 x 8192"),
    ],
)
def test_work_has_a_budget(
    nano_like: FacePipeline, tmp_path: Path, settings: dict[str, Any], size: int, words: str
) -> None:
    path = forged(tmp_path / "made.png", json.dumps(generation(**settings)), (size, size))
    stand: Any = Stand(nano_like)
    with pytest.raises(PersonaeError, match=words):
        replay.replay(path, pipe=stand)
    assert not stand.asked


@pytest.mark.parametrize("size", [32, 128])
def test_a_picture_of_an_earlier_encoder_says_so_whatever_its_size(
    nano_like: FacePipeline, tmp_path: Path, size: int
) -> None:
    (space, release), *_ = RELEASED_SPACES.items()
    model = {"name": "tiny", "sha256": HASH, "identity_space": space}
    path = forged(tmp_path / "made.png", json.dumps(generation() | {"model": model}), (size, size))
    stand: Any = Stand(nano_like)
    with pytest.raises(SpaceMismatch, match=f"the model in personae {release}, this one by 'tiny/arcface/0'"):
        replay.replay(path, pipe=stand)
    assert not stand.asked


def test_a_budget_can_be_raised(nano_like: FacePipeline, tmp_path: Path) -> None:
    recipe = generation(num_inference_steps=1000, likeness_guidance=0.1)
    stand: Any = Stand(nano_like)
    assert replay.replay(forged(tmp_path / "made.png", json.dumps(recipe)), pipe=stand, budget=3000)
    assert stand.asked["num_inference_steps"] == 1000


def test_no_recipe_starts_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    recipe = generation() | {"model": {"name": "arc2face", "sha256": HASH}}
    path = forged(tmp_path / "made.png", json.dumps(recipe), (512, 512))
    assert not catalog.present(catalog.MODELS["arc2face"])
    with pytest.raises(WeightsMissing, match=r"no file makes personae fetch a model.*--model arc2face"):
        replay.replay(path)
    with hub.only_cached(), pytest.raises(WeightsMissing, match="not in the Hub's cache"):
        hub.fetch(catalog.MODELS["arc2face"].extras["controlnet"])
    monkeypatch.setattr(hub, "_offline", lambda: False)
    with pytest.raises(WeightsMissing, match=r"cannot be fetched \(AssertionError\)"):  # that would have been one
        hub._download("a/b", None, ["c"])


@pytest.mark.parametrize("dtype", recipe_schema.DTYPES)
def test_a_replay_has_the_precision_of_the_recipe(
    nano_like: FacePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run, dtype: str
) -> None:
    loaded: list[Any] = []

    def loads(name: str, **options: Any) -> Any:
        loaded.append((name, options["torch_dtype"]))
        stand: Any = Stand(nano_like)
        stand.set_progress_bar_config = lambda **_: None
        return stand

    monkeypatch.setattr(pipeline, "load", loads)
    recipe = generation() | {"model": {"name": "nano", "sha256": HASH}, "dtype": dtype}
    path = forged(tmp_path / "made.png", json.dumps(recipe))
    replay.replay(path)
    assert run("replay", path, "-m", "elsewhere").code == 0
    assert loaded == [("nano", getattr(torch, dtype)), ("elsewhere", getattr(torch, dtype))]


# ---------------------------------------------------------------------- photos with a past


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    return {"source": face_photo(tmp_path / "source.png"), "target": face_photo(tmp_path / "target.png", left=40)}


def with_recipe(path: Path, text: str) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("personae", text)
    Image.open(path).save(path, pnginfo=info)
    return path


def test_a_strangers_vectors_go_no_further(model: FacePipeline, photos: dict[str, Path], tmp_path: Path) -> None:
    hidden = stored()["vector"]
    recipe = edited() | {
        "identity": stored(),
        "others": [stored()],
        "secret": hidden,
        "earlier": [generation() | {"more": {"vector": hidden}}, edited() | {"versions": {"a": hidden}}, 7],
    }
    recipe["edit"] = {"task": "swap", "shift": {hidden: 1.0}}
    with_recipe(photos["target"], json.dumps(recipe))
    edit = model.edit("inpaint", target=photos["target"], region="mouth", seed=1, **CHEAP)
    (path,) = writer.save_edit(edit, tmp_path / "out")
    made = recipes.read_recipe(path)
    assert [one["task"] for one in made["earlier"]] == ["generate", "edit", "edit"]
    assert hidden not in json.dumps(made)
    assert not any({"identity", "others"} & one.keys() for one in made["earlier"])
    assert "me.png" in json.dumps(made)
    (nameless,) = writer.save_edit(edit, tmp_path / "nameless", names=False)
    said = json.dumps(recipes.read_recipe(nameless))
    assert not any(name in said for name in ("me.png", "mask.png", "target.png"))


@pytest.mark.parametrize("text", ["{", "[" * 10**5, '{"a":' * 1500, "7", "\x01", json.dumps({"seed": 1})])
def test_a_photo_with_a_damaged_recipe_can_be_edited(model: FacePipeline, photos: dict[str, Path], text: str) -> None:
    with_recipe(photos["target"], text)
    with pytest.warns(UserWarning, match=r"target\.png is damaged.*without its history"):
        edit = model.edit("inpaint", target=photos["target"], region="mouth", seed=1, **CHEAP)
    assert edit.recipe["earlier"] == []


def test_names_stay_out_of_results_on_request(run: Run, model: FacePipeline, photos: dict[str, Path]) -> None:
    typed = ("edit", "swap", photos["source"], photos["target"], "-m", model.folder, "--steps", 1, "--seed", 1)
    [path] = run(*typed, "--no-identity", "-o", "out").lines
    assert "source.png" not in run("inspect", path).out
    given = [f"{name}={file}" for name, file in photos.items()]
    done = run("replay", path, "-m", model.folder, "--input", given[0], "--input", given[1], "-o", "again.png")
    assert "mean difference 0.000" in done.out
    assert recipes.read_recipe("again.png")["model"]["sha256"] == model.sha256


# ---------------------------------------------------------------------- what formats have room for


def test_a_jpeg_without_room_says_what_it_leaves_out(
    model: FacePipeline, photos: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    long = generation(prompt="word " * 700)
    with_recipe(photos["target"], json.dumps(edited() | {"earlier": [long] * 40}))
    edit = model.edit("inpaint", target=photos["target"], region="mouth", seed=1, **CHEAP)
    with pytest.warns(UserWarning, match="jpg file has no room .* the details of earlier edits left out"):
        (path,) = writer.save_edit(edit, tmp_path / "out", format="jpg")
    recipe = recipes.read_recipe(path)
    assert recipe["left_out"] == ["earlier"]
    assert [one["seed"] for one in recipe["earlier"]] == [7] * 32
    assert replay.replay(path, pipe=model, inputs={"target": photos["target"]})[1].same_model
    # Said before the work, and once.
    done = run("edit", "inpaint", photos["target"], "--region", "mouth", "-m", "nobody", "--format", "jpg")
    assert done.code == 2
    assert "has no room for the whole recipe" in done.err


def test_whatever_is_in_it_a_recipe_fits(tmp_path: Path) -> None:
    grid = [[0] * 200] * 200
    large = generation(mask_image=grid, regions=[grid] * 4) | {
        "earlier": [generation()] * 300,
        "others": [stored(2000)] * 15,
    }
    for kind in writer.FORMATS:
        path = tmp_path / f"a.{kind}"
        if kind == "png":
            large["settings"]["regions"] = [grid] * 12
        with pytest.warns(UserWarning, match="no room"):
            path.write_bytes(writer.encode(Image.new("RGB", (32, 32)), kind, large))
        found = recipes.read_recipe(path)
        assert found["seed"] == 7
        assert "settings" in found["left_out"] or kind == "webp"
        with pytest.raises(BadOption, match="no room for its whole recipe"):
            replay.readable(path)


@pytest.mark.parametrize(("kind", "longest"), [("webp", 16_383), ("jpg", 65_535)])
def test_formats_have_a_largest_side(run: Run, model: FacePipeline, kind: str, longest: int, tmp_path: Path) -> None:
    writer.require_room(kind, (longest, longest))
    with pytest.raises(BadOutput, match=f"at most {longest} pixels"):
        writer.require_room(kind, (20, longest + 1))
    with pytest.raises(BadOutput, match=f"at most {longest} pixels"):
        writer.encode(Image.new("L", (longest + 1, 1)), kind, generation())
    photo = tmp_path / "wide.png"
    Image.new("RGB", (longest + 1, 16)).save(photo)
    asked = ("-m", model.folder, "--format", kind, "-o", tmp_path / "out")
    # No picture that is generated is as wide as a JPEG can be.
    wanted = ("--width", "between 1 and 16384") if kind == "jpg" else (kind, str(longest), "PNG")
    fails(run("generate", photo, *asked, "--width", longest + 1), *wanted)
    fails(run("edit", "inpaint", photo, "--region", "mouth", *asked), kind, str(longest), "PNG")
