"""personae prepare people -o cache/people --people 20000 --views 3 --teachers ../shared/teachers

Several pictures each of people who do not exist, labelled as photos are. A shard is a pure function of its number, the
seed and the settings, whoever works on it and in whatever order; it is there once it is renamed into place, so that a
stopped run goes on with the same command, and what lies there meanwhile can be trained on.
"""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from personae.data import prepare, shards
from personae.data.generator import LINEAGE, RANDOM_FACE, SIZE, Generator
from personae.data.teachers import Teachers
from personae.data.views import TRAITS, Directions, View
from personae.errors import BadData
from personae.io import atomic
from personae.types import BLENDSHAPES, Array

DATASET, DIRECTIONS = "dataset.json", "views.safetensors"
_FORMAT = "personae.synthetic-people/1"
_TRIES = 3  # of a view, each asking for less, and of a person for every one that a shard is to hold
_QUALITY = 93  # of the JPEG
_TRUNCATION = 0.7, 0.9


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the pictures depend on, beside the generator.

    people: how many, at least, for the last shard is full, too; views: pictures of each; per_shard: people;
    most_alike: two people of a shard whose teacher vectors are closer are one too many; least_alike: a view that is
    further from its person's first one has lost them; fitted: pictures that the views' directions are fitted to.
    """

    people: int = 20_000
    views: int = 3
    seed: int = 0
    per_shard: int = 50
    most_alike: float = 0.6
    least_alike: float = 0.6
    fitted: int = 256

    def __post_init__(self) -> None:
        if min(self.people, self.views, self.per_shard) < 1:
            raise BadData(f"a data set needs at least one person, view and person per shard, got {self}")

    @property
    def shards(self) -> int:
        return -(-self.people // self.per_shard)


@dataclass(frozen=True, kw_only=True)
class Studio:
    """All that draws and labels."""

    generator: Generator
    teachers: Teachers
    directions: Directions


def traits(pixels: Array, teachers: Teachers) -> Array | None:
    """(5,) what `views.TRAITS` names, in a picture (H, W, 3), or None if a teacher finds no face in it."""
    faces, motion = teachers.detect(pixels), teachers.motion(pixels)
    if not faces or motion is None:
        return None
    smile = [motion.blendshapes[BLENDSHAPES.index(f"mouthSmile{side}")] for side in ("Left", "Right")]
    jaw = motion.blendshapes[BLENDSHAPES.index("jawOpen")]
    left, top, right, bottom = faces[0].box.clip(0, pixels.shape[0]).astype(int)
    face = pixels[top:bottom, left:right].mean(-1)
    sides = [half.mean() for half in np.array_split(face, 2, axis=1)]
    light = (sides[0] - sides[1]) / max(1.0, float(face.mean()))
    return np.array([motion.pose.yaw, motion.pose.pitch, np.mean(smile), jaw, light])


def people(number: int, settings: Settings, studio: Studio) -> Iterator[tuple[str, shards.Record]]:
    """The records of shard `number`, person by person: drawn until it holds as many as it should.

    Raises `BadData` if that takes more than three tries for each.
    """
    first, goal = number * settings.per_shard, settings.per_shard
    before: list[Array] = []  # teacher vectors of the shard's people
    for candidate in count():
        if len(before) == goal:
            return
        if candidate >= _TRIES * goal:
            raise BadData(
                f"shard {number}: of {candidate} people drawn only {len(before)} held as {settings.views} views "
                "that differ enough from one another: lower --least-alike or raise --most-alike"
            )
        found = _person(f"p{first + len(before):06d}", (settings.seed, number, candidate), settings, studio, before)
        if found is not None:
            records, vector = found
            before.append(vector)
            yield from records


def _person(
    name: str, seed: tuple[int, ...], settings: Settings, studio: Studio, before: list[Array]
) -> tuple[list[tuple[str, shards.Record]], Array] | None:
    """Somebody's views and the teacher's vector of the first, or None if a view is lost or they are like another."""
    rng = np.random.default_rng(seed)
    truncation = round(float(rng.uniform(*_TRUNCATION)), 3)
    w = studio.generator.w(rng.standard_normal((1, studio.generator.width)), truncation)[0]
    held, first = np.zeros(len(TRAITS)), None
    records = []
    for number in range(settings.views):
        for attempt in range(_TRIES if number else 1):
            key = f"{name}-{number}"
            record = _view(key, (*seed, number, attempt), w, truncation, held, studio)
            if record is None:
                continue
            labels = shards.unpack_arrays(record["labels.npz"])
            vector = labels["identity"][0]
            if first is None:
                if any(vector @ other > settings.most_alike for other in before):
                    return None
                held[:2], first = labels["pose"][:2], vector
            if vector @ first >= settings.least_alike:
                records.append((key, record))
                break
        else:
            return None
    return None if first is None else (records, first)


def _view(
    key: str, seed: tuple[int, ...], w: Array, truncation: float, held: Array, studio: Studio
) -> shards.Record | None:
    """One picture's record, None if a teacher finds no face. The first view is the person as drawn, the others depend
    on the pose that it `held`."""
    *_, number, attempt = seed
    rng = np.random.default_rng(seed)
    generator = studio.generator
    stranger = generator.w(rng.standard_normal((1, generator.width)), truncation)[0]
    view = View.draw(rng, held, reach=1 - attempt / _TRIES) if number else View()
    pixels = generator.picture(studio.directions.styles(w, stranger, view, generator.rows))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    facts = {"person": shards.person(key), "seed": seed, "truncation": truncation, "view": asdict(view)}
    return prepare.label(key, buffer.getvalue(), facts, studio.teachers)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a process needs to build its own studio."""

    wheel: Path
    sha256: str
    backend: str | None
    teachers: Path
    out: Path
    settings: Settings

    def path(self, number: int) -> Path:
        return self.out / f"people-{number:05d}.tar"

    def facts(self, backend: str) -> dict[str, str]:
        """What pictures were drawn with: of the directions' file and of the data set's."""
        return {"generator_sha256": self.sha256, "backend": backend, "seed": str(self.settings.seed)}


