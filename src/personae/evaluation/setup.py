"""setup.open_setup("nano", 40, None, "teacher") -> Setup(pipe, subjects, judge, find): what a suite measures with."""

from dataclasses import dataclass
from pathlib import Path

import personae
from personae.errors import WeightsMissing
from personae.evaluation import subjects
from personae.evaluation.judge import Finder, Judge, judge_spec, reader_finder
from personae.evaluation.people import held_out_people
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A model; held-out people in whose photo its reader finds a face; a judge that has no part in the model; and the
    model's reader as the finder of faces."""

    pipe: FacePipeline
    subjects: list[Subject]
    judge: Judge
    find: Finder


def open_setup(model: str, people: int, source: Path | None, judge: str, *, motion: bool = False) -> Setup:
    """Load `model` and read the photos of `people` held-out people.

    source: a prepared cache or raw photo tars, None: the usual places. judge: see `judge.judge_spec`. motion: whether
    photos are read with pose and expression.

    Raises `WeightsMissing` for a model without a reader, `BadOption` for a judge that conditions the model, `BadData`.
    """
    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    if pipe.reader is None:
        raise WeightsMissing(f"{model} has no reader, so no photo can be read: name a model that has one")
    opinion = Judge(judge_spec(judge))
    opinion.require_unrelated(pipe.config.identity_space)
    found = subjects.read(pipe, held_out_people(source, people), motion=motion)
    return Setup(pipe=pipe, subjects=found, judge=opinion, find=reader_finder(pipe.reader))
