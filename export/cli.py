"""`sacvit export`: a checkpoint to a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import click

from sacvit_deploy.backends.tensorrt.library import first_library
from sacvit_deploy.bundle.bundle import SUFFIX
from sacvit_deploy.bundle.label_file import read_labels
from sacvit_deploy.bundle.write import check_target
from sacvit_deploy.commands.common import finite, run_command, threads_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.engines.cli import command as build
from sacvit_deploy.engines.cli import find_target
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.checkpoint_options import preprocessing_options, reading_options
from sacvit_deploy.export.overrides import Overrides
from sacvit_deploy.export.settings_fields import Triple
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.paths import expand
from sacvit_deploy.precisions import PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])
HUB = "hf-hub:"  # before owner/name[@revision], as timm writes it
INDEX = ".index.json"  # behind the name of a checkpoint in shards


def variant_flags(function: F) -> F:
    """Add a flag for each precision except fp32: `--fp16`, `--int8`."""
    for name in [name for name in reversed(PRECISIONS) if name != "fp32"]:
        function = click.option(f"--{name}", is_flag=True, help=PRECISIONS[name].help)(function)
    return function


@click.command("export", cls=StrictCommand)
@click.option("--ckpt", required=True, help=f"Checkpoint: a file, a folder, or {HUB}owner/name[@revision].")
@click.option("--out", type=click.Path(path_type=Path), help=f"Bundle to write.  [default: NAME{SUFFIX} beside --ckpt]")
@variant_flags
@click.option("--calib", type=click.Path(path_type=Path), help="Images like those to classify, for --int8's ranges.")
@click.option("--judge", type=click.Path(path_type=Path), help="Images to measure accuracy on.  [default: --calib]")
@click.option(
    "--max-drop", type=click.FloatRange(min=0), callback=finite, help="Fail if a variant loses more top-1 points."
)
@click.option("--eta", type=float, help="Default eta of the bundle.  [default: the checkpoint's, or 0.5]")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Class names: a text file, one a line; JSON; or a FOLDER of class folders.  [default: the checkpoint's]",
)
@preprocessing_options
@reading_options
@click.option("--pictures", help="Real images for the parity check: file, folder or glob.  [default: shipped ones]")
@click.option("--trust-checkpoint", is_flag=True, help="Let the checkpoint run code while it loads. Dangerous.")
@click.option("--trt", is_flag=True, help="Build TensorRT plans for this machine's GPU, too.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@threads_option
def command(
    ckpt: str,
    out: Path | None,
    calib: Path | None,
    judge: Path | None,
    max_drop: float | None,
    eta: float | None,
    labels: Path | None,
    mean: Triple | None,
    std: Triple | None,
    crop: float | None,
    interpolation: str | None,
    weights: Literal["model", "ema"] | None,
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
    target = out or default_target(ckpt)
    if target.suffix != SUFFIX:
        raise UsageError(f"--out {target} must end in {SUFFIX}")
    check_target(target, replace=force)
    if labels is not None:
        read_labels(labels)  # what is wrong with them is said before the long work
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
        checkpoint = load_checkpoint(
            ckpt,
            trust=trust_checkpoint,
            heads=heads,
            family=family,
            weights=weights,
            overrides=Overrides(mean, std, crop, interpolation, labels),
        )
    for note in checkpoint.notes:
        progress.note(f"note: {note}")

    def reduce(folder: Path) -> None:
        from sacvit_deploy.calibration.job import CalibrationJob, reduce_bundle

        assert judged_on is not None
        job = CalibrationJob(calib or judged_on, int8=int8, judge=judge, max_drop=max_drop, threads=threads)
        reduce_bundle(folder, job)

    request = ExportRequest(
        target=target,
        precisions=[name for name in precisions if PRECISIONS[name].made_by == "export"],
        replace=force,
        eta=eta,
        images=expand([pictures], progress.note) if pictures else (),
        threads=threads,
        postprocess=None if judged_on is None else reduce,
    )
    manifest = export_bundle(checkpoint, request, progress)
    total = sum(entry.bytes for variant in manifest.variants.values() for entry in variant.files.values())
    say(f"wrote {target} ({total / 1e6:.1f} MB: {', '.join(manifest.variants)})")
    if trt:
        build.main([str(target)], standalone_mode=False)
    say(f"next: sacvit-infer PICTURE --bundle {target}")


def default_target(ckpt: str) -> Path:
    """Return where a checkpoint's bundle goes: beside a file or a folder, or here for one from the Hub.

    Raises UsageError where the checkpoint has no name to take.
    """
    if ckpt.startswith(HUB):
        path = Path(ckpt.removeprefix(HUB).partition("@")[0].rpartition("/")[2])
    else:
        path = Path(ckpt.removesuffix(INDEX))
    if path.is_dir() and not ckpt.startswith(HUB):
        path = path.resolve()  # `.` has a name, too
    elif not ckpt.startswith(HUB):
        path = path.with_suffix("")
    if not path.name:
        raise UsageError(f"--ckpt {ckpt} gives the bundle no name; choose one with --out")
    return path.with_name(path.name + SUFFIX)


def main() -> NoReturn:
    """Run the command; the entry point of `sacvit-export`."""
    run_command(command)
