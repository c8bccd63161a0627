"""Every reader of a stranger's file: what it is fed with, and how it is called.

A target makes its seeds on the spot, from nothing but numbers, and reads one input. `once(rng)` gives an input, `read`
takes it; both are all that a finding needs to be run again.
"""

import hashlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from fuzz import uploads
from fuzz.mutate import VALUES, changed, changed_json, mutated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # whose tiny models are real ones

FACTS = {"format": "personae.identity/1", "space": "a/b/c"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """`once`: an input from a generator; `read`: does what a user's command would do with it first."""

    once: Callable[[random.Random], bytes]
    read: Callable[[bytes], object]


def photo(folder: Path) -> Target:
    """Pictures of every kind and mode."""
    from personae.reading.photo import load_photo

    seeds = _pictures()
    return Target(once=lambda rng: mutated(rng.choice(seeds), rng), read=load_photo)


def recipe(folder: Path) -> Target:
    """Recipes inside pictures."""
    from personae.provenance import writer
    from personae.provenance.marks import Marks
    from personae.provenance.recipe import checked, find_recipe, past

    known = {
        "task": "generate", "seed": 7, "noise": "seed",
        "model": {"name": "nano", "sha256": "0" * 64, "identity_space": "a"},
        "settings": {"num_inference_steps": 4, "guidance_scale": 2.0, "prompt": None, "pose": [1, 2, 3], "height": 128},
        "identity": {"space": "a", "vector": "AACAPw=="}, "inputs": [{"photo_sha256": None}], "likeness": 0.5,
        "format": "personae.recipe/2", "earlier": [], "edit": {"task": "swap"}, "ai_generated": True,
    }  # fmt: skip
    image = Image.new("RGB", (16, 16))

    def read(path: Path) -> object:
        past(path)
        found = find_recipe(path)
        return None if found is None else checked(found)

    def once(rng: random.Random) -> bytes:
        told = json.loads(json.dumps(known))
        for _ in range(rng.choice((0, 1, 2, 5))):
            told = changed(told, rng)
        if not isinstance(told, dict) or len(json.dumps(told)) > 60_000:  # no writer of ours has to put it into a file
            told = known
        content = writer.encode(image, rng.choice(("png", "jpg", "webp")), told, marks=Marks(c2pa=False))
        return mutated(content, rng) if rng.random() < 0.3 else content

    return Target(once=once, read=_by_path(folder / "a.png", read))


def identity(folder: Path) -> Target:
    """Vectors in safetensors."""
    from safetensors.numpy import save

    from personae import identity as identities

    rng = np.random.default_rng(0)
    seeds = [save({"vector": rng.standard_normal(16).astype(kind)}, FACTS) for kind in ("f4", "f8", "f2", "i8")]
    for kind in ("BF16", "F8_E4M3", "F8_E5M2", "BOOL", "U8", "F4"):
        seeds.append(seeds[0].replace(b'"F32"', f'"{kind}"'.encode()))
    return Target(
        once=lambda rng: mutated(rng.choice(seeds), rng), read=_by_path(folder / "a.identity", identities.load)
    )


def track(folder: Path) -> Target:
    """Motion by frame, in its three kinds of file."""
    from personae.video import motion_track as tracks

    said = {
        "format": "personae.track/1",
        "fps": "25",
        "columns": ["yaw", "jawOpen"],
        "frames": [[1, 0.5], None, [2, 0]],
    }
    table = b"yaw,jawOpen\n1,0.5\n,\n2,0\n"
    packed = io.BytesIO()
    np.savez_compressed(packed, fps=np.array("25"), yaw=np.zeros(3), jawOpen=np.zeros(3, np.float32))

    def once(rng: random.Random) -> bytes:
        kind = rng.choice((b"j", b"c", b"n"))
        if kind == b"j":
            return kind + changed_json(json.dumps(said).encode(), rng)
        return kind + mutated(table if kind == b"c" else packed.getvalue(), rng)

    def read(content: bytes) -> object:
        path = folder / ("a" + {b"j": ".json", b"c": ".csv", b"n": ".npz"}[content[:1]])
        path.write_bytes(content[1:])
        return tracks.load(path, fps=25 if path.suffix == ".csv" else None)

    return Target(once=once, read=read)


def expression(folder: Path) -> Target:
    """Sliders and vectors."""
    from personae.conditioning.blendshapes import read_file

    array = io.BytesIO()
    np.save(array, np.zeros(52, np.float32))

    def once(rng: random.Random) -> bytes:
        return (
            b"n" + mutated(array.getvalue(), rng) if rng.random() < 0.5 else b"j" + changed_json(b'{"jawOpen": 1}', rng)
        )

    def read(content: bytes) -> object:
        path = folder / ("a.npy" if content[:1] == b"n" else "a.json")
        path.write_bytes(content[1:])
        return read_file(path)

    return Target(once=once, read=read)


def video(folder: Path) -> Target:
    """The first frames of tiny videos."""
    import av

    from personae.io import video_file as videos

    av.logging.set_level(None)
    seeds = []
    for name, codec in (
        ("a.mp4", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.avi", "mjpeg"),
        ("a.webm", "libvpx"),
        ("a.ts", "mpeg2video"),
    ):
        with av.open(str(folder / name), "w") as made:
            stream = made.add_stream(codec, rate=25)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for _ in range(3):
                made.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
            made.mux(stream.encode())
        seeds.append((folder / name).read_bytes())
    seeds += [b"#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n", b"ffconcat version 1.0\nfile 'a.mp4'\n"]
    limits = videos.Limits(frames=200)
    return Target(
        once=lambda rng: mutated(rng.choice(seeds), rng),
        read=_by_path(folder / "x.mp4", lambda path: list(islice(videos.frames(path, limits), 10))),
    )


def detect(folder: Path) -> Target:
    """Files with signatures, recipes and labels, their own and those of the photos that they were made of. A signature
    is drawn at random, so what runs a finding again is its input, not its seed."""
    from personae.provenance import credentials, detection, pixel_mark, signing, writer
    from personae.types import Ingredient

    os.environ["PERSONAE_CONFIG"] = str(folder / "config")
    image = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3))
    facts = {"task": "generate", "seed": 7, "model": {"name": "nano", "sha256": "0" * 64}, "settings": {}}
    seeds = [writer.encode(image, kind, facts) for kind in writer.FORMATS]
    parent = Ingredient(role="target", canvas=True, mime="image/png", encoded=seeds[0])
    other = Ingredient(role="source", canvas=False, mime="image/webp", encoded=seeds[2])
    edited = facts | {"task": "edit", "edit": {"task": "swap"}, "inputs": {"target": {"name": "a.png"}}}
    seeds += [writer.encode(image, kind, edited, ingredients=[parent, other]) for kind in writer.FORMATS]
    larger = image.resize((160, 140), Image.Resampling.BICUBIC)  # in which a watermark is looked for, and found
    seeds.append(writer.encode(larger, "jpg", facts))
    png = _encoded(image, "PNG")
    plain = (("image/avif", _encoded(image, "AVIF")), ("video/mp4", _tiny_video(folder)), ("image/png", png))
    for mime, content in plain:
        builder = signing._builder(signing.manifest.definition(facts, mime, ()), credentials.local())
        file = io.BytesIO()
        if content is png:  # whose manifest lies elsewhere
            builder.set_no_embed()
            builder.set_remote_url("https://example.org/manifest.c2pa")
        builder.sign(mime, io.BytesIO(content), file)
        seeds.append(file.getvalue())
    marked = pixel_mark.mark(image.resize((128, 128)), facts)

    def once(rng: random.Random) -> bytes:
        if rng.random() < 0.8:
            return mutated(rng.choice(seeds), rng)
        recipe = json.loads(json.dumps(facts))  # beside a watermark, which is compared with it
        recipe["model"] = changed(recipe["model"], rng)
        if rng.random() < 0.5:
            recipe = changed(recipe, rng)
        return writer._file(marked, "png", json.dumps(recipe), writer._BY_A_MODEL, quality=100)

    return Target(once=once, read=_by_path(folder / "x.bin", detection.detect))


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _tiny_video(folder: Path) -> bytes:
    from fractions import Fraction

    from personae.io import video_file as videos

    black = [np.zeros((32, 32, 3), np.uint8)] * 3
    notes = {"comment": json.dumps({"task": "animate"}), "description": "AI generated"}
    return videos.write(folder / "tiny.mp4", black, fps=Fraction(25), notes=notes, force=True).read_bytes()


