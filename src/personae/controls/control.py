"""`Control`: what every way to steer a generation is, a dataclass of options with a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from personae.errors import BadOption

if TYPE_CHECKING:
    from personae.controls.option import Option
    from personae.controls.request import Plan, Request
    from personae.model import Model


@dataclass(frozen=True, kw_only=True)
class Control:
    """One way to steer a generation: its options are its fields, `plan` carries them out.

    group: under which heading a page shows its options. one_face: whether it is for pictures, or windows, of one face,
    aligned and as large as the model's own. component: the optional component (`models.components`) that it needs.
    explicit: the names of the options that the request sets.
    """

    group: ClassVar[str] = "More"
    one_face: ClassVar[bool] = False
    component: ClassVar[str | None] = None

    explicit: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """The declarations by name, in the order of the fields."""
        return {one.name: one.metadata["option"] for one in fields(cls) if "option" in one.metadata}

    @classmethod
    def of(cls, request_options: Mapping[str, Any], provided: Collection[str] = ()) -> Self:
        """The control with its own of a request's options; None is as good as absent. provided: options that are set
        elsewhere, so that others may need them. Raises `BadOption` for a value out of range, or an option without the
        one that it needs."""
        declared = cls.options()
        values = {
            name: one.checked(name, request_options[name])
            for name, one in declared.items()
            if request_options.get(name) is not None
        }
        for name in values:
            needs = declared[name].needs
            if needs and not {*values, *provided} & set(needs):
                raise BadOption(f"{name} has nothing to act on: give {' or '.join(needs)} with it, or leave it out")
        return cls(**values, explicit=frozenset(values))

    def laid_out(self, model: Model, request: Request) -> Request:
        """The request as the controls shall see it: of pictures laid out otherwise, if this one does so."""
        return request

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Its part of the plan; None: it has none, as a control whose options the pipeline itself reads. Raises
        `BadOption` and what its module says; `WeightsMissing` for a model without the component."""
        return None

    @classmethod
    def works_with(cls, model: Model) -> bool:
        """Whether a model has what it needs. Never downloads."""
        return cls.component is None or model.has_component(cls.component)

    @classmethod
    def of_model(cls, model: Model) -> Mapping[str, Mapping[str, Any]]:
        """What a model changes in the rows of `registry.rows`: values by option and by key, such as its own default."""
        return {}
