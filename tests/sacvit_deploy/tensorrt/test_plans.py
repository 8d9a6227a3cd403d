"""plan.json, and plans made for another library, GPU or bundle: refused before a byte of them is loaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy import SACViT
from sacvit_deploy.backends.choose import choose_backend
from sacvit_deploy.bundle.bundle import Bundle, describe_file, open_bundle
from sacvit_deploy.bundle.digest import seal
from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.bundle.plans import (
    FOLDER,
    RECORD,
    BuildTarget,
    PlanFile,
    PlanRecord,
    find_plans,
    incompatibilities,
    read_record,
)
from sacvit_deploy.contract import STAGES
from sacvit_deploy.errors import BundleError

RTX = BuildTarget("tensorrt-rtx", "1.7.1", None, ("8.6", "8.9"))
TRT = BuildTarget("tensorrt", "10.3.0", "NVIDIA Orin", ("8.7",), "12.6")
HERE = {
    "tensorrt-rtx": BuildTarget("tensorrt-rtx", "1.7.1", "NVIDIA A10", ("8.6",), "13.0"),
    "tensorrt": BuildTarget("tensorrt", "10.3.0", "NVIDIA Orin", ("8.7",), "12.6"),
}
Make = Callable[..., Path]


@pytest.fixture
def put(bundle_copy: Path) -> Make:
    """Put plans of any bytes into the bundle: nothing here may load them."""

    def make(place: BuildTarget = RTX, precision: str = "fp16") -> Path:
        entries = open_bundle(bundle_copy).variant(precision).files
        plans = {}
        record = PlanRecord(place, precision, (1, 8, 32), (1, 24, 48), {}, "2026-01-01T00:00:00+00:00")
        folder = bundle_copy / FOLDER / record.folder_name()
        folder.mkdir(parents=True)
        for role in ("view", "ee", "gather", "sac"):
            path = folder / f"{role}.plan"
            path.write_bytes(f"the {role} plan".encode())
            onnx = {entries[name].path: entries[name].sha256 for name in (role, "weights")}
            plans[role] = PlanFile(describe_file(path), onnx, ({"image": ((1, 3), (8, 3), (32, 3))},), {"layers": 3})
        (folder / RECORD).write_bytes(dataclasses.replace(record, plans=plans).to_bytes())
        return folder

    return make


def refusal(bundle: Path, here: BuildTarget, precision: str = "fp16") -> str:
    with pytest.raises(BundleError) as said:
        find_plans(open_bundle(bundle), precision, here)
    message = str(said.value)
    assert "\n" not in message
    command = f"sacvit build {bundle} --runtime {here.runtime} --precision {precision}"
    assert command in message
    return message


@pytest.mark.parametrize("place", [RTX, TRT])
def test_plans_that_fit_are_found(place: BuildTarget, put: Make, bundle_copy: Path) -> None:
    folder = put(place)
    found = find_plans(open_bundle(bundle_copy), "fp16", HERE[place.runtime])
    assert {role: plan.path for role, plan in found.items()} == {
        role: folder / f"{role}.plan" for role in ("view", "ee", "gather", "sac")
    }
    assert all(bytes(plan) == f"the {role} plan".encode() for role, plan in found.items())


def test_a_record_reads_back_as_it_was_written(put: Make) -> None:
    folder = put()
    record = read_record(folder)
    assert record.to_bytes() == (folder / RECORD).read_bytes()
    assert folder.name == "tensorrt-rtx-1.7.1-sm86+sm89-fp16"
    assert record.plans["ee"].profiles == ({"image": ((1, 3), (8, 3), (32, 3))},)


@pytest.mark.parametrize(
    ("place", "here", "reason"),
    [
        (RTX, {"version": "1.8.0"}, "built by tensorrt-rtx 1.7.1, here is tensorrt-rtx 1.8.0"),
        (RTX, {"capabilities": ("9.0",)}, "built for compute capability 8.6, 8.9, this GPU has 9.0"),
        (TRT, {"device": "NVIDIA A10", "capabilities": ("8.6",)}, "built on NVIDIA Orin, here is NVIDIA A10"),
        (TRT, {"device": "NVIDIA Thor"}, "built on NVIDIA Orin, here is NVIDIA Thor"),
        (TRT, {"version": "11.4.0"}, "built by tensorrt 10.3.0, here is tensorrt 11.4.0"),
    ],
)
def test_another_library_or_gpu(
    place: BuildTarget, here: dict[str, object], reason: str, put: Make, bundle_copy: Path
) -> None:
    put(place)
    found = dataclasses.replace(HERE[place.runtime], **here)  # type: ignore[arg-type]
    assert reason in refusal(bundle_copy, found)


def test_a_bundle_that_was_exported_anew(put: Make, bundle_copy: Path, rehash: Callable[[Path], None]) -> None:
    put()
    with (bundle_copy / "sac.fp16.onnx").open("ab") as file:
        file.write(b"\0")
    rehash(bundle_copy)
    assert "built from another sac.fp16.onnx than the bundle has now" in refusal(bundle_copy, HERE["tensorrt-rtx"])


def test_no_plans_at_all(bundle_copy: Path, put: Make) -> None:
    assert "it has no fp16 plans for tensorrt-rtx" in refusal(bundle_copy, HERE["tensorrt-rtx"])
    put(TRT)
    put(RTX, "fp32")
    assert "it has no fp16 plans for tensorrt-rtx" in refusal(bundle_copy, HERE["tensorrt-rtx"])


def test_a_changed_plan(put: Make, bundle_copy: Path) -> None:
    folder = put()
    (folder / "ee.plan").write_bytes(b"the EE plan")
    assert "was changed after it was written" in refusal(bundle_copy, HERE["tensorrt-rtx"])
    (folder / "ee.plan").unlink()
    assert "ee.plan is missing; build it again" in refusal(bundle_copy, HERE["tensorrt-rtx"])


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_any_changed_byte_of_a_record_is_noticed(
    at: int, byte: int, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plans = {role: PlanFile(FileEntry(f"{role}.plan", "0" * 64, 1), {f"{role}.onnx": "1" * 64}, ()) for role in STAGES}
    raw = bytearray(PlanRecord(RTX, "fp16", (1, 8, 32), (1, 24, 48), plans, "now").to_bytes())
    at %= len(raw)
    folder = tmp_path_factory.mktemp("plan")
    if raw[at] == byte:
        (folder / RECORD).write_bytes(raw)
        assert read_record(folder).place == RTX
        return
    raw[at] = byte
    (folder / RECORD).write_bytes(raw)
    with pytest.raises(BundleError):
        read_record(folder)


def test_newer_and_foreign_records(put: Make) -> None:
    folder = put()
    data = json.loads((folder / RECORD).read_bytes())
    (folder / RECORD).write_text(json.dumps({**data, "schema": 2}))
    with pytest.raises(BundleError, match="newer sacvit-deploy"):
        read_record(folder)
    for text in ("[]", "{}", "no JSON", '{"schema": "1"}'):
        (folder / RECORD).write_text(text)
        with pytest.raises(BundleError, match=r"plan\.json"):
            read_record(folder)
    rest = {key: value for key, value in data.items() if key not in ("schema", "digest")}
    (folder / RECORD).write_bytes(seal(1, {**rest, "plans": {"ee": data["plans"]["ee"]}}))
    with pytest.raises(BundleError, match="it lists no sac plan"):
        read_record(folder)
    (folder / RECORD).unlink()
    with pytest.raises(BundleError, match="is not a plan folder"):
        read_record(folder)


RUNTIMES = st.sampled_from(["tensorrt", "tensorrt-rtx"])


@given(
    built=st.builds(
        BuildTarget,
        RUNTIMES,
        st.sampled_from("ab"),
        st.sampled_from([None, "x"]),
        st.sampled_from([("8.6",), ("8.6", "8.9")]),
    ),
    here=st.builds(BuildTarget, RUNTIMES, st.sampled_from("ab"), st.just("x"), st.sampled_from([("8.6",), ("8.9",)])),
)
def test_plans_fit_only_where_all_agrees(built: BuildTarget, here: BuildTarget, tiny_bundle: Path) -> None:
    bundle: Bundle = open_bundle(tiny_bundle)
    fits = not incompatibilities(PlanRecord(built, "fp16", (1, 1, 1), (1, 1, 1), {}), bundle, here)
    same = (built.runtime, built.version) == (here.runtime, here.version)
    gpu = built.capabilities == here.capabilities if built.device else here.capabilities[0] in built.capabilities
    assert fits == (same and gpu)


def test_auto_goes_on_without_a_gpu_and_says_why(put: Make, bundle_copy: Path) -> None:
    """On a machine with a GPU and the library, the plans of this test would still not fit."""
    assert choose_backend(open_bundle(bundle_copy)) == ("onnxruntime", None, "the bundle has no plans")
    put(dataclasses.replace(RTX, version="0.0.1"))
    name, _, why = choose_backend(open_bundle(bundle_copy))
    assert name == "onnxruntime"
    assert "CUDA" in why or "can't be loaded" in why or "another machine" in why
    assert "ONNX Runtime" in SACViT(bundle_copy).backend.description