def model(folder: Path) -> Target:
    """A model folder of which one file is another."""
    import diffusers
    import transformers

    from model_fixtures import nano_parts
    from personae.models import catalog
    from personae.pipeline import FacePipeline

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity(50)
        library.utils.logging.disable_progress_bar()
    place = folder / "model"
    FacePipeline(**nano_parts(), identity_space="a/b/c", identity_width=16).save_pretrained(place)
    (place / catalog.MANIFEST).unlink()
    return _in_folder(place, lambda path: FacePipeline.from_pretrained(path))


def reader(folder: Path) -> Target:
    """A reader's folder of which one file is another; hashes are right, since a stranger writes them, too."""
    from personae.reading.reader_folder import open_folder
    from reading_fixtures import tiny_reader_folder

    tiny_reader_folder(folder)
    grey = np.full((64, 64, 3), 90, np.uint8)
    grey[20:50, 20:50] = 255

    def look(place: Path) -> object:
        path = place / "reader.json"
        try:
            promised = json.loads(path.read_bytes())
            for part in promised.values():
                inside = place / Path(part["file"]).name  # whatever else it names is the reader's to refuse
                part["sha256"] = hashlib.sha256(inside.read_bytes()).hexdigest()
                if "space" in part:
                    part["space"] = f"tiny/{part.get('template', 'arcface')}/{part['sha256'][:12]}"
            path.write_text(json.dumps(promised))
        except Exception:
            pass
        return open_folder(place, threads=1).read(grey)

    return _in_folder(folder / "reader", look)


