"""Plans that are not what their sealed record says are refused once the library has told what they are."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit_deploy.backends.tensorrt.claims import Claim, check_claim, claims_of
from sacvit_deploy.backends.tensorrt.tensors import read_profiles, read_tensors
from sacvit_deploy.bundle.bundle import describe_file, open_bundle
from sacvit_deploy.bundle.digest import seal
from sacvit_deploy.bundle.plans import FOLDER, RECORD, BuildTarget, PlanFile, PlanRecord, check_plans, list_plans
from sacvit_deploy.commands.inspect import describe_plan, plan_table
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import ROLES, engine_contract
from sacvit_deploy.device.protocol import TensorSpec
from sacvit_deploy.engines.profiles import SizeRange, input_ranges
from sacvit_deploy.errors import BackendError, BundleError
from tests.data import record

CONFIG = ModelConfig()
PATH = Path("plans/here/ee.plan")
Tensors = dict[str, TensorSpec]


def tensors(role: str, precision: str, *, confidence: bool = True) -> tuple[Tensors, Tensors]:
    """What TensorRT tells of a plan that `sacvit build` made, or an older one, whose plans gave no confidence."""
    variant = np.dtype("float16" if precision == "fp16" else "float32")

    def specs(contracts: Any) -> Tensors:
        return {
            name: TensorSpec(
                variant if contract.dtype == "variant" else np.dtype(contract.dtype),
                tuple(size if isinstance(size, int) else -1 for size in contract.shape),
            )
            for name, contract in contracts.items()
        }

    contract = engine_contract(role, CONFIG)
    return specs(contract.inputs), specs({**contract.outputs, **(contract.optional if confidence else {})})


def profiles(role: str) -> list[Any]:
    ranges = input_ranges(role, CONFIG, SizeRange(1, 8, 32))
    return [{name: tuple(shapes) for name, shapes in ranges.items()}]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("confidence", [True, False])
def test_what_is_built_is_what_is_claimed(role: str, precision: str, confidence: bool) -> None:
    found = tensors(role, precision, confidence=confidence)
    check_claim(Claim(role, precision, CONFIG, profiles(role)), PATH, *found, profiles(role))


@pytest.mark.parametrize("role", [role for role in ROLES if role != "view"])
@pytest.mark.parametrize(("claimed", "real"), [("fp16", "fp32"), ("fp32", "fp16"), ("int8", "fp16")])
def test_another_precision_is_noticed(role: str, claimed: str, real: str) -> None:
    with pytest.raises(BackendError, match=r"ee\.plan is not what its plan\.json says: .* where " + claimed):
        check_claim(Claim(role, claimed, CONFIG, profiles(role)), PATH, *tensors(role, real), profiles(role))


def test_another_model_role_or_range_is_noticed() -> None:
    inputs, outputs = tensors("ee", "fp32")
    claim, known = Claim("ee", "fp32", CONFIG, profiles("ee")), profiles("ee")
    single = np.dtype("float32")
    image, logits = TensorSpec(single, (-1, 3, 96, 96)), TensorSpec(single, (-1, 10))
    half = TensorSpec(np.dtype("float16"), (-1, 2))
    for wrong, said in (
        (({"image": image}, outputs, known), r"`image` as \[-1, 3, 96, 96\]"),
        ((inputs, outputs | {"logits": logits}, known), r"`logits` as \[-1, 10\]"),
        ((inputs, outputs | {"more": logits}, known), "a tensor `more`"),
        ((inputs, outputs | {"confidence": logits}, known), r"`confidence` as \[-1, 10\], where .* \[-1, 2\]"),
        ((inputs, outputs | {"confidence": half}, known), "`confidence` as float16"),
        ((inputs, {"logits": outputs["logits"]}, known), "does not give `embeddings`"),
        ((*tensors("sac", "fp32"), known), "a tensor `patches`"),
        ((inputs, outputs, known * 2), "has other profiles"),
    ):
        with pytest.raises(BackendError, match=said):
            check_claim(claim, PATH, *wrong)


class Word:
    """A constant of the library, which has a name."""

    def __init__(self, name: str) -> None:
        self.name = name


class ToldEngine:
    """The part of TensorRT's ICudaEngine that tells what an engine takes and gives; `test_api.py` knows its names."""

    num_io_tensors, num_optimization_profiles = 2, 1

    def get_tensor_name(self, index: int) -> str:
        return ("image", "logits")[index]

    def get_tensor_mode(self, name: str) -> Word:
        return Word("INPUT" if name == "image" else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Word:
        return Word("HALF" if name == "image" else "FLOAT")

    def get_tensor_shape(self, name: str) -> list[int]:
        return [-1, 3, 112, 112] if name == "image" else [-1, 1000]

    def get_tensor_profile_shape(self, name: str, number: int) -> list[list[int]]:
        return [[size, 3, 112, 112] for size in (1, 8, 32)]


def test_what_the_library_tells_is_read() -> None:
    inputs, outputs = read_tensors(ToldEngine())
    assert inputs == {"image": TensorSpec(np.dtype("float16"), (-1, 3, 112, 112))}
    assert outputs == {"logits": TensorSpec(np.dtype("float32"), (-1, 1000))}
    assert read_profiles(ToldEngine()) == [{"image": ((1, 3, 112, 112), (8, 3, 112, 112), (32, 3, 112, 112))}]


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A bundle with two folders of plans, which are never loaded: one in use, one that a killed build left."""
    bundle = Path(shutil.copytree(record.BEFORE, tmp_path / "planned.sacvit"))
    for name in ("here", ".here.partial-1"):
        folder = bundle / FOLDER / name
        folder.mkdir(parents=True)
        for role in ("ee", "sac"):
            (folder / f"{role}.plan").write_bytes(role.encode())
        plans = {role: PlanFile(describe_file(folder / f"{role}.plan"), {}, (), {}) for role in ("ee", "sac")}
        place = BuildTarget("tensorrt-rtx", "1.7.1", None, ("8.6",))
        told = PlanRecord(place, "fp32", (1, 8, 32), (1, 8, 15), plans, "now")
        (folder / RECORD).write_bytes(told.to_bytes())
    return bundle


def test_claims_are_those_of_the_record(planned: Path) -> None:
    bundle = open_bundle(planned)
    paths = {role: planned / FOLDER / "here" / f"{role}.plan" for role in ("ee", "sac")}
    claims = claims_of(bundle, "fp32", paths)
    assert {path: claim.role for path, claim in claims.items()} == {path: role for role, path in paths.items()}
    assert all(claim.config == bundle.manifest.config for claim in claims.values())


def test_hidden_folders_are_no_plans(planned: Path) -> None:
    hidden = planned / FOLDER / ".here.partial-1"
    bundle = open_bundle(planned)
    assert [folder.name for folder, _ in list_plans(bundle)] == ["here"]
    (hidden / RECORD).write_bytes(b"")
    assert [folder.name for folder, _ in list_plans(bundle)] == ["here"]
    assert check_plans(bundle) == 2


def test_plans_are_hashed(planned: Path) -> None:
    (planned / FOLDER / "here" / "sac.plan").write_bytes(b"cas")
    with pytest.raises(BundleError, match=r"sac\.plan was changed"):
        check_plans(open_bundle(planned))


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp8"},
        {"precision": ["fp32"]},
        {"batch": (1, 8)},
        {"batch": (True, 8, 8)},
        {"batch": (8, 1, 8)},
        {"batch": (1.0, 8, 32)},
        {"targets": "123"},
        {"plans": []},
        {"place": None},
        {"place": {"runtime": "tensorrt"}},
        {"built": 5},
    ],
)
def test_forged_records_are_refused(planned: Path, change: dict[str, Any]) -> None:
    ((folder, told),) = list_plans(open_bundle(planned))
    (folder / RECORD).write_bytes(seal(1, {**dataclasses.asdict(told), **change}))
    with pytest.raises(BundleError, match=r"plan\.json is incomplete or wrong"):
        list(list_plans(open_bundle(planned)))


def test_inspect_prints_a_plan_that_says_little_of_its_build(planned: Path) -> None:
    assert "built in ? s" in plan_table(describe_plan(planned / FOLDER / "here"))
