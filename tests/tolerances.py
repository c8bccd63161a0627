"""How far two float computations of the same thing may lie apart: one place, and the arithmetic behind it.

    assert_same(together, alone)                 # one pass through a network each
    assert_same(together, alone, steps=6)        # walks of six steps

Another batch, padding, number of threads or processor adds the same products in another order; nothing else may
differ. What that can do:

- One sum of K products rounds K times, each time by half an eps (1.19e-7 in float32) of what was added up so far; signs
  are random and leave the root of K. The longest sums of the tiny models have 256 terms: some 16 eps. The layers after
  that pass it on and add their own: two to four times as much. That is `ROUNDINGS`.
- A unit is eps of the *largest* value compared, not of each: small values are differences of large ones. Latents of
  the noise schedule reach 128, pictures 1; their roundings differ as much.
- Each step of a walk adds its own, and carries those before it along.
- Guidance w c + (1 - w) u multiplies what its halves are off by |w| + |1 - w|: 14 at 7.5.

So |found - expected| <= ROUNDINGS * eps * steps * (|w| + |1 - w|) * max |expected|, everywhere. Against a relative
tolerance for each value this is wider near zero and much narrower for the largest: a wrong row, a lost control or a
skipped step is off by 1e-2 of the largest value and more, a thousand times what is allowed.

Observed, the largest of some 220 comparisons, of the 64 that are allowed (2026-11-29, AMD EPYC with AVX2, torch 2.13):

    as it is, one thread                   22.0    ATEN_CPU_CAPABILITY=default            14.0 (a quarter of them)
    ONEDNN_MAX_CPU_ISA=SSE41               12.5 (a quarter of them)

On an AMD processor with AVX-512 5.9e-5 was seen where latents reach 130 after three steps: 1.3.

Nearly nine in ten are below 2. What is above 10: an autoencoder's decoder (its gain for
rounded latents), also prepared for speed, and deis and Heun on a flow, whose three steps extrapolate.

Clipping hides how large values were: a decoder's result is compared by what it was before, and a walk that clips its
clean pictures, whose first step is a division by a signal of 0.03, not at all (37 and 61 in tests of an earlier day).

TOLERANCES=FILE writes one line for each comparison, largest last after `sort -g`, so that the table can be made again.
"""

import os
from pathlib import Path

import torch

ROUNDINGS = 64


def assert_same(
    found: object, expected: object, *, steps: int = 1, guidance: float = 1.0, unclipped: object = None
) -> None:
    """Tensors or arrays of one shape, made by one pass or by walks of `steps` steps; the coarser of two precisions
    counts. guidance: by which two predictions were combined. unclipped: `expected` before it was clipped."""
    one, other = (torch.as_tensor(values).detach() for values in (found, expected))
    assert one.shape == other.shape, f"{tuple(one.shape)} beside {tuple(other.shape)}"
    assert one.isfinite().all()
    assert other.isfinite().all()
    largest = float((other if unclipped is None else torch.as_tensor(unclipped).detach()).abs().max())
    eps = max(torch.finfo(values.dtype).eps for values in (one, other))
    unit = eps * steps * (abs(guidance) + abs(1 - guidance)) * largest
    off = (one.double() - other.double()).abs()
    worst, allowed = float(off.max()), ROUNDINGS * unit
    if log := os.environ.get("TOLERANCES"):
        with Path(log).open("a") as file:
            file.write(f"{worst / unit if unit else 0:.2f} {steps} steps, {os.environ.get('PYTEST_CURRENT_TEST')}\n")
    assert worst <= allowed, (
        f"{int((off > allowed).sum())} of {off.numel()} values are off by up to {worst:.3g} where {allowed:.3g} is "
        f"allowed: {worst / unit if unit else float('inf'):.1f} roundings of {ROUNDINGS}"
    )
