"""Which precision is picked: by a measurement, remembered, and by nothing that a busy or broken machine could upset."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import sd15_parts
from personae.errors import BadOption
from personae.io import user_folders
from personae.sampling.fast import cpu_layers, modes, precision
from personae.sampling.fast.cpu_layers import FusedGEGLU
from personae.sampling.fast.precision import Machine, Rates

CPU = torch.device("cpu")
NAME = precision.processor()[0]
SLOW, FAST = Rates(float32=80, bfloat16=4), Rates(float32=80, bfloat16=640)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of one's own, in a process that knows nothing yet and has no wish."""
    monkeypatch.setenv("PERSONAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(precision.ENVIRONMENT, raising=False)
    monkeypatch.setattr(precision, "_known", {})
    return tmp_path / "cache" / "precision"


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Rates]:
    """What the next measurements find, last first; each is taken off."""
    results: list[Rates] = []
    monkeypatch.setattr(precision, "measured", results.pop)
    return results


def forget() -> None:
    precision._known.clear()


# ---------------------------------------------------------------------- the decision


@pytest.mark.parametrize(("bfloat16", "wins"), [(0, False), (40, False), (124.9, False), (125, True), (800, True)])
def test_bfloat16_has_to_win_by_a_quarter(bfloat16: float, wins: bool) -> None:
    assert (Rates(float32=100, bfloat16=bfloat16).dtype == torch.bfloat16) is wins


