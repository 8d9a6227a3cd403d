"""TensorRT and TensorRT-RTX on this card, from the least to the most: one engine built and run, then the product."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.tensorrt.backend import RoundTrip
from sacvit_deploy.backends.tensorrt.device import TensorRTDevice
from sacvit_deploy.backends.tensorrt.library import Library, load_library
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.engines_alone import inputs
from sacvit_deploy.benchmarks.gpu_check.product import measure_batch
from sacvit_deploy.benchmarks.gpu_check.subject import make_subject
from sacvit_deploy.benchmarks.whole_view import whole_view
from sacvit_deploy.bundle.bundle import Bundle, open_bundle
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE, ROLES, Sizes
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.engines.build import BuildOptions, build_plan
from sacvit_deploy.engines.profiles import SizeRange, batch_ranges, input_ranges, target_range
from sacvit_deploy.errors import BackendError

WHOLE = "whole"  # the plain DeiT's view
TRIED = 8  # images of the first calls
BATCHES = (128, 1)


def measure_rtx(settings: Settings) -> Iterator[Row]:
    """Yield what TensorRT-RTX does here."""
    yield from measure("tensorrt-rtx", settings)


def measure_tensorrt(settings: Settings) -> Iterator[Row]:
    """Yield what TensorRT does here."""
    yield from measure("tensorrt", settings)


def measure(runtime: str, settings: Settings) -> Iterator[Row]:
    """Yield a row for `view` and `ee`, each built and run once against the CPU, then rows of the product.

    Raises BackendError where the library or a GPU is missing, or refuses one of the two.
    """
    library = load_library(runtime)
    find_gpu(parse_device(settings.device).number)
    bundle = open_bundle(settings.speed)
    config = bundle.manifest.config
    with TemporaryDirectory(prefix="sacvit-plans-") as scratch:
        files = onnx_files(bundle, settings.precision, Path(scratch))
        for role in ("view", "ee"):
            yield {"engine": role, **run_once(library, files[role], role, config)}
        batch = max(BATCHES)
        plans = {}
        for role in (*ROLES, WHOLE):
            start = time.perf_counter()
            plans[role] = Path(scratch) / f"{role}.plan"
            plans[role].write_bytes(plan(library, files[role], role, config, batch))
            yield {"engine": role, "built in s": time.perf_counter() - start, "bytes": plans[role].stat().st_size}
        pair = {"view": plans[WHOLE], "ee": plans[BASELINE]}
        devices = (TensorRTDevice(library, given) for given in (plans, pair))
        subject = make_subject(f"{library.title} {library.version}", settings.precision, config, *devices)
        for size in BATCHES:
            yield from measure_batch(subject, settings, size, [settings.share])


def onnx_files(bundle: Bundle, precision: str, scratch: Path) -> dict[str, Path]:
    """Return the paths of a variant's engines, and of the plain DeiT's view, written into `scratch`."""
    files = bundle.checked_files(precision)
    whole = scratch / "whole.onnx"
    dtype = np.dtype(np.float16 if precision == "fp16" else np.float32)
    whole.write_bytes(whole_view(bundle.manifest.config, dtype))
    return {**files, WHOLE: whole}


def plan(library: Library, engine: Path, role: str, config: ModelConfig, batch: int) -> bytes:
    """Build an engine for up to `batch` images and the model's alpha, on the GPU at hand. Raises BackendError."""
    targets = target_range(config, (config.method.alpha,))
    shapes_of = "view" if role == WHOLE else role
    ranges = [input_ranges(shapes_of, config, sizes, targets) for sizes in batch_ranges(SizeRange(1, batch, batch))]
    return build_plan(library, engine, ranges, BuildOptions())


def run_once(library: Library, engine: Path, role: str, config: ModelConfig) -> Row:
    """Build one engine and run it on random inputs. Raises BackendError."""
    start = time.perf_counter()
    built = plan(library, engine, role, config, TRIED)
    seconds = time.perf_counter() - start
    with TemporaryDirectory(prefix="sacvit-plan-") as folder:
        path = Path(folder) / f"{role}.plan"
        path.write_bytes(built)
        runner = RoundTrip(TensorRTDevice(library, {"only": path}), "only")
    reference = OnnxRuntimeBackend("cpu", usable_cores()).open(engine, None)
    name = "pictures" if role == "view" else "image"
    given = inputs(role, config, Sizes(TRIED), {name: reference.input_dtype(name)})
    found, expected = runner.run(given), reference.run(given)
    output = "image" if role == "view" else "logits"
    if not np.isfinite(found[output].astype(np.float32)).all():
        raise BackendError(f"{library.title} gave values that are not finite in {role}")
    difference = np.abs(found[output].astype(np.float32) - expected[output].astype(np.float32)).max()
    scale = np.abs(expected[output].astype(np.float32)).max()
    return {"built in s": seconds, "bytes": len(built), "images": TRIED, "differs by": float(difference / scale)}
