"""The precision in which this machine computes faster: measured once and stored.

    precision.best_dtype(torch.device("cpu"))    # torch.float32 or torch.bfloat16
    precision.rates()                            # Rates(float32=79.0, bfloat16=4.4), in GFLOP/s

Whether bfloat16 pays off on a processor is a matter of its instructions (AMX, AVX512_BF16), of what oneDNN may use of
them (ONEDNN_MAX_CPU_ISA), of the build of torch and of the threads: ten times the speed of float32 here, a tenth of it
there. So a convolution and a matrix product of nano's sizes are timed in both, in turns and with medians, so that a
busy machine slows both alike. That takes about 50 ms (a fifth of a second where bfloat16 is only emulated) the first
time a model is loaded. A small file for each such combination keeps the result, in `precision/` of the user's cache
folder; whatever cannot be read or written there is as if it were not. `personae doctor` measures anew.
PERSONAE_DTYPE=float32 (or bfloat16) decides without measuring.
"""

import hashlib
import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median, quantiles

import torch
from torch.nn.functional import conv2d, linear

from personae.errors import BadData, BadOption, BadOutput
from personae.io import atomic, regular
from personae.io.user_folders import cache_folder

ENVIRONMENT = "PERSONAE_DTYPE"
WORTH = 1.25  # bfloat16 costs a little accuracy (docs/performance.md): it has to be this much faster

