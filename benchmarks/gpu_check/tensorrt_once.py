"""TensorRT and TensorRT-RTX on this card, from the least to the most: one engine built and run, the product, labels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.tensorrt.backend import RoundTrip
from sacvit_deploy.backends.tensorrt.device import TensorRTDevice
from sacvit_deploy.backends.tensorrt.library import Library, load_library
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.engines_alone import inputs, measure_engines
from sacvit_deploy.benchmarks.gpu_check.labels import answer_on_cpu, compare_model
from sacvit_deploy.benchmarks.gpu_check.product import measure_batch
from sacvit_deploy.benchmarks.gpu_check.subject import Subject, make_subject
from sacvit_deploy.benchmarks.whole_view import whole_view
from sacvit_deploy.bundle.bundle import Bundle, open_bundle
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE, GLUE, ROLES, STAGES, Sizes
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.device.protocol import Device
from sacvit_deploy.engines.build import BuildOptions, build_plan
from sacvit_deploy.engines.profiles import SizeRange, batch_ranges, input_ranges, target_range
from sacvit_deploy.errors import BackendError
from sacvit_deploy.stages.context_pool import ContextPool

WHOLE = "whole"  # the plain DeiT's view
TRIED = 8  # images of the first calls
BATCHES = (128, 1)
LABELS = 32  # images of a call whose labels are compared


def measure_rtx(settings: Settings) -> Iterator[Row]:
    """Yield what TensorRT-RTX does here."""
    yield from measure("tensorrt-rtx", settings)


def measure_tensorrt(settings: Settings) -> Iterator[Row]:
    """Yield what TensorRT does here."""
    yield from measure("tensorrt", settings)


def measure_rtx_int8(settings: Settings) -> Iterator[Row]:
    """Yield what TensorRT-RTX does here in int8."""
    yield from measure("tensorrt-rtx", dataclasses.replace(settings, precision="int8"))


def measure_tensorrt_int8(settings: Settings) -> Iterator[Row]:
    """Yield what TensorRT does here in int8."""
    yield from measure("tensorrt", dataclasses.replace(settings, precision="int8"))


def measure(runtime: str, settings: Settings) -> Iterator[Row]:
    """Yield a row for `view` and `ee`, each built and run once against the CPU, then what `measure_plans` does.

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
        plans = {}
        for role in (*ROLES, WHOLE):
            start = time.perf_counter()
            plans[role] = build(library, files[role], role, config, max(BATCHES), Path(scratch))
            yield {"engine": role, "built in s": time.perf_counter() - start, "bytes": plans[role].stat().st_size}
        pair = {"view": plans[WHOLE], "ee": plans[BASELINE]}
        devices = (TensorRTDevice(library, given) for given in (plans, pair))
        subject = make_subject(f"{library.title} {library.version}", settings.precision, config, *devices)
        yield from measure_plans(subject, settings, lambda: example_device(library, settings, Path(scratch)))


def measure_plans(subject: Subject, settings: Settings, example: Callable[[], Device]) -> Iterator[Row]:
    """Yield rows of the product, of the labels and of every engine, in this order: the most valuable first.

    example: makes the device of the bundle whose labels are compared, which takes a while.
    """
    for size in BATCHES:
        yield from measure_batch(subject, settings, size, [settings.share])
    pool = ContextPool(example(), open_bundle(settings.example).manifest.config)
    yield from compare_model(answer_on_cpu(settings), settings.precision, pool, (LABELS, 1))
    yield from measure_engines(subject, settings, BATCHES)


def example_device(library: Library, settings: Settings, scratch: Path) -> TensorRTDevice:
    """Build the plans of the example, and return their device. Raises BackendError."""
    bundle = open_bundle(settings.example)
    files, folder = bundle.checked_files(settings.precision), scratch / "example"
    folder.mkdir()
    roles = (*GLUE, *STAGES)
    return TensorRTDevice(
        library, {role: build(library, files[role], role, bundle.manifest.config, LABELS, folder) for role in roles}
    )


def build(library: Library, engine: Path, role: str, config: ModelConfig, batch: int, folder: Path) -> Path:
    """Build a plan into a folder and return its path. Raises BackendError."""
    path = folder / f"{role}.plan"
    path.write_bytes(plan(library, engine, role, config, batch))
    return path


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
