"""A stranger's file takes bounded memory and time, waits for nothing, leads nowhere else, and fails with one error."""

import hashlib
import io
import json
import os
import struct
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image, ImageFile, ImageOps

from cli_fixtures import Run
from conftest import made_up
from personae import identity
from personae.conditioning.blendshapes import read_file
from personae.data import captioned, shards
from personae.errors import BadData, BadIdentity, BadImage, BadOption, PersonaeError, WeightsCorrupt, WeightsMissing
from personae.io import archive, regular
from personae.io.boundary import errors_as
from personae.models import catalog
from personae.models.official import layout
from personae.pipeline import FacePipeline
from personae.provenance.detection import detect
from personae.provenance.recipe import find_recipe
from personae.reading import blocks, photo
from personae.reading.metadata import text_in
from personae.reading.onnx_file import content_of, file_sha256
from personae.reading.onnx_module import OnnxModule
from personae.reading.photo import load_photo
from personae.reading.reader import CONFIG_NAME, FaceReader, ReaderConfig
from personae.serving.engine.requests import _require_room
from personae.video import motion_track
from reading_fixtures import tiny_reader_folder
from test_photo import encoded, picture, png_of_size

# ---------------------------------------------------------------------- what is no file


@pytest.fixture
def strange(tmp_path: Path) -> dict[str, Path]:
    """Names that lead to no regular file."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {name: tmp_path / name for name in ("fifo", "folder", "endless", "loop")} | {
        "long": tmp_path / ("n" * 300),
        "nul": tmp_path / "a\0b",
        "below a file": Path(__file__) / "x",
    }


READERS: dict[str, tuple[Callable[[Path], object], type[PersonaeError]]] = {
    "photo": (load_photo, BadImage),
    "identity": (identity.load, BadIdentity),
    "recipe": (find_recipe, BadImage),
    "network": (content_of, WeightsCorrupt),
    "hash": (file_sha256, WeightsCorrupt),
    "expression": (read_file, BadOption),
    "zip": (lambda path: archive.member(path, "a", 100, WeightsCorrupt), WeightsCorrupt),
}
NAMES = ("fifo", "folder", "endless", "loop", "long", "nul", "below a file")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_regular_file_is_one_error_at_once(kind: str, name: str, strange: dict[str, Path]) -> None:
    read, error = READERS[kind]
    with pytest.raises((error, WeightsMissing)) as caught:
        read(strange[name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", motion_track.SUFFIXES)
@pytest.mark.parametrize("lead", ["/dev/zero", "fifo", "."])
def test_a_track_is_a_regular_file(suffix: str, lead: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / f"nod{suffix}").symlink_to(lead)
    with pytest.raises(BadData, match="cannot be opened"):
        motion_track.load(tmp_path / f"nod{suffix}", fps=25)


def test_a_file_of_this_system_that_grows_while_it_is_read_is_bounded() -> None:
    with pytest.raises(BadImage, match="larger than"):  # its size is given as 0
        regular.read("/proc/self/smaps", 4096, BadImage)


def test_whatever_a_library_raises_is_one_error_in_one_line() -> None:
    class PanicException(BaseException):
        """As Rust's."""

    for raised in (ValueError("a\nb"), MemoryError(), RecursionError("deep"), OSError(5, "I/O"), PanicException("bug")):
        with pytest.raises(BadData) as caught, errors_as(BadData, "it"):
            raise raised
        assert "\n" not in str(caught.value)
    with pytest.raises(BadOption), errors_as(BadData, "it"):
        raise BadOption("ours")
    with pytest.raises(KeyboardInterrupt), errors_as(BadData, "it"):
        raise KeyboardInterrupt


# ---------------------------------------------------------------------- photos


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python and numpy held at most; what Pillow holds is not among them."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def large(mode: str, side: int = 2000, **options: object) -> bytes:
    return encoded(Image.new(mode, (side, side)), **options)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "1", "CMYK"])
