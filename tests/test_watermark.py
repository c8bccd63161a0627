"""The mark in the pixels: what is trained, what ships, what it promises; and the bundled networks at their task."""

import io
import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from personae import provenance
from personae.errors import BadData, BadOption, WeightsCorrupt, WeightsMissing
from personae.evaluation import estimate, reencoding, tables
from personae.evaluation.measures import KINDS
from personae.evaluation.pairs import Pair
from personae.evaluation.pieces import Pieces
from personae.evaluation.suites import watermark as suite
from personae.pipeline import FacePipeline
from personae.provenance import pixel_mark, watermark, writer
from personae.provenance.marks import Marks
from personae.provenance.message import Message, message_of
from personae.provenance.watermark import Watermark
from personae.training.loop import Schedule, train
from personae.training.methods.watermark import attacks
from personae.training.methods.watermark.attacks import Attack
from personae.training.methods.watermark.export import export_mark
from personae.training.methods.watermark.method import SIZE, WatermarkTask
from personae.training.methods.watermark.network import Mark, quietness
from personae.types import Array, Photo
from reading_fixtures import white_face
from training_fixtures import write_cache

DOCS = Path(__file__).parents[1] / "docs"
MESSAGE = Message(model=7, recipe=b"\x91\x07\xd2\x4c")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("watermark") / "faces", count=24)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported as a training begins: the encoder writes the bare pattern, the decoder finds nothing yet."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks")
    export_mark(Mark(), folder)
    return folder


def _photo(height: int, width: int) -> Array:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 128 + 60 * np.sin(rows / 17) + 40 * np.cos(columns / 23)
    return np.stack([waves, waves * 0.8, waves * 0.6], 2).astype(np.uint8)


def test_a_training_learns_reports_and_exports_what_opens(cache: Path, tmp_path: Path) -> None:
    task = WatermarkTask([cache])
    schedule = Schedule(steps=3, batch=2, lr=2e-3, warmup=1, report_every=3, compile=False)
    report = train(task, schedule, tmp_path, bf16=False)
    assert {"psnr", "plain", "plain_low", "jpeg50", "chain"} <= report.keys()
    assert 40 < report["psnr"] < 60
    opened = Watermark(tmp_path / "export")
    assert opened.mark(_photo(128, 160), MESSAGE).shape == (128, 160, 3)
    sizes = [path.stat().st_size for path in (tmp_path / "export").glob("*.onnx")]
    assert len(sizes) == 2
    assert sum(sizes) < 3_000_000


def test_the_loss_knows_where_the_pattern_lies_after_a_crop(cache: Path) -> None:
    """A decoder that knows the answer is told so: geometry of attack and projection agree."""
    task = WatermarkTask([cache])
    batch = {name: torch.as_tensor(value) for name, value in task.batch(np.random.default_rng(0), 2).items()}
    attack = Attack(cut=0.8, at=(0.3, 0.9))
    patterns = task.waves.patterns(batch["amplitudes"], batch["first"], SIZE // 2)
    pictures = torch.nn.functional.interpolate(patterns, scale_factor=2, mode="bicubic") / 8
    generator = torch.Generator().manual_seed(0)
    task.model.evidence = lambda after: torch.nn.functional.avg_pool2d(after.mean(1, keepdim=True), 2)  # type: ignore[method-assign]
    after = task.model.evidence(attack(pictures.expand(-1, 3, -1, -1), generator))
    found = task.waves.projected(after, batch["first"] + torch.tensor(attack.start(SIZE)) / 64, 102 / 128)
    cosine = (found * batch["amplitudes"].conj()).real.sum(1) / found.abs().pow(2).sum(1).sqrt()
    assert (cosine > 0.97).all()


def test_photos_without_any_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="personae prepare"):
        WatermarkTask([tmp_path])


def test_jpeg_with_a_gradient_is_close_to_the_real_one() -> None:
    photo = _photo(64, 64).astype(int)
    photo[20:40, 20:40] += np.random.default_rng(0).integers(0, 60, (20, 20, 1))
    images = torch.from_numpy(photo.clip(0, 255)).permute(2, 0, 1)[None].float() / 127.5 - 1
    for quality in (50, 80):
        ours = attacks.jpeg(images, torch.tensor([float(quality)]))
        theirs = attacks.real_codec(images, quality, "JPEG")
        harm = (theirs - images).square().mean()
        assert (ours - theirs).square().mean() < 0.25 * harm
    values = torch.tensor([0.1, 0.45, 2.6], requires_grad=True)
    whole = attacks.rounded(values)
    assert whole.tolist() == [0, 0, 3]
    whole.sum().backward()
    assert values.grad is not None
    assert values.grad[0] < 0.1 < values.grad[1]


