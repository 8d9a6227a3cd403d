"""`sacvit build` and `sacvit inspect PLAN`, as people call them, with the real compiler."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.bundle.plans import BuildTarget, find_plans, read_record
from sacvit_deploy.commands.group import group
from sacvit_deploy.contract import GLUE
from sacvit_deploy.device.cuda import GPU
from sacvit_deploy.engines.plan_folder import BuildRequest
from sacvit_deploy.errors import BackendError, SacvitError, UsageError

EXAMPLE = Path(__file__).parents[2] / "examples/int8/model.sacvit"
RTX = ("--runtime", "tensorrt-rtx", "--compute-capability", "86,8.9")


def sacvit(*arguments: object) -> Result:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    result = sacvit(*arguments)
    assert isinstance(result.exception, SacvitError), result.output
    return str(result.exception)


def test_plans_are_built_recorded_found_and_shown(rtx: Library, bundle_copy: Path) -> None:
    result = sacvit("build", bundle_copy, *RTX, "--batch", "1,4,16", "--alpha", "0.3,0.5,0.9", "--baseline")
    assert result.exit_code == 0, result.output
    assert "not run: no GPU here" in result.output or "next: sacvit verify" in result.output
    (folder,) = (bundle_copy / "plans").iterdir()
    assert folder.name == f"tensorrt-rtx-{rtx.version}-sm86+sm89-fp16"
    record = read_record(folder)
    assert (record.batch, record.targets) == ((1, 4, 16), (14, 24, 44))
    assert set(record.plans) == {"view", "ee", "gather", "sac", "deit"}
    assert record.plans["sac"].facts["precisions"]["half"] > 0
    assert record.plans["sac"].facts["outputs"] == ["logits", "confidence"]
    assert [profile["image"][2][0] for profile in record.plans["ee"].profiles] == [1, 16]
    bundle = open_bundle(bundle_copy)
    plans = find_plans(bundle, "fp16", BuildTarget("tensorrt-rtx", rtx.version, "some GPU", ("8.9",)))
    assert plans["sac"].path == folder / "sac.plan"
    # Another build replaces the folder as a whole.
    assert sacvit("build", bundle_copy, *RTX, "--batch", "1,1,1", "--workspace", 512).exit_code == 0
    assert set(read_record(folder).plans) == {"view", "ee", "gather", "sac"}
    assert len(list((bundle_copy / "plans").iterdir())) == 1

    shown = sacvit("inspect", folder).output
    assert "compute capability 8.6, 8.9, compiled ahead of time" in shown
    assert "network, before the builder fused layers" in shown
    alone = json.loads(sacvit("inspect", folder / "ee.plan", "--json").output)
    assert set(alone["plans"]) == {"ee"}
    assert folder.name in sacvit("inspect", bundle_copy).output
    (folder / "ee.plan").write_bytes(b"")
    assert "build the plans again" in refused("inspect", folder)


def test_a_dry_run_builds_nothing(rtx: Library, bundle_copy: Path) -> None:
    arguments = ("build", bundle_copy, *RTX, "--precision", "fp32", "--dry-run")
    result = sacvit(*arguments)
    assert "sm86+sm89-fp32" in result.output
    assert "64x192x768" in result.output  # all the patches of the largest batch
    profiles = json.loads(sacvit(*arguments, "--json").output)["profiles"]
    assert profiles["ee"][1]["image"] == [[1, 3, 112, 112], [8, 3, 112, 112], [64, 3, 112, 112]]
    assert not (bundle_copy / "plans").exists()


def test_bad_usage(rtx: Library, bundle_copy: Path) -> None:
    assert "MIN,OPT,MAX" in refused("build", bundle_copy, *RTX, "--batch", "1,8")
    assert "keeps no timings" in refused("build", bundle_copy, *RTX, "--timing-cache", "timings")
    assert "whole numbers, MIN,OPT,MAX" in refused("build", bundle_copy, *RTX, "--batch", "1.5,8,64")
    assert "min <= opt" in refused("build", bundle_copy, *RTX, "--batch", "8,1,64")
    assert "alpha" in refused("build", bundle_copy, *RTX, "--alpha", "0,1")
    assert "no int8 variant" in refused("build", bundle_copy, *RTX, "--precision", "int8")
    assert "compute capability 7.0" in refused("build", bundle_copy, *RTX[:2], "--compute-capability", "70")
    assert "--alpha takes up to three" in refused("build", bundle_copy, *RTX, "--alpha", "0.1,0.2,0.3,0.4")
    assert isinstance(sacvit("build", bundle_copy, *RTX, "--batch", "8,1,64").exception, UsageError)
    garbled = sacvit("build", bundle_copy, *RTX, "--batch", "one,8,64")
    assert garbled.exit_code == 2
    assert "'one,8,64' is not a list of numbers" in garbled.output


def test_a_bundle_of_an_older_version_is_told_to_be_exported_anew(rtx: Library, bundle_copy: Path) -> None:
    manifest = open_bundle(bundle_copy).manifest
    variants = {
        name: Variant({role: entry for role, entry in variant.files.items() if role not in GLUE}, variant.parity)
        for name, variant in manifest.variants.items()
    }
    old = dataclasses.replace(manifest, variants=variants)
    (bundle_copy / "manifest.json").write_bytes(old.to_bytes())
    assert "export it with this version" in refused("build", bundle_copy, *RTX)


def test_a_failed_build_leaves_nothing(rtx: Library, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise BackendError("no memory")

    monkeypatch.setattr("sacvit_deploy.engines.plan_folder.build_plan", fail)
    assert "no memory" in refused("build", bundle_copy, *RTX)
    assert list((bundle_copy / "plans").iterdir()) == []


def test_plans_survive_a_copy_of_the_bundle(rtx: Library, bundle_copy: Path, tmp_path: Path) -> None:
    sacvit("build", bundle_copy, *RTX, "--batch", "1,1,1")
    moved = Path(shutil.copytree(bundle_copy, tmp_path / "moved.sacvit"))
    assert find_plans(open_bundle(moved), "fp16", BuildTarget("tensorrt-rtx", rtx.version, "x", ("8.6",)))


@pytest.mark.parametrize(("asked", "named"), [((), ()), (("--compute-capability", "8.9"), ("8.9",))])
def test_without_a_name_the_library_is_asked_for_the_gpu_at_hand(
    asked: tuple[str, ...], named: tuple[str, ...], rtx: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names the GPU all the same, as plans for another are refused. The GPU is a stand-in."""
    requests: list[BuildRequest] = []
    monkeypatch.setattr("sacvit_deploy.engines.cli.find_gpu", lambda: GPU("a GPU", "10.3", 1, "13.0", "13.0"))
    monkeypatch.setattr("sacvit_deploy.engines.cli._show", lambda request, as_json: requests.append(request))
    sacvit("build", EXAMPLE, "--precision", "int8", "--runtime", "tensorrt-rtx", "--dry-run", *asked)
    (request,) = requests
    assert request.options.capabilities == named
    assert request.record.place.capabilities == (named or ("10.3",))
    assert request.here == (not named)