@pytest.mark.parametrize("wrong", [(0, 1), (-1, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_rates_are_numbers(wrong: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        Rates(float32=wrong[0], bfloat16=wrong[1])


def test_the_measurement_decides_whatever_the_processor_is_called(
    folder: Path, probes: list[Rates], monkeypatch: pytest.MonkeyPatch
) -> None:
    probes += [FAST, SLOW]
    assert precision.best_dtype(CPU) == torch.float32
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX")  # another machine, as far as torch can tell
    assert precision.best_dtype(CPU) == torch.bfloat16
    assert precision.best_dtype(torch.device("mps")) == torch.float32
    assert probes == []


def test_a_wish_needs_no_measurement(folder: Path, probes: list[Rates], monkeypatch: pytest.MonkeyPatch) -> None:
    for wish in ("float32", "bfloat16"):
        monkeypatch.setenv(precision.ENVIRONMENT, wish)
        assert precision.best_dtype(CPU) == getattr(torch, wish)
    monkeypatch.setenv(precision.ENVIRONMENT, "half")
    with pytest.raises(BadOption, match="PERSONAE_DTYPE is 'half': choose one of float32, bfloat16"):
        precision.best_dtype(CPU)
    assert not folder.exists()


# ---------------------------------------------------------------------- the measurement


def test_both_precisions_are_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a made-up clock: bfloat16 takes a third, and every fifth call is held up by something else."""
    now, calls = [0.0], []

    def job(kind: str, seconds: float):
        def run() -> None:
            calls.append(kind)
            now[0] += seconds * (50 if len(calls) % 5 == 0 else 1)

        return run

    jobs = {
        torch.float32: (job("f32 conv", 0.003), job("f32 product", 0.003)),
        torch.bfloat16: (job("bf16 conv", 0.001), job("bf16 product", 0.001)),
    }
    monkeypatch.setattr(precision, "_jobs", jobs.__getitem__)
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(precision, "_SECONDS", 0.5)
    found = precision.measured()
    assert found.ratio == pytest.approx(3)
    assert len(set(calls[4:8])) == len(set(calls[8:12])) == 4  # each once in a round, after one to warm up
    assert calls[4:8] == calls[8:12][::-1]


def test_a_precision_without_kernels_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise RuntimeError("not implemented for 'BFloat16'")

    own = precision._jobs
    monkeypatch.setattr(precision, "_jobs", lambda dtype: (fails, fails) if dtype == torch.bfloat16 else own(dtype))
    found = precision.measured()
    assert (found.bfloat16, found.dtype) == (0, torch.float32)


def test_measuring_changes_nobodys_random_numbers_and_keeps_no_graph() -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    found = precision.measured()
    assert torch.equal(torch.randn(4), expected)
    assert found.float32 > 0
    assert found.bfloat16 > 0
    assert torch.is_grad_enabled()


# ---------------------------------------------------------------------- the memory


def test_one_measurement_serves_every_process_on_the_same_machine(folder: Path, probes: list[Rates]) -> None:
    probes += [SLOW, FAST]
    assert precision.rates() == FAST
    forget()
    assert precision.rates() == FAST
    (path,) = folder.iterdir()
    assert json.loads(path.read_text())["machine"]["processor"]
    assert precision.rates(anew=True) == SLOW
    forget()
    assert precision.rates() == SLOW
    assert list(folder.iterdir()) == [path]  # no partial file is left


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2"),
        lambda patch: patch.setenv("DNNL_MAX_CPU_ISA", "AVX2"),
        lambda patch: patch.setenv("ATEN_CPU_CAPABILITY", "default"),
        lambda patch: patch.setenv("MKL_ENABLE_INSTRUCTIONS", "SSE4_2"),
        lambda patch: patch.setattr(torch, "get_num_threads", lambda: 77),
        lambda patch: patch.setattr(torch, "__version__", "3.0"),
        lambda patch: patch.setattr(precision, "processor", lambda: ("Another", "")),
        lambda patch: patch.setattr(precision, "processor", lambda: (NAME, "of the same name")),
    ],
)
def test_another_machine_is_measured_for_itself(folder: Path, probes: list[Rates], monkeypatch, change) -> None:
    probes += [SLOW, FAST]
    assert precision.rates() == FAST
    change(monkeypatch)
    forget()
    assert precision.rates() == SLOW


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 5000,
        b"\xff\xfe",
        b'{"format": "personae.precision/1"}',
        lambda kept: json.dumps(kept | {"format": "other"}).encode(),
        lambda kept: json.dumps(kept | {"machine": {}}).encode(),
        lambda kept: json.dumps(kept | {"float32": -1}).encode(),
        lambda kept: json.dumps(kept | {"bfloat16": "NaN"}).encode(),
        lambda kept: json.dumps(kept | {"bfloat16": []}).encode(),
        lambda kept: b" " * (1 << 20) + json.dumps(kept).encode(),
    ],
)
def test_a_damaged_memory_is_measured_again_and_mended(folder: Path, probes: list[Rates], damage) -> None:
    probes += [SLOW, FAST]
    precision.rates()
    (path,) = folder.iterdir()
    path.write_bytes(damage if isinstance(damage, bytes) else damage(json.loads(path.read_text())))
    forget()
    assert precision.rates() == SLOW
    forget()
    assert precision.rates() == SLOW


def test_without_a_place_to_write_it_is_measured_each_time(
    folder: Path, probes: list[Rates], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    probes += [SLOW, FAST]
    assert precision.rates() == FAST
    forget()
    assert precision.rates() == SLOW
    monkeypatch.delenv("PERSONAE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    forget()
    probes.append(FAST)
    assert precision.rates() == FAST


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (Rates(float32=10, bfloat16=10, spread=4), False),  # waiting hid what there may be
        (Rates(float32=10, bfloat16=10, spread=1.1), True),
        (Rates(float32=10, bfloat16=30, spread=4), True),
        (Rates(float32=10, bfloat16=1, spread=4), True),
    ],
)
def test_a_doubtful_measurement_is_not_kept(folder: Path, probes: list[Rates], found: Rates, kept: bool) -> None:
    probes.append(found)
    assert precision.rates() == found
    assert precision.rates() == found  # this process goes on with it
    assert folder.exists() is kept


def test_whoever_starts_at_once_writes_and_reads_whole_files(folder: Path) -> None:
    machine, seen = Machine.here(), []
    precision._remember(machine, SLOW)

    def start(found: Rates) -> None:
        for _ in range(40):
            precision._remember(machine, found)
            seen.append(precision._recalled(machine))

    writers = [threading.Thread(target=start, args=(found,)) for found in (SLOW, FAST)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(seen) == 80
    assert set(seen) <= {SLOW, FAST}  # never None: a partial file
    assert list(folder.iterdir()) == [machine.file()]


def test_caches_lie_where_the_user_wants_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("PERSONAE_CACHE", "PERSONAE_CONFIG", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folders.cache_folder() == tmp_path / ".cache" / "personae"
    assert user_folders.config_folder() == tmp_path / ".config" / "personae"
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere/relative")
    assert user_folders.cache_folder() == tmp_path / ".cache" / "personae"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_folders.cache_folder() == tmp_path / "xdg" / "personae"
    monkeypatch.setenv("PERSONAE_CACHE", "mine")
    assert user_folders.cache_folder() == Path("mine")


# ---------------------------------------------------------------------- what hangs on it


@pytest.mark.parametrize(
    ("dtype", "found", "installed"),
    [(torch.bfloat16, FAST, True), (torch.bfloat16, SLOW, False), (torch.float32, None, True)],
)
def test_layers_for_a_cpu_are_installed_where_its_precision_is_the_faster_one(
    folder: Path, probes: list[Rates], dtype: torch.dtype, found: Rates | None, installed: bool
) -> None:
    """A UNet in float32 needs no measurement at all."""
    probes += [found] if found else []
    parts = sd15_parts()
    pipe = SimpleNamespace(unet=parts["unet"].to(dtype), vae=parts["vae"].to(dtype))
    modes.prepare(pipe)
    assert any(isinstance(module, FusedGEGLU) for module in pipe.unet.modules()) is installed
    assert probes == []


@torch.no_grad()
def test_without_a_product_to_fuse_into_a_gate_is_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX2 has no matrix product in bfloat16: oneDNN raises."""
    monkeypatch.setattr(cpu_layers, "_fuses", lambda: False)
    gate = FusedGEGLU(32, 48).to(torch.bfloat16)
    tokens = torch.randn(2, 10, 32, dtype=torch.bfloat16)
    value, opening = gate.proj(tokens).chunk(2, dim=-1)
    assert torch.equal(gate(tokens), value * gate.gelu(opening))