_FORMAT = "personae.precision/1"
_CHOICES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# What makes the libraries below torch use other instructions or another precision than the processor offers.
_SWITCHES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_CPU_ISA_HINTS",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
_LEAST_ROUNDS, _MOST_ROUNDS, _SECONDS = 3, 25, 0.05
_STEADY, _EVEN = 1.5, 0.8
_MOST_BYTES = 1 << 14  # of a file of rates, which has some 500
_MEASURING = threading.Lock()  # two at once would slow each other


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What this machine computes in a second of a convolution and a matrix product, in GFLOP/s. bfloat16 may be 0:
    torch cannot. spread: how far apart the quartiles of the slowest job's times lie, as a ratio: 1 = all alike."""

    float32: float
    bfloat16: float
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.float32) and math.isfinite(self.bfloat16) and self.float32 > 0 <= self.bfloat16):
            raise ValueError(f"rates are finite and positive, got {self.float32} and {self.bfloat16}")

    @property
    def ratio(self) -> float:
        """How many times as fast bfloat16 is."""
        return self.bfloat16 / self.float32

    @property
    def dtype(self) -> torch.dtype:
        """The precision worth using."""
        return torch.bfloat16 if self.ratio >= WORTH else torch.float32

    @property
    def doubtful(self) -> bool:
        """Taken on a machine so busy that waiting was most of it, for both alike: an advantage may have been lost."""
        return self.spread > _STEADY and _EVEN < self.ratio < WORTH


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What rates hold for. processor: its name. features: a hash of what else the system says about it, for names that
    several share. switches: those of the environment that are set."""

    processor: str
    features: str
    torch: str
    threads: int
    switches: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        name, features = processor()
        set_now = {switch: os.environ[switch] for switch in _SWITCHES if switch in os.environ}
        return cls(
            processor=name,
            features=features,
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            switches=set_now,
        )

    def file(self) -> Path:
        """Where its rates are kept. Raises `RuntimeError` where a user has no home."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return cache_folder() / "precision" / f"{digest[:16]}.json"


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where `device` is faster in it, else float32; or what PERSONAE_DTYPE says, if that is set.

    Raises `BadOption` if it says anything else.
    """
    if wish := os.environ.get(ENVIRONMENT):
        if wish not in _CHOICES:
            raise BadOption(f"{ENVIRONMENT} is {wish!r}: choose one of {', '.join(_CHOICES)}, or leave it unset")
        return _CHOICES[wish]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return rates().dtype if device.type == "cpu" else torch.float32


def rates(*, anew: bool = False) -> Rates:
    """Of this machine's processors, as torch and the environment are set now: remembered, or measured and remembered.

    anew: measure in any case.
    """
    machine = Machine.here()
    key = json.dumps(asdict(machine), sort_keys=True)
    with _MEASURING:
        found = None if anew else _known.get(key) or _recalled(machine)
        if found is None:
            found = measured()
            if not found.doubtful:
                _remember(machine, found)
        _known[key] = found
    return found


_known: dict[str, Rates] = {}  # of this process, by machine


@torch.no_grad()
def measured() -> Rates:
    """Time both precisions in turns, now."""
    jobs = {(dtype, n): job for dtype in _CHOICES.values() for n, job in enumerate(_jobs(dtype))}
    took: dict[tuple[torch.dtype, int], list[float]] = {}
    for kind, job in list(jobs.items()):
        try:
            job()  # kernels are made at the first call
            took[kind] = []
        except RuntimeError:  # this build of torch has none
            del jobs[kind]
    began, rounds = time.perf_counter(), 0
    while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and time.perf_counter() - began < _SECONDS):
        for kind in list(jobs)[:: 1 if rounds % 2 else -1]:
            start = time.perf_counter()
            jobs[kind]()
            took[kind].append(time.perf_counter() - start)
        rounds += 1

    def rate(dtype: torch.dtype) -> float:
        seconds = [median(took[dtype, n]) for n in range(2) if (dtype, n) in took]
        return (_CONVOLUTION + _PRODUCT) / 1e9 / sum(seconds) if len(seconds) == 2 else 0.0

    quartiles = [quantiles(times) for times in took.values()]
    spread = max(third / first for first, _, third in quartiles)
    return Rates(float32=rate(torch.float32), bfloat16=rate(torch.bfloat16), spread=spread)


# The outermost layers of nano's UNet for one guided picture: two maps of 128 channels, 16 x 16.
_MAPS, _CHANNELS, _SIDE, _WIDER = 2, 128, 16, 1024
_CONVOLUTION = 2 * _MAPS * _SIDE**2 * _CHANNELS**2 * 9
_PRODUCT = 2 * _MAPS * _SIDE**2 * _CHANNELS * _WIDER


def _jobs(dtype: torch.dtype) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    rng = torch.Generator().manual_seed(0)  # its own: nobody's random numbers change

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng, device="cpu", dtype=torch.float32).to(dtype)

    maps = drawn(_MAPS, _CHANNELS, _SIDE, _SIDE).to(memory_format=torch.channels_last)
    filters = drawn(_CHANNELS, _CHANNELS, 3, 3).to(memory_format=torch.channels_last)
    tokens, weight = drawn(_MAPS * _SIDE**2, _CHANNELS), drawn(_WIDER, _CHANNELS)
    return lambda: conv2d(maps, filters, padding=1), lambda: linear(tokens, weight)


@cache
def processor() -> tuple[str, str]:
    """Its name, and a hash of its model and features as the system tells them: clouds call different ones the same."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine(), ""
    first = info.read_text().split("\n\n", 1)[0]
    facts = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    lasting = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part")
    digest = hashlib.sha256("\n".join(facts.get(name, "") for name in lasting).encode()).hexdigest()
    return facts.get("model name", platform.machine()), digest[:16]


def _recalled(machine: Machine) -> Rates | None:
    try:
        record = json.loads(regular.read(machine.file(), _MOST_BYTES, BadData))
        if record["format"] == _FORMAT and record["machine"] == asdict(machine):
            return Rates(float32=float(record["float32"]), bfloat16=float(record["bfloat16"]))
    except (BadData, RuntimeError, ValueError, LookupError, TypeError):  # RecursionError is a RuntimeError
        pass  # missing, unreadable or damaged: measured again
    return None


def _remember(machine: Machine, found: Rates) -> None:
    """Whole or not at all, so that of several processes that start at once each leaves a whole file, the last its
    own."""
    record = {
        "format": _FORMAT,
        "machine": asdict(machine),
        "float32": round(found.float32, 1),
        "bfloat16": round(found.bfloat16, 1),
        "unit": "GFLOP/s",
        "date": datetime.now(UTC).date().isoformat(),
    }
    try:
        path = machine.file()
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, record)
    except (OSError, RuntimeError, BadOutput):
        pass  # a read-only or missing home: the next process measures again
