"""`sacvit-export --int8 --calib`: the same work inside an export, which ships all of it or nothing."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import describe_file, open_bundle
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.errors import ExportError, UsageError
from sacvit_deploy.export import pipeline
from sacvit_deploy.export.cli import command as export_command


@pytest.fixture(autouse=True)
def traced_before(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take fp32 and fp16 from the bundle that was exported from the same checkpoint; tracing it takes ten seconds."""

    def copy(folder: Path, model: object, precision: str, *rest: object) -> Variant:
        variant = open_bundle(tiny_bundle).variant(precision)
        for entry in variant.files.values():
            shutil.copyfile(tiny_bundle / entry.path, folder / entry.path)
        return Variant({role: describe_file(folder / e.path) for role, e in variant.files.items()}, variant.parity)

    monkeypatch.setattr(pipeline, "export_variant", copy)


def export(*arguments: object) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        export_command.main([*map(str, arguments), "--threads", "1"], standalone_mode=False)
    return output.getvalue()


def test_an_export_with_int8(tiny_checkpoint: Path, eval_set: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.sacvit"
    base = ("--ckpt", tiny_checkpoint, "--out", target, "--fp16", "--int8", "--calib", eval_set)
    output = export(*base, "--max-drop", 20)
    manifest = open_bundle(target).manifest
    assert list(manifest.variants) == ["fp32", "fp16", "int8"] and manifest.name == "out"
    for precision in ("fp16", "int8"):
        report = manifest.variants[precision].report
        assert report["drop"] <= 20 and f"{precision}: largest loss " in output
        assert set(report["agreement"]) == {"ee", "sac", "cascade"}
    assert "calibration" in manifest.variants["int8"].report and "calibration" not in manifest.variants["fp16"].report
    assert "judged on 96 scenes" in output and "fp32, fp16, int8)" in output
    total = sum(entry.bytes for variant in manifest.variants.values() for entry in variant.files.values())
    assert f"({total / 1e6:.1f} MB: " in output
    model = SACViT(target, precision="int8", threads=1)
    assert model.eta == manifest.variants["int8"].eta
    # Once more over the old one: its ranges are not there to be taken, its place is.
    before = (target / "ranges.int8.npz").read_bytes()
    output = export(*base, "--max-drop", 20, "--force")
    assert "already has the ranges" not in output and (target / "ranges.int8.npz").read_bytes() == before


def test_a_worse_variant_is_not_shipped(tiny_checkpoint: Path, border: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.sacvit"
    # Half precision falls on the other side of some borders, and int8 of more.
    with pytest.raises(ExportError, match=r"fp16 loses .* points, more than the 0 of --max-drop; nothing was written"):
        export("--ckpt", tiny_checkpoint, "--out", target, "--fp16", "--judge", border, "--max-drop", 0)
    with pytest.raises(ExportError, match=r"int8 loses .* points even with 6 of 12 layers in fp32"):
        export("--ckpt", tiny_checkpoint, "--out", target, "--int8", "--calib", border, "--max-drop", 0)
    assert list(tmp_path.iterdir()) == []


def test_an_export_without_labels(tiny_checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.sacvit"
    base = ("--ckpt", tiny_checkpoint, "--out", target, "--int8", "--calib", pictures)
    with pytest.raises(UsageError, match="--max-drop needs labelled images"):
        export(*base, "--max-drop", 0.5)
    assert list(tmp_path.iterdir()) == []
    output = export(*base)
    assert "have no labels; agreement with fp32 is reported, not accuracy" in output
    assert open_bundle(target).variant("int8").report["top1"] is None


def test_half_precision_is_judged_alone(tiny_checkpoint: Path, eval_set: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.sacvit"
    output = export("--ckpt", tiny_checkpoint, "--out", target, "--fp16", "--judge", eval_set, "--max-drop", 5)
    assert list(open_bundle(target).manifest.variants) == ["fp32", "fp16"]
    assert "calibration images" not in output and "fp16: largest loss" in output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--int8",), "--int8 needs --calib FOLDER"),
        (("--int8", "--judge", "."), "--int8 needs --calib FOLDER"),
        (("--max-drop", "0.5"), "--max-drop needs images to judge on"),
        (("--fp16", "--max-drop", "0.5"), "--max-drop needs images to judge on"),
        (("--calib", "."), "add --int8 or --fp16"),
        (("--judge", "."), "add --int8 or --fp16"),
        (("--int8", "--calib", "absent"), "absent is not a folder"),
    ],
)
def test_options_that_say_too_little(
    command: Any, tiny_checkpoint: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = command("sacvit-export", "--ckpt", tiny_checkpoint, "--out", tmp_path / "out.sacvit", *options, expect=2)
    assert words in done.stderr and done.stderr.count("\n") == 1 and not (tmp_path / "out.sacvit").exists()
