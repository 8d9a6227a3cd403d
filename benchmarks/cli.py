"""`sacvit bench`: what a bundle gains on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from sacvit_deploy.commands.common import alpha_option, device_option, numbers
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.terminal import say


def words(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Click callback: read words separated by commas."""
    return None if value is None else tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))


def counts(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Click callback: read whole numbers from 1, separated by commas."""
    try:
        numbers_given = None if value is None else tuple(dict.fromkeys(int(word) for word in value.split(",")))
    except ValueError:
        numbers_given = ()
    if numbers_given is not None and (not numbers_given or min(numbers_given) < 1):
        raise click.BadParameter(f"{value!r} is not a list of whole numbers from 1; write them like 1,8,32", ctx, param)
    return numbers_given


@click.command("bench", cls=StrictCommand)
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Images of your own: a folder, with class folders or "
    "without, or rendered scenes.  [default: 640x480 JPEGs made of the package's photographs]",
)
@click.option(
    "--pictures",
    "image_count",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="How many images to take.",
)
@click.option(
    "--scope",
    "scopes",
    default="engine",
    show_default=True,
    callback=words,
    help="engine: from decoded images; file: from JPEGs, decoding and all; or both, engine,file.",
)
@click.option(
    "--scaled",
    is_flag=True,
    help="With --scope file: the cascade also with JPEGs decoded in full only "
    "where they continue, as sacvit infer --scaled.",
)
@click.option("--batch", "batches", default="1,8,32", show_default=True, callback=counts, help="Batch sizes.")
@click.option(
    "--continue",
    "fractions",
    callback=numbers,
    help="Shares of the images that are made to continue to "
    "stage 2, like 0.23,0.4.  [default: 0.23,0.4,0.86 without --data, the paper's]",
)
@click.option("--eta", "etas", callback=numbers, help="Real gates, like 0.5,0.6.  [default: with --data, the bundle's]")
@alpha_option
@click.option(
    "--against",
    default="deit,sait,sait-mass,stvit",
    show_default=True,
    callback=words,
    help="Baselines; all but deit are exported once, which needs torch.",
)
@click.option(
    "--vs", multiple=True, type=click.Path(path_type=Path), help="Another classifier, an ONNX file; may be repeated."
)
@click.option(
    "--opponents",
    "baselines",
    type=click.Path(path_type=Path),
    help="Folder of the exported baselines.  [default: NAME.opponents beside the bundle]",
)
@click.option("--keep", type=click.FloatRange(0, 1, min_open=True), help="Share of tokens SaiT keeps.  [default: 0.43]")
@click.option("--backend", default="auto", show_default=True, help="As for sacvit infer.")
@device_option
@click.option(
    "--precision",
    "precisions",
    callback=words,
    help="Variants, like fp32,int8.  [default: fp32, and what auto takes here]",
)
@click.option("--threads", callback=counts, help="CPU threads of an engine call, like 1,2.  [default: one per core]")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds that count.")
@click.option(
    "--processes",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Rounds of start-up and peak memory, each in a fresh process; 0 is none.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for bench.json and report.html, whose charts need matplotlib.",
)
@click.option("--png", is_flag=True, help="Write the report's charts into --out as PNGs, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--compare", nargs=2, type=click.Path(path_type=Path), help="Compare two bench.json instead: OLD NEW.")
def command(bundle: Path | None, compare: tuple[Path, Path] | None, as_json: bool, **options: Any) -> int:
    """Measure what a BUNDLE gains on this machine over a plain DeiT, SaiT, STViT, and any ONNX file of yours.

    All run in one process, in turn, round by round; ratios are taken within rounds. Times are medians; the smallest
    and the largest round stand in brackets. `23%` is a forced continue fraction, `eta 0.6` a real gate.
    """
    if compare is not None:
        from sacvit_deploy.benchmarks.report.compare import compare_benches as compare_reports
        from sacvit_deploy.benchmarks.report.results import read_json

        comparison = compare_reports(*map(read_json, compare))
        say(json.dumps(asdict(comparison), indent=1) if as_json else comparison.table())
        return 0
    from sacvit_deploy.benchmarks.job import prepare, run_bench

    show: Callable[[str], object] = (lambda text: None) if as_json else say
    report = run_bench(prepare(bundle, **options), show, partial(say, err=True), Progress(sys.stderr))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    return 0
