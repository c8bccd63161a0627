"""A time-stamp authority (RFC 3161) on this machine: with authority() as (url, certificate): ..."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from certificate_fixtures import issued

# Object identifiers in DER.
_SIGNED, _TST_INFO = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("060b2a864886f70d0109100104")
_SHA256, _ECDSA = bytes.fromhex("0609608648016503040201"), bytes.fromhex("06082a8648ce3d040302")
_TYPE, _DIGEST = bytes.fromhex("06092a864886f70d010903"), bytes.fromhex("06092a864886f70d010904")
_CERTIFICATE, _POLICY = bytes.fromhex("060b2a864886f70d010910022f"), bytes.fromhex("06042a030401")


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body).to_bytes(2, "big").lstrip(b"\0") or b"\0"
    return bytes([tag]) + (size if len(body) < 128 else bytes([128 + len(size)]) + size) + body


def _parts(content: bytes) -> list[bytes]:
    """The values inside a sequence, each whole."""
    found, place = [], 2 + (content[1] & 127 if content[1] > 127 else 0)
    while place < len(content):
        assert content[place + 1] < 128, "requests are short"
        end = place + 2 + content[place + 1]
        found.append(content[place:end])
        place = end
    return found


def _reply(request: bytes, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, now: datetime) -> bytes:
    version, imprint, *more = _parts(request)
    nonce = [one for one in more if one[0] == 2]
    one, sha256 = _der(2, b"\x01"), _der(0x30, _SHA256)
    time = _der(0x18, now.strftime("%Y%m%d%H%M%SZ").encode())
    info = _der(0x30, version, _POLICY, imprint, _der(2, b"\x07"), time, *nonce)
    der = certificate.public_bytes(serialization.Encoding.DER)
    attributes = b"".join(
        sorted(
            _der(0x30, name, _der(0x31, value))
            for name, value in (
                (_TYPE, _TST_INFO),
                (_DIGEST, _der(4, hashlib.sha256(info).digest())),
                (_CERTIFICATE, _der(0x30, _der(0x30, _der(0x30, _der(4, hashlib.sha256(der).digest()))))),
            )
        )
    )
    signature = key.sign(_der(0x31, attributes), ec.ECDSA(hashes.SHA256()))
    serial = certificate.serial_number.to_bytes(21, "big").lstrip(b"\0")
    who = _der(0x30, certificate.issuer.public_bytes(), _der(2, serial if serial[0] < 128 else b"\0" + serial))
    signer = _der(0x30, one, who, sha256, _der(0xA0, attributes), _der(0x30, _ECDSA), _der(4, signature))
    content = _der(0x30, _TST_INFO, _der(0xA0, _der(4, info)))
    signed = _der(0x30, _der(2, b"\x03"), _der(0x31, sha256), content, _der(0xA0, der), _der(0x31, signer))
    return _der(0x30, _der(0x30, _der(2, b"\0")), _der(0x30, _SIGNED, _der(0xA0, signed)))


@contextmanager
def authority() -> Iterator[tuple[str, bytes]]:
    """Its address, and the certificate (PEM) by which it can be trusted."""
    own = issued(purpose=ExtendedKeyUsageOID.TIME_STAMPING)
    key = serialization.load_pem_private_key(own.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificates(own.chain)[0]

    class Authority(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            content = _reply(request, key, certificate, datetime.now(UTC))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Authority) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/stamp", own.root
        server.shutdown()
