"""What a figure of a report means."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure's meaning. `bars`: limits that a release must hold, the second one for a model trained on an
    accelerator; `at_least`: whether more is better; `unit`: what follows the number, "%" multiplies a share by 100."""

    says: str
    bars: tuple[float, ...] = ()
    at_least: bool = True
    unit: str = ""

    def met(self, value: float) -> list[bool]:
        """Whether `value` clears each bar."""
        return [value >= bar if self.at_least else value <= bar for bar in self.bars]

    def number(self, value: float | None) -> str:
        """A value as people read it."""
        if value is None:
            return "-"
        if self.unit == "%":
            return f"{100 * value:.1f} %"
        if self.unit:
            return f"{value:.3g} {self.unit}"
        return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"

    def promise(self, value: float | None) -> str:
        """The bars and whether they are cleared: "≥ 0.450 met"."""
        sign = "≥" if self.at_least else "≤"
        verdicts = self.met(value) if value is not None else [False] * len(self.bars)
        limits = (
            f"{sign} {self.number(bar)} {'met' if ok else '**not met**'}"
            for bar, ok in zip(self.bars, verdicts, strict=True)
        )
        return "; ".join(limits)
