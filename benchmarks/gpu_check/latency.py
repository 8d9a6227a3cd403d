"""One image at a time, as `SACViT.predict` answers it but for decoding: p50 and p99."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.product import gated, plain
from sacvit_deploy.benchmarks.gpu_check.subject import noise, open_subject
from sacvit_deploy.benchmarks.spread import percentile
from sacvit_deploy.item import Item

WARM, FEWEST, MOST = 10, 20, 1000  # calls


def measure(settings: Settings) -> Iterator[Row]:
    """Yield a row for an image that exits, one that continues, and the plain DeiT."""
    subject = open_subject(settings)
    picture = noise(subject.config, 1)[0]
    entries = {"exits": gated(subject, 0.0, 0.0), "continues": gated(subject, 1.0, 1.0), "deit": plain(subject)}
    for name, entry in entries.items():
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < FEWEST + WARM or (len(times) < MOST and time.perf_counter() - begin < 8 * settings.seconds):
            start = time.perf_counter()
            answers = list(entry.contender.answers([[Item("image", picture)]], 1))
            times.append(1000 * (time.perf_counter() - start))
            if answers[0].error is not None:
                raise answers[0].error
        kept = times[WARM:]
        p50, p99 = (percentile(kept, share) for share in (0.5, 0.99))
        yield {"image": name, "calls": len(kept), "p50 ms": p50, "p99 ms": p99, "first ms": times[0]}
