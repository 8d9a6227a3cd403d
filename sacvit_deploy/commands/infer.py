"""`sacvit infer`: files, folders, videos, cameras, streams and addresses in, labels out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import click

from sacvit_deploy.backends.device_name import CPU_NAMES
from sacvit_deploy.backends.tensorrt.library import RUNTIMES
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.answering import BATCH, DELAY, FILES_DELAY, Asked, answer
from sacvit_deploy.commands.common import alpha_option, backend_options, bundle_option, note_to_user, run_command
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import UsageError
from sacvit_deploy.glue import check_eta
from sacvit_deploy.model import SACViT
from sacvit_deploy.opened import FALLBACKS, Opening
from sacvit_deploy.ray.files import Actors, FileStream, begin_files, connect
from sacvit_deploy.sources.arguments import to_sources
from sacvit_deploy.sources.frames import Kind, Source
from sacvit_deploy.sources.reconnect import ATTEMPTS
from sacvit_deploy.stream import Stream

FEW = 8  # images, up to which packing the weights takes longer than it saves
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("infer", cls=StrictCommand)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(allow_dash=True))
@click.option("--eta", type=float, help="Exit after stage 1 above this probability, 0 to 1.  [default: the bundle's]")
@alpha_option
@click.option("--topk", type=click.IntRange(min=1), default=1, show_default=True, help="Classes shown per image.")
@click.option(
    "--batch", type=click.IntRange(min=1), help=f"Images per engine call.  [default: {BATCH}, of live sources 1]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line and image.")
@click.option("--csv", type=FILE, help="Write a line per image into a file, as soon as it is answered.")
@click.option("--jsonl", type=FILE, help="The same, with the lines of --json.")
@click.option("--resume", is_flag=True, help="Go on with these files, without the images that they answer already.")
@click.option(
    "--save",
    "--overlay",  # its name in the first versions
    type=click.Path(path_type=Path),
    help="Draw answers and targets: an image, a video (.mp4), or a folder for several.",
)
@click.option("--show", is_flag=True, help="Show these drawings in a window; closing it ends the run.")
@click.option(
    "--max-delay",
    type=click.FloatRange(min=0),
    help=f"Seconds that an image waits for others.  [default: {FILES_DELAY:g}, of live sources and pipes {DELAY:g}]",
)
@click.option(
    "--keep",
    type=click.Choice(["all", "latest"]),
    help="latest drops frames that newer ones overtake.  [default: latest for live sources]",
)
@click.option(
    "--reconnect",
    type=click.IntRange(min=0),
    default=ATTEMPTS,
    show_default=True,
    help="Attempts after a stream broke.",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of videos, pipes and live sources: answer each Nth frame.",
)
@click.option("--stage-two", metavar="URL", help="Run stage 1 here, and stage 2 on the `sacvit serve` at this address.")
@click.option(
    "--stage-two-timeout",
    type=click.FloatRange(min=0, max=3600, min_open=True),
    help=f"Seconds for one try.  [default: {Opening.stage_two_timeout:g}]",
)
@click.option(
    "--stage-two-retries",
    type=click.IntRange(0, 100),
    help=f"Further tries.  [default: {Opening.stage_two_retries}]",
)
@click.option(
    "--stage-two-fallback",
    type=click.Choice(FALLBACKS),
    help=f"What stands in where it gives no answer.  [default: {Opening.stage_two_fallback}]",
)
@click.option(
    "--ray",
    metavar="N",
    help="Classify files in N processes on Ray; 4+2 are 4 of stage 1 and 2 of stage 2. Needs 'sacvit-deploy[ray]'.",
)
@click.option("--scaled", is_flag=True, help="Decode large JPEGs in full only where they continue to stage 2.")
@bundle_option
@backend_options
def command(
    sources: tuple[str, ...],
    eta: float | None,
    alpha: float | None,
    reconnect: int,
    every: int,
    scaled: bool,
    bundle: str | None,
    **options: Any,  # of `Asked`, of `backend_options`, and of stage 2
) -> int:
    """Classify the images that each SOURCE gives:

    \b
    image.jpg, clip.mp4      an image or a video
    photos, 'photos/**'      a folder's images; also those in folders below it
    'photos/**/*.jpg'        files that match
    list.txt, @list          the sources that a file names, one on each line
    -                        images or a video on standard input
    https://host/image.jpg   an image, a video or a stream on the web
    rtsp://host/stream       a camera in the network
    0, /dev/video0           a camera of this machine

    \b
    Videos and cameras need: pip install 'sacvit-deploy[video]'
    What follows -- is no option; ./0 and ./- are files.

    Without --bundle, $SACVIT_BUNDLE is taken, else the one *.sacvit folder in the current folder, beside the images,
    or in the folder above them.
    """
    progress = Progress(sys.stderr)

    def note(text: str) -> None:
        with progress.cleared():
            note_to_user(text)

    asked = Asked(**{each.name: options.pop(each.name) for each in fields(Asked)})
    remote = remote_options(options)
    found = to_sources(sources, note, reconnect, every)
    asked.check(found)
    folder = Path(bundle) if bundle else find_bundle(files_of(found))
    if remote and asked.ray is not None:
        raise UsageError("--ray has processes for stage 2; leave out --stage-two")
    actors = None if asked.ray is None else ray_actors(asked.ray, options)
    few = len(found) <= FEW and all(source.kind is Kind.IMAGE for source in found)
    start = perf_counter()
    with progress.doing(f"opening {folder}"):
        model = SACViT(folder, weights="mapped" if few or actors else "packed", scaled=scaled, **options, **remote)
    eta = model.eta if eta is None else check_eta(eta)
    alpha = model.config.method.alpha if alpha is None else alpha
    model.config.num_targets(alpha)  # an impossible alpha fails here
    title = f"{folder}: {model.precision} on {model.backend.description}; eta {eta:g}, alpha {alpha:g}"
    title += f"; stage 2 at {remote['stage_two']}" if remote else ""
    seconds = perf_counter() - start
    begin: Callable[..., Stream | FileStream] = model.stream
    if actors is not None:
        how = {**options, "scaled": scaled, "precision": model.precision}
        begin = partial(begin_files, model, actors, how, note)
        title = f"{title}; on Ray"
    return answer(
        model, found, asked, eta=eta, alpha=alpha, title=title, seconds=seconds, progress=progress, note=note,
        begin=begin,
    )  # fmt: skip


def remote_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take what is said of a stage 2 elsewhere out of the options; nothing where it is here. Raises UsageError."""
    named = {name: options.pop(name) for name in list(options) if name.startswith("stage_two")}
    given = {name: value for name, value in named.items() if value is not None}  # the others are SACViT's defaults
    if given and "stage_two" not in given:
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} goes with --stage-two, which names the server")
    return given


def ray_actors(text: str, options: dict[str, Any]) -> Actors:
    """Read --ray, and take what it does without out of the options. Raises UsageError, BackendError."""
    actors = Actors.parse(text)
    if options.pop("capture") or options.pop("device_memory"):
        raise UsageError("--ray has neither --capture nor --device-memory")
    # Every process would take the first GPU: Ray shares them out among those that ask it for one.
    device = options["device"] = options["device"] or "cpu"
    if device.casefold() not in CPU_NAMES or options["backend"] in RUNTIMES or options["decode"] != "cpu":
        raise UsageError("--ray runs on CPUs; on GPUs take classify(num_gpus=1) of sacvit_deploy.ray.data: docs/ray.md")
    connect()
    return actors


def files_of(sources: Iterable[Source]) -> list[Path]:
    """Return the files among sources, beside which a bundle may lie."""
    names = (source.name for source in sources if source.kind in (Kind.IMAGE, Kind.VIDEO))
    return [Path(name) for name in names if "://" not in name]


def main() -> NoReturn:
    """Entry point of `sacvit-infer`."""
    run_command(command)
