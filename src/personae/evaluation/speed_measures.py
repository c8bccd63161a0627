"""The tables of `measures` about time and memory."""

from personae.evaluation.measure import Measure

SPEED = {
    "reading_ms": Measure(
        says="reading a 640-px photo with one face on one core", bars=(40.0,), unit="ms", at_least=False
    ),
    "generate_s": Measure(
        says="`personae generate PHOTO -n 4` in a new process, everything included",
        bars=(12.0,),
        unit="s",
        at_least=False,
    ),
    "generate_peak_gib": Measure(says="its peak memory", bars=(1.5,), unit="GiB", at_least=False),
    "bulk_images_per_s": Measure(says="64 people in one call after warm-up", bars=(8.0,), unit="images/s"),
    "import_s": Measure(says="`import personae` in a new process", bars=(0.3,), unit="s", at_least=False),
    "help_s": Measure(says="`personae --help` in a new process", bars=(1.0,), unit="s", at_least=False),
    "regions_ms": Measure(says="one face divided into its regions", bars=(6.0,), unit="ms", at_least=False),
}

STARTUP = {
    "ratio": Measure(
        says="`personae generate -n 4` in a new process: seconds over the other checkout's, median of pairs",
        bars=(1.03,),
        unit="x",
        at_least=False,
    ),
    "seconds": Measure(says="seconds of this checkout", unit="s", at_least=False),
    "seconds_other": Measure(says="seconds of the other checkout", unit="s", at_least=False),
}

_ROWS = {
    "seconds": Measure(says="seconds per image", unit="s", at_least=False),
    "speedup": Measure(says="how many times faster than the README's recipe", unit="x"),
    "peak": Measure(says="share of the best matrix product in the same precision", unit="%"),
    "memory": Measure(says="peak memory of a fresh process", unit="GiB", at_least=False),
}


def _compared(exact: float, balanced: float, fast: float) -> dict[str, Measure]:
    """Of one family of processors, with the bars of its speeds."""
    return _ROWS | {
        "exact_speedup": Measure(
            says="`exact` against the README's recipe in float32, one image, 25 guided steps", bars=(exact,), unit="x"
        ),
        "balanced_speedup": Measure(says="the same for `balanced`", bars=(balanced,), unit="x"),
        "fast_speedup": Measure(says="the same for `fast`", bars=(fast,), unit="x"),
    }


_MEMORY = {
    "memory_share": Measure(
        says="peak memory of `exact`, as a share of the README's recipe's", bars=(0.60,), unit="%", at_least=False
    )
}
COMPARE_AMX = _compared(5.0, 12.0, 20.0) | _MEMORY
COMPARE_AVX512 = _compared(1.9, 5.2, 8.5) | _MEMORY
COMPARE_FLOAT32 = _compared(1.05, 2.8, 5.0) | {
    "memory_beside": Measure(
        says="peak memory of `exact` beside the bytes of its weights", bars=(0.8,), unit="GiB", at_least=False
    )
}

COMPARE_GPU = _ROWS | {
    "guided_images_per_s": Measure(says="25 guided steps, `exact`, at the largest batch", bars=(8.0,), unit="images/s"),
    "lcm_images_per_s": Measure(says="4 LCM steps, `exact`, at the largest batch", bars=(60.0,), unit="images/s"),
}

MODES = {
    "balanced_loss": Measure(
        says="likeness that `balanced` loses against `exact`, same people and seeds", bars=(0.02,), at_least=False
    ),
    "fast_loss": Measure(says="the same for `fast`", bars=(0.02,), at_least=False),
    "seconds": Measure(says="seconds per image", unit="s", at_least=False),
    "likeness": Measure(says="mean cosine to the person's photo, 0 where no face was found"),
    "loss": Measure(says="likeness lost against exact, person by person", at_least=False),
    "pixels": Measure(says="root-mean-square difference to the exact image, 0-1", at_least=False),
    "same": Measure(says="the judge's cosine to the exact image"),
}