def test_attacks_keep_the_shape_and_depend_on_their_generator() -> None:
    images = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    for seed in range(12):
        once, again = (torch.Generator().manual_seed(seed) for _ in range(2))
        first, second = Attack.drawn(once)(images, once), Attack.drawn(again)(images, again)
        assert first.shape == images.shape
        assert torch.equal(first, second)


def test_structure_hides_more_than_an_even_place() -> None:
    samples = torch.zeros(1, 12, 32, 32)
    samples[..., 16:] = torch.rand(1, 12, 32, 16) * 2 - 1
    found = quietness(samples)
    assert found[..., :10].min() == 1
    assert found[..., 20:].max() < 0.5


# ---------------------------------------------------------------------- what ships


@pytest.mark.parametrize("sides", [(128, 128), (131, 200), (256, 256), (300, 1400), (1100, 700)])
def test_any_size_is_marked_the_same_way_twice(networks: Path, sides: tuple[int, int]) -> None:
    ours, pixels = Watermark(networks), _photo(*sides)
    marked = ours.mark(pixels, MESSAGE)
    assert marked.shape == pixels.shape
    assert marked.dtype == np.uint8
    error = np.square(marked.astype(float) - pixels).mean()
    assert 40 < 10 * np.log10(255**2 / error) < 50
    assert (marked == ours.mark(pixels, MESSAGE)).all()
    assert (marked != ours.mark(pixels, Message(model=8, recipe=b"abcd"))).any()


def test_nothing_is_found_where_nothing_is(networks: Path) -> None:
    found = Watermark(networks).detect(_photo(200, 300))
    assert not found.present
    assert found.message is None
    assert found.score < found.threshold


def test_the_files_are_the_promised_ones(networks: Path, tmp_path: Path) -> None:
    for path in networks.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "decoder.onnx").write_bytes((networks / "encoder.onnx").read_bytes())
    with pytest.raises(WeightsCorrupt, match="sha256"):
        Watermark(tmp_path)
    (tmp_path / "watermark.json").write_text('{"encoder": "a", "decoder": "b", "threshold": 0}')
    with pytest.raises(WeightsCorrupt, match="threshold"):
        Watermark(tmp_path)


@pytest.fixture
def without_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watermark, "_FOLDER", tmp_path)
    watermark.bundled.cache_clear()


@pytest.mark.usefixtures("without_networks")
def test_a_version_without_networks_says_so() -> None:
    image = Image.fromarray(_photo(128, 128))
    assert pixel_mark.why_not(image, None) == "this version has none"
    for call in (lambda: provenance.mark(image, {}), lambda: watermark.detect(_photo(128, 128))):
        with pytest.raises(WeightsMissing, match="personae train watermark"):
            call()


def test_what_is_too_small_is_refused() -> None:
    for pixels in (_photo(127, 300), np.zeros((200, 200), np.uint8), np.zeros((200, 200, 3))):
        with pytest.raises(BadOption, match="128 a side"):
            watermark.mark(pixels, MESSAGE)
    with pytest.raises(BadOption, match="one size"):
        watermark.detect_together([_photo(128, 128), _photo(128, 130)])


