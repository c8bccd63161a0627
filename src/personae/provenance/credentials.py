"""Who signs: a certificate of this user's own, made on first use, or the user's chain and key, or a module's callback.

    credentials = of_user()            # what `signer.choose` noted; else the local one, made if need be
    credentials.chain                  # PEM, the signing certificate first
    roots()                            # PEM: whom this user trusts without being asked: their own local certificates

The local certificate: a root of its own signs one leaf, and the root's key is thrown away at once, so nothing else can
ever be signed in its name. Key and chain lie in one file, `provenance/local.pem` of the user's configuration folder,
readable by the user alone, which appears whole or not at all: two processes that make it at once end with the same.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from personae.errors import BadOption, BadOutput, PersonaeError
from personae.io import atomic, regular
from personae.io.boundary import errors_as
from personae.io.user_folders import config_folder

ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
# Without a time stamp a signature holds as long as its certificate, so both live long.
ROOT_YEARS, LEAF_YEARS = 40, 30
_BEGIN_CERTIFICATE, _END = b"-----BEGIN CERTIFICATE-----", b"-----END "
_MOST_BYTES = 2**18  # of a PEM file
_ORGANISATION, _ROOT = "personae", "local root"
LOCAL, SETTINGS, EARLIER = "local.pem", "signer.json", "earlier-roots.pem"
_INSTEAD = (
    "choose others (personae provenance setup --chain CHAIN --key KEY), or sign by the local certificate (--local)"
)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What signs.

    chain: certificates as PEM, the signing one first. key: its private key as PEM (PKCS 8); or sign: what makes the
    signature of some bytes in a module that does not hand its key out, raw as COSE wants it (of ES256: r and s, 32
    bytes each); one of the two. algorithm: one of `ALGORITHMS`. time_stamps: URL of a time-stamp authority (RFC 3161),
    which is asked once for every picture; None: the network is never used.
    """

    chain: bytes
    key: bytes | None = None
    sign: Callable[[bytes], bytes] | None = None
    algorithm: str = "es256"
    time_stamps: str | None = None

    def __post_init__(self) -> None:
        if (self.key is None) == (self.sign is None):
            raise BadOption("credentials take either a key or a callback that signs: give one of the two")
        if self.algorithm not in ALGORITHMS:
            raise BadOption(f"a signature's algorithm is {', '.join(ALGORITHMS)}, got {self.algorithm!r}")
        if _BEGIN_CERTIFICATE not in self.chain:
            raise BadOption("the chain holds no certificate: give PEM, the signing certificate first")
        if self.time_stamps is not None and not self.time_stamps.startswith(("http://", "https://")):
            raise BadOption(f"a time-stamp authority is an http or https URL, got {self.time_stamps!r}")


def folder() -> Path:
    """Where the user's credentials lie."""
    return config_folder() / "provenance"


def of_user() -> Credentials:
    """The user's own credentials if they chose some, else the local ones, made on first use. Raises `BadOption` for
    files that cannot be used, `BadOutput` if the local ones cannot be written."""
    return own() or local()


def own() -> Credentials | None:
    """What the user chose, None: nothing. Raises `BadOption`, naming the file that cannot be used."""
    place = folder() / SETTINGS
    if not regular.is_file(place):
        return None
    with errors_as(BadOption, f"{place} cannot be used", _INSTEAD):
        found = regular.read_object(place, BadOption)
        words = [found[name] for name in ("chain", "key", "algorithm", "time_stamps")]
    try:
        return of_files(*words)
    except BadOption as error:
        raise BadOption(f"{error}; {_INSTEAD}") from error


def of_files(chain: str, key: str, algorithm: str, time_stamps: str | None) -> Credentials:
    """Credentials of two PEM files. Raises `BadOption`."""
    certificates, secret = (regular.read(place, _MOST_BYTES, BadOption) for place in (chain, key))
    if b"ENCRYPTED" in secret:
        raise BadOption(f"the key in {key} is locked by a password: give one without (openssl pkcs8 -topk8 -nocrypt)")
    if b"PRIVATE KEY" not in secret:
        raise BadOption(f"{key} holds no private key: give one in PEM (PKCS 8), without a password")
    return Credentials(chain=certificates, key=secret, algorithm=algorithm, time_stamps=time_stamps)


def local() -> Credentials:
    """The local credentials, made on first use. Raises `BadOutput` if they cannot be written, `BadOption` if they are
    damaged."""
    place = folder() / LOCAL
    if not regular.is_file(place):
        make_folder()
        try:
            atomic.write(place, new_pem(), private=True)
        except BadOutput:
            if not regular.is_file(place):  # else another process was faster: its are the ones
                raise
    content = regular.read(place, _MOST_BYTES, BadOption)
    key, *chain = _blocks(content)
    if b"PRIVATE KEY" not in key or not chain:
        raise BadOption(f"{place} is damaged: make another (personae provenance setup --new)")
    return Credentials(chain=b"".join(chain), key=key)


