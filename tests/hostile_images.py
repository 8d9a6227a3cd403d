"""Small files that take much memory, and what each really takes: `python -m tests.hostile_images [--scale N]`.

Every file is at most 100 kB. Each is prepared in a process of its own, which prints its peak above idle beside what was
reserved for it. `--scale` makes the images' sides shorter, `--threads` prepares several at once.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.hostile_files import encoded, files

ROOT = Path(__file__).parents[1]
LARGEST = 100_000  # bytes of a file
COLUMNS = "{:<30} {:>13} {:>6} {:>8} {:>8}  {}"

# In a process of its own. What one decoder of each kind needs once is idle memory, so a small image comes first.
MEASURE = """
import json, sys, threading
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.budget import limits
from sacvit_deploy.images.decode import fit_image

def memory(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith(field))

def prepare(path):
    try:
        fit_image(path, 224, Preprocessing(resize=sys.argv[5]), bounds)
    except Exception as error:
        said.append(str(error))

said, threads = [], int(sys.argv[3])
bounds = limits(None, int(sys.argv[4]) or None)
reserved = []
reserve = bounds.memory.reserve
bounds.memory.reserve = lambda size: reserved.append(size) or reserve(size)
prepare(sys.argv[1])
said.clear(), reserved.clear()
before = memory("VmRSS")
running = [threading.Thread(target=prepare, args=[sys.argv[2]]) for _ in range(threads)]
[thread.start() for thread in running], [thread.join() for thread in running]
facts = {"peak": max(0, memory("VmHWM") - before), "estimate": sum(reserved) >> 20, "error": said[0] if said else None}
print(json.dumps(facts))
"""


def measure(
    path: Path, warm: Path, threads: int = 1, max_memory: int = 0, resize: str = "shortest_edge"
) -> dict[str, Any]:
    """Prepare a file in a process of its own; returns peak above idle and estimate, MB, and the error, if any."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(warm), str(path)]
    command += [str(threads), str(max_memory), resize]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def warming(data: bytes) -> bytes:
    """Return a small file of the same format."""
    with Image.open(io.BytesIO(data)) as image:
        kind = image.format
    return encoded("RGB", (64, 64), kind or "PNG")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-memory", type=int, default=0, help="MB; 0 is the default limit")
    parser.add_argument("--only", default="", help="names that begin so")
    arguments = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    print(COLUMNS.format("", "pixels", "kB", "peak MB", "reserved", "answer"))
    with tempfile.TemporaryDirectory() as folder:
        path, warm = Path(folder, "hostile"), Path(folder, "warm")
        for name, size, data in files(arguments.scale, arguments.only):
            assert len(data) <= LARGEST, f"{name}: {len(data)} bytes"
            path.write_bytes(data)
            warm.write_bytes(warming(data))
            facts = measure(path, warm, arguments.threads, arguments.max_memory)
            said = "decoded" if facts["error"] is None else facts["error"].replace(str(path), "it")
            row = (name, f"{size[0]}x{size[1]}", f"{len(data) / 1000:.1f}", facts["peak"], facts["estimate"], said)
            print(COLUMNS.format(*row), flush=True)


if __name__ == "__main__":
    main()
