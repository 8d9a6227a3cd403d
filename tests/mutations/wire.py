"""Requests to stage 2 as a network may bring them: damaged, forged in their header, cut, of another bundle."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np

from sacvit_deploy import Prediction, RequestError, StageOne, StageTwo, StageTwoRequest
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.request import CHECKED_FROM, HEADER, MAGIC
from tests.data import record
from tests.mutations.cases import AcceptedError, Case, Subject
from tests.mutations.mutate import damaged

NUMBERS = (0, 1, 2, 3, 5, 16, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
DIGEST = slice(HEADER.size - 32, HEADER.size)


def request_bytes(precision: str = "fp32") -> list[bytes]:
    """Return requests of the recorded bundle, of two alphas."""
    stage = StageOne(record.BEFORE, precision=precision, threads=1)
    found = [
        dataclasses.replace(result, source=Path(result.source).name).to_bytes()  # the same bytes wherever this runs
        for alpha in (0.25, 0.5)
        for result in stage.predict_batch(record.TINY_IMAGES[:3], eta=1.0, alpha=alpha)
        if isinstance(result, StageTwoRequest)
    ]
    assert len(found) == 6
    return found


def resealed(raw: bytes) -> bytes:
    """Return a request whose length and checksum fit its bytes, as a forger would send it."""
    if len(raw) < HEADER.size:
        return raw
    length = struct.pack("<I", len(raw))
    check = struct.pack("<I", zlib.crc32(raw[CHECKED_FROM:]))
    return raw[:12] + length + check + raw[CHECKED_FROM:]


def forged_header(raw: bytes, random: Random) -> bytes:
    """Return a request with other sizes in its header."""
    data = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.choice((8, 10, 20, 24, 28, 32, 36))
        form = "<H" if at < 12 else "<I"
        number = random.choice(NUMBERS) if random.random() < 0.6 else struct.unpack_from(form, data, at)[0]
        struct.pack_into(form, data, at, (number + random.choice((-1, 0, 1))) % (1 << (8 * struct.calcsize(form))))
    return bytes(data)


def mutated(raws: list[bytes], random: Random) -> tuple[bytes, bool]:
    """Return damaged or forged bytes, and whether nothing but a refusal will do."""
    raw = random.choice(raws)
    kind = random.randrange(5)
    if kind == 0:
        return (content := damaged(raw, random)), content != raw
    if kind == 1:
        content = resealed(damaged(raw, random))
    elif kind == 2:
        content = resealed(forged_header(raw, random))
    elif kind == 3:  # the header is where the harm is
        content = resealed(damaged(raw[: HEADER.size], random)[: HEADER.size].ljust(HEADER.size) + raw[HEADER.size :])
    else:
        content = random.choice((MAGIC, b"", random.randbytes(200), raw + raw, raw[:-1], b"\x80\x04\x95" + raw))
    other_digest = content[DIGEST] != raw[DIGEST] or content[:8] != MAGIC
    return content, other_digest


def requests_on_the_wire() -> Subject:
    """Bytes that stage 2 is given among good ones, whose answers must stay as they are."""
    raws = request_bytes()
    stage = StageTwo(record.BEFORE, precision="fp32", threads=1)
    expected = stage.predict_batch([raws[0]])[0]
    assert isinstance(expected, Prediction)

    def make(random: Random) -> Case:
        content, must_fail = mutated(raws, random)

        def call() -> None:
            before, result, after = stage.predict_batch([raws[0], content, raws[0]])
            for good in (before, after):
                if not isinstance(good, Prediction) or not np.allclose(good.probabilities, expected.probabilities):
                    raise AcceptedError(f"a good request among them is answered otherwise: {good!r}")
            if isinstance(result, SacvitError):
                if not isinstance(result, RequestError) and "NaN" not in str(result):
                    raise AcceptedError(f"another kind of error: {result!r}")
                raise result
            result.to_dict()

        return Case(call, must_fail)

    return make