def test_a_photo_lies_in_memory_as_pixels_and_as_its_file_holds_them(mode: str) -> None:
    """Of 80 million pixels, transparent ones took 3.25 GiB."""
    if mode == "P":
        image = Image.new("P", (2000, 2000))
        image.putpalette([1, 2, 3] * 256)
        content = encoded(image, transparency=0)
    else:
        content = large(mode, kind="JPEG" if mode == "CMYK" else "PNG")
    took = peak(lambda: load_photo(content))
    assert took < 2000 * 2000 * (3 + 4) * 1.2 + 16 * blocks.BLOCK


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_turn_that_a_camera_writes_down(turn: int) -> None:
    """As Pillow itself turns."""
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(Image.fromarray(picture()), exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    found = load_photo(content).pixels
    assert np.array_equal(found, wanted)
    assert found.flags["C_CONTIGUOUS"]


def test_blocks_of_rows_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (37, 50, 4), dtype=np.uint8)
    alpha = rgba[:, :, 3:] / 255
    wanted = np.round(rgba[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    monkeypatch.setattr(blocks, "BLOCK", 300)  # six rows
    for source in (rgba, Image.fromarray(rgba), encoded(Image.fromarray(rgba))):
        assert np.array_equal(load_photo(source).pixels, wanted)


def test_formats_that_are_held_several_times_over_have_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("RGBA", (1600, 700)), "WEBP", lossless=True)
    assert load_photo(content).pixels.shape == (700, 1600, 3)
    monkeypatch.setitem(photo._FEWER_PIXELS, "WEBP", 1_000_000)
    with pytest.raises(BadImage, match="more than 1 million"):
        load_photo(content)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP", b"eXIf"])
def test_a_chunk_that_unpacks_to_gigabytes_takes_none(name: bytes) -> None:
    zeros = zlib.compress(bytes(24 << 20))
    filled = {
        b"zTXt": b"a\0\0" + zeros,
        b"iTXt": b"a\0\1\0\0\0" + zeros,
        b"iCCP": b"a\0\0" + zeros,
        b"eXIf": b"II*\0\x08\0\0\0\xff\xff" + bytes(1 << 17),
    }[name]
    content = encoded(Image.fromarray(picture()))
    bomb = content[:33] + chunk(name, filled) + content[33:]

    def load() -> None:
        try:
            load_photo(bomb)
        except BadImage:
            return

    assert peak(load) < 16 << 20


def test_animations_and_pictures_of_several_parts_give_their_first(tmp_path: Path) -> None:
    first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    for kind in ("PNG", "WEBP", "MPO"):
        content = encoded(
            first, kind, save_all=True, append_images=[second], **({"lossless": True} if kind == "WEBP" else {})
        )
        assert np.abs(load_photo(content).pixels.astype(int) - picture()).mean() < 4


@pytest.mark.skipif("AVIF" not in photo.FORMATS, reason="this Pillow was built without AVIF")
def test_avif_is_read() -> None:
    content = encoded(Image.fromarray(picture()), "AVIF", quality=95)
    assert np.abs(load_photo(content).pixels.astype(int) - picture()).mean() < 4


def test_heic_and_avif_are_answered_with_what_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)  # not installed
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(BadImage, match=r"HEIC picture: pip install 'personae\[heic\]'"):
        load_photo(heic)
    monkeypatch.setattr(photo, "FORMATS", ("JPEG", "PNG", "WEBP"))
    with pytest.raises(BadImage, match="AVIF picture, which this Pillow was built without"):
        load_photo(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(100))


