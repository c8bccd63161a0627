"""python tests/golden/make_fast_reference.py: writes fast_reference.json, the first 8 numbers of final latents.

Made by plain diffusers and by hand (`adapters_by_hand.py`), not by personae, on the tiny models of conftest.py;
`test_fast.py` and `test_reference.py` hold personae to them.
"""

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402

from test_fast import expected, quick  # noqa: E402
from test_reference import CASES, by_hand, referring  # noqa: E402


def main() -> None:
    torch.set_num_threads(1)
    numbers = {}
    with tempfile.TemporaryDirectory() as name:
        for kind in CASES:
            numbers[f"fast {kind}"] = expected(quick(kind, Path(name, "fast", kind)))
            numbers[f"reference {kind}"] = by_hand(referring(kind, Path(name, kind)))
    short = {name: [[round(float(x), 7) for x in row[:8]] for row in rows.flatten(1)] for name, rows in numbers.items()}
    (HERE / "fast_reference.json").write_text(
        json.dumps(short, indent=1).replace("\n   ", " ").replace("\n  ]", "]") + "\n"
    )


if __name__ == "__main__":
    main()
