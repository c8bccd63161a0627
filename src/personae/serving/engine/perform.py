"""How each kind of request is carried out on a pipeline, by the thread that owns it.

    perform(pipe, tickets, policy)       # of one kind, which share a call; each ticket gets its result

Every request of a batch ends by itself: one whose photo cannot be read, or that nobody wants any more, leaves the
others to go on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from personae import identity
from personae.controls import registry
from personae.errors import NoFaceFound, PersonaeError, WeightsMissing
from personae.gather import strangers
from personae.identity import directions
from personae.serving.engine import batching, requests
from personae.serving.engine.preview import preview_of, steps_with_preview
from personae.serving.engine.progress import Progress
from personae.serving.engine.ticket import Ticket
from personae.serving.safety import Policy
from personae.types import Face, Identity

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline


class _Unwanted(Exception):
    """Raised inside an animation to end it: nobody waits for it any more."""


def perform(pipe: "FacePipeline", tickets: Sequence[Ticket], policy: Policy) -> None:
    """Carry out requests that share a call, and end their tickets. Raises what is not about one request alone."""
    first = tickets[0].request
    if isinstance(first, requests.Generate):
        _generate(pipe, tickets, policy)
        return
    for ticket in tickets:
        try:
            result = _ALONE[type(ticket.request)](pipe, ticket, policy)
            policy.check_result(result)
        except _Unwanted:
            continue
        except PersonaeError as error:
            ticket.fail(error)
        else:
            ticket.succeed(result)


# ---------------------------------------------------------------------- images of people


def _generate(pipe: "FacePipeline", tickets: Sequence[Ticket], policy: Policy) -> None:
    people: dict[Ticket, list[Face | Identity]] = {}
    for ticket in tickets:
        try:
            people[ticket] = _people(pipe, ticket.request.people, policy)  # type: ignore[attr-defined]
            _check_photos(pipe, _photos_of(ticket.request.options), policy)  # type: ignore[attr-defined]
            ticket.people = people[ticket]
        except PersonaeError as error:
            ticket.fail(error)
    wanted = [ticket for ticket in people if not ticket.done]
    if len(wanted) == 1:
        _alone(pipe, wanted[0], people[wanted[0]], policy)
    elif wanted:
        try:
            _together(pipe, wanted, people, policy)
        except PersonaeError:  # of one of them, and nobody knows of which
            for ticket in wanted:
                if not ticket.done:
                    _alone(pipe, ticket, people[ticket], policy)


def _alone(pipe: "FacePipeline", ticket: Ticket, people: list[Face | Identity], policy: Policy) -> None:
    """The very call that a caller of the pipeline would make: byte for byte its result."""
    request = ticket.request
    assert isinstance(request, requests.Generate)
    try:
        result = pipe(
            people,
            num_images_per_prompt=request.num_images_per_prompt,
            seed=request.seed,
            measure_likeness=request.measure_likeness,
            callback_on_step_end=_callback(pipe, [ticket], policy),
            **request.options,
        )
        policy.check_result(result)
    except PersonaeError as error:
        ticket.fail(error)
    else:
        ticket.succeed(result)


def _together(
    pipe: "FacePipeline", tickets: Sequence[Ticket], people: dict[Ticket, list[Face | Identity]], policy: Policy
) -> None:
    wanted: list[requests.Generate] = [ticket.request for ticket in tickets]  # type: ignore[misc]
    everyone = [
        person
        for ticket, request in zip(tickets, wanted, strict=True)
        for person in people[ticket]
        for _ in range(request.num_images_per_prompt)
    ]
    result = pipe(
        everyone,
        seed=batching.seeds_of(wanted),
        measure_likeness=wanted[0].measure_likeness,
        callback_on_step_end=_callback(pipe, tickets, policy),
        **wanted[0].options,
    )
    for ticket, part in zip(tickets, batching.split(result, wanted), strict=True):
        try:
            policy.check_result(part)
        except PersonaeError as error:
            ticket.fail(error)
        else:
            ticket.succeed(part)


def _callback(pipe: "FacePipeline", tickets: Sequence[Ticket], policy: Policy) -> Callable[..., dict[str, Any]]:
    """What is called after every step: says how far it is, and stops what nobody waits for."""
    firsts, first = {}, 0  # of each ticket, which row of the latents is its first image
    for ticket in tickets:
        firsts[ticket] = first
        first += batching.images_of(ticket.request) if isinstance(ticket.request, requests.Generate) else 1

    def after_step(_: Any, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps, wanted = pipe.num_timesteps, False
        for ticket in tickets:
            preview = None
            if policy.output_filter is None and step + 1 in steps_with_preview(steps, ticket.request.previews):
                preview = preview_of(pipe, tensors["latents"][firsts[ticket] :])
            wanted |= ticket.report(Progress(stage="running", step=step + 1, steps=steps, preview=preview))
        if not wanted:
            pipe.interrupt = True
        return {}

    return after_step


def _people(pipe: "FacePipeline", people: Sequence[Any], policy: Policy) -> list[Face | Identity]:
    """Photos read, the largest face of each; faces and identities as they are. None of them may be denied."""
    found: list[Face | Identity] = []
    for number, one in enumerate(people, start=1):
        if isinstance(one, Face | Identity):
            found.append(one)
            continue
        faces = pipe.read(one)
        if not faces:
            raise NoFaceFound(f"no face found in photo {number} of {len(people)}: give one that shows a face clearly")
        found.append(faces[0])
    policy.check_people(pipe.identities(found))
    return found


def _check_photos(pipe: "FacePipeline", photos: Iterable[Any], policy: Policy) -> None:
    """Raise `Refused` if anybody in a photo may not be shown, the largest face or another: a request chooses among
    them, or takes the picture as it is."""
    if policy.deny_list is None:
        return
    for one in photos:
        faces = [one] if isinstance(one, Face) else pipe.read(one, motion=False)
        policy.check_people(face.identity for face in faces if face.identity is not None)


def _photos_of(options: Mapping[str, Any]) -> list[Any]:
    """The photos among options; of `pose` and `expression` only angles and amounts are taken over."""
    kinds = {row["name"]: row["type"] for row in registry.rows()}
    found = [value for name, value in options.items() if kinds.get(name) == "photo" and value is not None]
    return [photo for value in found for photo in (value if isinstance(value, list | tuple) else [value])]


# ---------------------------------------------------------------------- the others


def _read(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> list[Face]:
    request = ticket.request
    assert isinstance(request, requests.Read)
    return pipe.read(request.photo, motion=request.motion)


def _edit(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> Any:
    request = ticket.request
    assert isinstance(request, requests.Edit)
    photos = {"source": request.source, "target": request.target}
    sources = [one for one in (*photos.values(), *request.tokens.values()) if one is not None]
    _check_photos(pipe, [*sources, *_photos_of(request.options)], policy)
    return pipe.edit(
        request.task,
        **photos,
        tokens=request.tokens,
        region=request.region or None,
        mask=request.mask,
        face=request.face,
        all_faces=request.all_faces,
        shift=request.shift or None,
        pose=request.pose,
        expression=request.expression,
        seed=request.seed,
        num_images=request.num_images,
        measure_likeness=request.measure_likeness,
        callback_on_step_end=_callback(pipe, [ticket], policy),
        **request.options,
    )


def _animate(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> Any:
    from personae.io import video_file  # late, as the next: PyAV, and a mesh
    from personae.video.animate import animate

    request = ticket.request
    assert isinstance(request, requests.Animate)
    _check_photos(pipe, [request.source, *_photos_of(request.options)], policy)

    def on_frame(stage: str, done: int, total: int | None) -> None:
        if not ticket.report(Progress(stage=stage, step=done, steps=total or 0)):
            raise _Unwanted

    result = animate(
        pipe,
        request.source,
        request.driver,
        request.out,
        settings=request.settings,
        frames=request.frames,
        fps=request.fps,
        audio=request.audio,
        on_frame=on_frame,
        **request.options,
    )
    if policy.output_filter is not None:
        try:
            policy.check_images(Image.fromarray(pixels) for pixels in video_file.frames(result.path))
        except BaseException:
            result.path.unlink()
            result.report.unlink()
            raise
    return result


def _mean(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> Identity:
    request = ticket.request
    assert isinstance(request, requests.Mean)
    return identity.mean(pipe.identities(_people(pipe, request.people, policy)), request.weights)


def _blend(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> Identity:
    request = ticket.request
    assert isinstance(request, requests.Blend)
    first, second = pipe.identities(_people(pipe, [request.first, request.second], policy))
    return identity.blend(first, second, request.amount)


def _sample(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> list[Identity]:
    request = ticket.request
    assert isinstance(request, requests.Sample)
    if pipe.folder is None:
        raise WeightsMissing("this model came without files, and holds no table of people to draw from")
    assert request.seed is not None  # the engine has drawn it
    return strangers(pipe.folder, request.count, seed=request.seed)


def _shift(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> Identity:
    request = ticket.request
    assert isinstance(request, requests.Shift)
    if pipe.folder is None:
        raise WeightsMissing("this model came without files, and holds no directions to shift by")
    [person] = pipe.identities(_people(pipe, [request.person], policy))
    return directions.shift(person, directions.of_model(pipe.folder), request.by)


def _detect(pipe: "FacePipeline", ticket: Ticket, policy: Policy) -> Any:
    from personae.provenance.detection import detect  # late: it brings the search for watermarks

    request = ticket.request
    assert isinstance(request, requests.Detect)
    return detect(request.file)


_ALONE: dict[type[requests.EngineRequest], Callable[..., Any]] = {
    requests.Read: _read,
    requests.Edit: _edit,
    requests.Animate: _animate,
    requests.Mean: _mean,
    requests.Blend: _blend,
    requests.Sample: _sample,
    requests.Shift: _shift,
    requests.Detect: _detect,
}
