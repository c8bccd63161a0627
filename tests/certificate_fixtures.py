"""Certificates as somebody else's authority would issue them, of any algorithm and life."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from personae.provenance import credentials

KEYS: dict[str, Any] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
}


@dataclass(frozen=True, kw_only=True)
class Issued:
    """PEM of each."""

    chain: bytes
    key: bytes
    root: bytes


def issued(
    algorithm: str = "es256",
    *,
    life: timedelta = timedelta(days=9),
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
) -> Issued:
    """A chain of a leaf called `the leaf` and its root."""
    key, root_key, now = KEYS[algorithm](), KEYS["es256"](), datetime.now(UTC)
    authority = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())

    def name(of: str) -> x509.Name:
        words = ((NameOID.ORGANIZATION_NAME, "an authority"), (NameOID.COMMON_NAME, of))
        return x509.Name([x509.NameAttribute(*word) for word in words])

    def certificate(of: str, public: Any, until: datetime, *, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(name("the root"), name(of), public, x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(credentials._usage("key_cert_sign" if ca else "digital_signature"), critical=True)
        )

    root = certificate("the root", root_key.public_key(), now + timedelta(days=99), ca=True)
    leaf = (
        certificate("the leaf", key.public_key(), now + life, ca=False)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    ends = [one.sign(root_key, hashes.SHA256()).public_bytes(pem) for one in (leaf, root)]
    secret = key.private_bytes(pem, private, serialization.NoEncryption())
    return Issued(chain=b"".join(ends), key=secret, root=ends[1])