def test_an_edit_is_marked_where_it_changed_and_says_that_it_is_a_part(
    networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = []

    def mark(pixels: Array, message: Message) -> Array:
        messages.append(message)
        return Watermark(networks).mark(pixels, message)

    monkeypatch.setattr(pixel_mark, "MARK", mark)
    area = np.zeros((200, 240), bool)
    area[20:180, 30:200] = True
    photo = _photo(200, 240)
    marked = np.asarray(pixel_mark.with_mark(Image.fromarray(photo), MESSAGE, area))
    assert (marked[~area] == photo[~area]).all()
    assert (marked[area] != photo[area]).mean() > 0.3
    assert [one.part for one in messages] == [True]


# ---------------------------------------------------------------------- the bundled networks


def _astronaut(side: int) -> Array:
    return np.asarray(Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def marked() -> Array:
    return watermark.mark(_astronaut(256), MESSAGE)


@pytest.mark.parametrize("name", reencoding.CHANGES)
def test_a_message_survives(name: str, marked: Array) -> None:
    after = reencoding.CHANGES[name](Image.fromarray(marked), np.random.default_rng(0))
    found = watermark.detect(np.asarray(after))
    assert found.present
    assert found.message == MESSAGE
    assert found.score > found.threshold + 1


def test_nobody_sees_it_and_nothing_else_has_it(marked: Array) -> None:
    for side in (128, 256, 512):
        plain = _astronaut(side)
        error = np.square(watermark.mark(plain, MESSAGE).astype(float) - plain).mean()
        assert 10 * np.log10(255**2 / error) > (40 if side < 256 else 43)
        assert not watermark.detect(plain, thorough=True).present
    difference = marked.astype(int) - _astronaut(256)
    assert (difference[..., 0] == difference[..., 1]).mean() > 0.95, "it has no colour"


def test_what_is_too_small_to_be_read_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watermark, "evidence", None)
    found = watermark.detect(_photo(23, 40), thorough=True)
    assert (found.present, found.score) == (False, 0)
    assert not watermark.detect_together([_photo(23, 40)] * 2).present
    content = io.BytesIO()
    Image.fromarray(_photo(23, 40)).save(content, "PNG")
    finding = provenance.detect(content.getvalue())["watermark"]
    assert finding.state == "absent"
    assert finding.facts["reason"].startswith("not looked for: below 24 pixels a side")
    with pytest.raises(TypeError):
        watermark.detect(_photo(24, 40))


def test_a_part_and_a_small_crop_are_found_by_looking_thoroughly(marked: Array) -> None:
    small = marked[20:150, 60:190]
    assert not watermark.detect(small).present
    found = watermark.detect(small, thorough=True)
    assert found.message == MESSAGE
    assert found.scale == pytest.approx(256 / 130, rel=0.02)
    assert watermark.detect(marked[:, ::-1], thorough=True).mirrored
    area = np.zeros((512, 512), bool)
    area[100:300, 180:400] = True
    photo = Image.fromarray(_astronaut(512))
    after = pixel_mark.with_mark(photo, MESSAGE, area)
    message = pixel_mark.DETECT([np.asarray(after)]).message
    assert message is not None
    assert message.part
    assert message.recipe == MESSAGE.recipe


def test_a_part_needs_more_than_a_whole_picture(marked: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    small, threshold = marked[20:150, 60:190], watermark.bundled().facts.threshold
    found = watermark.detect(small, thorough=True)
    assert found.threshold == threshold + watermark.FOR_PARTS < found.score
    monkeypatch.setattr(watermark, "FOR_PARTS", 10.0)
    assert not watermark.detect(small, thorough=True).present
    assert watermark.detect(marked, thorough=True).present


@pytest.mark.parametrize("upright", [False, True])
def test_of_a_very_long_picture_the_middle_is_looked_at(upright: bool) -> None:
    strip = np.tile(skimage.data.astronaut()[:256], (1, 6, 1))[:, :2881]
    marked = watermark.mark(strip.transpose(1, 0, 2) if upright else strip, MESSAGE)
    assert watermark.detect(marked).message == MESSAGE


@pytest.mark.parametrize("upright", [False, True])
def test_a_very_long_picture_is_marked_strip_by_strip(upright: bool) -> None:
    """In the memory of one strip, and the pattern goes on from strip to strip: a piece across two of them is read."""
    strip = np.tile(skimage.data.astronaut()[:200], (1, 20, 1))[:, :10_147]
    strip = strip.transpose(1, 0, 2) if upright else strip
    watermark.mark(strip[:200, :200], MESSAGE)  # what is loaded once is not counted
    tracemalloc.start()
    marked = watermark.mark(strip, MESSAGE)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * strip.nbytes, "its floats in canonical size alone are 16 times its bytes"
    for first in (700, 10_147 - 300):  # across the first seam at 800, and at the end
        piece = marked[first : first + 300] if upright else marked[:, first : first + 300]
        assert watermark.detect(piece).message == MESSAGE


def test_strips_cover_a_picture_once_and_none_is_very_long() -> None:
    for sides in ((128, 1024), (128, 1025), (60_000, 128), (128, 1536), (2047, 130)):
        count = np.zeros(sides, np.uint8)
        for strip in watermark._strips(*sides):
            count[strip] += 1
            assert max(count[strip].shape) <= watermark.LONGEST_RATIO * min(sides)
            assert min(count[strip].shape) == min(sides)
        assert (count == 1).all()


def _disc(side: int, across: int, first: tuple[int, int]) -> Array:
    rows, columns = np.mgrid[0:side, 0:side]
    return (rows - first[0] - across / 2) ** 2 + (columns - first[1] - across / 2) ** 2 < (across / 2) ** 2


@pytest.mark.parametrize(
    ("side", "across", "first"),
    [(384, 132, (30, 200)), (512, 176, (300, 90)), (768, 130, (501, 77)), (1024, 150, (130, 600)), (384, 300, (5, 60))],
)
def test_a_round_part_is_found_wherever_it_lies(side: int, across: int, first: tuple[int, int]) -> None:
    """It lies askew in the windows of the search, and fills three quarters of its box."""
    area = _disc(side, across, first)
    after = np.asarray(pixel_mark.with_mark(Image.fromarray(_astronaut(side)), MESSAGE, area))
    found = watermark.detect(after, thorough=True)
    assert found.message == replace(MESSAGE, part=True)
    assert found.score > 9
    assert found.scale == pytest.approx(across / side, rel=0.05)


def test_each_region_of_an_edit_is_marked_by_itself() -> None:
    """Two faces far apart, and one that is too small."""
    photo, small = Image.fromarray(_astronaut(600)), _disc(600, 100, (20, 300))
    one, other = _disc(600, 160, (40, 40)), _disc(600, 170, (400, 420))
    after = pixel_mark.with_mark(photo, MESSAGE, one | other | small)
    changed = (np.asarray(after) != np.asarray(photo)).any(2)
    assert changed[one].mean() > 0.3
    assert changed[other].mean() > 0.3
    assert not changed[small].any()
    for box in ((0, 0, 260, 260), (340, 340, 600, 600)):
        found = watermark.detect(np.asarray(after.crop(box)), thorough=True)
        assert found.message == replace(MESSAGE, part=True)


def test_what_could_not_be_found_is_not_marked() -> None:
    area = np.zeros((3000, 3200), bool)
    area[:200, :220] = True
    assert pixel_mark.why_not(Image.new("RGB", (3200, 3000)), area) == (
        "the changed region is 220 x 200 pixels, it needs 247 a side"
    )
    for sides in ((128, 128), (300, 3000), (1024, 1500), (1500, 2000)):
        assert watermark.least_part(*sides) == 128
    assert watermark.least_part(128, 20_000) <= 128, "all of a picture is large enough"


@pytest.mark.parametrize("task", ["swap", "attribute"])
def test_an_edited_photo_is_known_by_its_pixels_alone(
    task: str, nano: FacePipeline, two_photos: list[Array], tmp_path: Path
) -> None:
    """A face of 190 pixels in a photo of 384."""
    face = Image.fromarray(two_photos[0]).resize((190, 190), Image.Resampling.LANCZOS)
    scene = Image.fromarray(_astronaut(384)[::-1])
    scene.paste(face, (150, 31))
    request: dict[str, object] = {"source": two_photos[1]} if task == "swap" else {"expression": {"smile": 0.9}}
    edit = nano.edit(task, target=np.asarray(scene), seed=1, num_inference_steps=4, **request)
    [path] = writer.save_edit(edit, tmp_path, marks=Marks.of_environment(c2pa=False))
    with Image.open(path) as file:
        assert min(file.size) == 384
        file.convert("RGB").save(tmp_path / "bare.jpg", quality=90)
    for name in (path, tmp_path / "bare.jpg"):
        found = provenance.detect(str(name))["watermark"]
        assert found.state == "present", f"{name}: {found}"


def test_frames_say_together_what_each_shows_too_faintly() -> None:
    rng, plain = np.random.default_rng(0), _astronaut(256).astype(float)
    faint = plain + (watermark.mark(_astronaut(256), MESSAGE) - plain) * 0.7
    frames = [np.clip(faint + rng.normal(0, 16, faint.shape), 0, 255).astype(np.uint8) for _ in range(10)]
    alone = [watermark.detect(frame) for frame in frames]
    assert sum(one.present for one in alone) < 5
    together = watermark.detect_together(frames)
    assert together.message == MESSAGE
    assert together.score > np.mean([one.score for one in alone]) + 1


def test_a_strangers_recipe_beside_a_mark_is_no_error(marked: Array, tmp_path: Path) -> None:
    for sha256 in ("zz", "", "-1", None):
        info = PngInfo()
        recipe = {"format": "personae.recipe/2", "model": {"sha256": sha256}}
        info.add_itxt("personae", json.dumps(recipe))
        Image.fromarray(marked).save(tmp_path / "a.png", pnginfo=info)
        found = provenance.detect(tmp_path / "a.png")
        assert found["watermark"].facts["names_this_recipe"] is False


def test_an_image_is_marked_by_hand() -> None:
    recipe = {"model": {"name": "nano", "sha256": "3f" * 32}, "seed": 7}
    image = Image.fromarray(_astronaut(200)).convert("RGBA")
    marked = provenance.mark(image, recipe)
    assert marked.mode == "RGBA"
    assert watermark.detect(np.asarray(marked.convert("RGB"))).message == message_of(recipe)
    with pytest.raises(BadOption, match="128 a side"):
        provenance.mark(image.resize((100, 100)), recipe)


def test_sheets_bear_it_too() -> None:
    found = provenance.detect(writer.encode_sheet(Image.fromarray(_astronaut(300)), "webp", model="nano"))
    assert found["watermark"].state == found["label"].state == "present"


def test_the_rate_that_is_stated_is_the_measured_one() -> None:
    """What `detect` says of its false positives stands in docs/figures/watermark.json, of the decoder that ships."""
    report = json.loads((DOCS / "figures" / "watermark.json").read_text())
    facts, measured = watermark.bundled().facts, report["figures"]["false_positives"]
    assert report["subject"].split()[-1] == facts.decoder[:8]
    assert report["settings"]["threshold"] == facts.threshold
    assert measured["value"] == 0, "what is stated is a bound where none was found"
    bound = math.ceil(1e4 * (1 - 0.05 ** (1 / measured["n"]))) / 100  # per cent
    stated = f"0 of {measured['n']:,} unmarked pictures: below {bound} % at 95 % confidence"
    assert stated == pixel_mark.FALSE_POSITIVES


@pytest.mark.parametrize("path", sorted((DOCS / "gallery").glob("*.webp")), ids=lambda path: path.stem)
def test_the_gallery_is_marked(path: Path) -> None:
    assert provenance.detect(str(path))["watermark"].state == "present"


def test_the_suite_reports_what_it_explains(
    nano_like: FacePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "SIZES", (128, 256))
    monkeypatch.setattr(suite, "_TIMINGS", 1)
    monkeypatch.setattr(suite, "CHANGES", {name: reencoding.CHANGES[name] for name in ("plain", "jpeg70")})
    photos, folder = [_astronaut(224), _photo(224, 224)], Pieces(tmp_path / "pieces")
    one, other = (Photo(pixels=white_face(_photo(side, side) // 3, 90, 80, 170, 190)) for side in (280, 260))
    everybody = [Pair(key=str(number), photos=(one, other)) for number in range(2)]
    report = suite.measure(nano_like, photos, pictures=4, own=0, edits=0, count=3, everybody=everybody, pieces=folder)
    assert set(report["groups"]["likeness"]) == {"128 px", "256 px"}
    moved = {name: report["figures"][name] for name in ("likeness_change", "likeness_shift")}
    assert moved == report["groups"]["likeness"]["256 px"]
    assert 0 < abs(moved["likeness_shift"]["value"]) <= moved["likeness_change"]["value"] < 0.1
    assert set(report["figures"]) <= set(KINDS["watermark"])
    assert report["figures"]["plain"] == {"value": 1.0, "low": report["figures"]["plain"]["low"], "high": 1.0, "n": 2}
    assert report["figures"]["false_positives"]["value"] == 0
    assert set(report["groups"]["pictures"]) == {"128 px", "256 px"}
    assert "false_positives" in report["groups"]["unmarked"]["photos"]
    assert "at 95 %" in tables.markdown(report)
    assert report["figures"]["autoencoder"]["n"] == 4
    monkeypatch.setattr(watermark, "detect", None)  # all that was measured is there
    monkeypatch.setattr(suite, "reencoded", lambda *_: estimate.UNKNOWN)
    monkeypatch.setattr(suite, "timings", lambda _: {})
    again = suite.measure(nano_like, photos, pictures=4, own=0, edits=0, count=3, everybody=everybody, pieces=folder)
    assert again["groups"] == report["groups"]
