"""machine.describe() -> {"cpu": ..., "cores": 2, ...}: what a figure was measured on."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from personae.version import __version__  # of a checkout that was never installed, too

_LIBRARIES = "torch", "onnxruntime", "diffusers", "numpy"


def describe() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, and versions of what does the arithmetic."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"personae": __version__} | {name: version(name) for name in _LIBRARIES},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in fields.items()}
    amx = " with amx_bf16" if "amx_bf16" in facts.get("flags", "").split() else ""
    return facts.get("model name", platform.machine()) + amx


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
