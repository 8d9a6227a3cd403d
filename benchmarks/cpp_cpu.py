"""C++ runtime against the Python runtime on this CPU: time from decoded images to answers, and resident memory.

Both run in one process, round by round in turn, C++ through its C interface, on the same bundle (DeiT-S size, random
weights) with the same ONNX Runtime and threads. The share of images that continue is set by eta. Memory is measured in
separate processes.

    make cpp && python benchmarks/cpp_cpu.py [--width 384 --depth 12] [--batches 1,8,32] [--rounds 7]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from sacvit_deploy.backends.onnxruntime.session import load_library
from sacvit_deploy.benchmarks.random_checkpoint import write_random
from sacvit_deploy.benchmarks.rounds import interleave
from sacvit_deploy.benchmarks.spread import ratio
from sacvit_deploy.benchmarks.threshold import eta_for
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction

IMAGES = 64
CAPI = Path(load_library().__file__).parent / "capi"
Images = list[npt.NDArray[np.uint8]]


class Options(ctypes.Structure):
    """`sacvit_options` of the C header."""

    _fields_ = (("precision", ctypes.c_char_p), ("device", ctypes.c_char_p), ("library", ctypes.c_char_p),
                ("threads", ctypes.c_int), ("mapped", ctypes.c_int), ("backend", ctypes.c_char_p),
                ("max_pixels", ctypes.c_int), ("max_memory", ctypes.c_int),
                ("ep_library", ctypes.c_char_p))  # fmt: skip


class Source(ctypes.Structure):
    """`sacvit_source` of the C header."""

    _fields_ = (("path", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t),
                ("width", ctypes.c_int), ("height", ctypes.c_int), ("pitch", ctypes.c_ssize_t),
                ("format", ctypes.c_int))  # fmt: skip


class Pass(NamedTuple):
    """Seconds of all images, those outside the engines, and what each was answered."""

    seconds: float
    outside: float
    answers: list[tuple[Any, ...]]


Batch = Callable[[Images, float], tuple[float, list[dict[str, Any]]]]  # images, eta -> seconds of the call, answers


def open_cpp(library: Path, bundle: Path, threads: int) -> Batch:
    """Open a bundle with libsacvit, through its C interface."""
    lib = ctypes.CDLL(str(library))
    lib.sacvit_last_error.restype = ctypes.c_char_p
    lib.sacvit_prediction_json.restype = ctypes.c_char_p
    lib.sacvit_prediction_json.argtypes = [ctypes.c_void_p]
    lib.sacvit_prediction_free.argtypes = [ctypes.c_void_p]
    lib.sacvit_predict_batch.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double,
                                         ctypes.c_double, ctypes.c_void_p, ctypes.c_void_p]  # fmt: skip
    options = Options(b"fp32", None, os.fsencode(CAPI), threads, 0, None)
    model = ctypes.c_void_p()
    if lib.sacvit_open(os.fsencode(bundle), ctypes.byref(options), ctypes.byref(model)):
        raise RuntimeError(lib.sacvit_last_error().decode())

    def answer(images: Images, eta: float) -> tuple[float, list[dict[str, Any]]]:
        count = len(images)
        sources = (Source * count)(
            *(Source(None, i.ctypes.data, 0, i.shape[1], i.shape[0], i.strides[0], 0) for i in images)
        )
        statuses, handles = (ctypes.c_int * count)(), (ctypes.c_void_p * count)()
        start = time.perf_counter()
        status = lib.sacvit_predict_batch(model, sources, count, eta, -1.0, statuses, handles)
        seconds = time.perf_counter() - start
        if status or any(statuses):
            raise RuntimeError(lib.sacvit_last_error().decode())
        answers = [json.loads(lib.sacvit_prediction_json(handle)) for handle in handles]
        for handle in handles:
            lib.sacvit_prediction_free(handle)
        return seconds, answers

    return answer


def python_batch(model: SACViT, images: Images, eta: float) -> tuple[float, list[dict[str, Any]]]:
    """Answer a batch with the Python runtime."""
    start = time.perf_counter()
    results = model.predict_batch(images, eta=eta)
    seconds = time.perf_counter() - start
    answers = [result.to_dict(1) for result in results if isinstance(result, Prediction)]
    if len(answers) < len(images):
        raise RuntimeError(str(results))
    return seconds, answers


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/cpp"))
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--fraction", type=float, default=0.25, help="share of images that continue")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = folder / "model.safetensors"
        write_random(checkpoint, options.width, options.depth)
        request = ExportRequest(folder / "model.sacvit", threads=options.threads)
        export_bundle(load_checkpoint(checkpoint), request, Progress())
        memory(options.build / "sacvit_infer", request.target, folder)
        model = SACViT(request.target, precision="fp32", threads=options.threads)
        python = partial(python_batch, model)
        cpp = open_cpp(options.build / "libsacvit.so", request.target, options.threads)
        print(f"{model.backend.description}; width {options.width}, depth {options.depth}, 224 px, fp32")
        print("ms per image, medians; outside: all but the engine calls, from the decoded image on")
        print(f"{'image':>9} {'batch':>5} {'continue':>8}  {'Python':>8} {'outside':>8}  {'C++':>8} {'outside':>8}"
              f"  {'Python/C++ (min-max)':>22}")  # fmt: skip
        for width, height in ((224, 224), (500, 375)):
            rng = np.random.default_rng(0)
            images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(IMAGES)]
            eta = eta_for(np.array([one["stage_one_probability"] for one in python(images, 0.0)[1]]), options.fraction)
            for batch in map(int, options.batches.split(",")):
                compare_runtimes({"python": python, "cpp": cpp}, images, batch, eta, options.rounds)


def compare_runtimes(runtimes: Mapping[str, Batch], images: Images, batch: int, eta: float, rounds: int) -> None:
    """Measure both runtimes in turn, all images in each round, and print a row."""

    def one_pass(answer: Batch) -> Pass:
        results = [answer(images[at : at + batch], eta) for at in range(0, len(images), batch)]
        seconds, answers = sum(result[0] for result in results), [one for result in results for one in result[1]]
        engines = sum(one["timing_ms"].get(step, 0.0) for one in answers for step in ("ee", "sac")) / 1000
        return Pass(seconds, seconds - engines, [(one["stage"], one["index"], one["targets"]) for one in answers])

    runs = interleave({name: partial(one_pass, answer) for name, answer in runtimes.items()}, rounds).runs
    answers = runs["python"][0].answers
    if any(run.answers != answers for own in runs.values() for run in own):
        raise RuntimeError("the two runtimes answer differently")
    py, py_outside, cc, cc_outside = (
        1000 / IMAGES * statistics.median(getattr(run, key) for run in runs[name])
        for name in ("python", "cpp")
        for key in ("seconds", "outside")
    )
    speedup = ratio([run.seconds for run in runs["python"]], [run.seconds for run in runs["cpp"]])
    size, continued = f"{images[0].shape[1]}x{images[0].shape[0]}", sum(stage == 2 for stage, *_ in answers) / IMAGES
    print(f"{size:>9} {batch:>5} {continued:>8.0%}  {py:>8.2f} {py_outside:>8.3f}  {cc:>8.2f} {cc_outside:>8.3f}"
          f"  {speedup.median:>10.2f}x ({speedup.low:.2f}-{speedup.high:.2f})", flush=True)  # fmt: skip


# Linux's peak includes the program that ran in the process before `exec`, so a small Python starts the command.
# It reads the resident size while the last images are in flight, and the peak at the end.
STARTER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE)
for _ in range(int(sys.argv[1]) - 3):
    process.stdout.readline()
status = open(f"/proc/{process.pid}/status").read()
process.stdout.read()
_, code, usage = os.wait4(process.pid, 0)
print(status.split("VmRSS:")[1].split()[0], usage.ru_maxrss, code)
"""


