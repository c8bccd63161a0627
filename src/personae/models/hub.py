"""Files of the Hugging Face Hub, in its own cache: only those needed, from a pinned revision, offline when cached.

    folder = hub.fetch(Source(repo="FoivosPar/Arc2Face", revision="3217...", files=("arcface.onnx",)))
    folder = hub.fetch_model("owner/name")               # a model folder in personae's own layout
    hub.cached(source)                                   # None if something would have to be downloaded

Nothing here runs or unpacks what it fetched. `HF_HUB_OFFLINE`, `HF_HOME`, tokens and mirrors work as everywhere.
"""

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from personae.errors import BadOutput, WeightsCorrupt, WeightsMissing
from personae.io import atomic
from personae.io.user_folders import config_folder

_only_cached: ContextVar[bool] = ContextVar("only_cached", default=False)
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FORBIDDEN = "is not in the Hub's cache, and HF_HUB_OFFLINE forbids to fetch it: fetch it once without"
# A stranger's repository may hold pickles and code as well; these are the kinds of file that a model folder needs.
_OWN_LAYOUT = ("*.json", "*.onnx", "*.safetensors", "*.txt")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Some files of one repository.

    revision: a commit, which pins the content of every file; None: whatever `main` is.
    sha256: of files whose content is known here. watched: files whose hash is written down at the first use and
    held to from then on (trust on first use), because a silent change of theirs would do harm.
    """

    repo: str
    revision: str | None
    files: tuple[str, ...]
    sha256: Mapping[str, str] = field(default_factory=dict)
    watched: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"https://huggingface.co/{self.repo}"


@contextmanager
def only_cached() -> Iterator[None]:
    """Meanwhile nothing is downloaded: what is asked for is a file's wish, not the user's."""
    token = _only_cached.set(True)
    try:
        yield
    finally:
        _only_cached.reset(token)


def is_id(name: str) -> bool:
    """Whether `name` may be a repository on the Hub, `owner/name`."""
    return _ID.fullmatch(name) is not None


def cached(source: Source) -> Path | None:
    """The folder that holds the source's files, if all of them are in the Hub's cache. Asks no network."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(source.repo, file, revision=source.revision) for file in source.files]
    paths = [Path(one) for one in found if isinstance(one, str)]
    if len(paths) < len(source.files) or not all(path.is_file() for path in paths):
        return None
    return paths[0].parents[len(Path(source.files[0]).parts) - 1]


def fetch(source: Source) -> Path:
    """The folder that holds the source's files, downloaded if they are not in the cache.

    Raises `WeightsMissing` if they cannot be had, `WeightsCorrupt` if a file is not the promised one, `BadOutput` if
    the disk is full.
    """
    folder = cached(source)
    if folder is None:
        folder = _download(source.repo, source.revision, source.files)
        lacking = [file for file in source.files if not (folder / file).is_file()]
        if lacking and _offline():  # the client is content with any part of a repository then
            raise WeightsMissing(f"{', '.join(lacking)} of {source.repo} {_FORBIDDEN}")
        if lacking:
            raise WeightsMissing(f"{source.url} has no {', '.join(lacking)} at revision {source.revision or 'main'}")
    _hold_to_hashes(source, folder)
    return folder


def fetch_model(repo: str, revision: str | None = None) -> Path:
    """The folder of a model in personae's own (diffusers') layout. Raises as `fetch`."""
    return _download(repo, revision, _OWN_LAYOUT)


def _download(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    from huggingface_hub import constants, errors, snapshot_download

    what, wanted = f"{repo} ({', '.join(patterns)})", list(patterns)
    if _only_cached.get():
        raise WeightsMissing(f"{what} is not in the Hub's cache, and no file makes personae fetch it: pass --model")
    try:
        if not _offline():
            plan = snapshot_download(repo, revision=revision, allow_patterns=wanted, dry_run=True)
            needed = sum(file.file_size or 0 for file in plan if file.will_download)
            _require_space(needed, Path(constants.HF_HUB_CACHE))
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except BadOutput:
        raise
    except errors.GatedRepoError as error:
        raise WeightsMissing(
            f"{repo} asks for its licence to be accepted at https://huggingface.co/{repo}: do so, then `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise WeightsMissing(
            f"there is no {repo}, revision {revision or 'main'}, on the Hub: check the name"
        ) from error
    # The client's other errors (connection, proxy, time-out, interrupted transfer) share no base.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadOutput(f"the disk is full: {what} does not fit into {constants.HF_HUB_CACHE}") from error
        failed = f"cannot be fetched ({type(error).__name__}): check the network, then do the same again"
        raise WeightsMissing(f"{what} {_FORBIDDEN if _offline() else failed}") from error


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _require_space(needed: int, place: Path) -> None:
    """Raise `BadOutput` unless `needed` bytes and a little more fit on the disk of `place`."""
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed and free < needed + 2**28:
        raise BadOutput(
            f"the download needs {needed / 1e9:.1f} GB, {place} has {free / 1e9:.1f} GB left: make room, or set "
            "HF_HUB_CACHE to another disk"
        )


def _hold_to_hashes(source: Source, folder: Path) -> None:
    """Compare known and watched files with what was promised, or with what they were at their first use."""
    pins_file = config_folder() / "first-use.json"
    pins: dict[str, str] = _pins(pins_file)
    before = dict(pins)
    for file in (*source.sha256, *source.watched):
        if file not in source.files:
            continue
        with (folder / file).open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        key = f"{source.repo}@{source.revision or 'main'}/{file}"
        expected = source.sha256.get(file) or pins.setdefault(key, found)
        if found != expected:
            raise WeightsCorrupt(
                f"{folder / file} has sha256 {found[:12]}, expected {expected[:12]}: delete it and fetch it again"
            )
    if pins != before:
        try:
            pins_file.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_json(pins_file, dict(sorted(pins.items())))
        except (OSError, BadOutput) as error:
            raise BadOutput(f"{pins_file} cannot be written ({error}): set PERSONAE_CONFIG") from error


def _pins(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsCorrupt(f"{path} cannot be read ({error}): delete it to trust the next download anew") from error
