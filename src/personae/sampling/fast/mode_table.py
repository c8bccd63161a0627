"""The speed modes by name: what each skips to save time. Brings no torch; `modes` carries them out.

What each mode costs is measured in docs/performance.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from personae.errors import BadOption


@dataclass(frozen=True, kw_only=True)
class Mode:
    """What a request skips to save time.

    Attributes:
        guidance_interval: the shares of the schedule's steps, 0-1, between which guidance acts; the others compute the
            conditional half alone, at half the price (Kynkäänniemi et al., NeurIPS 2024: guidance harms early steps,
            and late ones need none). Steps that `MaskBlend.strength` leaves out count as well.
        cache_interval: the deep features of the UNet are computed in every n-th step (`deep_cache`); 1: in all.
        tiny_decoder: whether to decode with the model's `taesd/`, if it has one.
        least_steps: with fewer steps in the schedule than this, neither interval applies.

    Raises `BadOption` for an interval outside its range.
    """

    guidance_interval: Sequence[float] = (0.0, 1.0)
    cache_interval: int = 1
    tiny_decoder: bool = False
    least_steps: int = 9

    def __post_init__(self) -> None:
        first, last = self.guidance_interval
        if not 0 <= first < last <= 1:
            raise BadOption(f"guidance acts between two shares of the steps, 0 <= first < last <= 1, got {first, last}")
        if self.cache_interval < 1:
            raise BadOption(f"deep features are computed every 1, 2, 3... steps, got {self.cache_interval}")

    def for_steps(self, steps: int) -> "Mode":
        """The mode of a request of `steps` steps: without its intervals if these are too few."""
        return self if steps >= self.least_steps else Mode(tiny_decoder=self.tiny_decoder)


MODES = {
    "exact": Mode(),
    "balanced": Mode(guidance_interval=(0.2, 0.6), cache_interval=3),
    "fast": Mode(guidance_interval=(0.2, 0.6), cache_interval=5, tiny_decoder=True),
}
