"""What the project asks pip for: enough, and nothing that brings a torchvision, with which `personae.load` fails."""

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GUIDE = ROOT / "docs" / "guides" / "install.md"
EXTRAS = PROJECT["optional-dependencies"]
# Each was seen to bring torchvision, or pins too old to install beside the rest (November 2026).
BRING_TORCHVISION = {
    "torchvision",
    "torch-fidelity",
    "lpips",
    "clean-fid",
    "open-clip-torch",
    "piq",
    "pyiqa",
    "spandrel",
    "facexlib",
    "gfpgan",
    "timm",
    "trustmark",
    "dreamsim",
    "litdata",
    "mosaicml-streaming",
}

# Imported beside what brings them: cv2 with mediapipe and insightface (three wheels own it), tokenizers in the version
# that transformers asks for, click with typer, pydantic (and its core) and starlette with fastapi.
BROUGHT = {"click", "cv2", "pydantic", "pydantic_core", "starlette", "tokenizers"}


def _names(requirements: Iterable[str]) -> set[str]:
    """The packages that requirements name, but those of another's extra."""
    plain = (one for one in requirements if not re.search(r"extra\s*==", one))
    return {re.split(r"[\s\[<>=!~;(]", one, maxsplit=1)[0].lower().replace("_", "-") for one in plain}


def _with_all_they_need(names: set[str]) -> set[str]:
    """`names`, and whatever those that are installed here require, and so on."""
    known: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        known.add(name)
        try:
            waiting |= _names(metadata.requires(name) or ()) - known
        except metadata.PackageNotFoundError:
            continue
    return known


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_nothing_brings_torchvision(extra: str | None) -> None:
    asked = PROJECT["dependencies"] if extra is None else EXTRAS[extra]
    assert not _with_all_they_need(_names(asked)) & BRING_TORCHVISION


def test_every_package_that_is_imported_is_declared() -> None:
    owners = metadata.packages_distributions()
    declared = _names([*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)])
    imported = {
        match[1]
        for file in (ROOT / "src").rglob("*.py")
        for match in re.finditer(r"^\s*(?:from|import)\s+(\w+)", file.read_text(), re.MULTILINE)
    }
    for module in imported & set(owners):
        packages = {owner.lower().replace("_", "-") for owner in owners[module]}
        if not packages & {"personae"}:
            assert packages & declared or module in BROUGHT, f"{module} is imported, {packages} is not declared"


def test_the_guide_lists_all_extras() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| `pip install 'personae\[(\w+)\]'` \|$", GUIDE.read_text(), re.MULTILINE)
    assert [row[0] for row in rows] == [row[1] for row in rows]
    assert sorted(row[0] for row in rows) == sorted(EXTRAS)


def test_the_constraints_hold_what_the_tests_install() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    for extra in ("train", "video", "docs", "dev"):
        assert _names(EXTRAS[extra]) - {"personae"} <= pinned
    assert _names(PROJECT["dependencies"]) <= pinned