def test_the_size_of_a_heic_picture_is_read_where_its_decoder_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Opened(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (4000, 3000), "RGB"

    def register(thumbnails: bool) -> None:
        Image.register_open("HEIF", Opened, lambda head: head[4:8] == b"ftyp")

    path = tmp_path / "me.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(1000))
    for name in ("OPEN", "ID"):
        monkeypatch.setattr(Image, name, type(getattr(Image, name))(getattr(Image, name)))
    monkeypatch.setitem(sys.modules, "pi_heif", None)  # not installed
    assert photo.size_of(path) is None
    monkeypatch.setitem(sys.modules, "pi_heif", SimpleNamespace(register_heif_opener=register))
    assert photo.size_of(path) == (4000, 3000)
    with pytest.raises(BadOption, match="at most 13 of this photo"):
        _require_room(path, 20)
    os.mkfifo(tmp_path / "fifo")
    assert photo.size_of(tmp_path / "fifo") is None


class Watched(io.BytesIO):
    """An open file that knows the largest part that was read of it at once."""

    most = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.most = max(self.most, len(content))
        return content


@pytest.mark.parametrize(
    "head",
    [
        b"\x89PNG\r\n\x1a\n" + (8).to_bytes(4, "big") + b"tEXtpersonae\0",
        b"\xff\xd8\xff\xe1" + (7).to_bytes(2, "big") + b"Exif\0\0",
    ],
    ids=["png", "jpeg"],
)
def test_a_part_shorter_than_its_name_is_not_read_to_the_end_of_the_file(head: bytes) -> None:
    file = Watched(head + bytes(4 << 20))
    with suppress(BadImage):
        assert text_in(file, "it") is None
    assert file.most < 1 << 16


@pytest.mark.parametrize(("width", "height"), [(16, 3_000), (60_000, 16)])
def test_a_mark_is_looked_for_in_the_middle_of_what_is_very_long(width: int, height: int) -> None:
    """Its shorter side is enlarged to 256 pixels: a hundred bytes took 7 GiB."""
    content = encoded(Image.new("RGB", (width, height), "navy"))
    detect(encoded(Image.new("RGB", (64, 64))))  # what stays: networks and tables
    assert peak(lambda: detect(content)) < 64 << 20


def test_a_promise_of_pixels_is_refused_by_its_header() -> None:
    def load() -> None:
        with pytest.raises(BadImage):
            load_photo(png_of_size(30_000, 30_000))

    assert peak(load) < 1 << 20


# ---------------------------------------------------------------------- zips and numbers


def test_only_the_very_detector_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "antelopev2.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("antelopev2/scrfd_10g_bnkps.onnx", bytes(layout._LARGEST_DETECTOR + 1))
    with pytest.raises(WeightsCorrupt, match="would unpack to"):
        layout._unpacked(tmp_path / "antelopev2.zip")
    with zipfile.ZipFile(tmp_path / "antelopev2.zip", "w") as pack:
        pack.writestr("antelopev2/scrfd_10g_bnkps.onnx", b"another")
    with pytest.raises(WeightsCorrupt, match="expected 5838f7fe0536"):
        layout._unpacked(tmp_path / "antelopev2.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["antelopev2.zip"]


def lying(content: bytes, size: int) -> bytes:
    """A zip whose directory says that its first member has `size` bytes."""
    place = content.index(b"PK\1\2")
    return content[: place + 24] + struct.pack("<I", size) + content[place + 28 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:-30],
        lambda content: content[:40] + b"\xff" + content[41:],
        lambda content: lying(content, 5),
        lambda content: lying(content, 90),
        lambda content: content[:-10] + b"\xff\xff\xff\x7f" + content[-6:],  # a directory of 2 GiB
    ],
)
def test_a_damaged_zip_is_one_error(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("a", bytes(range(60)))
    (tmp_path / "a.zip").write_bytes(spoil((tmp_path / "a.zip").read_bytes()))
    with pytest.raises(BadData):
        archive.member(tmp_path / "a.zip", "a", 1000, BadData)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_whole_blocks_are_refused(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as pack:
        pack.writestr("a", bytes(1000))
    with pytest.raises(BadData, match="packed by method"):
        archive.member(tmp_path / "a.zip", "a", 1000, BadData)


def test_an_array_holds_what_its_header_promises(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.float16).reshape(2, 3))
    content = (tmp_path / "a.npy").read_bytes()
    np.testing.assert_array_equal(archive.npy(content, BadData, "a"), [[0, 1, 2], [3, 4, 5]])
    for spoilt in (content[:-1], content + b"x", content.replace(b"(2, 3)", b"(99,9)"), b"\x93NUMPY\3\0" + content[8:]):
        with pytest.raises(BadData, match="no numpy array"):
            archive.npy(spoilt, BadData, "a")


def test_a_track_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_track, "_MOST_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "nod.npz", yaw=np.zeros(1 << 20))
    with pytest.raises(BadData, match="would unpack to"):
        motion_track.load(tmp_path / "nod.npz", fps=25)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"format": "personae.track/1", "fps": "1e999999999", "columns": ["yaw"], "frames": [[1]]}', "fps"),
        ("a.json", '{"format": "personae.track/1", "fps": {}, "columns": ["yaw"], "frames": [[1]]}', "not a track"),
        ("a.json", '{"format": "personae.track/1", "fps": 25, "columns": ["yaw"], "frames": 7}', "not a track"),
        ("a.json", '{"format": "personae.track/1", "fps": 25, "columns": [["yaw"]], "frames": []}', "track column"),
        ("a.json", "[" * 100_000, "not a track"),
        ("a.csv", 'yaw\n"' + "1" * 200_000, "not a track"),
        ("a.csv", "\udcff", "not a track"),
    ],
)
def test_tracks_that_would_never_end_or_raise_something_else(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises((BadData, BadOption), match=message):
        motion_track.load(tmp_path / name, fps=None if name == "a.json" else 25)


def test_a_track_has_so_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_track, "MOST_FRAMES", 10)
    (tmp_path / "a.csv").write_text("yaw\n" + "1\n" * 11)
    with pytest.raises(BadData, match="at most 10 frames, got 11"):
        motion_track.load(tmp_path / "a.csv", fps=25)