def roots() -> bytes:
    """PEM of the certificates that `detect` trusts without being asked: the roots of this user's local certificates,
    the one in use and those before. Of a chain of the user's own only such a root counts: whoever else issued it
    vouches for others as well. Nothing is made and no key is read; what cannot be read is left out with a warning."""
    found = []
    for name, anchors_of in ((SETTINGS, _of_choice), (LOCAL, _last), (EARLIER, _certificates)):
        place = folder() / name
        if regular.is_file(place):
            try:
                with errors_as(BadOption, "it cannot be read"):
                    found += anchors_of(place)
            except PersonaeError as error:
                warnings.warn(f"the certificates of {place} are not trusted: {error}", stacklevel=2)
    return b"".join(dict.fromkeys(found))


def roots_to_keep() -> bytes:
    """What `EARLIER` is to hold once there is another local certificate: all that it holds now, certificates or not,
    and the rest of `roots`. Raises `BadOption` if its bytes cannot be read: they must not be replaced."""
    place, found = folder() / EARLIER, roots()
    if not regular.is_file(place):
        return found
    before = regular.read(place, _MOST_BYTES, BadOption)
    return before.rstrip() + b"\n" + b"".join(one for one in _blocks(found) if one not in before)


def to_hand_out() -> bytes:
    """PEM of the certificates by which others can trust what this user signs: the last one of the chain that signs, and
    the roots of local ones. They are made if there are none. Raises as `of_user`."""
    last = _blocks(of_user().chain)[-1]
    return last + roots().replace(last, b"")


def _last(place: Path) -> list[bytes]:
    return _certificates(place)[-1:]


def _of_choice(place: Path) -> list[bytes]:
    return [one for one in _last(Path(regular.read_object(place, BadOption)["chain"])) if _is_local_root(one)]


def _certificates(place: Path) -> list[bytes]:
    """The certificates of a PEM file, whatever else is in it. Raises `BadOption` if there are none."""
    found = [one for one in _blocks(regular.read(place, _MOST_BYTES, BadOption)) if one.startswith(_BEGIN_CERTIFICATE)]
    if not found:
        raise BadOption("it holds no certificate")
    return found


def _is_local_root(certificate: bytes) -> bool:
    """Whether a certificate is the root of somebody's local one, which vouches for nobody else."""
    from cryptography import x509  # late: it belongs to an extra
    from cryptography.x509.oid import NameOID

    found = x509.load_pem_x509_certificate(certificate)
    organisations, names = (
        [str(one.value) for one in found.subject.get_attributes_for_oid(kind)]
        for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    )
    ours = organisations == [_ORGANISATION] and all(one.startswith(f"{_ROOT} ") for one in names)
    return found.subject == found.issuer and ours


def make_folder() -> None:
    """The folder of the user's credentials, for the user alone. Raises `BadOutput`."""
    with atomic.errors_about(folder()):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)


def _blocks(pem: bytes) -> list[bytes]:
    """The parts of a PEM file, each with its first and last line."""
    parts: list[list[bytes]] = []
    for line in pem.splitlines(keepends=True):
        if line.startswith(b"-----BEGIN "):
            parts.append([])
        if parts:
            parts[-1].append(line)
    return [b"".join(part) for part in parts if part[-1].strip().startswith(_END)] or [b""]


# ---------------------------------------------------------------------- making them


def facts(credentials: Credentials) -> dict[str, Any]:
    """What the signing certificate says: whose, by whom, until when, and the sha256 of it."""
    with errors_as(BadOption, "the signing certificate cannot be read", "give a chain in PEM"):
        from cryptography import x509  # late: it belongs to an extra
        from cryptography.hazmat.primitives import hashes

        leaf = x509.load_pem_x509_certificates(credentials.chain)[0]
        return {
            "subject": leaf.subject.rfc4514_string(),
            "issuer": leaf.issuer.rfc4514_string(),
            "until": leaf.not_valid_after_utc.date().isoformat(),
            "sha256": leaf.fingerprint(hashes.SHA256()).hex(),
            "algorithm": credentials.algorithm,
            "time_stamps": credentials.time_stamps,
        }


def new_pem() -> bytes:
    """A key, its certificate and the root that signed it, as PEM; the root's own key is nowhere. Neither names a person
    or a machine: what tells two of them apart is drawn at random."""
    from cryptography import x509  # late: it belongs to an extra, and is needed once
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    number, now = os.urandom(4).hex(), datetime.now(UTC)

    def name(of: str) -> x509.Name:
        words = ((NameOID.ORGANIZATION_NAME, _ORGANISATION), (NameOID.COMMON_NAME, f"{of} {number}"))
        return x509.Name([x509.NameAttribute(*word) for word in words])

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())

    def certificate(of: str, public: ec.EllipticCurvePublicKey, years: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(of))
            .issuer_name(name(_ROOT))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365 * years))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.BasicConstraints(ca=years == ROOT_YEARS, path_length=None), critical=True)
            .add_extension(_usage("key_cert_sign" if years == ROOT_YEARS else "digital_signature"), critical=True)
        )

    root = certificate(_ROOT, root_key.public_key(), ROOT_YEARS).sign(root_key, hashes.SHA256())
    # C2PA takes certificates for e-mail (its specification, 14.5.1.1).
    leaf = (
        certificate("local signer", key.public_key(), LEAF_YEARS)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem, secret = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, secret)
    return private + leaf.public_bytes(pem) + root.public_bytes(pem)


def _usage(purpose: str) -> Any:
    from cryptography import x509  # late: as above

    purposes = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{one: one == purpose for one in purposes})
