"""Commands of the check: `prepare`, `run` and `table`; see the package."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

import click

from sacvit_deploy.benchmarks.cli import counts, words
from sacvit_deploy.benchmarks.gpu_check.carried import bring, check_size, environment, unpack
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.report_table import report
from sacvit_deploy.benchmarks.gpu_check.running_steps import Record, run_steps
from sacvit_deploy.benchmarks.gpu_check.steps import STEPS
from sacvit_deploy.benchmarks.job import check_words
from sacvit_deploy.console.terminal import say
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import SacvitError, UsageError

GEOMETRIES = ("tiny", "small", "base", "toy")
PICTURES = Path("examples/pictures")
folder_argument = click.argument("folder", type=click.Path(path_type=Path))


@click.group()
def command() -> None:
    """Check the product on a real GPU, in calls of at most nine minutes."""


@command.command("prepare")
@folder_argument
@click.option("--geometry", type=click.Choice(GEOMETRIES), default="small", show_default=True, help="Of DeiT.")
@click.option(
    "--ckpt",
    type=click.Path(path_type=Path),
    default=Path("examples/model.safetensors"),
    show_default=True,
    help="Checkpoint whose labels are compared.",
)
def prepare_command(folder: Path, geometry: str, ckpt: Path) -> None:
    """Write what is carried to the card into FOLDER; needs torch, no GPU.

    Python packages that the card's machine lacks go into FOLDER/packages as .txz, by hand.
    """
    from sacvit_deploy.benchmarks.gpu_check.preparing_bundles import prepare

    size = prepare(folder, geometry, ckpt)
    say(f"{folder}: {size / 2**20:.1f} MiB")


@command.command("run")
@folder_argument
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:1, webgpu; cpu tries it without a GPU.")
@click.option("--precision", default="fp16", show_default=True)
@click.option("--steps", callback=words, help=f"Some of the steps.  [default: {','.join(STEPS)}]")
@click.option("--again", callback=words, help="Steps to run again though they have ended.")
@click.option("--batch", "batches", callback=counts, help="In this order.  [default: 128,1,32,512,8,1024]")
@click.option("--images", type=click.IntRange(min=1), default=500, show_default=True, help="Mosaics to compare.")
@click.option(
    "--pictures", type=click.Path(path_type=Path), help=f"More images.  [default: {PICTURES}, if it is there]"
)
@click.option("--least", type=click.IntRange(min=1), default=128, show_default=True, help="Images of a pass.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--seconds", type=float, default=0.25, show_default=True, help="For which a call is repeated.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads that prepare images.  [default: one a core]")
@click.option(
    "--minutes", type=click.FloatRange(0, 9, min_open=True), default=9, show_default=True, help="Of this call."
)
@click.option("--work", type=click.Path(path_type=Path), help="Where archives are unpacked.  [default: OUT/work]")
def run_command(
    folder: Path,
    out: Path,
    device: str,
    precision: str,
    steps: tuple[str, ...] | None,
    again: tuple[str, ...] | None,
    batches: tuple[int, ...] | None,
    images: int,
    pictures: Path | None,
    least: int,
    rounds: int,
    seconds: float,
    workers: int | None,
    minutes: float,
    work: Path | None,
) -> None:
    """Run the steps that have not ended yet; results are in OUT after every row.

    A call that was killed is repeated: it goes on behind the last step that ended.
    """
    names = tuple(STEPS) if steps is None else steps
    check_words("--steps", names, STEPS)
    if again is not None:
        check_words("--again", again, STEPS)
    if pictures is None and PICTURES.is_dir():
        pictures = PICTURES
    begin = time.monotonic()
    check_size(folder)
    speed, example, packages = unpack(folder, out / "work" if work is None else work)
    settings = Settings(
        device,
        precision,
        speed,
        example,
        pictures,
        images=images,
        least=least,
        rounds=rounds,
        seconds=seconds,
        workers=workers or usable_cores(),
    )
    if batches is not None:
        settings = dataclasses.replace(settings, batches=batches)
    record = Record(out, ["python", "-m", "sacvit_deploy.benchmarks.gpu_check", *sys.argv[1:]])
    for name in again or ():
        record.data["steps"].pop(name, None)
    run_steps(names, settings, record, 60 * minutes - (time.monotonic() - begin), environment(packages), say)
    text = report(record.data)
    (out / "gpu-check.txt").write_text(text + "\n", encoding="utf-8")
    say(text)


@command.command("bring")
@folder_argument
@click.option("--work", type=click.Path(path_type=Path), required=True, help="As of the `run` that needs it.")
def bring_command(folder: Path, work: Path) -> None:
    """Keep a piece of a package that is too large for one call, such as FOLDER/packages/NAME.txz.0of2."""
    check_size(folder)
    whole = bring(folder, work)
    say(", ".join(path.name for path in whole) or "not all pieces are here yet")


@command.command("table")
@click.argument("path", type=click.Path(path_type=Path))
def table_command(path: Path) -> None:
    """Print the tables of a gpu-check.json."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}; name a file that `run` wrote") from error
    say(report(data))


def main() -> None:
    """Run as a script."""
    try:
        command()
    except SacvitError as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
