"""personae detect | provenance: where pictures come from, and who signs this user's own."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personae.cli.options import Force, Json
from personae.cli.report import say_written
from personae.console import note, say, say_json
from personae.errors import BadOption, PersonaeError

if TYPE_CHECKING:
    from personae.provenance.detection import Detected


class Algorithm(StrEnum):
    """Of a key that signs."""

    es256 = "es256"
    es384 = "es384"
    es512 = "es512"
    ps256 = "ps256"
    ps384 = "ps384"
    ps512 = "ps512"
    ed25519 = "ed25519"


signing = typer.Typer(help="Who signs what you make (C2PA). Example: personae provenance show")


def detect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Pictures and videos, whoever made them.")],
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="Certificates (PEM) that may vouch for signatures, beside your own; once for each file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say where pictures come from: signature, watermark, recipe, label; what each proves, and what was stripped.

    Example: personae detect picture.jpg
    """
    from personae.io import regular
    from personae.provenance.detection import detect as look

    anchors = b"".join(regular.read(path, 2**20, BadOption) + b"\n" for path in trust or ())
    rows: list[dict[str, Any]] = []
    failed = False
    for path in files:
        try:
            found = look(path, trust=anchors)
        except BadOption:
            raise
        except PersonaeError as error:
            failed = True
            rows.append({"file": str(path), "error": str(error)})
            note(str(error))
            continue
        rows.append(found.as_json())
        if not as_json:
            say(*_lines(found))
    if as_json:
        say_json(rows)
    if failed:
        raise typer.Exit(2)


def _lines(found: "Detected") -> list[str]:
    lines = [f"{found.file}: {found.verdict}"]
    for one in found.marks:
        lines.append(f"  {one.mark:10} {one.state}")
        if one.facts.get("reason"):
            lines.append(f"{'':13}{one.facts['reason']}")
        if "score" in one.facts:
            rate = one.facts.get("false_positives")
            confidence = f"score {one.facts['score']:.1f}, present from {one.facts['threshold']:.1f} on"
            lines.append(f"{'':13}{confidence}" + (f"; false positives: {rate}" if rate else ""))
        if one.found:
            lines += [f"{'':13}proves: {one.proves}", f"{'':13}does not prove: {one.proves_not}"]
    if found.frames:
        count = sum(bool(one["watermark"]) for one in found.frames)
        lines.append(f"  frames     the watermark is in {count} of {len(found.frames)} that were looked at")
    lines += [f"  stripped   {one}" for one in found.stripped]
    lines += [f"  made of    {_of_input(one)}" for one in found.inputs]
    return lines


def _of_input(one: "dict[str, Any] | Any") -> str:
    """One of what a file was made of."""
    if one["by"] == "recipe":
        task = (one.get("edit") or {}).get("task", one.get("task"))
        name = task.get("name") if isinstance(task, dict) else task
        return f"an earlier {name} by {(one.get('model') or {}).get('name', 'a model')}, says the recipe"
    title = f"{one.get('title', 'a file')} ({one.get('relationship', 'ingredient')})"
    if "state" not in one:
        return f"{title}, which had no signature"
    kind = f", {one['source_type']}" if "source_type" in one else ""
    signed = f"signed by {one.get('generator', 'some program')}{kind}: {one['state']}"
    return f"{title}, {signed}, by the word of this signature"


@signing.command()
def setup(
    chain: Annotated[
        Path | None, typer.Option(help="Your certificates (PEM), the signing one first; with --key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM, PKCS 8); it stays where it is.")] = None,
    algorithm: Annotated[Algorithm | None, typer.Option(help="Of the key; with --chain.", show_default="es256")] = None,
    time_stamps: Annotated[
        str | None,
        typer.Option(help="URL of a time-stamp authority, which is then asked over the network for every picture."),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Another local certificate; the old root is still trusted here.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Back to the local certificate from a chain of your own.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Choose who signs what you make: a local certificate (made on first use anyway), or your own chain and key.

    Example: personae provenance setup
    """
    if (chain is None) != (key is None):
        raise BadOption("--chain and --key go together: give both")
    if sum((chain is not None, new, local)) > 1:
        raise BadOption(
            "--chain brings a certificate, --new makes one, --local goes back to the one made before: give one"
        )
    if chain is None and algorithm is not None:
        raise BadOption("--algorithm goes with --chain and --key: the local certificate has its own")
    if chain is None and time_stamps is not None:
        raise BadOption(
            "--time-stamps goes with --chain and --key: an authority stamps for certificates that are known"
        )
    _require_extra()
    from personae.provenance import credentials, signer

    if chain is not None and key is not None:
        signer.choose(chain, key, algorithm=(algorithm or Algorithm.es256).value, time_stamps=time_stamps)
    elif new:
        signer.renew()
    elif local:
        signer.use_local()
    else:
        credentials.of_user()
    show(as_json=as_json)


def _require_extra() -> None:
    """Raise `BadOption` unless what makes and reads certificates and signatures is installed."""
    from importlib.util import find_spec

    from personae.provenance import signing

    if signing.library() is None or find_spec("cryptography") is None:
        raise BadOption("nothing is signed: pip install 'personae[provenance]'")


@signing.command()
def show(as_json: Json = False) -> None:
    """Say who signs what you make, and where the files lie; nothing is made.

    Example: personae provenance show
    """
    _require_extra()
    from personae.provenance import credentials

    own = credentials.own()
    if own is None and not (credentials.folder() / credentials.LOCAL).exists():
        answer: dict[str, Any] = {"signs": "nobody yet: a local certificate is made when the first picture is written"}
    else:
        found = own or credentials.local()
        answer = {"signs": "local" if own is None else "own", **credentials.facts(found)}
    answer["folder"] = str(credentials.folder())
    if as_json:
        say_json(answer)
    else:
        say(*(f"{name:12} {value}" for name, value in answer.items() if value is not None))


@signing.command("export-root")
def export_root(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write (PEM).", show_default="stdout")
    ] = None,
    force: Force = False,
) -> None:
    """Write the certificate by which others can trust what you sign, and those before; there is nothing secret in it.

    Example: personae provenance export-root -o my-root.pem
    """
    _require_extra()
    from personae.provenance import credentials, writer

    content = credentials.to_hand_out()
    if out is None or str(out) == "-":
        say(*content.decode().splitlines())
    else:
        say_written([writer.write(out, content, force=force)])