def memory(infer: Path, bundle: Path, folder: Path) -> None:
    """Print the resident memory of both commands with both engines open; few images map the weights, more pack them."""
    weights = (bundle / "weights.fp32.bin").stat().st_size / 2**20
    print(f"weights {weights:.0f} MB; 1.3 times that and 100 MB are {1.3 * weights + 100:.0f} MB")
    paths = []
    for number in range(16):
        paths.append(folder / f"{number}.png")
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (224, 224, 3), dtype=np.uint8)).save(paths[-1])
    python = str(Path(sys.executable).with_name("sacvit-infer"))
    for weights_as, count in (("mapped", 8), ("packed", 16)):
        for name, command in (("Python", python), ("C++", str(infer))):
            call = [command, *map(str, paths[:count]), "--bundle", str(bundle), "--eta", "1", "--batch", "1", "--json"]
            environment = {**os.environ, "SACVIT_ORT_LIBRARY": str(CAPI)}
            done = subprocess.run([sys.executable, "-c", STARTER, str(count), *call], capture_output=True, text=True,
                                  check=True, env=environment)  # fmt: skip
            now, peak, status = map(int, done.stdout.split())
            if status:
                raise RuntimeError(f"{command} failed: {done.stderr}")
            print(f"{name}, {weights_as}: resident {now / 1024:.0f} MB, at most {peak / 1024:.0f} MB")


if __name__ == "__main__":
    main()