# ---------------------------------------------------------------------- vectors


def tensors(path: Path, dtype: str, size: int, facts: dict[str, str]) -> None:
    header = {"__metadata__": facts, "vector": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8 * size]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes([60]) * (8 * size))


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("BOOL", 1), ("F4", 1)])
def test_vectors_of_types_that_numpy_lacks_are_refused(dtype: str, size: int, tmp_path: Path) -> None:
    tensors(tmp_path / "a.identity", dtype, size, {"format": "personae.identity/1", "space": "a/b/c"})
    with pytest.raises(BadIdentity):
        identity.load(tmp_path / "a.identity")


# ---------------------------------------------------------------------- networks


def with_external_data(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, whose weights lie in the file `secret` beside it, or wherever one stands."""
    tensor = model.graph.initializer[-1]
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "secret"), ("offset", "0"), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader folder whose recogniser takes its weights from a file of the current directory."""
    config = tiny_reader_folder(tmp_path)
    folder = tmp_path / "reader"
    path = folder / config.embedder.file
    model = with_external_data(onnx.load(str(path)))
    path.write_bytes(model.SerializeToString())
    (tmp_path / "here").mkdir()
    for place in (tmp_path / "here", folder):
        (place / "secret").write_bytes(np.zeros(192 * 128, np.float32).tobytes())
    monkeypatch.chdir(tmp_path / "here")
    promised = json.loads((folder / CONFIG_NAME).read_text())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    promised["embedder"] |= {"sha256": sha256, "space": f"tiny/arcface/{sha256[:12]}"}
    (folder / CONFIG_NAME).write_text(json.dumps(promised))
    return folder


def test_weights_in_another_file_are_never_read(outside: Path) -> None:
    with pytest.raises(WeightsCorrupt, match="keeps weights in another file"):
        FaceReader.from_folder(outside)
    with pytest.raises(WeightsCorrupt, match="keeps weights in another file"):
        OnnxModule(outside / ReaderConfig.read(outside).embedder.file)


def test_a_loop_is_refused(tmp_path: Path) -> None:
    info = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph([], "body", [], [info("more", onnx.TensorProto.BOOL, [])])
    node = onnx.helper.make_node("Loop", ["n", ""], [], body=body)
    inner = onnx.helper.make_graph([node], "inner", [], [])
    branch = onnx.helper.make_node("If", ["c"], [], then_branch=inner, else_branch=inner)
    model = onnx.helper.make_model(onnx.helper.make_graph([branch], "outer", [], []))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsCorrupt, match="holds a Loop"):
        content_of(tmp_path / "a.onnx")


def test_a_word_in_a_name_is_no_reason_to_refuse(tmp_path: Path) -> None:
    model = onnx.helper.make_model(onnx.helper.make_graph([], "allocation of a Loop", [], []))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert content_of(tmp_path / "a.onnx") == model.SerializeToString()


