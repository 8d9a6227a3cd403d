"""The product's own path against the plain DeiT on the same device, several batches a pass, images shuffled.

Images are decoded. The threads of a stream, which decode, put them into page-locked memory, and so do as many threads
here: what is measured is all that `SACViT.stream` does but for decoding (`whole_stream.py` has that, too).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.benchmarks.bench import BenchCase, run_case
from sacvit_deploy.benchmarks.contenders import CascadeContender
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.subject import Subject, noise, open_subject
from sacvit_deploy.benchmarks.lineup import Entry
from sacvit_deploy.benchmarks.plain_device import PlainOnDevice
from sacvit_deploy.benchmarks.running import Feed, run_pass
from sacvit_deploy.benchmarks.threshold import eta_for, stage_one_probabilities
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.item import Item

DISTINCT = 512  # images that differ; more are these again
BATCHES, FEWEST, MOST = 16, 5, 4096  # batches of a pass: so many, unless that is more images, but never fewer than five
RECORDED = (1, 8, 32)  # batches at which recorded calls are measured
ENDS = (1, 128)  # batches at which none and all continue, too


def measure(settings: Settings) -> Iterator[Row]:
    """Yield rows for each batch: the cascade, and the plain DeiT."""
    subject = open_subject(settings)
    for batch in settings.batches:
        shares = (settings.share, 0.0, 1.0) if batch in ENDS else (settings.share,)
        yield from measure_batch(subject, settings, batch, shares)


def measure_plain_layout(settings: Settings) -> Iterator[Row]:
    """Yield rows at the first two batches of the engines that are laid out for no GPU: what the layout gains."""
    subject = open_subject(settings, plain_layout=True)
    for batch in settings.batches[:2]:
        yield from measure_batch(subject, settings, batch, [settings.share])


def measure_recorded(settings: Settings) -> Iterator[Row]:
    """Yield rows of engines whose calls are recorded and replayed, at the batches where launches take longest."""
    subject = open_subject(settings, capture=True)
    for batch in [batch for batch in settings.batches if batch in RECORDED] or settings.batches[:1]:
        yield from measure_batch(subject, settings, batch, [settings.share])


def measure_batch(
    subject: Subject, settings: Settings, batch: int, shares: Sequence[float], extra: Sequence[Entry] = ()
) -> Iterator[Row]:
    """Yield a row for every contender at one batch; where that fails, a row that says why, and other batches go on.

    extra: contenders beside the cascade at each share and the plain DeiT. With `settings.workers` of one, the thread
    that runs the stages copies the images to where the device reads them.
    """
    try:
        images, count = distinct_images(subject, settings, batch), images_of_a_pass(settings, batch)
        feed = Feed(count, lambda row: Item(str(row), images[row % len(images)]), 1)
        probabilities = stage_one_probabilities(subject.cascade, images, batch)
        workers = settings.workers
        entries = [gated(subject, eta_for(probabilities, share), share, workers) for share in shares]
        yield from measure_entries(subject, settings, batch, [*entries, plain(subject, workers), *extra], feed)
    except SacvitError as error:  # out of memory at the largest batches, say
        yield {"batch": batch, "contender": "not run", "why": str(error)}


def measure_entries(
    subject: Subject, settings: Settings, batch: int, entries: Sequence[Entry], feed: Feed
) -> Iterator[Row]:
    """Run contenders in turn; yield their rows. ratio: over the plain DeiT, within rounds."""
    macs = costs(subject.config)
    case = BenchCase("engine", batch, 1)
    rows = run_case(case, entries, lambda entry: feed, macs, settings.rounds)
    for entry, row in zip(entries, rows, strict=True):
        subject.moved.up = subject.moved.down = 0
        busy = time.process_time()
        run_pass(entry.contender, feed, batch)
        busy = time.process_time() - busy
        ratio = row.ratios.get("deit")
        yield {
            "batch": batch,
            "contender": row.name,
            "images put by": "this thread" if settings.workers == 1 else f"{settings.workers} threads",
            "images/s": row.images_per_second,
            "ratio": ratio.median if ratio else None,
            "low": ratio.low if ratio else None,
            "high": ratio.high if ratio else None,
            "ideal": row.ideal,
            "continuing": row.continued,
            "us": 1000 * row.ms.median,
            "cpu us": 1e6 * busy / feed.count,
            "device us": ", ".join(f"{step} {1000 * ms:.1f}" for step, ms in row.steps_ms.items()),
            "B up": round(subject.moved.up / feed.count),
            "B down": round(subject.moved.down / feed.count),
            "failed": row.failed,
        }


def gated(subject: Subject, eta: float, share: float, workers: int = 1) -> Entry:
    """Return the cascade with a gate that lets a share of the images continue. workers: as `CascadeContender`'s."""
    contender = CascadeContender(subject.cascade, eta, subject.config.num_targets(), workers)
    return Entry(contender, "cascade", subject.precision, gate={"forced": share})


def plain(subject: Subject, workers: int = 1) -> Entry:
    """Return the plain DeiT. workers: as `CascadeContender`'s."""
    gmacs = costs(subject.config).deit / 1e9
    return Entry(PlainOnDevice(subject.plain, workers), BASELINE, subject.precision, lambda batch: gmacs)


def images_of_a_pass(settings: Settings, batch: int) -> int:
    """Return how many images a pass has: whole batches, several of them."""
    return max(settings.least, min(BATCHES * batch, MOST), FEWEST * batch) // batch * batch


def distinct_images(subject: Subject, settings: Settings, batch: int) -> list[Pixels]:
    """Return the images of a pass that differ."""
    return list(noise(subject.config, min(DISTINCT, images_of_a_pass(settings, batch))))
