"""Words and faces side by side, weighed against each other: by the model's projector (`face_tokens/`).

    pipe(face, prompt="a smiling man, black and white")
    pipe(face, prompt="a man at the beach", look="painting")
    pipe(face, prompt="a man at the beach", face_weight=0.5, face_interval=(0.3, 1))

A prompt without `{person}` is Face0's; one with it, or none, is Arc2Face's and not weighed. The weights are
`sampling.guidance_weights`: both, unless the request sets others. `""` is a prompt, too: the face without words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from personae.controls.control import Control
from personae.controls.fast import FastControl
from personae.controls.option import option
from personae.controls.prompt import PromptControl
from personae.controls.request import Plan, Request
from personae.controls.steps import StepsControl
from personae.errors import BadOption
from personae.io.json_kinds import Choice, Interval, Number
from personae.sampling.look_table import LOOKS

if TYPE_CHECKING:
    from personae.model import Model
    from personae.sampling.guidance_weights import GuidanceWeights

_SHARE = "share of the steps"


def _weight(default: float, help: str) -> Any:  # noqa: A002
    return option(Number(low=-100, high=100), soft=(-1, 2), step=0.05, default=default, help=help)


@dataclass(frozen=True, kw_only=True)
class TextControl(Control):
    """How much the words alone, the face alone and both together count (negative: away from it), and when."""

    group: ClassVar[str] = "Words and face"
    component: ClassVar[str | None] = "face_tokens"

    text_weight: float = _weight(0.0, "How much the words alone count; one weight is always 0.")
    face_weight: float = _weight(0.0, "How much the face alone counts.")
    both_weight: float = _weight(1.0, "How much words and face together count.")
    text_interval: Sequence[float] = option(
        Interval(),
        default=(0.0, 1.0),
        unit=_SHARE,
        help="Between which shares of the steps the words alone act, e.g. 0,0.5.",
    )
    face_interval: Sequence[float] = option(
        Interval(), default=(0.0, 1.0), unit=_SHARE, help="The same of the face alone."
    )
    both_interval: Sequence[float] = option(
        Interval(), default=(0.0, 1.0), unit=_SHARE, help="The same of both together."
    )
    look: str | None = option(Choice(of=tuple(LOOKS)), help="photo, stylised or painting, instead of weights.")

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption` for weights without words to weigh, weights and a look, a prompt that is too long, `fast`;
        `WeightsMissing`, `WeightsCorrupt`."""
        from personae.conditioning.arc2face import PERSON  # late: it brings torch

        in_windows = request.windows is not None
        in_one_map = request.regions is not None and not in_windows
        words = request.control(PromptControl)
        if words.prompt is None or PERSON in words.prompt:
            if self.explicit or in_one_map:
                what = min(self.explicit, default="regions in a picture that is not larger than the model's own")
                raise BadOption(
                    f"{what} is for words beside the face: give a prompt without {PERSON}, got {words.prompt!r}"
                )
            return _of_windows(model, request) if in_windows else None
        if not self.explicit and request.regions is None and not model.has_component("face_tokens"):
            return None  # the identity prompt says what is wrong with these words
        network = model.component("face_tokens")
        if request.control(FastControl).fast is not None or request.control(StepsControl).scheduler == "lcm":
            raise BadOption(
                "latent consistency sampling (fast, scheduler 'lcm') has its guidance built in and cannot weigh text "
                f"against a face: leave it out, or write the prompt with {PERSON}"
            )
        from personae.sampling import text_guidance

        weights = self._weights()
        texts = text_guidance.Texts.encode(model, network, words.prompt, words.negative_prompt)
        if request.regions is not None and not in_windows:
            inputs, hook = text_guidance.everyone_in_one_map(
                network, texts, request.people, len(request.person_index), weights, regions=request.regions
            )
            return Plan(guidance=inputs, hooks=[hook], settings=weights.settings())
        inputs = text_guidance.words_and_faces(
            network, texts, request.people, request.person_index, weights, regions=request.regions
        )
        if request.windows is not None:
            inputs = text_guidance.without_face(inputs, request.windows)
        return Plan(guidance=inputs, settings=weights.settings())

    def _weights(self) -> GuidanceWeights:
        """From a look, or from weights and their intervals."""
        from personae.sampling import guidance_weights  # late: it brings torch

        if self.look is not None:
            if others := self.explicit - {"look"}:
                raise BadOption(f"a look is a choice of weights: give look {self.look!r} or {min(others)}, not both")
            return guidance_weights.LOOKS[self.look]
        names = [name for name in self.options() if name != "look"]
        return guidance_weights.GuidanceWeights(**{name.removesuffix("_weight"): getattr(self, name) for name in names})


def _of_windows(model: Model, request: Request) -> Plan:
    """Of a prompt with `{person}`, or none, seen through windows."""
    from personae.sampling import text_guidance

    assert request.windows is not None
    words = request.control(PromptControl)
    inputs = text_guidance.identities_in_windows(
        model,
        request.people,
        request.person_index,
        prompt=words.prompt,
        negative_prompt=words.negative_prompt,
        windows=request.windows,
        regions=request.regions,
    )
    return Plan(guidance=inputs)