def network(folder: Path) -> Target:
    """ONNX files, as a reader's and as a module with a gradient."""
    from personae.reading.onnx_file import Network
    from personae.reading.onnx_module import OnnxModule
    from reading_fixtures import tiny_reader_folder

    tiny_reader_folder(folder)
    seeds = [path.read_bytes() for path in sorted((folder / "reader").glob("*.onnx"))]

    def read(path: Path) -> None:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        Network(path, sha256=sha256, source="crop", results={"identity": (None,)}, threads=1)(
            np.zeros((1, 3, 112, 112), np.float32)
        )
        OnnxModule(path)

    return Target(once=lambda rng: mutated(rng.choice(seeds), rng), read=_by_path(folder / "a.onnx", read))


def packed(folder: Path) -> Target:
    """Zip files."""
    from personae.errors import BadData
    from personae.io import archive

    seeds = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as pack:
            pack.writestr("a/b", bytes(range(256)) * 4)
            pack.writestr("c", bytes(100_000))
        seeds.append(buffer.getvalue())
    return Target(
        once=lambda rng: mutated(rng.choice(seeds), rng),
        read=_by_path(folder / "a.zip", lambda path: archive.member(path, "a/b", 1 << 20, BadData)),
    )


def captions(folder: Path) -> Target:
    """Captioned pictures in folders and tars, and shards."""
    from personae.data import captioned, shards

    picture, place = _pictures()[0], folder / "captions"
    place.mkdir()
    (place / "a.png").write_bytes(picture)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("a.png", picture), ("a.json", b'{"caption": "x"}'), ("b.png", picture), ("b.txt", b"y")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

    def once(rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return b"t" + mutated(buffer.getvalue(), rng)
        return b"m" + changed_json(b'{"file_name": "a.png", "text": "a man"}', rng)

    def read(content: bytes) -> None:
        tar = folder / "a.tar"
        (tar if content[:1] == b"t" else place / "metadata.jsonl").write_bytes(content[1:])
        records = captioned.find(tar if content[:1] == b"t" else place)
        for number in range(len(records)):
            try:
                records.read(number)
            except captioned.Unusable:
                continue
        if content[:1] == b"t":
            list(shards.read(tar))

    return Target(once=once, read=read)


TARGETS: dict[str, Callable[[Path], Target]] = {
    make.__name__: make
    for make in (photo, recipe, identity, track, expression, video, detect, model, reader, network, packed, captions)
} | {"upload": lambda folder: Target(**uploads.target(folder))}


# ---------------------------------------------------------------------- what they share


def _by_path(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def write_and_read(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return write_and_read


def _in_folder(place: Path, read: Callable[[Path], object]) -> Target:
    """An input is the name of one file and what stands in it instead; the folder is whole again afterwards."""
    files = {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
    configs = [name for name in files if name.endswith(".json")]

    def once(rng: random.Random) -> bytes:
        name = rng.choice(configs if rng.random() < 0.7 else list(files))
        change = changed_json if name.endswith(".json") else mutated
        return name.encode() + b"\0" + change(files[name], rng)

    def write_and_read(content: bytes) -> object:
        name, _, other = content.partition(b"\0")
        try:
            (place / name.decode()).write_bytes(other)
            return read(place)
        finally:
            shutil.rmtree(place)
            for path, whole in files.items():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(whole)

    return Target(once=once, read=write_and_read)


def _pictures() -> list[bytes]:
    """Small pictures of all formats, modes and ornaments."""
    y, x = np.mgrid[0:24, 0:32]
    colour = Image.fromarray(np.stack([x * 8, y * 10, x + y], -1).astype(np.uint8))
    deep = Image.fromarray((x * 2000).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words " * 50
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more = {"save_all": True, "append_images": [colour.rotate(180)]}
    wanted = [
        (colour, "PNG", {}), (colour.convert("RGBA"), "PNG", {"exif": exif}), (colour.convert("LA"), "PNG", {}),
        (colour.quantize(16), "PNG", {"transparency": 3}), (deep, "PNG", {}), (colour.convert("1"), "PNG", {}),
        (colour, "PNG", {"icc_profile": profile} | more), (colour, "JPEG", {"exif": exif, "icc_profile": profile}),
        (colour, "JPEG", {"progressive": True}), (colour.convert("CMYK"), "JPEG", {}), (colour, "MPO", more),
        (colour, "WEBP", {"lossless": True, "exif": exif}), (colour.convert("RGBA"), "WEBP", more),
    ]  # fmt: skip
    from personae.reading.photo import FORMATS

    if "AVIF" in FORMATS:
        wanted += [(colour, "AVIF", {}), (colour, "AVIF", more)]
    made = []
    for image, kind, options in wanted:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made.append(buffer.getvalue())
    return [*made, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), json.dumps(VALUES[:9]).encode()]
