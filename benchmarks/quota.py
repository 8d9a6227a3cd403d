"""Images a second under a container's CPU quota, with the threads that the runtime chooses and with one for each core.

Makes a control group (version 1 or 2; needs root), and runs processes in it in turn, round by round:

    python benchmarks/quota.py [--quota 1.0] [--bundle BUNDLE] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sacvit_deploy.cpu_quota import HIERARCHY
from sacvit_deploy.errors import BackendError

ROOT = Path(__file__).parents[1]
BUNDLE, PICTURES = ROOT / "examples/int8/model.sacvit", ROOT / "examples/pictures"
PERIOD = 100_000  # us
# Runs in the group: the first argument is its list of processes, which "0" joins; then bundle, pictures, threads.
PROGRAM = """
import json, pathlib, sys, time
open(sys.argv[1], "w").write("0")
from sacvit_deploy import SACViT
from sacvit_deploy.cpu import usable_cores
threads = int(sys.argv[4]) or usable_cores()
model = SACViT(sys.argv[2], threads=threads)
paths = sorted(path for path in pathlib.Path(sys.argv[3]).iterdir() if path.suffix in (".jpg", ".png"))
times = []
for path in paths * 3:
    start = time.perf_counter()
    model.predict(path)
    times.append(time.perf_counter() - start)
start = time.perf_counter()
list(model.stream(paths * 3, batch_size=32, workers=threads))
print(json.dumps([threads, len(paths) * 3 / (time.perf_counter() - start), sorted(times)[len(times) * 95 // 100]]))
"""


@contextlib.contextmanager
def limited_group(quota: float) -> Iterator[Path]:
    """Make a control group of so many CPUs' time; yield its list of processes. Raises BackendError."""
    version2 = (HIERARCHY / "cgroup.controllers").exists()
    group = (HIERARCHY if version2 else HIERARCHY / "cpu") / f"sacvit-quota-{os.getpid()}"
    try:
        group.mkdir()
        if version2:
            (group / "cpu.max").write_text(f"{round(quota * PERIOD)} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(round(quota * PERIOD)))
        yield group / "cgroup.procs"
    except OSError as error:
        raise BackendError(f"not run: no control group can be made here ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quota", type=float, default=1.0, help="CPUs  [default: 1.0]")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    rates: dict[str, list[tuple[int, float, float]]] = {"chosen": [], "one for each core": []}
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with limited_group(given.quota) as processes:
        for _ in range(given.rounds):
            for name, threads in (("chosen", 0), ("one for each core", cores)):
                call = [sys.executable, "-c", PROGRAM, processes, given.bundle, given.pictures, str(threads)]
                done = subprocess.run(list(map(str, call)), env=environment, capture_output=True, text=True, check=True)
                rates[name].append(tuple(json.loads(done.stdout)))
    print(f"a quota of {given.quota} CPUs on {cores} cores; medians of {given.rounds} processes each")
    print(f"  {'threads':<22}{'images/s, stream':>18}{'ms, one image, p95':>20}")
    for name, rows in rates.items():
        threads, rate, slow = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"  {f'{threads:.0f}, {name}':<22}{rate:>18.1f}{1000 * slow:>20.1f}")


if __name__ == "__main__":
    try:
        main()
    except BackendError as error:
        sys.exit(f"Error: {error}")
