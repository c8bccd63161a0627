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


def has_amx() -> bool:
    """Whether the processor multiplies matrices of bfloat16 by Intel's AMX; False where Linux does not say."""
    return "amx_bf16" in _facts().get("flags", "").split()


def _cpu() -> str:
    name = _facts().get("model name") or platform.processor() or platform.machine()
    return name + (" with amx_bf16" if has_amx() else "")


def _facts() -> dict[str, str]:
    """What Linux says of the last core, by name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in fields.items()}


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