@cache
def _studio(job: _Job) -> Studio:
    generator = Generator.of_wheel(job.wheel, sha256=job.sha256, backend=job.backend)
    teachers, path = Teachers(job.teachers), job.out / DIRECTIONS
    facts = job.facts(generator.backend)
    if not path.is_file():
        settings = job.settings
        directions = Directions.fit(
            generator, lambda pixels: traits(pixels, teachers), count=settings.fitted, seed=settings.seed
        )
        directions.save(path, facts | {"licence": LINEAGE})
    return Studio(generator=generator, teachers=teachers, directions=Directions.load(path, facts))


def _shard(job: _Job, number: int) -> int:
    return shards.write(job.path(number), people(number, job.settings, _studio(job)))


def _describe(job: _Job, backend: str) -> None:
    """`dataset.json`: settings, origin and terms. Raises `BadData` if the folder holds another data set."""
    path = job.out / DATASET
    facts = {"format": _FORMAT, "size": SIZE, **asdict(job.settings), **job.facts(backend), "licence": LINEAGE}
    facts["seed"] = job.settings.seed
    if path.is_file():
        held = json.loads(path.read_text(encoding="utf-8"))
        grown = {"people"}  # the only one that may change: more of the same
        if differing := {name for name in facts.keys() - grown if held.get(name) != facts[name]}:
            raise BadData(f"{job.out} holds people of other {', '.join(sorted(differing))}: choose another folder")
    atomic.write_json(path, facts)


def prepare_people(
    out: str | Path,
    teachers: str | Path,
    settings: Settings,
    *,
    wheel: str | Path | None = None,
    sha256: str = RANDOM_FACE.sha256,
    backend: str | None = None,
    workers: int = 1,
) -> Iterator[tuple[str, int]]:
    """Draw and label people into `out`; yields every shard's name and pictures as it is written, in their order.

    wheel: see `Wheel.find`. Raises `WeightsMissing` without wheel or teachers, `BadData` for a folder of
    other people.
    """
    target = Path(out)
    Teachers(teachers)  # says at once what is missing
    target.mkdir(parents=True, exist_ok=True)
    job = _Job(
        wheel=RANDOM_FACE.find(target, wheel),
        sha256=sha256,
        backend=backend,
        teachers=Path(teachers),
        out=target,
        settings=settings,
    )
    _describe(job, _studio(job).generator.backend)
    todo = [number for number in range(settings.shards) if not job.path(number).is_file()]
    if workers == 1:
        for number in todo:
            yield job.path(number).name, _shard(job, number)
        return
    with ProcessPoolExecutor(workers) as pool:
        results = [(number, pool.submit(_shard, job, number)) for number in todo]
        for number, result in results:
            yield job.path(number).name, result.result()
