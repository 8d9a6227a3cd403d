"""A request's bytes: docs/wire-format.md as another program would read it, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest

from sacvit_deploy import Prediction, RequestError, StageOne, StageTwo, StageTwoRequest
from sacvit_deploy.bundle.manifest import read_manifest
from sacvit_deploy.bundle.variant_digest import variant_digest
from sacvit_deploy.commands.pack import command as pack
from sacvit_deploy.request import HEADER, split_requests
from tests.data import record
from tests.mutations.requests import SUBJECTS
from tests.mutations.run import run
from tests.mutations.wire import request_bytes, resealed
from tests.servers import MISSING, REASON

REFUSED = {"wire": "RequestError", "http": "RefusedError"}


@pytest.fixture(scope="module")
def raws() -> list[bytes]:
    return request_bytes()


def test_the_format_is_what_the_document_says(raws: list[bytes]) -> None:
    raw = raws[0]
    magic, version, element, total, check = struct.unpack_from("<8sHHII", raw, 0)
    tokens, count, width, patch, name, probability = struct.unpack_from("<5Id", raw, 20)
    assert (magic, version, element, total, check) == (b"SACVITRQ", 1, 4, len(raw), zlib.crc32(raw[20:]))
    assert (tokens, count, width, patch) == (16, 4, 16, 8)
    at = 80
    targets = np.frombuffer(raw, "<u4", count, at)
    at += 4 * count
    features = np.frombuffer(raw, "<f4", count * width, at)
    at += 4 * count * width
    background = np.frombuffer(raw, "<f4", (tokens - count) * width, at)
    at += 4 * (tokens - count) * width
    patches = np.frombuffer(raw, np.uint8, 4 * count * 3 * patch * patch, at)
    at += 4 * count * 3 * patch * patch
    request = StageTwoRequest.from_bytes(raw)
    assert raw[at:] == request.source.encode() and len(raw) - at == name
    for found, array in zip((targets, features, background, patches), (4, 2, 3, 0), strict=True):
        np.testing.assert_array_equal(found, request.inputs[array].ravel())
    assert (request.stage_one_probability, request.targets) == (probability, count)
    assert raw[48:80].hex() == request.variant == variant_by_hand(record.BEFORE / "manifest.json", "fp32")
    assert request.to_bytes() == raw


def variant_by_hand(path: Path, precision: str) -> str:
    """Compute the digest of a variant from its manifest.json alone, as the document says."""
    manifest = json.loads(path.read_bytes())
    files = manifest["variants"][precision]["files"]
    text = f"SAC-ViT variant 1\nprecision {precision}\nbackground {manifest['method']['background']}\n"
    for name in ("mean", "std"):
        text += f"{name} {' '.join(struct.pack('>d', number).hex() for number in manifest['preprocessing'][name])}\n"
    text += f"labels {manifest['labels']['sha256']}\n"
    text += "".join(f"{role} {files[role]['sha256']}\n" for role in ("ee", "sac", "weights") if role in files)
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_packed_bundle_answers_for_the_whole_one(tmp_path: Path, raws: list[bytes]) -> None:
    packed = tmp_path / "packed.sacvit"
    pack.main(["--precision", "fp32", "--out", str(packed), str(record.BEFORE)], standalone_mode=False)
    manifests = [read_manifest(bundle / "manifest.json") for bundle in (record.BEFORE, packed)]
    assert manifests[0].to_bytes() != manifests[1].to_bytes()
    assert len({variant_digest(manifest, "fp32") for manifest in manifests}) == 1
    assert not isinstance(StageTwo(packed, threads=1).predict_batch(raws[:1])[0], RequestError)
    assert len({variant_digest(manifests[0], precision) for precision in ("fp32", "fp16", "int8")}) == 3


def test_names_that_are_no_text_cross(tmp_path: Path) -> None:
    path = tmp_path / "gro\udcdf.jpg"
    try:
        path.write_bytes(record.TINY_IMAGES[0].read_bytes())
    except OSError:
        pytest.skip("NOT TESTED: this file system has no such names")
    request = StageOne(record.BEFORE, precision="fp32", threads=1)([path], eta=1.0)[0]
    assert isinstance(request, StageTwoRequest)
    assert StageTwoRequest.from_bytes(request.to_bytes()).source == str(path)


def test_several_stand_one_behind_the_other(raws: list[bytes]) -> None:
    spoilt = bytearray(raws[1])
    spoilt[-1] ^= 1
    found = split_requests(b"".join((raws[0], spoilt, raws[2])))
    assert [type(one) for one in found] == [StageTwoRequest, RequestError, StageTwoRequest]
    assert split_requests(b"") == []
    with pytest.raises(RequestError, match="cut"):
        split_requests(raws[0] + raws[1][:-1])


def test_what_is_refused_is_said(raws: list[bytes]) -> None:
    raw = raws[0]

    def changed(at: int, form: str, value: float) -> bytes:
        data = bytearray(raw)
        struct.pack_into(form, data, at, value)
        return bytes(data)

    for data, words in (
        (b"", "no request"),
        (raw[:79], "no request"),
        (raw[:-1], "it was cut"),
        (raw + b"x", "stand behind"),
        (changed(8, "<H", 2), "format 2.*same version"),
        (raw[:-1] + bytes([raw[-1] ^ 1]), "checksum"),
        (resealed(changed(20, "<I", 2**32 - 1)), "no model has"),
        (resealed(changed(20, "<I", 17)), "no model has"),  # no square
        (resealed(changed(24, "<I", 0)), "no model has"),
        (resealed(changed(28, "<I", 17)), "its sizes ask for"),
        (resealed(changed(36, "<I", 2**32 - 1)), "its sizes ask for"),
        (resealed(changed(40, "<d", float("nan"))), "as a probability"),
        (resealed(changed(80, "<I", 16)), "targets"),
        (resealed(changed(80, "<I", struct.unpack_from("<I", raw, 84)[0])), "targets"),  # twice the same
        (10**12, "no request"),
    ):
        with pytest.raises(RequestError, match=words):
            StageTwoRequest.from_bytes(data)  # type: ignore[arg-type]


def test_a_request_of_other_shapes_with_the_right_digest_is_refused(raws: list[bytes]) -> None:
    example = StageOne(record.ROOT / "examples/int8/model.sacvit", threads=1)
    request = example([record.TINY_IMAGES[0]], eta=1.0)[0]
    assert isinstance(request, StageTwoRequest)
    foreign = request.to_bytes()
    forged = resealed(foreign[:48] + raws[0][48:80] + foreign[80:])
    (answer,) = StageTwo(record.BEFORE, precision="fp32", threads=1).predict_batch([forged])
    assert (
        isinstance(answer, RequestError)
        and "where this model has" in str(answer)
        and str(answer).startswith(request.source)
    )


def test_elements_of_another_precision_are_refused_by_the_images_name() -> None:
    raw = request_bytes("fp16")[0]
    request = StageTwoRequest.from_bytes(raw)
    inputs = request.inputs
    wide = inputs._replace(target_features=inputs.target_features.astype("<f4"))
    wide = wide._replace(background=inputs.background.astype("<f4"))
    forged = dataclasses.replace(request, inputs=wide).to_bytes()
    found = StageTwo(record.BEFORE, precision="fp16", threads=1).predict_batch([raw, forged])
    assert isinstance(found[0], Prediction)
    assert isinstance(found[1], RequestError)
    assert str(found[1]).startswith(f"{request.source}: the request has float32 as `target_features`, where fp16 has")


def test_a_claimed_size_takes_no_memory(raws: list[bytes]) -> None:
    """Sizes that claim 4 GB, in a process that may take a fraction of that."""
    code = (
        "import resource, struct, sys\n"
        "from sacvit_deploy import RequestError, StageTwoRequest\n"
        "from tests.mutations.wire import resealed\n"
        "raw = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for sizes in ((65536, 65535, 65536, 1024, 7), (65025, 1, 65536, 1, 0), (4, 3, 1, 1, 2**32 - 1)):\n"
        "    for total in (len(raw), 2**32 - 1):\n"
        "        data = resealed(raw[:20] + struct.pack('<5I', *sizes) + raw[40:])\n"
        "        data = data[:12] + struct.pack('<I', total) + data[16:]\n"
        "        try:\n"
        "            StageTwoRequest.from_bytes(data)\n"
        "        except RequestError:\n"
        "            continue\n"
        "        raise AssertionError(sizes)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=raws[0], cwd=record.ROOT, capture_output=True, timeout=120, check=True
    )
    assert int(done.stdout) < 20_000  # kB


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no alarm: NOT TESTED")
@pytest.mark.parametrize("kind", ["wire", pytest.param("http", marks=pytest.mark.skipif(bool(MISSING), reason=REASON))])
def test_some_hundreds_of_mutated_requests(kind: str) -> None:
    with SUBJECTS[kind]() as subject:
        tally = run({kind: subject}, {kind: 300})[kind]
    assert not tally.failures, tally.failures
    assert {"taken", REFUSED[kind]} <= set(tally.outcomes)


def test_the_mutations_cover_the_header() -> None:
    from tests.mutations.wire import forged_header

    raw = bytes(HEADER.size + 8)
    changed = {at for seed in range(200) for at in range(HEADER.size) if forged_header(raw, Random(seed))[at] != 0}
    assert {8, 10, 20, 24, 28, 32, 36} <= changed
