"""Reading a network's own folder, `config.json` and `model.safetensors`: what may be wrong with it, in our errors.

with reading(folder, "face tokens"):    # what json and safetensors raise inside becomes an error of ours
    ...
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from personae.errors import BadOption, WeightsCorrupt, WeightsMissing

CONFIG, FILE = "config.json", "model.safetensors"
_FETCH = "install or fetch the model again"


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """A block that reads both files of `folder`, which should hold `what`.

    Raises `WeightsMissing` without one of the files; `WeightsCorrupt` for whatever a damaged one makes the block raise.
    """
    for name in (CONFIG, FILE):
        if not (folder / name).is_file():
            raise WeightsMissing(f"{folder} lacks its file {name}: {_FETCH}")
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsCorrupt(f"{folder} holds no {what} that can be read ({first}): {_FETCH}") from error
    except BadOption as error:
        raise WeightsCorrupt(f"{folder / CONFIG} is damaged ({error}): {_FETCH}") from error
