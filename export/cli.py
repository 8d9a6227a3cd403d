"""`sacvit export`: a checkpoint to a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from sacvit_deploy.backends.tensorrt.library import first_library
from sacvit_deploy.bundle.bundle import SUFFIX
from sacvit_deploy.bundle.write import check_target
from sacvit_deploy.commands.common import finite, run_command, threads_option
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.engines.cli import command as build
from sacvit_deploy.engines.cli import find_target
from sacvit_deploy.errors import CheckpointError, UsageError
from sacvit_deploy.export.layouts import FAMILIES
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.paths import expand
from sacvit_deploy.precisions import PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])


def variant_flags(function: F) -> F:
    """Add a flag for each precision except fp32: `--fp16`, `--int8`."""
    for name in [name for name in reversed(PRECISIONS) if name != "fp32"]:
        function = click.option(f"--{name}", is_flag=True, help=PRECISIONS[name].help)(function)
    return function


@click.command("export")
@click.option("--ckpt", required=True, type=click.Path(path_type=Path), help="Checkpoint: .pth, .pt or .safetensors.")
@click.option("--out", type=click.Path(path_type=Path), help=f"Bundle to write.  [default: NAME{SUFFIX} beside --ckpt]")
@variant_flags
@click.option("--calib", type=click.Path(path_type=Path), help="Images like those to classify, for --int8's ranges.")
@click.option("--judge", type=click.Path(path_type=Path), help="Images to measure accuracy on.  [default: --calib]")
@click.option(
    "--max-drop", type=click.FloatRange(min=0), callback=finite, help="Fail if a variant loses more top-1 points."
)
@click.option("--eta", type=float, help="Default eta of the bundle.  [default: the checkpoint's, or 0.5]")
@click.option("--labels", type=click.Path(path_type=Path), help="One class per line.  [default: the checkpoint's]")
@click.option("--pictures", help="Real images for the parity check: file, folder or glob.  [default: shipped ones]")
@click.option("--heads", type=click.IntRange(min=1), help="Attention heads.  [default: width / 64]")
@click.option("--family", type=click.Choice(FAMILIES), help="Family of the checkpoint, where files look alike.")
@click.option("--trust-checkpoint", is_flag=True, help="Let the checkpoint run code while it loads. Dangerous.")
@click.option("--trt", is_flag=True, help="Build TensorRT plans for this machine's GPU, too.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@threads_option
def command(
    ckpt: Path,
    out: Path | None,
    calib: Path | None,
    judge: Path | None,
    max_drop: float | None,
    eta: float | None,
    labels: Path | None,
    pictures: str | None,
    heads: int | None,
    family: str | None,
    trust_checkpoint: bool,
    trt: bool,
    force: bool,
    threads: int | None,
    **variants: bool,
) -> None:
    """Turn a checkpoint into a bundle: two ONNX engines over one weights file, checked against the reference."""
    if eta is not None:
        check_eta(eta)
    precisions = [name for name in PRECISIONS if name == "fp32" or variants[name]]
    int8 = "int8" in precisions
    if int8 and calib is None:
        raise UsageError("--int8 needs --calib FOLDER with images like those to classify; a few hundred will do")
    judged_on = judge or calib
    if max_drop is not None and judged_on is None:
        raise UsageError("--max-drop needs images to judge on; name a folder with --judge or --calib")
    for folder in (calib, judge):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{folder} is not a folder; name one with images")
    if judged_on is not None and precisions == ["fp32"]:
        raise UsageError("--calib and --judge are for reduced variants; add --int8 or --fp16")
    if ckpt.is_dir():
        raise CheckpointError(f"{ckpt} is a folder; give the checkpoint file (.pth, .pt or .safetensors)")
    target = out or ckpt.with_suffix(SUFFIX)
    if target.suffix != SUFFIX:
        raise UsageError(f"--out {target} must end in {SUFFIX}")
    check_target(target, replace=force)
    try:
        class_labels = labels.read_text(encoding="utf-8").splitlines() if labels else None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"can't read labels from {labels} ({error})") from error
    if trt:
        # Reports what keeps plans from being built before the long work.
        find_target(first_library(), None)
    # torch takes seconds to import: only once the arguments are checked.
    import torch

    from sacvit_deploy.console.progress import Progress
    from sacvit_deploy.export.checkpoint import load_checkpoint
    from sacvit_deploy.export.pipeline import ExportRequest, export_bundle

    threads = threads or usable_cores()
    torch.set_num_threads(threads)
    progress = Progress()
    with progress.step(f"read {ckpt}"):
        checkpoint = load_checkpoint(ckpt, trust=trust_checkpoint, heads=heads, family=family)
    for note in checkpoint.notes:
        progress.note(f"note: {note}")

    def reduce(folder: Path) -> None:
        from sacvit_deploy.calibration.job import CalibrationJob, reduce_bundle

        assert judged_on is not None
        job = CalibrationJob(calib or judged_on, int8=int8, judge=judge, max_drop=max_drop, threads=threads)
        reduce_bundle(folder, job)

    request = ExportRequest(
        source=ckpt,
        target=target,
        precisions=[name for name in precisions if PRECISIONS[name].made_by == "export"],
        replace=force,
        eta=eta,
        labels=class_labels,
        images=expand([pictures]) if pictures else (),
        threads=threads,
        postprocess=None if judged_on is None else reduce,
    )
    manifest = export_bundle(checkpoint, request, progress)
    total = sum(entry.bytes for variant in manifest.variants.values() for entry in variant.files.values())
    click.echo(f"wrote {target} ({total / 1e6:.1f} MB: {', '.join(manifest.variants)})")
    if trt:
        build.main([str(target)], standalone_mode=False)
    click.echo(f"next: sacvit-infer PICTURE --bundle {target}")


def main() -> NoReturn:
    """Run the command; the entry point of `sacvit-export`."""
    run_command(command)
