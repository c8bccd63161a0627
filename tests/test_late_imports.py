"""What a start seldom needs is imported when it is first used, and is then what it would have been."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from personae import late_imports

LIBRARIES = """
import sys
from personae import late_imports
late_imports.install()
import personae.pipeline
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextModel

late = {name for name, module in sys.modules.items() if type(module) is late_imports._Late}
assert late == set(late_imports.LATE), late_imports.LATE.keys() - late
for inside in ("scipy.stats._stats_py", "scipy.integrate._ode", "torch._dynamo.convert_frame"):
    assert inside not in sys.modules, inside
assert "diffusers.models.transformers.dit_transformer_2d" not in sys.modules

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.utils.torch_utils import is_compiled_module
network = torch.nn.Linear(2, 2)
assert not is_compiled_module(network) and type(sys.modules["torch._dynamo"]) is late_imports._Late

# Every one of them is itself when it is used.
from transformers.loss.loss_for_object_detection import linear_sum_assignment
assert [list(one) for one in linear_sum_assignment([[1.0, 0.0], [0.0, 1.0]])] == [[0, 1], [1, 0]]
import scipy.stats
assert scipy.stats.norm.ppf(0.5) == 0.0
from scipy import integrate, optimize
assert integrate.quad(lambda x: x, 0.0, 2.0)[0] == 2.0 and optimize.minimize_scalar(lambda x: x * x).success
scheduler = DPMSolverMultistepScheduler(use_beta_sigmas=True)
scheduler.set_timesteps(4)
assert len(scheduler.timesteps) == 4
from diffusers import FluxTransformer2DModel, AutoencoderKL
from diffusers.models.transformers import DiTTransformer2DModel
import diffusers.models.transformers
assert diffusers.models.transformers.FluxTransformer2DModel is FluxTransformer2DModel
assert type(sys.modules["diffusers.models.transformers"]) is type(sys)

import torch._dynamo.convert_frame  # a module of a package before the package
assert type(torch._dynamo) is type(sys) and torch._dynamo.convert_frame.__spec__.loader is not None
assert id(BasicTransformerBlock) in torch._dynamo.trace_rules._allowed_callable_ids
compiled = torch.compile(network, backend="eager")
assert is_compiled_module(compiled) and torch.equal(compiled(torch.ones(1, 2)), network(torch.ones(1, 2)))
assert not [name for name, module in sys.modules.items() if type(module) is late_imports._Late] == late
"""


def test_a_start_leaves_out_what_it_does_not_need_and_later_has_it() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LIBRARIES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_personae_leaves_other_programs_imports_alone() -> None:
    code = "import sys, personae, personae.cli; print([one for one in sys.meta_path if 'late' in repr(one).lower()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `slow` that is late, in its folder: it counts how often its code ran."""
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import builtins, time\nbuiltins.slow_runs = getattr(builtins, 'slow_runs', 0) + 1\ntime.sleep(0.1)\n"
        "from slow.part import PART\nfrom slow import part\nVALUE = 7\n"
    )
    (folder / "part.py").write_text("PART = object()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(late_imports, "LATE", {"slow": {"ready": 1}})
    monkeypatch.setattr("builtins.slow_runs", 0, raising=False)
    before = list(sys.meta_path)
    late_imports.install()
    yield folder
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.split(".")[0] == "slow"]:
        del sys.modules[name]


def runs() -> int:
    import builtins

    return int(builtins.slow_runs)  # type: ignore[attr-defined]


def test_code_runs_once_when_a_name_is_wanted_whichever_thread_wants_it(package: Path) -> None:
    import slow  # type: ignore[import-not-found]

    assert slow.ready == 1
    assert runs() == 0  # answered without
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(slow.VALUE)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [7] * 4
    assert runs() == 1
    with pytest.raises(AttributeError):
        _ = slow.missing


def test_a_module_of_a_late_package_is_imported_once_and_after_the_package(package: Path) -> None:
    import slow.part  # type: ignore[import-not-found]

    assert runs() == 1
    assert slow.part.PART is slow.PART
    assert sys.modules["slow.part"] is slow.part
    assert slow.part.__spec__.origin == str(package / "part.py")


def test_code_that_failed_may_run_again(package: Path) -> None:
    import slow

    (package / "part.py").write_text("raise OSError('not now')\n")
    with pytest.raises(OSError, match="not now"):
        _ = slow.VALUE
    (package / "part.py").write_text("PART = 'now, and of another length'\n")
    assert slow.VALUE == 7
    assert runs() == 2