def test_the_bundled_networks_are_plain() -> None:
    for path in (catalog.resolve("nano") / "reader").glob("*.onnx"):
        assert content_of(path) == path.read_bytes()


# ---------------------------------------------------------------------- captions and shards


def a_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_captions_are_bounded_regular_files_of_text(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(picture()))
    for name in ("fifo", "folder", "endless", "half"):
        (tmp_path / f"{name}.png").write_bytes(content)
    os.mkfifo(tmp_path / "waits.png")
    (tmp_path / "waits.txt").write_text("a man")
    os.mkfifo(tmp_path / "fifo.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "endless.txt").symlink_to("/dev/zero")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "half.png", "text": "half \\ud800 a character"}')
    records = captioned.find(tmp_path)
    assert len(records) == 2
    assert records.skipped == {"no caption": 3}
    assert records.read(0)[2] == "half ? a character"
    with pytest.raises(captioned.Unusable):
        records.read(1)


def test_a_list_of_captions_is_a_regular_file_of_short_nests(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text("[" * 100_000)
    with pytest.raises(BadData, match="line 1"):
        captioned.find(tmp_path)
    (tmp_path / "metadata.jsonl").unlink()
    os.mkfifo(tmp_path / "metadata.jsonl")
    with pytest.raises(BadData, match="it is a pipe"):
        captioned.find(tmp_path)


def test_what_a_tar_promises_is_not_believed(tmp_path: Path) -> None:
    path = a_tar(tmp_path / "a.tar", ("a.jpg", b"x"), ("a.txt", b"words"), ("b.jpg", b"y"), ("b.txt", b"more"))
    content = bytearray(path.read_bytes())
    content[1024 + 512 - 512 + 124 : 1024 + 136] = b"7" * 11 + b"\0"  # of a.txt: eight gigabytes
    header = bytes(content[1024:1536])
    check = sum(header[:148]) + 8 * 32 + sum(header[156:])
    content[1024 + 148 : 1024 + 156] = b"%06o\0 " % check
    path.write_bytes(content)
    with pytest.raises(BadData):
        captioned.find(path)
    with pytest.raises(BadData, match="at most"):
        list(shards.read(path))


def test_a_shard_that_is_packed_or_a_pipe_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    os.mkfifo(tmp_path / "b.tar")
    for name in ("a.tar", "b.tar"):
        with pytest.raises(BadData):
            list(shards.read(tmp_path / name))
        with pytest.raises(BadData):
            captioned.find(tmp_path / name)
    with pytest.raises(BadData, match="no zip"):
        shards.unpack_arrays(b"PK")


def test_a_prompt_of_bytes_that_are_no_text_is_one_error(sd15_like: FacePipeline) -> None:
    for told in ("\udcff", "a {person} \udcff"):
        with pytest.raises(BadOption, match=r"text in UTF-8 .*got .*udcff"):
            sd15_like(made_up(sd15_like, 1), prompt=told if "{" in told else told + "{person}", num_inference_steps=1)
    with pytest.raises(BadOption, match="text in UTF-8"):
        sd15_like(made_up(sd15_like, 1), negative_prompt="\ud800", num_inference_steps=1)


def test_a_name_too_long_for_a_disk_is_one_line(run: Run) -> None:
    for words in (("read", "n" * 300), ("inspect", "n" * 300), ("identity", "show", "n" * 300 + ".identity")):
        done = run(*words)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "PNG, behind its pixels"])
def test_an_exif_block_is_not_copied_for_each_of_its_tags(kind: str) -> None:
    size, count = 500_000, 1000
    tags = b"".join(struct.pack("<HHII", 0x9000 + number, 7, size, 8) for number in range(count))
    block = (b"II*\0" + struct.pack("<IH", 8, count) + tags).ljust(size + 8, b"\0")
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, kind.partition(",")[0], exif=block)
    content = file.getvalue()
    if "behind" in kind:
        start = content.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        content = content[:start] + content[end:-12] + content[start:end] + content[-12:]  # the last 12: IEND
    tracemalloc.start()
    try:
        load_photo(content)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
