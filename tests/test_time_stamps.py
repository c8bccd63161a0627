"""Signatures with a time stamp, by an authority (RFC 3161) on this machine."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("c2pa")
from certificate_fixtures import issued
from personae.provenance import writer
from personae.provenance.credentials import Credentials
from personae.provenance.detection import detect
from personae.provenance.marks import Marks
from time_stamp_fixtures import authority


def test_a_stamped_signature_outlives_its_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "config"))
    own = issued(life=timedelta(seconds=4))
    recipe = {"task": "generate", "model": {"name": "nano"}, "settings": {}, "seed": 7}
    with authority() as (url, clock):
        marks = Marks(credentials=Credentials(chain=own.chain, key=own.key, time_stamps=url))
        content = writer.encode(Image.new("RGB", (48, 48)), "png", recipe, marks=marks)
    fresh = detect(content, trust=own.root + clock)["c2pa"]
    assert fresh.state == "trusted"
    assert fresh.facts["time_stamp"].startswith("20")
    assert "time_stamp" not in detect(content, trust=own.root)["c2pa"].facts, "anybody can run such an authority"
    time.sleep(6)  # certificates count whole seconds
    assert detect(content, trust=own.root + clock)["c2pa"].state == "trusted"
    without = detect(content, trust=own.root)["c2pa"]
    assert without.state == "expired"
    assert "no time stamp that you trust" in without.proves_not
    changed = bytearray(content)
    changed[content.index(b"IDAT") + 10] ^= 1
    assert detect(bytes(changed), trust=own.root + clock)["c2pa"].state == "tampered"
