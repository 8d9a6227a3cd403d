"""`sacvit-infer` on one picture at DeiT-S size: time and peak memory of the whole process, and the bundle's size.

    python benchmarks/infer_process.py [--width 384 --depth 12] [--runs 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sacvit_deploy.backends import usable_cores
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.pipeline import Request, export_bundle
from sacvit_deploy.export.progress import Progress
from sacvit_deploy.export.reference import shipped_pictures
from sacvit_deploy.export.stages import empty_model


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    geometry = Geometry(width=options.width, depth=options.depth, heads=options.width // 64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder / "model.safetensors", empty_model(ModelConfig(geometry)))
        checkpoint = load_checkpoint(folder / "model.safetensors")
        parameters = sum(weight.numel() for weight in checkpoint.model.parameters())
        request = Request(folder / "model.safetensors", folder / "model.sacvit", threads=usable_cores())
        export_bundle(checkpoint, request, Progress())
        size = sum(path.stat().st_size for path in request.target.iterdir())
        print(f"width {options.width}, depth {options.depth}: {parameters / 1e6:.1f} M weights, fp32")
        print(f"bundle {size / 1e6:.1f} MB, {size / (4 * parameters):.3f} x one copy of the weights")
        picture = folder / "picture.jpg"
        picture.write_bytes(shipped_pictures()[0])
        for eta, what in (("0", "exits at stage 1"), ("1", "goes on to stage 2")):
            runs = [run_once(picture, request.target, eta) for _ in range(options.runs)]
            seconds = [run[0] for run in runs]
            print(
                f"sacvit-infer, one picture that {what}: {statistics.median(seconds):.2f} s "
                f"({min(seconds):.2f}-{max(seconds):.2f}), peak resident {max(run[1] for run in runs):.0f} MB"
            )


# Linux counts what a process had before it became another program: started from here, sacvit-infer would seem to need
# as much memory as this script. So a small Python starts it.
STARTER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss, status)
"""


def run_once(picture: Path, bundle: Path, eta: str) -> tuple[float, float]:
    """Seconds and peak resident MB of one process. Fails if it does."""
    command = [str(Path(sys.executable).with_name("sacvit-infer")), str(picture), "--bundle", str(bundle), "--eta", eta]
    found = subprocess.run([sys.executable, "-c", STARTER, *command], stdout=subprocess.PIPE, check=True, text=True)
    seconds, kilobytes, status = found.stdout.split()
    if status != "0":
        raise RuntimeError(f"{' '.join(command)} failed")
    return float(seconds), int(kilobytes) / 1024


if __name__ == "__main__":
    main()
